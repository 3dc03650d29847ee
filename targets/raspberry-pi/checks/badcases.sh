# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# What a person sees when something is wrong.

stays_down() { # stays_down STATUS: it has failed with this status, and is not started again
    await 20 'the unit to fail' unit_is failed
    [[ $(property ExecMainStatus) == "$1" ]] || fail "it ended with $(property ExecMainStatus), not $1"
    [[ $(property NRestarts) == 0 ]] || fail 'it was started again'
    ok "status $1, not started again"
}

missing_token() {
    mark
    inside systemctl start edge-gateway 2>/dev/null || true
    stays_down 78
    await_log 5 'this gateway is not enrolled'
    [[ $(property Result) == exit-code ]] || fail "not an exit of the agent: $(property Result)"
}

bad_value() {
    local settings=$root/etc/edge-gateway/edge-gateway.conf
    cp --preserve=all "$settings" "$work/good.conf"
    mark
    printf 'EDGE_GATEWAY_RELAY_PORT=port\n' >"$settings"
    inside systemctl restart edge-gateway 2>/dev/null && fail 'it starts with a bad value'
    stays_down 78
    await_log 5 '/etc/edge-gateway/edge-gateway.conf:1'
    cat "$work/good.conf" >"$settings"
    inside systemctl restart edge-gateway
    serves
}

bad_reload() {
    local settings=$root/etc/edge-gateway/edge-gateway.conf before
    before=$(property MainPID)
    mark
    printf 'EDGE_GATEWAY_MAX_TUNNEL=8\n' >>"$settings"
    inside systemctl reload edge-gateway
    await_log 10 'the settings are not changed'
    [[ $(property MainPID) == "$before" ]] || fail 'a bad reload ended the agent'
    cat "$work/good.conf" >"$settings"
    inside systemctl reload edge-gateway
    serves
}

no_credentials_folder() {
    local said
    mv "$root/etc/edge-gateway/credentials" "$root/etc/edge-gateway/elsewhere"
    said=$(inside systemctl restart edge-gateway 2>&1) && fail 'it starts without the folder of credentials'
    has 'Assertion failed' "systemctl's answer" <<<"$said"
    ok "no credentials folder: $(head -n 1 <<<"$said")"
    mv "$root/etc/edge-gateway/elsewhere" "$root/etc/edge-gateway/credentials"
    # The token has done its work: the state is enough.
    mv "$root/etc/edge-gateway/credentials/token" "$work/token"
    inside systemctl restart edge-gateway
    serves
    ok 'an empty folder of credentials: served from the state'
    install -m 0600 "$work/token" "$root/etc/edge-gateway/credentials/token"
}

# A gateway of its own on a full disk: it keeps its token, says so, and is started again until there is room.
full_state() {
    start_testbed full
    inside systemctl stop edge-gateway
    inside mount -t tmpfs -o size=64k tmpfs /var/lib/edge-gateway
    inside chown edge-gateway: /var/lib/edge-gateway
    inside sh -c 'cat /dev/zero >/var/lib/edge-gateway/filler 2>/dev/null || true'
    configure full
    mark
    inside systemctl start edge-gateway
    await_log 20 'the one-time token is not spent: the state cannot be saved in /var/lib/edge-gateway'
    # Nothing is lost: as soon as there is room, the same token enrols.
    inside rm /var/lib/edge-gateway/filler
    serves full
    inside systemctl stop edge-gateway
    inside umount /var/lib/edge-gateway
    configure one
    inside systemctl start edge-gateway
    serves
}

# As after going back from a program that writes a newer format: its file is moved aside, and can be put back.
newer_state() {
    local state=/var/lib/edge-gateway/state
    inside systemctl stop edge-gateway
    cp "$root$state" "$work/state"
    # The version, and the sum over all but itself (src/state/format.rs): it is the one that gzip writes, too.
    { printf 'EGWS\2\0' && tail -c +7 "$work/state" | head -c 4; } >"$work/head"
    tail -c +15 "$work/state" >"$work/body"
    cat "$work/head" "$work/body" | gzip -c | tail -c 8 | head -c 4 >"$work/sum"
    cat "$work/head" "$work/sum" "$work/body" >"$root$state"
    mark
    inside systemctl start edge-gateway 2>/dev/null || true
    await_log 20 "$state is of version 2, and this program knows up to 1; kept as state.v2; without it the gateway must enrol again"
    # The token was spent long ago.
    stays_down 77
    cmp "$root$state.v2" <(cat "$work/head" "$work/sum" "$work/body") || fail 'state.v2 is not the file that was there'
    cat "$work/state" >"$root$state.v2"
    inside mv "$state.v2" "$state"
    inside systemctl start edge-gateway
    serves
    ok 'put back: the enrolment is as before'
}
