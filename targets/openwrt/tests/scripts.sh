# shellcheck shell=bash
# The scripts are what the box's shell understands.

check_scripts() {
    local scripts=("$here"/edge-gateway/files/edge-gateway.{init,defaults,iface,ntp} "$here/edge-gateway/test.sh") script
    expect 'shellcheck of the check' shellcheck -s bash -e SC2034,SC2154 "$here"/tests/*.sh
    expect 'shellcheck' shellcheck "${scripts[@]}" "$here/make-ipk" "$here/check" \
        "$here"/tests/box/{sbin,bin}/* "$here/tests/box/etc/rc.common" "$here"/tests/box/lib/functions.sh "$here"/tests/box/lib/functions/*.sh
    for script in "${scripts[@]}"; do
        busybox ash -n "$script" || fail "busybox ash does not understand $script"
    done
    say "ok: busybox ash -n"
    # Every setting has its option, or is left out on purpose: docs/openwrt.md says why.
    local init=$here/edge-gateway/files/edge-gateway.init setting left=''
    for setting in $(grep -oE '^[|] .(INFISICAL|EDGE_GATEWAY)_[A-Z_]*' "$root/docs/settings.md" | tr -d '|` '); do
        grep -q "$setting" "$init" || left="$left $setting"
    done
    same 'options for all settings but those left out on purpose' \
        ' INFISICAL_GATEWAY_ENROLLMENT_TOKEN INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH EDGE_GATEWAY_LOG_STYLE' "$left"
    local option
    for option in $(sed -n '/^OPTIONS=/,/"$/p' "$init" | tr -d '"' | sed 's/OPTIONS=//'); do
        grep -q "^| \`$option\`" "$root/docs/openwrt.md" || fail "docs/openwrt.md does not explain the option $option"
    done
    say "ok: docs/openwrt.md explains every option"
}
