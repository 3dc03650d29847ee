# shellcheck shell=bash
# What the scripts of this folder share. Sourced, with the repository as the current folder.

cross_tools=$PWD/target/cross-tools
zig=$cross_tools/packages/ziglang/zig

die() { # die WHY: one line, exit 1
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

targets() { # every target triple
    awk -F'\t' '!/^#/ { print $1 }' cross/targets.tsv
}

target_field() { # target_field TRIPLE NUMBER: a column of targets.tsv
    awk -F'\t' -v triple="$1" -v number="$2" '$1 == triple { print $number }' cross/targets.tsv
}

known_target() { # known_target TRIPLE: ends the script unless there is such a target
    [[ -n $(target_field "$1" 1) ]] || die "unknown target $1; there are: $(targets | paste -sd ' ')"
}

# The sysroot of a rustc, if it has the standard library's source.
source_of() { # source_of RUSTC
    local sysroot
    sysroot=$("$1" --print sysroot 2>/dev/null) || return 1
    [[ -f $sysroot/lib/rustlib/src/rust/library/Cargo.lock ]] && printf '%s\n' "$sysroot"
}
