#!/bin/sh
# host.sh NAME ADDRESS LAB: the first process of a host, started in namespaces of its own (keeper.py). When it ends, all
# that runs on the host does.
#
# It says "unshared" when the host may be given its network card, waits for a line then, and says "up" in the end.
set -eu
name=$1 address=$2 lab=$3

hostname "$name"
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=1777 none /dev/shm
mount --bind "$lab/hosts" /etc/hosts
mkdir -m 1777 /run/node
echo unshared
read -r _

ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
sh "$(dirname "$0")/munge.sh" "$lab"
# Not exec: this shell reaps what loses its parent, as the first process of a machine has to.
{ slurmd -D -N "$name" >"$lab/log/$name.out" 2>&1 || echo "without slurmd"; } &
until scontrol show slurmd >/run/slurmd.says 2>&1; do sleep 0.02; done
echo up
wait
