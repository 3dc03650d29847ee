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
        say "left out: $1 has no core binary, the full one stands in; run: cross/build --flavour core $1"
        core=$program
    fi
    make_packages "$work/packages" --flavour core --binary "$core" "$1"
    make_packages "$work/again" --flavour full --binary "$program" "$1"
    make_packages "$work/again" --flavour core --binary "$core" "$1"
    expect "$1: made twice, the packages are the same bytes" diff -r "$work/packages" "$work/again"

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
    same "$1: a firmware upgrade keeps" /etc/edge-gateway/ "$(cat "$work/unpacked/lib/upgrade/keep.d/edge-gateway")"
    same "$1: nothing of the maker's machine in the binary" '' \
        "$(strings -n 6 "$work/unpacked/usr/bin/edge-gateway" | grep -E "/home/|/root/|/work/|$root/|\.cargo/registry" | head -n 3)"
    expect "$1: the binary is static and stripped" grep -q 'static.*linked.* stripped' <(file "$work/unpacked/usr/bin/edge-gateway")
    if [[ $(uname -m) == "${1%%-*}" ]]; then
        expect "$1: the binary tells the package's version" env PATH="$work/unpacked/usr/bin:$PATH" sh "$here/edge-gateway/test.sh" edge-gateway 0.1.0
    fi
    same 'a missing binary is named with its remedy' "make-ipk: $root/target/cross/$1/none/edge-gateway is missing" \
        "$( ("$here/make-ipk" --flavour full --binary "$root/target/cross/$1/none/edge-gateway" --out "$work/none" "$1" 2>&1 || true) | sed 's/; run: .*//')"
}
