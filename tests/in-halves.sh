#!/bin/sh
# in-halves.sh PYTHON: all tests, in two processes at the same time, as much of what they do is waiting. What the second
# one says comes last.
set -u
cd "$(dirname "$0")/.." || exit 1
python=$1

said=$(mktemp)
other=
# shellcheck disable=SC2329  # the traps call it
end() {
    [ -z "$other" ] || kill "$other" 2>/dev/null
    rm -f "$said"
}
trap end EXIT
trap 'exit 143' TERM INT HUP

# Each has a cache of its own: they would write it at the same time.
"$python" -m pytest -o cache_dir=.pytest_cache/others \
    --ignore tests/operations --ignore tests/host --ignore tests/ledger >"$said" 2>&1 &
other=$!
"$python" -m pytest tests/operations tests/host tests/ledger
one=$?
wait "$other"
two=$?
other=
cat "$said"
[ "$one" -eq 0 ] && [ "$two" -eq 0 ]
