# shellcheck shell=bash
# The ready packages: reproducible, for the right CPUs, and with what a feed's tests ask of a binary.

make_packages() { # make_packages FOLDER OPTION...: from the binaries at hand
    "$here/make-ipk" --out "$@" >/dev/null
}

check_packages() { # check_packages TRIPLE
    local program=$cross/$1/full/edge-gateway ipk member
    make_packages "$work/packages" --flavour full --binary "$program" "$1"
    # The core flavour's binary, where it was built; else only its packaging is checked.
    local core=$cross/$1/core/edge-gateway
    if [[ ! -f $core ]]; then
        left_out "$1 has no core binary, the full one stands in; run: cross/build --flavour core $1"
        core=$program
    fi
    make_packages "$work/packages" --flavour core --binary "$core" "$1"
    make_packages "$work/again" --flavour full --binary "$program" "$1"
    make_packages "$work/again" --flavour core --binary "$core" "$1"
    for ipk in "$work"/again/*.ipk; do
        cmp "$ipk" "$work/packages/${ipk##*/}" || fail "${ipk##*/}: made twice, the bytes differ"
    done
    say "ok: $1: made twice, the packages are the same bytes"

    ipk=$(printf '%s\n' "$work"/again/edge-gateway_*.ipk | head -n 1)
    rm -rf "$work/again" "$work/unpacked"
    ipk=$work/packages/${ipk##*/}
    same "$1: the parts of an ipk" './debian-binary ./data.tar.gz ./control.tar.gz' "$(tar -tzf "$ipk" | paste -sd ' ')"
    mkdir -p "$work/unpacked"
    for member in data control; do
        tar -xzOf "$ipk" "./$member.tar.gz" | tar -xz -C "$work/unpacked"
    done
    same "$1: files are root's, the settings are closed" '-rw------- 0/0' \
        "$(tar -xzOf "$ipk" ./data.tar.gz | tar --numeric-owner -tvz ./etc/config/edge-gateway | cut -d ' ' -f 1,2)"
    same "$1: the state's folder comes with the package, closed" 'drwx------ 0/0' \
        "$(tar -xzOf "$ipk" ./data.tar.gz | tar --numeric-owner -tvz ./etc/edge-gateway/ | cut -d ' ' -f 1,2)"
    same "$1: a firmware upgrade keeps" /etc/edge-gateway/ "$(cat "$work/unpacked/lib/upgrade/keep.d/edge-gateway")"
    same "$1: nothing of the maker's machine in the binary" '' \
        "$(strings -n 6 "$work/unpacked/usr/bin/edge-gateway" | grep -E "/home/|/root/|/work/|$root/|\.cargo/registry" | head -n 3)"
    expect "$1: the binary is static and stripped" grep -q 'static.*linked.*, stripped' <(file "$work/unpacked/usr/bin/edge-gateway")
    if [[ $(uname -m) == "${1%%-*}" ]]; then
        expect "$1: the binary tells the package's version" env PATH="$work/unpacked/usr/bin:$PATH" sh "$here/edge-gateway/test.sh" edge-gateway 0.1.0
    fi
    same 'a missing binary is named with its remedy' "make-ipk: $root/target/cross/$1/none/edge-gateway is missing" \
        "$( ("$here/make-ipk" --flavour full --binary "$root/target/cross/$1/none/edge-gateway" --out "$work/none" "$1" 2>&1 || true) | sed 's/; run: .*//')"
    check_apk "$1" "$program"
}

# Where no `apk mkpkg` is, one stands in that keeps what it is given: the files, their lists and the scripts of an .apk.
check_apk() { # check_apk TRIPLE BINARY
    local own=lib/apk/packages/edge-gateway script
    if ! command -v apk >/dev/null; then
        same 'without apk, one line says so' 1 "$("$here/make-ipk" --flavour full --binary "$2" --out "$work/none" "$1" | grep -c 'no .apk: this machine has no "apk mkpkg"')"
    fi
    mkdir -p "$work/apk-tools" "$work/apk"
    cat >"$work/apk-tools/apk" <<'APK'
#!/bin/sh
[ "$2" != --help ] || exit 0
echo "$*" >"$APK_GOT/arguments"
for argument; do
    case "$last" in
        --files) rm -rf "$APK_GOT/files"; cp -a "$argument" "$APK_GOT/files" ;;
        --script) cp "${argument#*:}" "$APK_GOT" ;;
        --output) : >"$argument" ;;
    esac
    last=$argument
done
APK
    chmod +x "$work/apk-tools/apk"
    PATH=$work/apk-tools:$PATH APK_GOT=$work/apk make_packages "$work/none" --flavour full --binary "$2" "$1"
    expect "$1: an .apk is made" test -e "$work/none/edge-gateway-0.1.0-r1-$(architecture "$1").apk"
    expect 'its name, version and licence' grep -q -- 'name:edge-gateway .*version:0.1.0-r1 .*license:MIT OR Apache-2.0' "$work/apk/arguments"
    same 'its user' edge-gateway=2222:edge-gateway=2222 "$(cat "$work/apk/files/$own.rusers")"
    same 'its files are listed' "$(cd "$work/apk/files" && find . -type f ! -name '*.list' -printf '/%P\n' | LC_ALL=C sort)" "$(cat "$work/apk/files/$own.list")"
    expect 'what an upgrade must not overwrite' grep -qE '^/etc/config/edge-gateway [0-9a-f]{64}$' "$work/apk/files/$own.conffiles_static"
    expect 'an upgrade starts the service, and does not enable it' grep -qx 'export PKG_UPGRADE=1' "$work/apk/post-upgrade"
    for script in post-install post-upgrade pre-deinstall; do
        expect "$script is a script" busybox ash -n "$work/apk/$script"
    done
}
