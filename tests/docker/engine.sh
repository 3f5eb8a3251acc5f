#!/bin/sh
# engine.sh DIR: a Docker engine that does what it is told, and ends with whoever tells it.
#
# Lines of standard input: `host` or `private` starts dockerd, in the network of this machine or in one of its own (in
# which it makes bridges and rules as it likes); `stop` ends it, and its images stay. At the end of standard input
# everything ends and is removed. dockerd and all containers are in namespaces that the kernel takes down with their
# first process, so nothing is left of them, however that ended.
set -eu

if [ $# = 1 ]; then
    dir=$1
    # Whoever would read "stopped" may be gone.
    trap '' PIPE
    while read -r network; do
        case $network in host) net= ;; *) net=--net ;; esac
        # shellcheck disable=SC2086  # an option or nothing
        unshare --mount --pid --fork --kill-child=KILL --mount-proc $net sh "$0" "$dir" "$network" || true
        rm -rf "$dir/docker.sock" "$dir/exec"
        echo stopped 2>/dev/null || true
    done
    rm -rf -- "$dir"
    # One below each hierarchy, or below the only one. They are busy as long as the kernel needs to take down what was killed.
    for group in /sys/fs/cgroup/*/"$(basename "$dir")" "/sys/fs/cgroup/$(basename "$dir")"; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + || true
    done
    exit
fi

dir=$1 network=$2
# The machine's own containerd would start containers outside these namespaces.
[ ! -d /run/containerd ] || mount -t tmpfs none /run/containerd
case $network in
    host) set -- --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false ;;
    *) ip link set lo up && set -- ;;
esac
echo '{}' >"$dir/daemon.json"
dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
    --host "unix://$dir/docker.sock" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$(basename "$dir")" \
    "$@" >>"$dir/log" 2>&1 </dev/null &
if read -r _; then
    kill $!
    wait $! || true
fi
