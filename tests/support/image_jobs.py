"""One command of each verb of images, what it needs, and how other programs judge what it made.

job = JOBS["pack-ext4"](place, originals)      # a Job: its sources are made in the directory
job.args, job.made                             # the command line, and the path of what it makes
job.judge()                                    # fails unless what was made equals the sources
job.sources()                                  # what tells that the sources are what they were
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import launch, trees
from tests.support.disks import MIB, Disk, differences, hash_of, tree
from tests.support.launch import Argument
from tests.support.private_mounts import in_private
from tests.support.trees import Dir, File, Node

_T = 1_700_000_000_987_654_321
CHECKS: Mapping[str, tuple[str, ...]] = {
    "ext4": ("e2fsck", "-f", "-n"),
    "xfs": ("xfs_repair", "-n"),
    "btrfs": ("btrfs", "check", "--readonly"),
}


@dataclass(frozen=True)
class Job:
    args: tuple[Argument, ...]
    made: Path
    judge: Callable[[], None]
    sources: Callable[[], str]
    in_place: bool = False  # what is made was there before, and is changed where it is
    once: bool = False  # what is made is not changed any more


def same(found: object, expected: object = "", what: str = "") -> None:
    """Fail, with what was found, unless it is what was expected."""
    assert found == expected, f"{what}\n{found}\nis not\n{expected}"


def digest_of_tree(root: Path) -> str:
    """All that find, and the content of files, say of a tree."""
    script = r"""
cd "$1" && find . -printf '%P %y %m %U %G %T@ %n %s %l\0' | LC_ALL=C sort -z
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum --
"""
    told = subprocess.run(["bash", "-c", script, "bash", root], check=True, capture_output=True).stdout
    return hashlib.sha256(told).hexdigest()


def digest_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return f"{hash_of(file.fileno(), 0, path.stat().st_size)} {path.stat().st_mtime_ns}"


def a_tree(root: Path) -> Path:
    """A tree with everything in it, some thousand small files and a few bigger ones. It must be on tmpfs."""
    many: dict[str | bytes, Node] = {f"{n:04}": File(b"%d" % n * (n % 300), mtime_ns=_T + n) for n in range(1500)}
    big: dict[str | bytes, Node] = {f"{n}": File(bytes([n]) * (3 * MIB), mtime_ns=_T) for n in range(1, 5)}
    trees.build(root, {**tree("of a job"), "many more": Dir(many, mtime_ns=_T), "big": Dir(big, mtime_ns=_T)})
    return root


def difference_of_image(source: Path, image: Path, type: str, below: str) -> str:
    """In what rsync and find see a tree and an image's directory differ; "" if in nothing."""
    options = {"xfs": "-o ro,nouuid"}.get(type, "-o ro")
    script = f'on "$2" 0 0 "$room/image" -t {type} {options}\n' + _DIFFERENCE
    return in_private(script, source, image, below)


# XFS shows an ACL as an attribute, too.
_DIFFERENCE = r"""
at=$room/image$3
rsync --filter='-x trusted.SGI_ACL_*' -aHAXn --checksum --delete --itemize-changes --exclude=/lost+found "$1/" "$at/"
for each in "$1" "$at"; do
    (cd "$each" && find . -path ./lost+found -o -printf '%P %y %m %U %G %T@ %l\0' | LC_ALL=C sort -z | tr '\n\0' '?\n')
done | sort | uniq -u
"""


def difference_of_trees(source: Path, copy: Path) -> str:
    return in_private('mkdir -p "$room/image"; mount --bind "$2" "$room/image"\n' + _DIFFERENCE, source, copy, "")


def refuse_damaged(image: Path, type: str) -> None:
    """Fail unless the program that checks file systems finds nothing wrong."""
    done = subprocess.run([*CHECKS[type], image], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _pack(type: str, place: Path, disk: Callable[[str], Disk]) -> Job:
    source, image = a_tree(place / "T"), place / "i.img"

    def judge() -> None:
        refuse_damaged(image, type)
        same(difference_of_image(source, image, type, str(source)))

    return Job((source, "-di", image, "--image-fs", type), image, judge, lambda: digest_of_tree(source))


def _update(place: Path, disk: Callable[[str], Disk]) -> Job:
    job = _pack("ext4", place, disk)
    subprocess.run(["mkfs.ext4", "-q", "-F", job.made, "200M"], check=True, capture_output=True)
    below = f'"$room/image{place}/T"'
    script = 'on "$1" 0 0 "$room/image" -t ext4\n' + f'mkdir -p {below}; cp -a "$2/." {below}\n'
    script += f"rm -r {below}/big/1; echo old >{below}/many\\ more/0001\n"
    in_private(script, job.made, place / "T")
    return Job((place / "T", "-di", job.made), job.made, job.judge, job.sources, in_place=True)


def _restore(place: Path, disk: Callable[[str], Disk]) -> Job:
    image, out, source = place / "i.img", place / "out", a_tree(place / "T")
    subprocess.run(["mkfs.ext4", "-q", "-F", image, "200M"], check=True, capture_output=True)
    in_private('on "$1" 0 0 "$room/image" -t ext4; cp -a "$2/." "$room/image"', image, source)

    def judge() -> None:
        same(difference_of_trees(source, out))

    return Job(("-si", image, "-d", out), out, judge, lambda: digest_of_file(image), in_place=True)


def _squash(place: Path, disk: Callable[[str], Disk]) -> Job:
    source, image = a_tree(place / "T"), place / "d.sqsh"

    def judge() -> None:
        unpacked = place / "unpacked"
        subprocess.run(["unsquashfs", "-q", "-n", "-d", unpacked, image], check=True, capture_output=True)
        same(_squash_difference(source, unpacked))
        shutil.rmtree(unpacked)

    return Job((source, "-di", image, "--image-root"), image, judge, lambda: digest_of_tree(source), once=True)


def _unsquash(place: Path, disk: Callable[[str], Disk]) -> Job:
    source, image, out = a_tree(place / "T"), place / "d.sqsh", place / "out"
    subprocess.run(["mksquashfs", source, image, "-comp", "zstd", "-quiet"], check=True, capture_output=True)
    return Job(
        ("-si", image, "-d", out),
        out,
        lambda: same(_squash_difference(source, out)),
        lambda: digest_of_file(image),
        in_place=True,
    )


def _squash_difference(source: Path, copy: Path) -> str:
    """As difference_of_trees, but a squashfs has whole seconds and no ACLs."""
    command = ["rsync", "-aHXn", "--checksum", "--delete", "--itemize-changes", "--modify-window=1"]
    told = subprocess.run([*command, f"{source}/", f"{copy}/"], check=True, capture_output=True, text=True)
    return "".join(line for line in told.stdout.splitlines(True) if not line.startswith((".f...p", ".d...p")))


def _clone(kind: str, resize: tuple[str, ...], place: Path, disk: Callable[[str], Disk]) -> Job:
    source, image = disk(kind).copied(place / "a.img"), place / "b.img"

    def judge() -> None:
        clone = source.found_at(image)
        if not resize:
            same(_table(image), _table(source.path))
        for part in source.parts:
            if part.type in ("ext4", "ext2", "xfs", "btrfs"):
                same(differences(source, clone, part.key), what=part.key)
            elif part.type != "swap":
                same(clone.content(part.key), source.content(part.key), part.key)

    more = tuple(word for each in resize for word in ("-ddr", each))
    return Job(("-dd", source.path, "-di", image, "--yes", *more), image, judge, lambda: digest_of_file(source.path))


def _trees_to_patch(place: Path) -> tuple[Path, Path]:
    """A tree, and what it was before: entries of all kinds are added, modified and removed."""
    new, base = a_tree(place / "new"), place / "base"
    change = """
cp -a "$1" "$2"; cd "$2"
rm -r "big/1" "many more/0001" "many more/02"*; for each in "many more/03"*; do echo old >"$each"; done
mkdir gone; cp "many more/1"* gone; chmod 700 big
"""
    subprocess.run(["bash", "-euc", change, "bash", new, base], check=True)
    return new, base


def _patch(place: Path, disk: Callable[[str], Disk]) -> Job:
    (new, base), patch = _trees_to_patch(place), place / "p.img"

    def judge() -> None:
        refuse_damaged(patch, "ext4")
        target = place / "temporary" / "target"
        subprocess.run(["cp", "-a", base, target], check=True)
        launch.run(["-siff", patch, "-d", target], flavour="plain").check()
        same(difference_of_trees(new, target))
        subprocess.run(["rm", "-r", target], check=True)

    def sources() -> str:
        return digest_of_tree(new) + digest_of_tree(base)

    return Job((new, "-d", base, "-diff", patch, "--yes"), patch, judge, sources)


def _apply(place: Path, disk: Callable[[str], Disk]) -> Job:
    (new, base), patch = _trees_to_patch(place), place / "p.img"
    launch.run([new, "-d", base, "-diff", patch], flavour="plain").check()
    return Job(
        ("-siff", patch, "-d", base),
        base,
        lambda: same(difference_of_trees(new, base)),
        lambda: digest_of_tree(new) + digest_of_file(patch),
        in_place=True,
    )


def _table(path: Path) -> object:
    told = json.loads(subprocess.run(["sfdisk", "--json", path], check=True, capture_output=True).stdout)
    found = told["partitiontable"]
    found.pop("device")
    for each in found["partitions"]:
        each["node"] = each["node"].removeprefix(str(path))
    return found


Maker = Callable[[Path, Callable[[str], Disk]], Job]
JOBS: Mapping[str, Maker] = {
    "pack-ext4": lambda place, disk: _pack("ext4", place, disk),
    "pack-xfs": lambda place, disk: _pack("xfs", place, disk),
    "pack-btrfs": lambda place, disk: _pack("btrfs", place, disk),
    "update": _update,
    "restore": _restore,
    "patch": _patch,
    "apply": _apply,
    "squash": _squash,
    "unsquash": _unsquash,
    "clone": lambda place, disk: _clone("gpt", (), place, disk),
    "clone-dos": lambda place, disk: _clone("dos", (), place, disk),
    "resize": lambda place, disk: _clone("gpt", ("4=150MiB",), place, disk),
}
