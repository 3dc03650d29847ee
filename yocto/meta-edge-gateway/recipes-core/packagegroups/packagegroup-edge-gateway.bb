SUMMARY = "edge-gateway for an image with a read-only root and a /data partition"
DESCRIPTION = "The agent, and what keeps its settings and its state on /data. An image with a writable root installs the \
               package edge-gateway alone."
SECTION = "net"

inherit packagegroup

RDEPENDS:${PN} = "edge-gateway edge-gateway-data"
