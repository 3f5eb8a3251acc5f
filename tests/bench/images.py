"""Images: made of a tree, restored to one, cloned; against what an admin types. On tmpfs, and on a fresh ext4."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import grounds, mounts, sources
from tests.bench.image_tasks import RANKS, SQUASH
from tests.bench.races import Cost, Ground, Race
from tests.bench.trees import Existing, Flat

_USR = Existing(Path("/usr"))
_DISK = 4 << 30
_HALF = Flat(2_000, size=1 << 20)  # of such a disk
_FIRST = 2048  # sector of the first partition
_EXT4, _XFS = (tuple(f"{name}-image-fs={kind}" for name in RANKS) for kind in ("ext4", "xfs"))
_NONE: frozenset[str] = frozenset()
_MAKERS = ("cp", "mkfs-d", *_EXT4, "cp-xfs", *_XFS)


def _races() -> Iterator[Race]:
    places: tuple[tuple[str, Ground, str], ...] = (("", "memory", "in memory"), ("-disk", "disk", "on a fresh ext4"))
    for end, ground, where in places:
        make, restore = f"make an image of {{source}}, {where}", f"restore an image of {{source}}, {where}"
        slow = frozenset({"mkfs-d"})
        yield Race(f"image-make{end}", make, _USR, _MAKERS, "cp", Cost(20, 15, 60), "image-make", ground, slow=slow)
        restorers = ("cp", "tar", *RANKS)
        yield Race(
            f"image-restore{end}", restore, _USR, restorers, "cp", Cost(20, 20), "image-restore", ground, slow=_NONE
        )
    what = "clone a disk of 4 GiB with {source}"
    yield Race("image-clone", what, _HALF, ("dd", "hpcp", *RANKS), "dd", Cost(10, 10, 60), "image-clone")
    what, who = "pack {source} as a squashfs", ("mksquashfs", *RANKS)
    yield Race("image-squash", what, _USR, who, "mksquashfs", Cost(20, 15), "image-squash", slow=_NONE)
    what, who = "unpack a squashfs of {source}", ("unsquashfs", *RANKS)
    yield Race("image-unsquash", what, _USR, who, "unsquashfs", Cost(20, 10), "image-unsquash", slow=_NONE)


RACES = {race.name: race for race in _races()}


@contextmanager
def site(race: Race, place: Path, src: Path, disk: Path) -> Iterator[grounds.Site]:
    """Where one run takes place: as in other races, and the sources that are images are made in it."""
    with grounds.site(race, place, src, disk) as found:
        ending = ".sqsh" if race.task == "image-squash" else ""
        dst = found.dst.with_name(found.dst.name + ending)
        given = _given(race, src, dst.parent)
        try:
            os.sync()
            yield grounds.Site(given, dst, src, dst)
        finally:
            made = [dst] if given == src else [dst, given, given.with_name(given.name + ".tar")]
            subprocess.run(["rm", "-rf", "--", *made], check=True)


def _given(race: Race, src: Path, parent: Path) -> Path:
    """Return what contestants get as SRC, made of the tree. Raises mounts.NotMounted."""
    try:
        if race.task == "image-restore":
            image = _image_of(src, parent / "source.img")
            subprocess.run(["tar", "-cf", f"{image}.tar", "-C", src, "."], check=True)
            return image
        if race.task == "image-clone":
            return _disk_of(src, parent / "source.img")
        if race.task == "image-unsquash":
            image = parent / "source.sqsh"
            subprocess.run(["mksquashfs", src, image, *SQUASH], check=True, stdout=subprocess.DEVNULL)
            return image
    except (OSError, subprocess.CalledProcessError) as error:
        raise mounts.NotMounted(str(error)) from None
    return src


def _image_of(src: Path, image: Path) -> Path:
    _filled(image, 16 << 30, 0, src, ".")
    return image


def _disk_of(src: Path, image: Path) -> Path:
    with open(image, "xb") as file:
        file.truncate(_DISK)
    script = f"label: gpt\n1 : start={_FIRST}, name=root\n"
    subprocess.run(["sfdisk", "-q", image], input=script, text=True, check=True)
    _filled(image, _DISK - (2 << 20), _FIRST * 512, src, "tree")
    return image


def _filled(image: Path, size: int, offset: int, src: Path, below: str) -> None:
    """Make an ext4 in a part of an image file, and copy a tree to it."""
    if not offset:
        with open(image, "xb") as file:
            file.truncate(size)
    how = f"offset={offset},lazy_itable_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", how, str(image), f"{size // 1024}k"], check=True)
    script = 'mount -o "loop,offset=$3" "$1" "$4"; rmdir "$4/lost+found"; cp -a -T "$2" "$4/$5"; umount "$4"'
    words = ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"]
    with grounds.scratch(image.parent) as place:
        subprocess.run([*words, image, src, str(offset), place, below], check=True)


def check_room(race: Race, place: Path) -> None:
    """Raises sources.NoRoom: of a source that is an image there are two copies more."""
    needed = sources.room(race.source)
    sources.check_room(place, 3 * needed.in_memory, needed.entries, race.name)
