# shellcheck shell=bash
# The life of an installed package, from installation to removal.

check_life() { # check_life TRIPLE
    local ipk pid before state
    [[ $1 == "$native" ]] || patience=120
    ipk=$(printf '%s\n' "$work"/packages/edge-gateway_0.1.0-r1_"$(architecture "$1")".ipk)
    start_testbed
    new_box "$1" "$(architecture "$1")"
    say "--- $1: installation"
    install_package "$ipk" >/dev/null
    expect 'fresh from the package nothing runs' test -z "$(events)"
    expect 'it is started at boot' test -x "$box/etc/rc.d/S95edge-gateway"
    same 'the settings are closed' 600 "$(stat -c %a "$box/etc/config/edge-gateway")"
    same "the state's folder is the agent's" '700 2222' "$(stat -c '%a %u' "$box/etc/edge-gateway")"
    expect 'the first-boot script has run and is gone' test ! -e "$box/etc/uci-defaults/90-edge-gateway"

    say "--- $1: enrolment and tunnel"
    configure_for_testbed
    box reload_config edge-gateway
    eventually 'a changed configuration starts it, it enrols and connects' logged 1 'tunnels are served'
    expect 'a tunnel is served' tunnel
    same 'enrolments' 1 "$(enrolments)"
    pid=$(agent_pid)
    same 'it runs as its own user' 2222 "$(box stat -c %u "/proc/$pid")"
    same 'its state is its own' '600 2222' "$(stat -c '%a %u' "$box/etc/edge-gateway/state")"
    check_secrecy

    say "--- $1: procd"
    service start
    service reload
    same 'start and reload without a change do nothing' "unchanged unchanged $pid" "$(events | tail -n 2 | paste -sd ' ') $(agent_pid)"
    box kill -9 "$pid"
    eventually 'killed, it comes back' logged 2 'tunnels are served'
    same 'from its state' '1 1' "$(enrolments) $(log | grep -c 'certificates from the state file')"
    expect 'the tunnel is back' tunnel
    expect 'status tells it' grep -q 'enrolled\|gateway: ' <(service status)

    say "--- $1: network"
    box env ACTION=ifup INTERFACE=loopback sh /etc/hotplug.d/iface/90-edge-gateway
    box env ACTION=ifdown INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    box env ACTION=stratum sh /etc/hotplug.d/ntp/90-edge-gateway
    expect 'loopback, ifdown and stratum do not nudge' happened 0 'signal USR1'
    box env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    eventually 'the WAN coming up nudges the agent' logged 1 'the network may have changed'
    box env ACTION=step sh /etc/hotplug.d/ntp/90-edge-gateway
    box env ACTION=ifupdate IFUPDATE_ADDRESSES=1 INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    expect 'so do a new time and a new address' happened 3 'signal USR1'
    expect 'without a restart' happened 1 start
    echo 'nameserver 127.0.0.2' >"$box/etc/resolv.conf"
    box env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    expect 'other name servers restart it' happened 2 start
    eventually 'and it connects' logged 3 'tunnels are served'

    say "--- $1: configuration"
    configure log=debug 'allow=*'
    box reload_config edge-gateway
    expect 'another setting restarts it' happened 3 start
    same 'a rule of one * is handed over as it is' 'EDGE_GATEWAY_ALLOW="*" in /' \
        "$(box grep ALLOW /var/run/edge-gateway/settings) in $(box pwd)"
    eventually 'and it connects' logged 4 'tunnels are served'
    pid=$(agent_pid)
    configure relay_port=ssh
    box reload_config edge-gateway 2>/dev/null || true
    same 'a bad setting leaves the old agent alone' "$pid" "$(agent_pid)"
    expect 'and is told' logged 1 "option 'relay_port': EDGE_GATEWAY_RELAY_PORT must be a number from 1 to 65535"
    expect 'and is told' logged 1 'the running gateway keeps its old settings'
    expect 'which still serves' tunnel
    box env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    same 'and is still nudged, without a restart' "5 $pid" "$(events | grep -c 'signal USR1') $(agent_pid)"
    configure "relay_port=$bed_EDGE_GATEWAY_RELAY_PORT"
    cp "$box/etc/config/edge-gateway" "$work/config"
    echo "	list deny '10.0.0.0/8" >>"$box/etc/config/edge-gateway"
    stays 'a file that UCI cannot read' "$pid" \
        "/etc/config/edge-gateway: Parse error (unterminated ') at line $(wc -l <"$box/etc/config/edge-gateway"), byte 0"
    sed "s/^config gateway .*/config gateway/" "$work/config" >"$box/etc/config/edge-gateway"
    stays 'a section without its name' "$pid" "/etc/config/edge-gateway has no section: config gateway 'main'"
    cat "$work/config" >"$box/etc/config/edge-gateway"

    say "--- $1: upgrades"
    before=$(sha256sum <"$box/etc/config/edge-gateway")
    cp "$cross/$1/full/edge-gateway" "$work/newer"
    printf 'a newer build' >>"$work/newer"
    make_packages "$work/newer-packages" --flavour full --release 2 --binary "$work/newer" "$1"
    install_package "$work/newer-packages/edge-gateway_0.1.0-r2_$(architecture "$1").ipk" >/dev/null
    eventually 'after an upgrade by opkg it connects' logged 5 'tunnels are served'
    same 'with the same configuration' "$before" "$(sha256sum <"$box/etc/config/edge-gateway")"
    # apk only calls `start` after it has put the new files there.
    printf 'and newer' >>"$work/newer"
    if [[ $1 == "$native" ]]; then
        cp "$work/newer" "$box/usr/bin/edge-gateway.new"
        mv "$box/usr/bin/edge-gateway.new" "$box/usr/bin/edge-gateway"
    else
        echo '# and newer' >>"$box/usr/bin/edge-gateway"
    fi
    service start
    eventually 'after an upgrade by apk, which only starts, it connects' logged 6 'tunnels are served'
    if [[ $1 == "$native" ]]; then
        same 'and it is the new program' "$(sha256sum <"$work/newer")" "$(box sha256sum "/proc/$(agent_pid)/exe" | sed 's/ .*/  -/')"
    fi
    expect 'a tunnel is served' tunnel
    same 'enrolments in all that' 1 "$(enrolments)"

    say "--- $1: sysupgrade"
    service stop
    expect 'stop ends it' test "$(events | tail -n 1)" = stop
    expect 'the settings with the token are gone from memory' test ! -e "$box/tmp/run/edge-gateway/settings"
    state=$work/kept.tar
    box cat /lib/upgrade/keep.d/edge-gateway /usr/lib/opkg/info/edge-gateway.conffiles |
        sed 's|^/||' | tar -C "$box" -cf "$state" -T -
    new_box "$1" "$(architecture "$1")"
    install_package "$ipk" >/dev/null
    tar -C "$box" -xf "$state"
    service boot
    eventually 'what a firmware upgrade keeps is enough to connect' logged 1 'tunnels are served'
    box rm /etc/edge-gateway/token
    service restart 2>/dev/null
    eventually 'so it is without the token' logged 2 'tunnels are served'
    expect 'whose absence is told' logged 1 "daemon.warn edge-gateway: option 'token_file': /etc/edge-gateway/token is missing"
    same 'enrolments in all that' 1 "$(enrolments)"

    say "--- $1: removal"
    box opkg remove edge-gateway
    expect 'removed, it does not run' test "$(events | tail -n 1)" = stop
    expect 'its program is gone' test ! -e "$box/usr/bin/edge-gateway"
    expect 'its state and settings stay, as docs/openwrt.md says' test -s "$box/etc/edge-gateway/state" -a -s "$box/etc/config/edge-gateway"
    # Nothing listens there once this test bed is gone.
    old_port=${bed_INFISICAL_DOMAIN##*:}
    patience=''
}

# The smallest build has no certificate authorities of its own: those of the package ca-bundle are here the test bed's alone.
check_core() { # check_core TRIPLE
    [[ -f $cross/$1/core/edge-gateway ]] || return 0 # said where the packages were made
    say "--- $1: the core flavour"
    start_testbed
    new_box "$1" "$(architecture "$1")"
    install_package "$work/packages/edge-gateway-core_0.1.0-r1_$(architecture "$1").ipk" >/dev/null
    configure_for_testbed
    box uci delete edge-gateway.main.ca_file
    mkdir -p "$box/etc/ssl/certs"
    install -m 0644 "$bed_EDGE_GATEWAY_CA_FILE" "$box/etc/ssl/certs/ca-certificates.crt"
    box reload_config edge-gateway
    eventually 'it enrols and connects' logged 1 'tunnels are served'
    expect 'a tunnel is served' tunnel
    box opkg remove edge-gateway-core
    expect 'removed, it does not run' test "$(events | tail -n 1)" = stop
}

stays() { # stays WHAT PID SAID: neither a reload nor a nudge ends the agent
    box reload_config edge-gateway 2>/dev/null || true
    box env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    same "$1 leaves the old agent alone" "$2" "$(agent_pid)"
    expect 'which each time is told' logged 2 "daemon.err edge-gateway: $3"
}

architecture() { # architecture TRIPLE: the first that it serves
    awk -v triple="$1" '$1 == triple { print $2; exit }' "$here/architectures"
}

# The token: in no command line, in no environment, in no file that others can read.
check_secrecy() {
    local found
    # By file: an argument would be found too. From outside the box, whose processes are seen there.
    echo "$bed_INFISICAL_TOKEN" >"$work/token"
    cp "$work/token" "$box/etc/token"
    chmod 0600 "$box/etc/token"
    same 'no command line and no environment shows the token' '' \
        "$(grep -lF -f "$work/token" /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true)"
    found=$(box find / /tmp -xdev -type f -perm -004 -exec grep -lF -f /etc/token {} + 2>/dev/null || true)
    same 'nor a file that others may read' '' "$found"
    expect 'it is in the closed ones, where this check would find it' box grep -qF -f /etc/token /var/run/edge-gateway/settings
}
