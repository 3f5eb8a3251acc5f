#!/bin/sh
# munge.sh LAB: start munged on this host, whose /run is its own.
set -eu
mkdir -m 755 /run/munge
cp "$1/munge.key" /run/munge/key
munged --key-file=/run/munge/key --pid-file=/run/munge/pid --log-file=/run/munge/log --seed-file=/run/munge/seed
