SUMMARY = "An unofficial, size-first Infisical Gateway for constrained hardware"
DESCRIPTION = "Dials out to an Infisical relay and gives the platform access to the private targets that the box's owner \
               allows. Listens on nothing."
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=713963f6e694c9b4770b2604c58767b1 \
                    file://LICENSE-APACHE;md5=1836efb2eb779966696f473ee8540542"

require ${BPN}-crates.inc

SRC_URI += "${EDGE_GATEWAY_SRC_URI} \
            file://agent-only \
            file://data-etc.mount \
            file://data-state.mount \
            file://data.conf \
            file://edge-gateway.conf \
            file://edge-gateway.default \
            file://edge-gateway.init \
            file://edge-gateway.service \
            file://edge-gateway.volatile \
            file://supervise \
            file://tmpfiles.conf"
# The layer lies in the source's own repository and builds the commit that is checked out there. A product that takes the
# layer alone sets both: EDGE_GATEWAY_SRC_URI to its mirror of the source, SRCREV to the commit.
EDGE_GATEWAY_CHECKOUT := "${@os.path.realpath(d.getVar('THISDIR') + '/../../../..')}"
EDGE_GATEWAY_SRC_URI ??= "git://${EDGE_GATEWAY_CHECKOUT};protocol=file;usehead=1;nobranch=1"
SRCREV ??= "${AUTOREV}"

CVE_PRODUCT = "edge-gateway"

inherit cargo cargo-update-recipe-crates systemd update-rc.d useradd

# The project's flavours are `full` (cargo's default features) and `core`; to `core` the others can be added.
PACKAGECONFIG ??= "full"
PACKAGECONFIG[full] = ""
PACKAGECONFIG[core] = ""
PACKAGECONFIG[doctor] = ""
PACKAGECONFIG[pq] = ""
PACKAGECONFIG[roots] = ""
PACKAGECONFIG[tls12] = ""
EDGE_GATEWAY_FEATURES = "${@bb.utils.filter('PACKAGECONFIG', 'core doctor pq roots tls12', d).replace(' ', ',')}"

# A profile of our own: the class and distributions change `release`. Up to wrynose the class reads the two that follow.
CARGO_PROFILE = "edge"
BUILD_MODE = "--profile ${CARGO_PROFILE}"
BUILD_DIR = "${@'debug' if d.getVar('CARGO_PROFILE') == 'dev' else d.getVar('CARGO_PROFILE')}"
EDGE_GATEWAY_FLAGS = "--bin edge-gateway \
                      ${@bb.utils.contains('PACKAGECONFIG', 'full', '', '--no-default-features', d)} \
                      ${@'--features ' + d.getVar('EDGE_GATEWAY_FEATURES') if d.getVar('EDGE_GATEWAY_FEATURES') else ''}"
CARGO_BUILD_FLAGS:append = " ${EDGE_GATEWAY_FLAGS}"
# Stripping is the packaging's work: the symbols go to ${PN}-dbg.
export CARGO_PROFILE_EDGE_STRIP = "none"

CARGO_MANIFEST_PATH = "${WORKDIR}/agent/Cargo.toml"
CONFIGURE_FILES = "Cargo.toml Cargo.lock"

do_configure:prepend() {
    sh ${UNPACKDIR}/agent-only ${S} ${WORKDIR}/agent
}

# Drops from the lock file what the manifest no longer names; versions and checksums stay. `--frozen` follows.
do_configure:append() {
    cargo update --quiet --workspace --offline --manifest-path ${CARGO_MANIFEST_PATH}
}

SYSTEMD_SERVICE:${PN} = "edge-gateway.service"

INITSCRIPT_NAME = "edge-gateway"
INITSCRIPT_PARAMS = "defaults 90 10"

# A fixed number: the state on /data outlives the image, and its owner must be the same user in the next one.
EDGE_GATEWAY_UID ?= "861"
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system --gid ${EDGE_GATEWAY_UID} edge-gateway"
USERADD_PARAM:${PN} = "--system --uid ${EDGE_GATEWAY_UID} --gid edge-gateway --no-create-home \
                       --home-dir ${localstatedir}/lib/edge-gateway --shell ${base_sbindir}/nologin edge-gateway"

do_install:append() {
    install -d -m 0750 ${D}${sysconfdir}/edge-gateway ${D}${localstatedir}/lib/edge-gateway
    install -m 0640 ${UNPACKDIR}/edge-gateway.conf ${D}${sysconfdir}/edge-gateway/edge-gateway.conf
    chown -R root:edge-gateway ${D}${sysconfdir}/edge-gateway
    chmod 0700 ${D}${localstatedir}/lib/edge-gateway
    chown edge-gateway:edge-gateway ${D}${localstatedir}/lib/edge-gateway

    install -D -m 0644 ${UNPACKDIR}/edge-gateway.conf ${D}${datadir}/edge-gateway/edge-gateway.conf

    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -D -m 0644 ${UNPACKDIR}/edge-gateway.service ${D}${systemd_system_unitdir}/edge-gateway.service
        install -m 0644 ${UNPACKDIR}/data-etc.mount '${D}${systemd_system_unitdir}/etc-edge\x2dgateway.mount'
        install -m 0644 ${UNPACKDIR}/data-state.mount '${D}${systemd_system_unitdir}/var-lib-edge\x2dgateway.mount'
        install -D -m 0644 ${UNPACKDIR}/data.conf ${D}${systemd_system_unitdir}/edge-gateway.service.d/data.conf
        install -D -m 0644 ${UNPACKDIR}/tmpfiles.conf ${D}${nonarch_libdir}/tmpfiles.d/edge-gateway-data.conf
    fi

    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install -D -m 0755 ${UNPACKDIR}/edge-gateway.init ${D}${sysconfdir}/init.d/edge-gateway
        sed -i 's,/usr/libexec/,${libexecdir}/,' ${D}${sysconfdir}/init.d/edge-gateway
        install -D -m 0755 ${UNPACKDIR}/supervise ${D}${libexecdir}/edge-gateway/supervise
        install -D -m 0644 ${UNPACKDIR}/edge-gateway.volatile ${D}${sysconfdir}/default/volatiles/99_edge-gateway
        install -D -m 0644 ${UNPACKDIR}/edge-gateway.default ${D}${sysconfdir}/default/edge-gateway
    fi
}

pkg_postinst:${PN}() {
    if [ -z "$D" ] && [ -x ${sysconfdir}/init.d/populate-volatile.sh ]; then
        ${sysconfdir}/init.d/populate-volatile.sh update
    fi
}

# What makes settings and state live on /data, for read-only roots: see docs/yocto.md of the source.
PACKAGES =+ "${PN}-data"
FILES:${PN}-data += "${systemd_system_unitdir}/*.mount \
                     ${systemd_system_unitdir}/edge-gateway.service.d \
                     ${nonarch_libdir}/tmpfiles.d \
                     ${datadir}/edge-gateway \
                     ${sysconfdir}/default/edge-gateway"
# Without certificate authorities of its own the agent reads the system's.
RDEPENDS:${PN} += "${@bb.utils.contains_any('PACKAGECONFIG', 'full roots', '', 'ca-certificates', d)}"
RDEPENDS:${PN}-data += "${PN}"
CONFFILES:${PN} = "${sysconfdir}/edge-gateway/edge-gateway.conf"
CONFFILES:${PN}-data = "${sysconfdir}/default/edge-gateway"

python () {
    """Says what to do where the layer was taken out of its repository, before a fetcher stumbles."""
    default = d.getVar("EDGE_GATEWAY_SRC_URI").startswith("git://" + d.getVar("EDGE_GATEWAY_CHECKOUT"))
    if default and not d.getVar("EXTERNALSRC") and not os.path.exists(d.getVar("EDGE_GATEWAY_CHECKOUT") + "/.git"):
        raise bb.parse.SkipRecipe("the layer lies in no git checkout of edge-gateway: set EDGE_GATEWAY_SRC_URI and SRCREV")
}
