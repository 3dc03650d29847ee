# shellcheck shell=bash
# A box: a busybox root in mount and process namespaces of its own, with the network of this machine; and a test bed for it.

new_box() { # new_box TRIPLE ARCHITECTURE: boots an empty box
    local applet
    end_box
    box=$work/box
    rm -rf "$box"
    mkdir -p "$box"/{bin,sbin,dev,proc,tmp,usr/bin,usr/lib/opkg/info,usr/libexec,lib,etc/config,etc/init.d,etc/rc.d}
    ln -s tmp "$box/var"
    cp "$(readlink -f "$(command -v busybox)")" "$box/bin/busybox"
    for applet in $(busybox --list); do
        [[ $applet == busybox ]] || ln -s busybox "$box/bin/$applet"
    done
    cp -r "$here"/tests/box/. "$box"
    echo 'root:x:0:0::/:/bin/sh' >"$box/etc/passwd"
    echo 'root:x:0:' >"$box/etc/group"
    echo "DISTRIB_ARCH='$2'" >"$box/etc/openwrt_release"
    echo 'nameserver 127.0.0.1' >"$box/etc/resolv.conf"
    echo '127.0.0.1 localhost' >"$box/etc/hosts"
    for applet in null urandom; do
        : >"$box/dev/$applet"
    done
    emulate "$1"
    # Its first process reaps; with it everything in the box ends.
    # shellcheck disable=SC2016
    unshare -m -p -f --kill-child --propagation private sh -c '
        mount --bind "$0" "$0" && mount -t tmpfs none "$0/tmp" && mount -t proc proc "$0/proc" &&
        mount --bind /dev/null "$0/dev/null" && mount --bind /dev/urandom "$0/dev/urandom" &&
        mkdir -p "$0/tmp/run" "$0/tmp/log" && : >"$0/tmp/log/messages" &&
        exec chroot "$0" /bin/sh -c "trap : USR2; while :; do sleep 3600 & wait; done"' "$box" &
    box_unshare=$!
    cleanup+=("$box_unshare")
    box_init=''
    eventually 'the box boots' find_box_init
}

find_box_init() {
    box_init=$(cat "/proc/$box_unshare/task/$box_unshare/children" 2>/dev/null)
    box_init=${box_init// /}
    [[ -n $box_init ]] && [[ $(readlink "/proc/$box_init/root") == "$box" ]]
}

end_box() {
    [[ -z ${box_unshare:-} ]] || { kill -9 "$box_unshare" && wait "$box_unshare"; } 2>/dev/null || true
    box_unshare='' box_init='' box=''
}

box() { # box COMMAND...: in the box
    nsenter -t "$box_init" -m -p -r -w env -i PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/ "$@"
}

service() { box /etc/init.d/edge-gateway "$@"; }
log() { box cat /var/log/messages; }
events() { box cat /var/run/procd/edge-gateway/events 2>/dev/null || true; }
agent_pid() { box cat /var/run/procd/edge-gateway/pid; }

eventually() { # eventually WHAT COMMAND...: until it succeeds, or for patience seconds
    local what=$1 end=$((SECONDS + ${patience:-30}))
    shift
    until "$@"; do
        ((SECONDS < end)) || fail "$what: not within ${patience:-30} s"
        sleep 0.1
    done
    say "ok: $what"
}

logged() { # logged COUNT TEXT: at least so often
    (($(log | grep -cF -- "$2") >= $1))
}
happened() { # happened COUNT EVENT: exactly so often
    (($(events | grep -cx -- "$2") == $1))
}

# A foreign binary runs under qemu-user without asking the machine's kernel for it: a script takes its place.
emulate() { # emulate TRIPLE
    local qemu=''
    case $1 in
        armv7-*) qemu='qemu-arm-static -cpu cortex-a7' ;;
        arm-*) qemu='qemu-arm-static -cpu arm1176' ;;
        mipsel-*) qemu='qemu-mipsel-static -cpu 24Kc' ;;
        aarch64-*) qemu='qemu-aarch64-static' ;;
        riscv64gc-*) qemu='qemu-riscv64-static' ;;
        *) return 0 ;;
    esac
    mkdir "$box/usr/libexec/emulated"
    cp "$(command -v "${qemu%% *}")" "$box/usr/libexec/emulated/"
    cat >"$box/sbin/emulate" <<SCRIPT
#!/bin/sh
mv /usr/bin/edge-gateway /usr/libexec/emulated/program
{
    echo '#!/bin/sh'
    echo "# \$(md5sum /usr/libexec/emulated/program)"
    echo 'exec /usr/libexec/emulated/$qemu /usr/libexec/emulated/program "\$@"'
} >/usr/bin/edge-gateway
chmod 0755 /usr/bin/edge-gateway
SCRIPT
    chmod +x "$box/sbin/emulate"
}

start_testbed() { # a platform, a relay and targets; \$bed_* tell where
    stop_testbed
    : >"$work/bed"
    TMPDIR=$work "$testbed" serve >"$work/bed" 2>&1 &
    bed_pid=$!
    cleanup+=("$bed_pid")
    eventually 'the test bed is up' grep -q '^# What happens' "$work/bed"
    local name value
    while read -r name value; do
        printf -v "bed_$name" '%s' "${value//\'/}"
    done < <(sed -n 's/^export \([A-Z_]*\)=/\1 /p' "$work/bed")
    bed_client=$(sed -n '/^openssl s_client/,/[^\\]$/p' "$work/bed")
}

stop_testbed() {
    [[ -z ${bed_pid:-} ]] || { kill -INT "$bed_pid" && wait "$bed_pid"; } 2>/dev/null || true
    bed_pid=''
}

enrolments() { # how often the platform gave out a gateway
    grep -c 'token-auth/enroll.* -> 200' "$work/bed" || true
}

tunnel() { # a client of the platform's reaches the target through the gateway, and hears its own words
    local word="word-$RANDOM-$RANDOM" answer='' pid
    coproc CLIENT { eval "exec $bed_client" 2>>"$work/client"; }
    pid=$CLIENT_PID
    echo "$word" >&"${CLIENT[1]}"
    read -r -t 15 answer <&"${CLIENT[0]}" || true
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    [[ $answer == "$word" ]]
}

configure() { # configure OPTION=VALUE...: as a user would
    local setting
    for setting; do
        box uci set "edge-gateway.main.$setting"
    done
    box uci commit edge-gateway
}

write() { # write FILE: standard input becomes a file of root's in the box
    # shellcheck disable=SC2016 # the shell in the box expands
    box sh -c 'umask 077; mkdir -p "${0%/*}"; cat >"$0"' "$1"
}

configure_for_testbed() { # with files where a firmware upgrade keeps them
    write /etc/edge-gateway/ca.pem <"$bed_EDGE_GATEWAY_CA_FILE"
    write /etc/edge-gateway/token <<<"$bed_INFISICAL_TOKEN"
    configure enabled=1 "domain=$bed_INFISICAL_DOMAIN" token_file=/etc/edge-gateway/token "relay=$bed_INFISICAL_RELAY_NAME" \
        "relay_port=$bed_EDGE_GATEWAY_RELAY_PORT" ca_file=/etc/edge-gateway/ca.pem "name=$bed_INFISICAL_GATEWAY_NAME"
}

install_package() { # install_package FILE
    cp "$1" "$box/${1##*/}"
    local code=0
    box opkg install "/${1##*/}" || code=$?
    rm "$box/${1##*/}"
    return $code
}
