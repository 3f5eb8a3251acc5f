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

# Another distribution, or an older one, may not have all of them; apt-get would install none then.
known() {
    for package in $missing; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            printf ' %s' "$package"
        else
            say "this system has no package $package: tests that need it are skipped"
        fi
    done
}

if [ "$(id -u)" = 0 ]; then
    say "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2046,SC2086  # one word per package
    apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(known) >/dev/null; }
else
    say "missing, so the tests that need them are skipped:$missing"
    say "to run them all: sudo apt-get install -y --no-install-recommends$missing"
    say "what needs root (devices, owners, mounts, other users) is skipped as well"
fi
