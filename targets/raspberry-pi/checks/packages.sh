# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154
# The packages as files: the same twice, clean, and with words for every flag.

packages=target/packages/debian
older=0.0.9-1

make_twice() {
    rm -rf "$packages"
    "$here/make-deb" >/dev/null
    DEB_OUT=$work/again "$here/make-deb" >/dev/null
    DEB_OUT=$work/older "$here/make-deb" --version "$older" x86_64-unknown-linux-musl >/dev/null
    local arch deb
    for arch in amd64 arm64 armhf; do
        deb=$(package "$arch")
        [[ -s $deb ]] || fail "make-deb left no package for $arch"
        ok "$(basename "$deb"): $(stat -c %s "$deb") bytes"
    done
}

package() { # package ARCHITECTURE
    printf '%s\n' "$packages"/edge-gateway_*_"$1".deb
}

same_bytes() {
    local deb
    for deb in "$packages"/*.deb; do
        cmp "$deb" "$work/again/$(basename "$deb")" || fail "a second make-deb makes another $deb"
    done
    ok 'a second build has the same bytes'
}

lint() {
    lintian --allow-root --fail-on error,warning,info --display-info "$packages"/*.deb || fail 'lintian complains'
    ok 'lintian: clean'
}

# Every command and flag of the program itself is in the manual page and in all completions, and no other flag is.
completions_and_manual() {
    local help flags commands shell flag file wrong
    dpkg-deb --fsys-tarfile "$(package amd64)" | tar xO ./usr/bin/edge-gateway >"$work/agent"
    chmod +x "$work/agent"
    help=$("$work/agent" --help)
    flags=$(sed -nE -e 's/^  (--[a-z-]+), .*\[_FILE\]$/\1 \1-file/p' -e 's/^  (--[a-z-]+), [A-Z_]+$/\1/p' <<<"$help" |
        tr ' ' '\n')
    flags+=$'\n--help\n--version'
    commands=$(sed -n '/^Usage/,/^A setting/s/^ *\([a-z]\+\)  *[a-zN].*/\1/p' <<<"$help")
    [[ $(wc -l <<<"$flags") -gt 20 && $(wc -l <<<"$commands") == 6 ]] ||
        fail "the help of the program is not understood: $(wc -l <<<"$flags") flags, commands $commands"

    man --warnings -E UTF-8 -l -Tutf8 "$here/edge-gateway.8" 2>"$work/man.errors" | col -b >"$work/manual"
    [[ ! -s $work/man.errors ]] || fail "the manual page: $(head -n 1 "$work/man.errors")"
    # The flags that each file knows, one a line.
    grep -oE -- '--[a-z][a-z-]+' "$work/manual" | sort -u >"$work/flags.manual"
    bash -c '. "$1"; COMP_WORDS=(edge-gateway run --) COMP_CWORD=2; _edge_gateway; printf "%s\n" "${COMPREPLY[@]}"' \
        - "$here/completions/edge-gateway.bash" | sort -u >"$work/flags.bash"
    zsh -n "$here/completions/_edge-gateway" || fail 'zsh does not read its completions'
    grep -oE -- "--[a-z][a-z-]+" "$here/completions/_edge-gateway" | sort -u >"$work/flags.zsh"
    fish --no-config -c "source $here/completions/edge-gateway.fish; complete -C 'edge-gateway run --'" | cut -f1 |
        sort -u >"$work/flags.fish"
    sort -u <<<"$flags" >"$work/flags"
    for file in manual bash zsh fish; do
        wrong=$(diff "$work/flags" "$work/flags.$file") || fail "flags of the program (<) and of $file (>): $wrong"
    done

    bash -c '. "$1"; COMP_WORDS=(edge-gateway "") COMP_CWORD=1; _edge_gateway; printf "%s\n" "${COMPREPLY[@]}"' \
        - "$here/completions/edge-gateway.bash" | sort >"$work/commands.bash"
    fish --no-config -c "source $here/completions/edge-gateway.fish; complete -C 'edge-gateway '" | cut -f1 |
        sort >"$work/commands.fish"
    sed -n "s/^        '\([a-z]*\):.*/\1/p" "$here/completions/_edge-gateway" | sort >"$work/commands.zsh"
    sort <<<"$commands" >"$work/commands"
    for shell in bash zsh fish; do
        wrong=$(diff "$work/commands" "$work/commands.$shell") ||
            fail "commands of the program (<) and of the completions for $shell (>): $wrong"
    done
    for flag in $commands; do
        grep -qE "^ +$flag( |$)" "$work/manual" || fail "the manual page lacks the command $flag"
    done
    # `_arguments` needs a terminal; that zsh finds nothing wrong with the arguments themselves shows at their first use.
    ok "manual page and completions: $(wc -l <"$work/flags") flags, $(wc -l <"$work/commands") commands"

    # One unit is the other with paths of its own.
    wrong=$(diff <(sed -e 's|%i/||g; s|-instances/%i$||; s| (%i)$||; /^InaccessiblePaths=/d' "$here/systemd/edge-gateway@.service") \
        <(sed '/^InaccessiblePaths=/d' "$here/systemd/edge-gateway.service")) || fail "the units differ: $wrong"
}
