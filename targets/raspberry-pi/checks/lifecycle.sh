# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# From the second gateway to the last trace of the first.

second_gateway() {
    start_testbed two
    inside install -d -m 0750 -g edge-gateway /etc/edge-gateway/second
    inside install -d -m 0700 /etc/edge-gateway/second/credentials
    inside install -m 0640 -g edge-gateway /dev/null /etc/edge-gateway/second/edge-gateway.conf
    configure two second
    inside systemctl enable --quiet --now edge-gateway@second
    serves two
    serves one
    inside edge-gateway doctor --config=/etc/edge-gateway/second/edge-gateway.conf \
        --state-dir=/var/lib/edge-gateway-instances/second >"$work/doctor" 2>&1 || fail "doctor: $(grep -v '^ok' "$work/doctor" | head -n 3)"
    inside test -s /var/lib/edge-gateway-instances/second/state || fail 'the second gateway has no state of its own'
}

# What an upgrade may not touch, as a digest. Of the state it is the enrolment: certificates are renewed at every start.
kept() {
    inside sh -c 'cat /etc/edge-gateway/edge-gateway.conf /etc/edge-gateway/credentials/token;
        edge-gateway status | grep -E "^(gateway|platform|relay)";
        stat -c "%n %a %U:%G" /etc/edge-gateway/* /etc/edge-gateway/credentials/token /var/lib/edge-gateway/state' |
        sha256sum
}

installed() {
    inside dpkg --status edge-gateway | sed -n 's/^Version: //p'
}

upgrade_and_back() {
    local before deb one two
    for deb in "$work/older/edge-gateway_${older}_amd64.deb" "$(package amd64)"; do
        one=$(property MainPID) two=$(property MainPID edge-gateway@second) before=$(kept)
        mark
        install_package "$deb"
        await 30 'the gateway to be restarted' new_start_since "$one"
        await 30 'the second gateway to be restarted' eval "[[ \$(property MainPID edge-gateway@second) != $two ]]"
        await_log 5 'certificates from the state file'
        serves one
        serves two
        [[ $(kept) == "$before" ]] || fail "settings, token or state are not what they were before $(installed)"
        ok "now $(installed): settings, token and state as before"
    done
    inside systemctl stop edge-gateway@second
    install_package
    unit_is inactive edge-gateway@second || fail 'an upgrade started a gateway that was stopped'
    unit_is active || await 30 'the gateway to be active' unit_is active
}

# The state is there, the network is not: the agent is up and tries, and connects when the network comes.
boot_without_network() {
    power_off
    network_goes
    boot
    said=0
    await 40 'the gateway to be active without a network' unit_is active
    await 40 'a status that says so' eval 'property StatusText | grep -E "not connected|waiting"'
    ok "no network: active, $(property StatusText | cut -c 1-120)"
    [[ $(property NRestarts) == 0 ]] || fail 'it was restarted for want of a network'
    network_comes
    inside /usr/lib/NetworkManager/dispatcher.d/50-edge-gateway lo up
    serves
}

remove_and_purge() {
    local state
    inside dpkg --remove edge-gateway >/dev/null
    [[ -z $(host_pids) ]] || fail 'a gateway runs on after removal'
    for state in /var/lib/edge-gateway/state /var/lib/edge-gateway-instances/second/state \
        /etc/edge-gateway/edge-gateway.conf /etc/edge-gateway/credentials/token; do
        inside test -s "$state" || fail "removal took $state"
    done
    ok 'removed: settings, token and state are kept'
    install_package
    inside systemctl start edge-gateway
    serves
    ok 'installed again: it serves from its state'
    inside dpkg --purge edge-gateway >"$work/purge" 2>&1 || fail "purge: $(tail -n 2 "$work/purge")"
    left=$(inside find /etc /var/lib /usr -name '*edge*gateway*' ! -path '/var/lib/dpkg/*' ! -path '/var/lib/systemd/random*')
    [[ -z $left ]] || fail "purge leaves: $left"
    ! inside id edge-gateway >/dev/null 2>&1 || fail 'purge leaves the user'
    ok 'purged: nothing is left'
}

host_pids() {
    local pid
    for pid in $(pgrep -x edge-gateway); do
        [[ ! /proc/$pid/ns/pid -ef /proc/$machine/ns/pid ]] || printf '%s\n' "$pid"
    done
}
