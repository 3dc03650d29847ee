# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# Words for checks, and the tools that they need.

current='' started=0

fail() { # fail WHY
    printf 'debian: %s%s\n' "${current:+$current: }" "$1" >&2
    exit 1
}

step() { # step NAME: ends the current step and begins the next
    [[ -z $current ]] || printf 'debian: %s: ok, %s s\n' "$current" $((SECONDS - started))
    current=$1 started=$SECONDS
}

ok() { # ok WHAT
    printf '  %s\n' "$1"
}

await() { # await SECONDS WHAT COMMAND...: until COMMAND succeeds
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "waited in vain: $what"
        sleep 0.2
    done
}

has() { # has TEXT WHERE: TEXT is in standard input
    grep -qF -- "$1" || fail "$2 lacks: $1"
}

install_tools() {
    local packages=() pair
    for pair in mmdebstrap:mmdebstrap lintian:lintian dpkg-deb:dpkg qemu-arm:qemu-user qemu-arm-static:qemu-user-static \
        nsenter:util-linux ip:iproute2 openssl:openssl man:man-db groff:groff zsh:zsh fish:fish git:git shellcheck:shellcheck; do
        command -v "${pair%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    [[ -e $(faketime_library) ]] || packages+=(libfaketime)
    if ((${#packages[@]})); then
        echo "installing ${packages[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq --no-install-recommends "${packages[@]}" >/dev/null
    fi
    [[ -e $(faketime_library) ]] || fail 'libfaketime is installed, but its library is not where it was looked for'
}

faketime_library() {
    printf '/usr/lib/%s/faketime/libfaketime.so.1\n' "$(uname -m)-linux-gnu"
}
