"""Images as other tools see them: is the file system in one good, and is a tree in it equal to its source?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.launch import Argument, Finished, run
from tests.support.private_mounts import in_private

CHECKERS = {"ext4": ("e2fsck", "-fn"), "xfs": ("xfs_repair", "-n"), "btrfs": ("btrfs", "check", "--readonly")}
COMMANDS = ("mke2fs", "mkfs.xfs", "mkfs.btrfs", "rsync", "blkid")
# The directory itself, too, but not its own name in it.
_DIFFERENCES = """
on "$2" "$4" "$(($(stat -c %s "$2") - $4))" "$room/image" -o "ro$5"
# Only xfs shows ACLs as attributes of its own, too.
rsync -aHAXn --checksum --delete --exclude=/lost+found --filter='-x trusted.SGI_ACL_*' -i "$1/" "$room/image/$3/"
seen() {
    cd "$1"
    find . -name lost+found -prune -o -type d -printf '%P d %m %U %G %T@\\n' \
        -o -printf '%P %y %m %U %G %T@ %n %l\\n' | sort
}
diff <(seen "$1") <(seen "$room/image/$3") || true
"""


def pack(*args: Argument, **setting: Any) -> Finished:
    """Run the tool without a launcher, with a time limit that a busy machine keeps."""
    return run(args, **{"flavour": "plain", "timeout": 120, **setting})


def kind_of(image: Path) -> str:
    """The type of an image's file system, as blkid sees it."""
    asked: list[str | Path] = ["blkid", "-p", "-o", "value", "-s", "TYPE", image]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def problems_of(image: Path) -> str:
    """What the checker of the image's file system finds; "" for a good one."""
    done = subprocess.run([*CHECKERS[kind_of(image)], image], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def differences(source: Path, image: Path, at: Path | str | None = None, offset: int = 0) -> str:
    """What rsync and find say of a tree and what lies of it in an image, at its own path or `at`; "" if nothing."""
    kind = "" if offset else kind_of(image)
    options = ",nouuid" if kind == "xfs" else ""
    inside = os.fspath(at) if at is not None else os.fspath(source).lstrip("/")
    return in_private(_DIFFERENCES, source, image, inside, offset, options)


def loops_of(image: Path) -> list[str]:
    """The loop devices that lie over a file, of anybody."""
    asked: list[str | Path] = ["losetup", "-n", "-O", "NAME", "-j", image]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()


def inside(image: Path, script: str) -> str:
    """What a shell script prints, in the root of a mounted image."""
    options = ",nouuid" if kind_of(image) == "xfs" else ""
    mounted = 'on "$1" 0 "$(stat -c %s "$1")" "$room/image" -o "ro$2"; cd "$room/image"\n'
    return in_private(mounted + script, image, options)


def rsync_finds(one: Path, other: Path) -> str:
    """What rsync finds to differ in two trees."""
    command: list[str | Path] = ["rsync", "-aHAXn", "--checksum", "--delete", "-i", f"{one}/", other]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
