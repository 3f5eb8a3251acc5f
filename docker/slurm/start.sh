#!/bin/sh
# start.sh slurmctld|slurmd: run munged and this daemon of Slurm. All machines of the cluster have one /etc/munge, a volume.
set -eu
daemon=$1
key=/etc/munge/munge.key

if [ "$daemon" = slurmctld ] && [ ! -s $key ]; then
    dd if=/dev/urandom of=$key.new bs=128 count=1 status=none
    chmod 400 $key.new
    chown munge: $key.new
    mv $key.new $key
fi
until [ -s $key ]; do sleep 0.1; done

install -d -o munge -g munge /run/munge
install -d /var/lib/slurm/slurmctld /var/lib/slurm/slurmd
# What a container that was killed left says nothing about this one.
rm -f /run/munge/* /run/slurm*.pid
setpriv --reuid=munge --regid=munge --clear-groups munged
exec "$daemon" -D
