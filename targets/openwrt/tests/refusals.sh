# shellcheck shell=bash
# What goes wrong, and what the user sees: one line each.

refused() { # refused WANTED: the service is not started, and says why in one line
    local said code=0
    said=$(service start 2>&1 >/dev/null) || code=$?
    same 'the refusal' "edge-gateway: $1" "$said"
    same 'which fails, starts nothing and is logged' '1 no yes' \
        "$code $(running) $(logged 1 "daemon.err edge-gateway: $1" && echo yes)"
}

running() { if box test -d /var/run/procd/edge-gateway/instance; then echo yes; else echo no; fi; }

fresh_box() { # fresh_box TRIPLE: with the package, enabled, nothing else set
    new_box "$1" "$(architecture "$1")"
    install_package "$work/packages/edge-gateway_0.1.0-r1_$(architecture "$1").ipk" >/dev/null
    configure enabled=1
}

check_refusals() { # check_refusals TRIPLE
    say "--- $1: what is refused"
    fresh_box "$1"
    refused 'no token: create a gateway on the platform, copy its enrollment token, then: uci set edge-gateway.main.token=THE-TOKEN; uci commit edge-gateway; service edge-gateway reload'
    unreadable "optoin name 'x'" 'Parse error (invalid command)'
    unreadable "	list deny '10.0.0.0/8" "Parse error (unterminated ')"
    sed -i "s/^config gateway 'main'/config gateway/" "$box/etc/config/edge-gateway"
    refused "/etc/config/edge-gateway has no section: config gateway 'main'"
    sed -i "s/^config gateway/config gateway 'main'/" "$box/etc/config/edge-gateway"
    configure token=gwe_0123456789abcdef
    bad_value enabled maybe "option 'enabled' must be 0 or 1, not 'maybe'" 1
    bad_value domain htp:/x "option 'domain': INFISICAL_DOMAIN needs https:// in front, not \"htp:/x\"; example: INFISICAL_DOMAIN=https://eu.infisical.com"
    bad_value relay_port 99999 "option 'relay_port': EDGE_GATEWAY_RELAY_PORT must be a number from 1 to 65535, not \"99999\"; example: EDGE_GATEWAY_RELAY_PORT=2222"
    bad_value relay_proxy ftp:x "option 'relay_proxy': EDGE_GATEWAY_RELAY_PROXY needs http:// or socks5:// in front, not \"ftp:x\"; example: EDGE_GATEWAY_RELAY_PROXY=socks5://proxy.lan:1080"
    bad_value max_tunnels many "option 'max_tunnels': EDGE_GATEWAY_MAX_TUNNELS must be a number from 1 to 256, not \"many\"; example: EDGE_GATEWAY_MAX_TUNNELS=64"
    bad_value allow '10.0.0.0/99:*' "option 'allow': EDGE_GATEWAY_ALLOW: "
    bad_value log loud "option 'log': EDGE_GATEWAY_LOG must be error, warn, info, debug, trace or off, or a list of module=level, not \"loud\"; example: EDGE_GATEWAY_LOG=info,edge_gateway::relay=debug"
    bad_value ca_file /etc/none.pem "option 'ca_file': /etc/none.pem does not exist"
    ln -s /etc/passwd "$box/etc/edge-gateway/ca.pem"
    bad_value ca_file /etc/edge-gateway/ca.pem "option 'ca_file': /etc/edge-gateway/ca.pem must not be a link"
    rm "$box/etc/edge-gateway/ca.pem"
    bad_value auth_method universal-auth "options 'token' and 'auth_method' contradict each other; keep one"
    bad_value token_file /etc/token "options 'token' and 'token_file' contradict each other; keep one"
    bad_value domian https://eu.infisical.com "there is no option 'domian' in /etc/config/edge-gateway; there are: "
    bad_value token 'two words' "option 'token': INFISICAL_TOKEN must be one word of printable ASCII"
    box uci delete edge-gateway.main.token
    bad_value token_file /etc/token "option 'token_file': /etc/token does not exist"
    : >"$box/etc/token"
    bad_value token_file /etc/token "option 'token_file': /etc/token is empty; it must hold the secret and nothing else"

    check_wrong_cpu "$1"
    check_refused_token "$1"
    check_full_overlay "$1"
    check_late_jwt "$1"
    check_no_network "$1"
    end_box
}

unreadable() { # unreadable LINE SAID: one such line, and UCI says where
    echo "$1" >>"$box/etc/config/edge-gateway"
    refused "/etc/config/edge-gateway: $2 at line $(wc -l <"$box/etc/config/edge-gateway"), byte 0"
    sed -i '$d' "$box/etc/config/edge-gateway"
}

bad_value() { # bad_value OPTION VALUE MESSAGE [GOOD]: and then the good value, or none
    local said code=0
    configure "$1=$2"
    said=$(service start 2>&1 >/dev/null) || code=$?
    [[ $(wc -l <<<"$said") == 1 && $said == "edge-gateway: $3"* && $code == 1 ]] ||
        fail "option $1 '$2': wanted one line '$3', got code $code and: $said"
    same "option $1 '$2' is refused in one line" no "$(running)"
    box uci delete "edge-gateway.main.$1"
    [[ -z ${4:-} ]] || configure "$1=$4"
    [[ $1 != token ]] || configure token=gwe_0123456789abcdef
}

check_wrong_cpu() {
    local ipk
    ipk=$work/packages/edge-gateway_0.1.0-r1_$(architecture "$1").ipk
    echo "DISTRIB_ARCH='mips_24kc'" >"$box/etc/openwrt_release"
    ! install_package "$ipk" 2>/dev/null || fail 'a package for another architecture is installed'
    say 'ok: a package for another architecture is not installed'
    # Forced, with the mark of a CPU that does not exist.
    printf '\xfe\xfe' | dd of="$box/usr/bin/edge-gateway" bs=1 seek=18 conv=notrunc status=none
    configure token=gwe_0123456789abcdef
    refused '/usr/bin/edge-gateway cannot run on this CPU; install the package for mips_24kc'
}

check_refused_token() {
    local begin
    start_testbed
    fresh_box "$1"
    configure_for_testbed
    write /etc/edge-gateway/token <<<gwe_0000000000000000
    service start
    eventually 'a token that the platform refuses' logged 1 'ending in 300 s: this needs a person'
    same 'is tried once' 1 "$(grep -c 'token-auth/enroll' "$work/bed")"
    log | grep 'error:' | sed 's/^/openwrt:     /'
    begin=$SECONDS
    service stop
    expect 'stopping does not wait for the pause' test $((SECONDS - begin)) -le 5
    expect 'nor for a KILL' happened 0 killed
}

check_full_overlay() {
    start_testbed
    fresh_box "$1"
    box mount -t tmpfs -o size=64k none /etc/edge-gateway
    configure_for_testbed
    box dd if=/dev/urandom of=/etc/edge-gateway/filler bs=4096 count=16 2>/dev/null || true
    service start
    eventually 'a full overlay is told' logged 1 'the one-time token is not spent: the state cannot be saved in /etc/edge-gateway'
    log | grep 'cannot be saved' | head -n 1 | sed 's/^/openwrt:     /'
    # Nothing is lost: as soon as there is room, the same token enrols.
    box rm /etc/edge-gateway/filler
    eventually 'with room it enrols by the same token' logged 1 'tunnels are served'
    expect 'and serves' tunnel
}

# Another service writes the JWT later in the boot.
check_late_jwt() {
    start_testbed
    fresh_box "$1"
    configure_for_testbed
    box uci delete edge-gateway.main.token_file
    configure auth_method=jwt-auth identity_id=6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab jwt_file=/var/run/jwt/token
    service boot 2>/dev/null
    expect 'a JWT that is not there yet is told' logged 1 "daemon.warn edge-gateway: option 'jwt_file': /var/run/jwt/token is not there yet"
    same 'and the gateway is started' yes "$(running)"
    eventually 'again and again' logged 2 'INFISICAL_JWT_FILE: /var/run/jwt/token does not exist'
    same 'without a question to the platform' 0 "$(grep -c jwt-auth "$work/bed" || true)"
    write /var/run/jwt/token <<<eyJhbGciOiJSUzI1NiJ9.e30.c2ln
    box chown -R edge-gateway /var/run/jwt
    eventually 'until it is there, and is shown to the platform' grep -q 'jwt-auth/login' "$work/bed"
    configure jwt_file=/etc/edge-gateway/token
    service reload
    same 'beside the state, it does not make that read-only' '' "$(box grep -x /etc/edge-gateway /var/run/procd/edge-gateway/instance/jail.ro)"
}

# At boot nothing answers at the platform's address; then something does.
check_no_network() {
    start_testbed
    fresh_box "$1"
    configure_for_testbed
    local port=${bed_INFISICAL_DOMAIN##*:}
    configure "domain=https://127.0.0.1:$old_port"
    service boot
    eventually 'without a network it starts and says so' logged 1 'the connection is refused'
    log | grep 'the connection is refused' | head -n 1 | sed 's/^/openwrt:     /'
    same 'and keeps running' yes "$(running)"
    box nc -ll -p "$old_port" -e nc 127.0.0.1 "$port" &
    cleanup+=($!)
    disown
    eventually 'the network is there' nothing_but_connects "$old_port"
    box env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    eventually 'and it connects' logged 1 'tunnels are served'
    expect 'without a restart' happened 0 respawn
    configure enabled=0
    box env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-edge-gateway
    same 'one that was disabled is stopped, and that is told' 'no yes' \
        "$(running) $(logged 1 "the running gateway is stopped: option 'enabled' is 0" && echo yes)"
}

nothing_but_connects() { # nothing_but_connects PORT
    (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
