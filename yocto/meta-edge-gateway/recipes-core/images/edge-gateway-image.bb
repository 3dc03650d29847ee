# nooelint: oelint.var.suggestedvar.CVE_PRODUCT
SUMMARY = "An example: a read-only root in two slots, edge-gateway, and /data"
DESCRIPTION = "Shows how a product keeps the enrolment over reboots and updates. It holds no way to log in: add what the \
               product has."
SECTION = "images"
LICENSE = "MIT"

inherit core-image

IMAGE_FEATURES += "read-only-rootfs"
CORE_IMAGE_EXTRA_INSTALL += "packagegroup-edge-gateway"

# `wic` is the whole disk for the first installation, `ext4` the root alone: what an updater writes to the idle slot.
IMAGE_FSTYPES = "ext4 wic wic.bmap"
WKS_SEARCH_PATH:prepend = "${THISDIR}/../../files/wic:"
WKS_FILE = "edge-gateway-ab.wks.in"
# The slots' and the data partition's sizes. A slot can never grow in the field: leave room for later images.
EDGE_GATEWAY_SLOT_SIZE ?= "256M"
EDGE_GATEWAY_DATA_SIZE ?= "64M"

# In the image itself and not in what wic adds: an updater writes the ext4 image, which wic has not touched.
add_data_partition() {
    install -d ${IMAGE_ROOTFS}/data
    echo 'LABEL=data /data ext4 nodev,nosuid,noexec,noatime 0 2' >> ${IMAGE_ROOTFS}${sysconfdir}/fstab
}
add_data_partition[doc] = "Mounts the partition with the label data at /data"
ROOTFS_POSTPROCESS_COMMAND += "add_data_partition"
