# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# A small Debian with its own systemd, in namespaces: `root` is its root, `work` a folder of the check's own.

holder='' machine='' testbeds=() said=0

make_root() {
    root=$work/root
    mmdebstrap --quiet --variant=essential --include=systemd,systemd-sysv,adduser bookworm "$root" \
        http://deb.debian.org/debian
    ok "$(sed -n 's/^PRETTY_NAME=//p' "$root/etc/os-release"), $(du -sm "$root" | cut -f1) MB"
}

# A network with loopback alone: platform, relay, targets and the machine are on it, and `ip link` takes it away.
hold_network() {
    unshare --net sleep infinity &
    holder=$!
    await 5 'a network namespace' test "/proc/$holder/ns/net" -ef "/proc/$holder/ns/net"
    until [[ $(readlink "/proc/$holder/ns/net") != $(readlink /proc/self/ns/net) ]]; do sleep 0.05; done
    on_network ip link set lo up
    # In front of the rule that every address of one's own is reached by, there must be room for another.
    on_network ip rule add pref 10 lookup local
    on_network ip rule del pref 0
}

# systemd itself brings loopback up when it boots: what is taken away is the way to it.
network_goes() {
    on_network ip rule add pref 5 to 127.0.0.0/8 unreachable
}

network_comes() {
    on_network ip rule del pref 5
}

on_network() { # on_network COMMAND...
    nsenter --target "$holder" --net -- "$@"
}

exec_on_network() {
    exec nsenter --target "$holder" --net -- "$@"
}

boot() {
    nsenter --target "$holder" --net -- unshare --mount --pid --fork --uts --ipc --cgroup --kill-child \
        "$here/checks/init" "$root" </dev/null >>"$work/console" 2>&1 &
    machine_parent=$!
    await 10 'the machine to start' pid_of_machine
    await 30 'the machine to be up' is_up
}

pid_of_machine() {
    local unshared
    unshared=$(pgrep -P "$machine_parent" | head -n 1)
    # nsenter becomes unshare, whose child is the machine's systemd.
    machine=${unshared:-}
    [[ -n $machine && $(cat "/proc/$machine/comm") == systemd ]]
}

is_up() {
    case $(inside systemctl is-system-running) in
    running | degraded) ;;
    *) return 1 ;;
    esac
}

inside() { # inside COMMAND...: in the machine
    nsenter --target "$machine" --mount --pid --uts --ipc --cgroup --net -- \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

power_off() {
    inside systemctl poweroff >/dev/null 2>&1 || true
    await 30 'the machine to be off' machine_is_gone
    machine=''
}

machine_is_gone() {
    ! kill -0 "$machine_parent"
}

unit_is() { # unit_is STATE [UNIT]
    [[ $(inside systemctl is-active "${2:-edge-gateway}") == "$1" ]]
}

property() { # property NAME [UNIT]
    inside systemctl show --property "$1" --value "${2:-edge-gateway}"
}

mark() { # what `log` shows begins here
    said=$(journal | wc -l)
}

journal() { # all that the unit, and systemd about it, said since the machine started
    inside journalctl --sync || true
    inside journalctl --quiet --no-pager --boot --output cat --unit edge-gateway
}

log() {
    journal | tail -n "+$((said + 1))"
}

logged() { # logged TEXT
    log | grep -F -- "$1" | tail -n 1 | grep .
}

await_log() { # await_log SECONDS TEXT: and shows the line
    await "$1" "the log line '$2'" logged "$2"
    ok "log: $(logged "$2" | cut -c 1-170)"
}

clean_up() {
    local pid
    for pid in "${testbeds[@]}" "${agent:-}" "${machine:-}"; do
        [[ -z $pid ]] || kill -9 "$pid" 2>/dev/null || true
    done
    [[ -z $holder ]] || kill "$holder" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}

tell_what_failed() {
    printf 'debian: FAILED after %s s%s\n' "$SECONDS" "${current:+ at: $current}" >&2
    [[ ! -s $work/arm.log ]] || tail -n 5 "$work/arm.log" >&2
    [[ -z $machine ]] || inside journalctl --quiet --no-pager --output cat --lines 15 --unit 'edge-gateway*' >&2 || true
}
