#!/bin/sh
# servers.sh DIRECTORY NAME ADDRESS: the first process of where the servers of a volume are (keeper.py). When it ends,
# they do. It says "up" when they can be started.
set -eu
directory=$1 name=$2 address=$3

hostname "$name"
printf '127.0.0.1 localhost %s\n' "$name" >"$directory/hosts"
mount --bind "$directory/hosts" /etc/hosts
mount -t tmpfs -o mode=755 none /run
mkdir /run/gluster /run/lock
ip link set lo up
ip address add "$address/32" dev lo
echo up
# Not exec: this shell reaps what loses its parent, as the first process of a machine has to.
sleep infinity &
wait
