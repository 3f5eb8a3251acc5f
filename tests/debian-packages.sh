#!/bin/sh
# debian-packages.sh LIST: as root, install those packages of LIST that are missing; otherwise name them and go on.
set -eu
list=$1

say() { printf '%s\n' "packages: $*" >&2; }

wanted=$(sed 's/#.*//' "$list" | tr -s '[:space:]' ' ')
if ! command -v dpkg-query >/dev/null; then
    say "this is not a Debian system. The tests use what these Debian packages hold; tests that miss something are"
    say "skipped with a reason:$wanted"
    exit 0
fi

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    say "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # one word per package
    apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
else
    say "missing, so the tests that need them are skipped:$missing"
    say "to run them all: sudo apt-get install -y --no-install-recommends$missing"
    say "what needs root (devices, owners, mounts, other users) is skipped as well"
fi
