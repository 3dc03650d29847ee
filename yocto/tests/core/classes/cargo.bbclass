B = "${WORKDIR}/build"
export CARGO_HOME = "${UNPACKDIR}/cargo_home"
RUST_HOST_SYS ?= "x86_64-unknown-linux-gnu"

# Up to wrynose the class knows BUILD_MODE and BUILD_DIR, later CARGO_PROFILE and BUILD_DIR.
BUILD_MODE ??= "--release"
CARGO_PROFILE ?= "release"
BUILD_DIR ??= "release"
PROFILE_FLAG = "${@'--profile ' + d.getVar('CARGO_PROFILE') if d.getVar('SERIES') == 'blacksail' else d.getVar('BUILD_MODE')}"
CARGO_BUILD_FLAGS = "-v --frozen --target ${RUST_HOST_SYS} ${PROFILE_FLAG} --manifest-path=${CARGO_MANIFEST_PATH}"
CARGO_TARGET_SUBDIR = "${RUST_HOST_SYS}/${BUILD_DIR}"
CARGO_TARGET ?= "${B}/target"

# Named `config` as the real one is. The crates are all that cargo can see; there is no registry behind them.
cargo_do_configure() {
    mkdir -p ${CARGO_HOME}
    cat > ${CARGO_HOME}/config <<EOF
[source.crates-io]
replace-with = "bitbake"
local-registry = "/nonexistent"

[source.bitbake]
directory = "${CARGO_HOME}/bitbake"

[build]
target-dir = "${CARGO_TARGET}"
EOF
}

cargo_do_compile() {
    cargo build ${CARGO_BUILD_FLAGS}
}

cargo_do_install() {
    install -D -m 0755 ${CARGO_TARGET}/${CARGO_TARGET_SUBDIR}/edge-gateway ${D}${bindir}/edge-gateway
}

EXPORT_FUNCTIONS do_configure do_compile do_install
