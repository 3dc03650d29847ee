# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# The gateway as a service: it enrols, serves, comes back.

dpkg_refuses_arm() {
    local said
    said=$(dpkg --root="$root" --install "$(package armhf)" 2>&1) && fail 'dpkg installs an armhf package on amd64'
    has 'does not match system' "dpkg's refusal" <<<"$said"
    ok "wrong architecture: $(grep -F 'does not match' <<<"$said")"
}

install_package() { # install_package [DEB]
    cp "${1:-$(package amd64)}" "$root/root/edge-gateway.deb"
    inside dpkg --install /root/edge-gateway.deb </dev/null >"$work/dpkg" 2>&1 ||
        fail "dpkg: $(tail -n 3 "$work/dpkg")"
    ! grep -v 'warning: downgrading' "$work/dpkg" | grep -iE 'warning|error|failed' || fail 'dpkg is not quiet'
}

units_are_sound() {
    local unit said
    [[ $(inside stat -c '%a %U:%G' /etc/edge-gateway/edge-gateway.conf) == '640 root:edge-gateway' ]] ||
        fail 'the file of settings has the wrong owner or mode'
    [[ $(inside stat -c '%a %U:%G' /etc/edge-gateway/credentials) == '700 root:root' ]] ||
        fail 'the folder of credentials has the wrong owner or mode'
    [[ $(inside systemctl is-enabled edge-gateway) == enabled ]] || fail 'the unit is not enabled'
    for unit in edge-gateway.service edge-gateway@second.service; do
        said=$(inside systemd-analyze verify --man=no "$unit" 2>&1) || fail "systemd-analyze verify $unit: $said"
        [[ -z $said ]] || fail "systemd-analyze verify $unit: $said"
        said=$(inside systemd-analyze security --offline=true --threshold=15 --no-pager "$unit") ||
            fail "systemd-analyze security $unit: $(tail -n 1 <<<"$said")"
        ok "$unit: verified; $(grep -o 'exposure level.*[0-9] [A-Z]*' <<<"$said" | tail -n 1)"
    done
}

# Keeps a platform, a relay and targets running: what it printed is in $work/NAME.testbed.
start_testbed() { # start_testbed NAME
    TMPDIR=$work nsenter --target "$holder" --net -- "$testbed" serve >"$work/$1.testbed" 2>&1 &
    testbeds+=($!)
    await 30 'the test bed' grep -q '^# What happens' "$work/$1.testbed"
    grep -v '^#' "$work/$1.testbed" | sed -n '/^openssl/,/-key/p' >"$work/$1.client"
    grep -q -- -key "$work/$1.client" || fail 'the test bed prints no openssl command'
}

setting() { # setting NAME KEY: what the test bed wants
    sed -n "s/^export $2='\(.*\)'/\1/p" "$work/$1.testbed" | grep .
}

# Writes settings and token as a person would.
configure() { # configure TESTBED [FOLDER] [ROOT]
    local folder=${3:-$root}/etc/edge-gateway${2:+/$2}
    install -m 0644 "$(setting "$1" EDGE_GATEWAY_CA_FILE)" "$folder/ca.pem"
    {
        cat "$here/edge-gateway.conf"
        printf 'INFISICAL_DOMAIN=%s\n' "$(setting "$1" INFISICAL_DOMAIN)"
        printf 'INFISICAL_RELAY_NAME=%s\n' "$(setting "$1" INFISICAL_RELAY_NAME)"
        printf 'EDGE_GATEWAY_RELAY_PORT=%s\n' "$(setting "$1" EDGE_GATEWAY_RELAY_PORT)"
        printf 'EDGE_GATEWAY_CA_FILE=/etc/edge-gateway/%sca.pem\n' "${2:+$2/}"
    } >"$work/settings"
    # Into the file that is there: its owner and mode stay.
    cat "$work/settings" >"$folder/edge-gateway.conf"
    (umask 077 && setting "$1" INFISICAL_TOKEN >"$folder/credentials/token")
}

# One line there and back through relay, agent and target.
echoes() { # echoes TESTBED
    local line answer='' client
    line="hello $RANDOM$RANDOM"
    # No shell stays between: the client itself must be what is killed, or the agent waits for its tunnel when it stops.
    coproc CLIENT { exec nsenter --target "$holder" --net -- bash -c "exec $(<"$work/$1.client")" 2>"$work/client.errors"; }
    client=$CLIENT_PID
    printf '%s\n' "$line" >&"${CLIENT[1]}" || true
    read -r -t 5 answer <&"${CLIENT[0]}" || true
    kill "$client" 2>/dev/null || true
    wait "$client" 2>/dev/null || true
    [[ $answer == "$line" ]]
}

serves() { # serves [TESTBED]
    await 40 'an echo through the tunnel' echoes "${1:-one}"
    ok "a line through the tunnel and back (${1:-one})"
}

enrol_and_serve() {
    mark
    inside systemctl restart edge-gateway || fail "it does not start: $(log | tail -n 3)"
    unit_is active || fail 'it is not active'
    serves
    await_log 5 'connected to relay'
    ok "status: $(property StatusText)"
    inside edge-gateway status | has 'agent: running' status
    inside edge-gateway doctor >"$work/doctor" 2>&1 || fail "doctor: $(grep -v '^ok' "$work/doctor" | head -n 3)"
    ok "resident: $(sed -n 's/^VmRSS:\s*//p' "/proc/$(host_pid)/status"); seccomp $(sed -n 's/^Seccomp:\s*//p' "/proc/$(host_pid)/status")"
}

host_pid() { # the agent's number outside the machine
    local pid
    for pid in $(pgrep -x edge-gateway); do
        if [[ $(sed -n 's/^NSpid:.*\t//p' "/proc/$pid/status") == "$(property MainPID)" ]] &&
            [[ /proc/$pid/ns/pid -ef /proc/$machine/ns/pid ]]; then
            printf '%s\n' "$pid"
        fi
    done
}

secrets_stay_secret() {
    local token pid
    token=$(setting one INFISICAL_TOKEN)
    pid=$(host_pid)
    ! tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF "$token" || fail 'the token is in the arguments'
    ! tr '\0' '\n' <"/proc/$pid/environ" | grep -qF "$token" || fail 'the token is in the environment'
    ! inside journalctl --quiet --no-pager | grep -qF "$token" || fail 'the token is in the journal'
    ! inside find /etc/edge-gateway /var/lib/edge-gateway -type f -perm /o=r ! -name ca.pem | grep . ||
        fail 'a file above is readable for everybody'
    [[ $(inside stat -c '%a %U' /var/lib/edge-gateway/state) == '600 edge-gateway' ]] || fail 'mode of the state file'
    ok 'the token is not in arguments, environment or journal; the state has mode 600'
}

new_start_since() { # new_start_since PID
    local pid
    pid=$(property MainPID)
    [[ $pid != 0 && $pid != "$1" ]] && unit_is active
}

kill_and_serve() {
    local before
    before=$(property MainPID)
    mark
    kill -9 "$(host_pid)"
    await 20 'a new start after SIGKILL' new_start_since "$before"
    await_log 5 'certificates from the state file'
    serves
}

hang_and_serve() {
    local before
    inside mkdir -p /run/systemd/system/edge-gateway.service.d
    inside sh -c 'printf "[Service]\nWatchdogSec=2\nRestartSec=1\n" >/run/systemd/system/edge-gateway.service.d/check.conf'
    inside systemctl daemon-reload
    inside systemctl restart edge-gateway
    serves
    before=$(property MainPID)
    mark
    kill -STOP "$(host_pid)"
    await 30 'a new start after the watchdog' new_start_since "$before"
    await_log 5 'Watchdog timeout'
    # A reload drains for 10 s without a sign of life: the unit's own 60 s allow for that.
    inside rm -r /run/systemd/system/edge-gateway.service.d
    inside systemctl daemon-reload
    inside systemctl restart edge-gateway
    serves
}

reload_and_serve() {
    local before
    before=$(property MainPID)
    mark
    printf 'EDGE_GATEWAY_MAX_TUNNELS=32\n' >>"$root/etc/edge-gateway/edge-gateway.conf"
    inside systemctl reload edge-gateway
    await_log 10 'the settings have changed'
    serves
    [[ $(property MainPID) == "$before" ]] || fail 'reload started a new process'
}

nudge() {
    mark
    inside /usr/lib/NetworkManager/dispatcher.d/50-edge-gateway eth0 up
    await_log 10 'the network may have changed'
    mark
    inside /usr/lib/NetworkManager/dispatcher.d/50-edge-gateway eth0 down
    serves
    ! logged 'the network may have changed' || fail 'an interface that goes down is no reason to look'
}
