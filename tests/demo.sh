#!/bin/sh
# The demo behind `make demo`: copy $SRC to $DST with $RANKS ranks, then let other programs say whether it is equal.
#
# SRC, DST, RANKS and KEEP come from the environment. Without DST the copy goes to a fresh directory, which is
# removed at the end unless KEEP is set. As an ordinary user owners cannot be copied, so they are not compared.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$here/.venv/bin
src=${SRC:-/usr/share}
ranks=${RANKS:-4}
# MPICH moves data between ranks by process_vm_readv, which containers and hardened kernels refuse.
export MPIR_CVAR_CH4_CMA_ENABLE="${MPIR_CVAR_CH4_CMA_ENABLE:-0}"

say() { printf '\n==> %s\n' "$*"; }
die() { printf '\n==> %s\n' "$*" >&2; exit 1; }

scratch=$(mktemp -d "${TMPDIR:-/tmp}/hpcp-mpi-demo.XXXXXX")
cleanup() {
    [ -z "${KEEP:-}" ] || return 0
    # The copy of a read-only directory is one too.
    chmod -R u+rwX "$scratch" && rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

[ -d "$src" ] || die "SRC=$src is not a directory"
dst=${DST:-$scratch/copy}
# "exact": the destination must hold nothing else. Not so if it held something before.
exact=yes
if [ -n "$(ls -A "$dst" 2>/dev/null)" ]; then exact=; fi

enough_space() {
    need=$(du -sk "$src" 2>/dev/null | cut -f 1)
    place=$dst
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    free=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
    [ "$need" -lt "$free" ] ||
        die "$src holds $((need / 1024)) MiB and $place has $((free / 1024)) MiB free; choose others with SRC= and DST="
}

# What this user cannot read (links can always be read).
unreadable() { (cd "$src" && find . ! -type l ! -readable -printf '/%P\n' -prune 2>/dev/null) || true; }

# One record per entry: type, mode, owner, size, mtime in ns, link target, name. A directory's size is its file
# system's business; sockets are noted by hpcp-mpi, not copied.
listing() {
    owner='%U %G'
    [ "$(id -u)" = 0 ] || owner='-'
    (cd "$1" && find . \( ! -type l ! -readable -prune \) -o -type s -o \
        -type d -printf "%y %m $owner - %T@ - %p\n" -o -printf "%y %m $owner %s %T@ %l %p\n") | sort
}

verify_metadata() {
    listing "$src" >"$scratch/src.list"
    listing "$dst" >"$scratch/dst.list"
    if [ -n "$exact" ]; then
        diff "$scratch/src.list" "$scratch/dst.list" >"$scratch/metadata" || true
    else
        comm -23 "$scratch/src.list" "$scratch/dst.list" >"$scratch/metadata"
    fi
}

verify_content() {
    if command -v rsync >/dev/null; then
        set -- -aHAX --checksum -n -i
        [ -z "$exact" ] || set -- "$@" --delete
        [ "$(id -u)" = 0 ] || set -- "$@" --no-owner --no-group
        tool="rsync $*"
        unreadable >"$scratch/unreadable"
        rsync "$@" --no-specials --exclude-from="$scratch/unreadable" "$src/" "$dst/" 2>&1 |
            sed '/^skipping non-regular/d' >"$scratch/content"
    else
        tool="diff -r --no-dereference (rsync is not installed)"
        # diff cannot compare special files, and says so of equal ones; the listings do.
        special='(fifo|character special file|block special file|socket)'
        diff -rq --no-dereference "$src" "$dst" 2>&1 | sed -E "/^File .* is a $special while file .* is a \\1\$/d" | {
            if [ -n "$exact" ]; then cat; else grep -v -e "^Only in $dst" -e 'Permission denied$'; fi
        } >"$scratch/content" || true
    fi
}

enough_space
say "mpiexec -n $ranks hpcp-mpi $src $dst"
status=0
"$bin/mpiexec" -n "$ranks" "$bin/hpcp-mpi" "$src" "$dst" || status=$?
case $status in
    0) ;;
    23) [ "$(id -u)" != 0 ] || die "hpcp-mpi ended with 23: some entries failed, see above"
        say "$(id -un) cannot read all of $src: what failed is named above, the rest is verified now."
        exact= ;;
    *) die "hpcp-mpi ended with $status" ;;
esac

say "Verifying with other programs ..."
verify_content
verify_metadata
compared="type, mode,$([ "$(id -u)" != 0 ] || echo ' owner,') size, mtime in ns, link target"
echo "content     $tool: $(wc -l <"$scratch/content") differences"
echo "metadata    find -printf ($compared): $(wc -l <"$scratch/metadata") differences"
if [ -s "$scratch/content" ] || [ -s "$scratch/metadata" ]; then
    head -n 20 "$scratch/content" "$scratch/metadata"
    die "The copy is NOT equal."
fi
say "Equal: $(wc -l <"$scratch/dst.list") entries, $(du -sh "$dst" 2>/dev/null | cut -f 1) in $dst"
if [ -z "${DST:-}" ] && [ -z "${KEEP:-}" ]; then echo "(removed now; KEEP=1 keeps it, DST= chooses another place)"; fi
