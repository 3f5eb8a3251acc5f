"""Copies of the tool that every user can run, for tests as another user.

A clone may lie in a closed directory, and with it the environments. Then copies are made below the temporary
directory, once per session. The Python they start must be open to all; `make test` prefers /usr/bin/python3
for that.
"""

from __future__ import annotations

import atexit
import compileall
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Not needed to run the tool, and most of an environment's bytes.
_NOT_COPIED = shutil.ignore_patterns("mypy*", "ruff*", "pip*", "setuptools*", "hypothesis*", "pytest*", "__pycache__")


class Unusable(AssertionError):
    """No Python that others may run."""


@functools.cache
def place() -> Path:
    """A directory that all users may enter and only this one may write, removed at the end of the session."""
    made = Path(tempfile.mkdtemp(prefix="hpcp-mpi-everyone-"))
    made.chmod(0o755)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@functools.cache
def home(user: str) -> str:
    who = pwd.getpwnam(user)
    path = place() / f"home-of-{user}"
    path.mkdir(mode=0o700)
    os.chown(path, who.pw_uid, who.pw_gid)
    return str(path)


@functools.cache
def source() -> Path:
    """The directory for PYTHONPATH. A copy, so that it does not matter where the clone is."""
    target = place() / "source"
    shutil.copytree(REPOSITORY / "hpcp_mpi", target / "hpcp_mpi", ignore=shutil.ignore_patterns("__pycache__"))
    # Other users cannot write there, and would compile again in every rank of every run.
    compileall.compile_dir(target, quiet=2)
    _open_to_all(target)
    return target


@functools.cache
def usable_by_all(venv: Path) -> Path:
    """A path of venv that `nobody` can run: venv itself or a copy. Raises Unusable if neither works."""
    if _nobody_can_run(venv / "bin/python", "import numpy, rich"):
        return venv
    python = Path(os.path.realpath(venv / "bin/python"))
    if not _nobody_can_run(python, ""):
        raise Unusable(
            f"{python} cannot be run by other users; make the environments with one that can: "
            "make clean; make test PYTHON=/usr/bin/python3"
        )
    target = place() / venv.name.lstrip(".")
    shutil.copytree(venv, target, symlinks=True, ignore=_NOT_COPIED)
    _open_to_all(target)
    return target


def _open_to_all(tree: Path) -> None:
    subprocess.run(["chmod", "-R", "a+rX", tree], check=True)


def _nobody_can_run(python: Path, code: str) -> bool:
    nobody = pwd.getpwnam("nobody")
    try:
        done = subprocess.run(
            [python, "-c", code],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            env={"PATH": os.defpath, "HOME": "/nonexistent"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    except PermissionError:
        return False
    return done.returncode == 0
