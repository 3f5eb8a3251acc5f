"""Who takes part where images are made, restored and cloned, and who judges. What an admin types is the anchor."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import verify
from tests.bench.contestants import WORLDS, Command, Contestant, Job, hpcp, ours, tool
from tests.bench.verify import Judgement
from tests.support import launch

RANKS = ("plain", "mpich-2")
SQUASH = ("-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-no-progress", "-quiet")
# Sparse, so its size costs nothing: an admin rounds up.
_PACK = """
truncate -s 16G "$2"
$MAKE "$2"
mount -o loop "$2" "$3"
mkdir -p "$3$1"
cp -a -T "$1" "$3$1"
umount "$3"
"""
_RESTORE = 'mount -o loop,ro "$1" "$3" && cp -a -T "$3" "$2" && umount "$3"'
_Argv = Callable[[Job], list[str]]


def _script(name: str, label: str, script: str, where: str = "", **variables: str) -> Contestant:
    """A shell script in a mount namespace of its own: $1 is SRC, $2 is DST, $3 a directory to mount on."""

    def build(job: Job, options: object) -> Command:
        mountpoint = job.work / "mnt"
        mountpoint.mkdir(exist_ok=True)
        words = ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh", str(job.src), str(job.dst)]
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        return Command(tuple(map(os.fsencode, [*words, str(mountpoint)])), {**os.environ, "PATH": path, **variables})

    def lacks(options: object) -> str | None:
        return None if os.geteuid() == 0 else "needs root, to mount"

    return Contestant(name, name, label, build, lacks, where)


def _ours(arguments: Callable[[Job], list[launch.Argument]], extra: str = "") -> list[Contestant]:
    return [ours(world, arguments, extra) for world in (launch.World("plain"), WORLDS["mpich-2"])]


def makers() -> Iterator[Contestant]:
    anchor = "mkfs, mount, cp -a, umount"
    yield _script("cp", anchor, _PACK, "ext4", MAKE="mkfs.ext4 -q -F")
    yield _script("cp-xfs", anchor, _PACK, "xfs", MAKE="mkfs.xfs -q")
    filled = 'truncate -s 16G "$2" && mkfs.ext4 -q -F -d "$1" "$2"'
    yield _script("mkfs-d", "mkfs.ext4 -d", filled)
    for kind in ("ext4", "xfs", "btrfs"):
        yield from _ours(lambda job: [job.src, "-di", job.dst], f"--image-fs={kind}")


def restorers() -> Iterator[Contestant]:
    yield _script("cp", "mount, cp -a, umount", _RESTORE)
    yield _script("tar", "tar x", 'mkdir "$2" && tar -xf "$1.tar" -C "$2"', "of the same tree")
    yield from _ours(lambda job: ["-si", job.src, "-d", job.dst])


def cloners() -> Iterator[Contestant]:
    def argv(job: Job, options: object) -> list[str]:
        return ["dd", f"if={job.src}", f"of={job.dst}", "bs=4M", "conv=sparse", "status=none"]

    yield tool("dd", "dd bs=4M conv=sparse", "apt-get install coreutils", argv)
    yield hpcp(lambda job: ["-dd", str(job.src), "-di", str(job.dst)])
    yield from _ours(lambda job: ["-dd", job.src, "-di", job.dst, "--yes"])


def squashers() -> Iterator[Contestant]:
    yield tool(
        "mksquashfs",
        "mksquashfs",
        "apt-get install squashfs-tools",
        lambda job, _: ["mksquashfs", str(job.src), str(job.dst), *SQUASH],
        "zstd 3",
    )
    yield from _ours(lambda job: [job.src, "-di", job.dst, "--image-root"])


def unsquashers() -> Iterator[Contestant]:
    yield tool(
        "unsquashfs",
        "unsquashfs",
        "apt-get install squashfs-tools",
        lambda job, _: ["unsquashfs", "-q", "-n", "-d", str(job.dst), str(job.src)],
    )
    yield from _ours(lambda job: ["-si", job.src, "-d", job.dst])


@contextmanager
def shown(image: Path, offset: int = 0) -> Iterator[Path]:
    """Yield where an image is mounted, read-only."""
    with tempfile.TemporaryDirectory(prefix="hpcp-mpi-bench-mount-") as place:
        how = "loop,ro,nouuid" if _kind(image, offset) == "xfs" else "loop,ro"
        subprocess.run(["mount", "-o", f"{how},offset={offset}", image, place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def _kind(image: Path, offset: int) -> str:
    asked = ["blkid", "-p", "-o", "value", "-s", "TYPE", "-O", str(offset), str(image)]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def judge_image(src: Path, image: Path) -> Judgement:
    """The tree lies at its own path in the image, or is the root of it."""
    try:
        with shown(image) as mounted:
            at = mounted / src.relative_to("/")
            if at.is_dir():
                return verify.judge(src, at)
            left, found = verify.size_of(src), verify.size_of(mounted)
            return Judgement(
                None if left == found else f"wrong image: {found} of {left}", "verified by number and bytes"
            )
    except subprocess.CalledProcessError as error:
        return Judgement(f"the image cannot be mounted: {error}")


def judge_clone(src: Path, image: Path) -> Judgement:
    """The tree is the root of the first partition, which starts at 1 MiB."""
    try:
        with shown(image, 1 << 20) as mounted:
            found = verify.judge(src, mounted / "tree")
    except subprocess.CalledProcessError as error:
        return Judgement(f"the clone cannot be mounted: {error}")
    return found
