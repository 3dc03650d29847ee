# shellcheck shell=bash
# The feed's Makefile in a stub of the build system: what it declares, how it calls cargo, and that it installs what the ready
# packages hold.

check_feed() {
    local variant package flags depends stage ipk=$work/packages/edge-gateway_0.1.0-r1_x86_64.ipk dump
    same "the Makefile's version is Cargo.toml's" "$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)" \
        "$(sed -n 's/^PKG_VERSION:=//p' "$here/edge-gateway/Makefile")"
    mkdir -p "$work/bin"
    # Stands in for cargo: notes its arguments, and "builds" the binary at hand.
    cat >"$work/bin/cargo" <<'CARGO'
#!/bin/sh
echo "$SOURCE_DATE_EPOCH $*" >"$CARGO_CALL"
for argument; do
    [ "$last" != --root ] || install -D -m 0755 "$BINARY" "$argument/bin/edge-gateway"
    [ "$last" != --path ] || [ -f "$argument/Cargo.lock" ] || exit 1
    last=$argument
done
CARGO
    chmod +x "$work/bin/cargo"
    for variant in full core; do
        package=edge-gateway flags='' depends=''
        [[ -x $cross/$native/$variant/edge-gateway ]] || continue # said where the packages were made
        [[ $variant == full ]] || package=edge-gateway-core flags=' --no-default-features --features core' depends=' +ca-bundle'
        stage=$work/stage-$variant
        feed() {
            PATH=$work/bin:$PATH CARGO_CALL=$work/call BINARY=$cross/$native/$variant/edge-gateway make -s -C "$here/edge-gateway" \
                TOPDIR="$here/tests/buildroot" BUILD_DIR="$work/build" STAGE_DIR="$stage" BUILD_VARIANT=$variant "$@"
        }
        dump=$(feed "dump-$package")
        grep -qx 'License: MIT OR Apache-2.0' <<<"$dump" || fail "licence of $package: $dump"
        grep -qx "VARIANT: $variant" <<<"$dump" || fail "variant of $package: $dump"
        grep -qx 'USERID: edge-gateway=2222:edge-gateway=2222' <<<"$dump" || fail "user of $package: $dump"
        grep -qx "DEPENDS: @(aarch64.*x86_64)$depends" <<<"$dump" || fail "what $package depends on: $dump"
        grep -qx 'Conffiles: /etc/config/edge-gateway /etc/edge-gateway/' <<<"$dump" || fail "conffiles of $package: $dump"
        feed stage >/dev/null || fail "the Makefile does not stage $package"
        same "$package: cargo is called with" \
            "1700000000 install -v --profile edge --root $work/build/edge-gateway-$variant/ipkg-install --path $work/build/edge-gateway-$variant/ --locked$flags" \
            "$(sed 's/ *$//' "$work/call")"
        mkdir -p "$work/ready-$variant"
        ipk=$work/packages/${package}_0.1.0-r1_x86_64.ipk
        tar -xzOf "$ipk" ./data.tar.gz | tar -xz -C "$work/ready-$variant"
        same "$package: the Makefile installs what the ready package holds" "$(inventory "$work/ready-$variant")" "$(inventory "$stage")"
    done
}

inventory() { # inventory FOLDER: path, mode and content of everything
    (cd "$1" && find . -mindepth 1 -printf '%p %m ' \( -type f -exec sha256sum {} \; -o -printf 'folder\n' \) | sort)
}
