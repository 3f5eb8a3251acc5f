#!/bin/sh
# as_client.sh VOLUME COMMAND...: run a command that sees one of the two clients at VOLUME/mnt. Ranks take turns.
set -eu
volume=$1
rank=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}
shift
# shellcheck disable=SC2016  # the inner shell's
exec unshare --mount --propagation private -- sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh \
    "$volume/client$((rank % 2 + 1))" "$volume/mnt" "$@"
