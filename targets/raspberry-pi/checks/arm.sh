# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# The ARM packages: installed by dpkg into the same Debian, which is told that it may, and run by qemu-user. armhf runs on the
# processor of the first Raspberry Pi, so that one instruction too new ends it.

agent=''

arm_packages() {
    local arch qemu
    for arch in arm64 armhf; do
        inside dpkg --add-architecture "$arch"
        install_package "$(package "$arch")"
        qemu=(qemu-arm-static -cpu arm1176)
        [[ $arch != arm64 ]] || qemu=(qemu-aarch64-static)
        "${qemu[@]}" "$root/usr/bin/edge-gateway" version | has 'edge-gateway 0.' "version of $arch"
        start_testbed "$arch"
        configure "$arch"
        arm_agent "${qemu[@]}" "$root/usr/bin/edge-gateway"
        serves "$arch"
        stop_arm_agent
        ok "$arch: enrolled and served as ${qemu[*]}"
        if [[ $arch == armhf ]]; then
            clock_in_1970
        fi
        inside dpkg --purge edge-gateway >/dev/null 2>&1
    done
    power_off
}

# Runs outside of the machine, with its folders: the settings name the root certificates inside.
arm_agent() { # arm_agent COMMAND...
    mkdir -p "$root/var/lib/edge-gateway"
    sed -i "s|=/etc/edge-gateway/ca.pem|=$root/etc/edge-gateway/ca.pem|" "$root/etc/edge-gateway/edge-gateway.conf"
    # Without a shell between, so that a signal reaches the agent.
    exec_on_network env -i PATH="$PATH" EDGE_GATEWAY_CONFIG="$root/etc/edge-gateway/edge-gateway.conf" \
        INFISICAL_TOKEN_FILE="$root/etc/edge-gateway/credentials/token" \
        EDGE_GATEWAY_STATE_DIR="$root/var/lib/edge-gateway" "$@" run 2>"$work/arm.log" &
    agent=$!
}

stop_arm_agent() {
    kill -TERM "$agent"
    wait "$agent" || fail "the agent does not end well: $(tail -n 1 "$work/arm.log")"
    agent=''
}

# A Raspberry Pi without a battery starts in 1970. The agent goes by the last time that the platform told, says so, and serves. A
# static program has no library that could lie to it, so the lie is told to qemu.
clock_in_1970() {
    arm_agent env LD_PRELOAD="$(faketime_library)" FAKETIME='1970-01-01 00:01:00' FAKETIME_DONT_FAKE_MONOTONIC=1 \
        qemu-arm -cpu arm1176 "$root/usr/bin/edge-gateway"
    await 20 'a word about the clock' grep -q 'clock is in the past' "$work/arm.log"
    ok "clock in 1970: $(grep -m 1 'clock is in the past' "$work/arm.log")"
    serves armhf
    stop_arm_agent
}
