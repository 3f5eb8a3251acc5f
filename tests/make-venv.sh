#!/bin/sh
# make-venv.sh DIR EXTRAS: a virtual environment in DIR with this project (editable) and its EXTRAS, e.g. "mpich,test".
#
# The system's Python is preferred, because every user may run it: tests start the tool as other users, and a Python
# below /root (pyenv) or a home directory is closed to them.
set -eu
cd "$(dirname "$0")/.."
venv=$1
extras=$2

say() { printf '%s\n' "make-venv: $*" >&2; }

# Is $1 a Python that this project runs on?
fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# Can $1 make environments? Debian keeps that half of the standard library in a package of its own.
makes_venvs() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }

choose_python() {
    for python in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.10}; do
        if fits "$python"; then printf '%s\n' "$python"; return; fi
    done
    say "no Python of version 3.10 or later was found; name one: make PYTHON=/path/to/python3 ..."
    return 1
}

install_venv_module() {
    # /usr/bin/python3 -> python3-venv; /usr/bin/python3.12 -> python3.12-venv
    package=$(basename "$1")-venv
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $package, which this Python needs to make environments"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
            { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$package" >/dev/null; }
    else
        say "$1 cannot make environments here. Run this once, then make again:"
        say "    sudo apt-get install -y $package"
        return 1
    fi
}

python=$(choose_python)
# An environment whose Python went away (an upgrade, a moved clone) or that was half made is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    makes_venvs "$python" || install_venv_module "$python"
    say "making $venv with $python"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
say "installing hpcp-mpi[$extras] into $venv (the first time takes a minute)"
# compat: a path that Python adds, instead of a module that every start of it imports, for a fifth of a second on 4 ranks.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat \
    --editable ".[$extras]"
