"""Images of single file systems for tests: filled, or with a journal that waits; and what they hold, by other tools.

image = made(place / "x.img", "ext4")                            # holds disks.tree("x"), or what a script makes of it
image = unclean(place / "x.img", "xfs")                          # also late/synced, which only the journal knows
assert unlike(image, place / "out") == ""                        # rsync's and find's words
assert unlike(disk.path, out / "root", at=disk["root"]) == ""
with attached(image) as device: ...                              # a loop device of somebody else

All of it needs root.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import disks, trees
from tests.support.private_mounts import in_private

MIB = 1 << 20
_REPOSITORY = Path(__file__).resolve().parents[2]
_EXT = ("mke2fs", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-t")
MAKING: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "ext2": (64 * MIB, (*_EXT, "ext2")),
    "ext3": (64 * MIB, (*_EXT, "ext3", "-I", "256")),
    "ext4": (64 * MIB, (*_EXT, "ext4", "-I", "256")),
    "xfs": (320 * MIB, ("mkfs.xfs", "-q")),
    "btrfs": (128 * MIB, ("mkfs.btrfs", "-q")),
}
READ_ONLY = ("squashfs", "erofs")
OPTIONS = {"xfs": "nouuid"}


def empty(image: Path, kind: str, *options: str) -> Path:
    size, command = MAKING[kind]
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run([*command, *options, image], check=True, capture_output=True)
    return image


def made(image: Path, kind: str, script: str = "") -> Path:
    """Make an image. script: shell, fills what is mounted at $1; "": it gets disks.tree()."""
    # mkfs.erofs does not know every name.
    more = '; rm -r "$1"/names' if kind == "erofs" else ""
    fill = script or f'cd {_REPOSITORY}; "{sys.executable}" -m tests.support.images "$1" {image.stem}{more}'
    if kind in READ_ONLY:
        with tempfile.TemporaryDirectory(dir=image.parent) as tree:
            subprocess.run(["bash", "-ec", fill, "bash", tree], check=True)
            _packed(image, kind, Path(tree))
        return image
    size, _ = MAKING[kind]
    in_private(f'on "$1" 0 {size} "$room/a"; set -- "$room/a"; {fill}', empty(image, kind))
    return image


def _packed(image: Path, kind: str, tree: Path) -> None:
    if kind == "squashfs":
        command: list[str | Path] = ["mksquashfs", tree, image, "-noappend", "-quiet", "-no-progress"]
    else:
        command = ["mkfs.erofs", "--quiet", image, tree]
    subprocess.run(command, check=True, capture_output=True)


def unclean(image: Path, kind: str) -> Path:
    """Make an image as a crash leaves it: `before` is on disk, `late/synced` in a journal, if there is one."""
    live = empty(image.with_name(image.name + ".live"), kind)
    script = """
        on "$1" 0 "$3" "$room/a"; cd "$room/a"
        echo before >before; sync -f .
        mkdir late; echo "in the journal" >late/synced; sync late/synced; sync late
        cp --sparse=always "$1" "$2"; cd /
    """
    in_private(script, live, image, MAKING[kind][0])
    live.unlink()
    return image


def hash_of(path: Path) -> str:
    """Return a hash of a sparse file: of its data, and of where that lies.."""
    found = hashlib.sha256(b"%d" % path.stat().st_size)
    with open(path, "rb", buffering=0) as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return found.hexdigest()
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.update(b"%d %d" % (start, end))
            for at in range(start, end, MIB):
                found.update(os.pread(file.fileno(), min(MIB, end - at), at))


def unlike(image: Path, directory: Path, *, at: disks.Part | None = None, kind: str = "") -> str:
    """Return in what the tree of an image, or of a partition of it, differs from a directory; "": in nothing."""
    start, size = (at.start, at.size) if at is not None else (0, image.stat().st_size)
    kind = at.type if at is not None else kind
    options = f"-o ro,{OPTIONS[kind]}" if kind in OPTIONS else "-o ro"
    found = in_private(f'on "$1" "$2" "$3" "$room/a" {options}\n{_COMPARE}', image, start, size, directory)
    return "".join(line + "\n" for line in found.splitlines() if not re.search(_NO_MATTER, line))


# lost+found is a part of ext; xfs shows its ACLs as attributes, too.
_NO_MATTER = r"lost.found|^\d[\d,]*[acd]\d|^\.[fd]\.{8}x (allowed|names/)$"
# Links of directories are counted differently. Squashfs has whole seconds, and rsync compares no more.
_COMPARE = r"""
rsync -aHAXn --checksum --delete --itemize-changes "$room/a/" "$4/"
listed() {
    (cd "$1" && find . -xdev -printf '%P %y %m %U %G %T@ %l\0' | LC_ALL=C sort -z | tr '\n\0' '?\n')
}
diff --text <(listed "$room/a") <(listed "$4") || true
"""


@contextmanager
def attached(image: Path, *options: str) -> Iterator[Path]:
    """Yield a loop device over an image."""
    command = ["losetup", "--find", "--show", *options, str(image)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def loops_on(directory: Path) -> list[str]:
    """The loop devices over files in a directory, as losetup lists them. Tests at the same time have others."""
    listed = subprocess.run(["losetup", "-l", "-n", "-O", "NAME,BACK-FILE"], check=True, capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if f"{directory}/" in line]


@dataclass(frozen=True)
class Ended:
    """How a run of `restored` ended. failures, notes: by path"""

    code: int
    says: str = ""
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def restored(*runs: Sequence[str | Path], timeout: float = 120, **environment: str) -> list[Ended]:
    """Run `hpcp-mpi -si IMAGE -d DIRECTORY`, for each (image, directory, [--unclean, [--partition...]]).

    One process does them all, one after the other: for tests of many that are refused.
    """
    text = json.dumps([[str(word) for word in each] for each in runs])
    command = [sys.executable, "-c", _RESTORE]
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        cwd=_REPOSITORY,
        timeout=timeout,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*each) for each in json.loads(done.stdout)]


_RESTORE = """
import json, os, sys
from hpcp_mpi.operations.session import run
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import ImageOptions, Unclean
from hpcp_mpi.vocab.request import Request, Verb
found = []
for image, directory, *words in json.load(sys.stdin):
    unclean, *partitions = words or ["refuse"]
    images = ImageOptions(images=(os.fsencode(image),), unclean=Unclean(unclean), partitions=tuple(partitions))
    try:
        report = run(Request(Verb.COPY, (), (os.fsencode(directory),), images=images, force=True), {})
    except FatalError as error:
        found.append((error.exit_code, str(error)))
        continue
    failures = {os.fsdecode(path): reason for path, reason, *_ in report.failures}
    found.append((report.exit_code, "", failures, {os.fsdecode(path): note for path, note in report.outcome.notes}))
print(json.dumps(found))
"""


if __name__ == "__main__":
    trees.build(Path(sys.argv[1]), disks.tree(sys.argv[2]))
