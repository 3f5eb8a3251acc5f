"""Patches as they are made and applied by commands: in images, of images, for images; and hpcp's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import hpcp_venv
from tests.operations.imaging.patched import copy_of, differences
from tests.support import trees
from tests.support.image_jobs import digest_of_file, digest_of_tree, refuse_damaged
from tests.support.image_runs import ImageRuns
from tests.support.launch import World
from tests.support.marks import each_world, needs_commands, needs_root
from tests.support.private_mounts import in_private
from tests.support.trees import Device, Dir, Fifo, File, HardLink, Node, Symlink

pytestmark = [pytest.mark.root, needs_commands("rsync", "mkfs.ext4", "mkfs.xfs", "blkid")]
T = 1_600_000_000 * 10**9 + 123_456_789
ACL = "u::rw-,u:65534:r--,g::r--,m::rw-,o::---"
# What hpcp has words for.
_OLD: dict[str, Node] = {
    "same": File(b"same", mtime_ns=T),
    "changed": File(b"old", mtime_ns=T),
    "gone": Dir({"a": File(b"a", mtime_ns=T), "b": Dir({"c": Symlink("a")}, mtime_ns=T)}, mtime_ns=T),
    "link": Symlink("old", mtime_ns=T),
    "kind": Symlink("old", mtime_ns=T),
    "dir": Dir({"kept": File(b"kept", mtime_ns=T)}, mtime_ns=T),
    "odd \t\n\\ name": File(b"x", mtime_ns=T),
}
_NEW: dict[str, Node] = {
    "same": File(b"same", mtime_ns=T),
    "changed": File(b"new one", mtime_ns=T + 5, mode=0o640, owner=(3, 4), xattrs={"user.a": b"b"}, acl=ACL),
    "link": Symlink("new", mtime_ns=T),
    "kind": Dir({"inside": File(b"y" * 70000, mtime_ns=T)}, mode=0o2751, mtime_ns=T + 6),
    "dir": Dir({"kept": File(b"kept", mtime_ns=T)}, mode=0o700, mtime_ns=T + 7),
    "odd \t\n\\ name": File(b"other", mtime_ns=T),
}
_MORE: dict[str, Node] = {
    "fifo": Fifo(mtime_ns=T),
    "device": Device(7, 200, block=True, mtime_ns=T),
    "twin": HardLink("changed"),
    "owned": Symlink("x", mtime_ns=T, owner=(7, 8)),
}


def build(place: Path, words: bool = False) -> tuple[Path, Path]:
    """Make place/new and place/base. words: only what hpcp has words for"""
    new, base = place / "new", place / "base"
    trees.build(new, _NEW if words else {**_NEW, **_MORE})
    trees.build(base, _OLD)
    return new, base


def image_of(tree: Path, image: Path, kind: str = "ext4") -> Path:
    subprocess.run(["truncate", "-s", "320M", image], check=True)
    force = "-f" if kind == "xfs" else "-F"
    subprocess.run([f"mkfs.{kind}", "-q", force, image], check=True, capture_output=True)
    in_private(f'on "$1" 0 0 "$room/i" -t {kind}; cp -a "$2/." "$room/i"', image, tree)
    return image


def taken_out(image: Path, kind: str, to: Path) -> Path:
    # XFS shows an ACL as an attribute, too.
    rsync = 'rsync --filter="-x trusted.SGI_ACL_*" -aHAX --exclude=/lost+found "$room/i/" "$2/"'
    in_private(f'on "$1" 0 0 "$room/i" -t {kind} -o ro; {rsync}', image, to)
    return to


@needs_root
@each_world((2,), ("plain", "mpich"))
def test_a_patch_of_directories_makes_one_equal_to_the_other(world: World, on_tmpfs: Path) -> None:
    new, base = build(on_tmpfs)
    runs, before = ImageRuns(on_tmpfs, flavour=world.flavour, n=world.n), digest_of_tree(new) + digest_of_tree(base)
    runs("new", "-d", "base", "-diff", "p.img").check()
    assert digest_of_tree(new) + digest_of_tree(base) == before
    refuse_damaged(on_tmpfs / "p.img", "ext4")
    copy_of(base, on_tmpfs / "target")
    runs("-siff", "p.img", "-d", "target").check()
    assert differences(new, on_tmpfs / "target") == ""
    again = runs("-siff", "p.img", "-d", "target").check()
    assert "deleted 0, added 0, modified 0" in again.stderr
    assert differences(new, on_tmpfs / "target") == ""


@needs_root
@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=pytest.mark.to_the_end)])
def test_a_patch_of_images_is_applied_to_an_image(kind: str, on_tmpfs: Path) -> None:
    new, base = build(on_tmpfs)
    images = [image_of(tree, on_tmpfs / f"{tree.name}.img", kind) for tree in (new, base)]
    runs, before = ImageRuns(on_tmpfs), [digest_of_file(image) for image in images]
    runs("-si", "new.img", "-di", "base.img", "-diff", "p.img").check()
    assert [digest_of_file(image) for image in images] == before
    dry = runs("-siff", "p.img", "-di", "base.img", "-n").check()
    assert ".f" in dry.stdout or ">f" in dry.stdout
    assert digest_of_file(images[1]) == before[1]
    runs("-siff", "p.img", "-di", "base.img").check()
    refuse_damaged(images[1], kind)
    assert differences(new, taken_out(images[1], kind, on_tmpfs / "out")) == ""
    copy_of(base, on_tmpfs / "target")
    runs("-siff", "p.img", "-d", "target").check()
    assert differences(new, on_tmpfs / "target") == ""


@needs_root
def test_a_patch_of_a_directory_for_the_image_that_it_was_packed_into_is_of_its_place_there(on_tmpfs: Path) -> None:
    new, base = build(on_tmpfs)
    kept = new.rename(on_tmpfs / "later")
    base.rename(new)
    runs = ImageRuns(on_tmpfs)
    runs("new", "-di", "base.img").check()
    shutil.rmtree(new)
    copy_of(kept, new)
    runs("new", "-di", "base.img", "-diff", "p.img").check()
    runs("-siff", "p.img", "-di", "base.img").check()
    runs("-si", "base.img", "-d", "out").check()
    assert differences(kept, Path(f"{on_tmpfs}/out{on_tmpfs}/new")) == ""
    elsewhere = runs("later", "-di", "base.img", "-diff", "p2.img")
    assert elsewhere.returncode == 1 and "--image-root" in elsewhere.stderr


@needs_root
def test_conflicts_in_an_image_are_listed_and_it_is_not_written_to(on_tmpfs: Path) -> None:
    new, base = build(on_tmpfs)
    runs = ImageRuns(on_tmpfs)
    runs("new", "-d", "base", "-diff", "p.img").check()
    (base / "changed").write_bytes(b"mine")
    image = image_of(base, on_tmpfs / "base.img")
    before = digest_of_file(image)
    refused = runs("-siff", "p.img", "-di", "base.img")
    assert refused.returncode == 1 and "conflict: changed: it was changed" in refused.stderr
    assert "-fa" in refused.stderr and digest_of_file(image) == before
    runs("-siff", "p.img", "-di", "base.img", "-fa").check()
    assert differences(new, taken_out(image, "ext4", on_tmpfs / "out")) == ""


@needs_root
def test_a_patch_is_applied_to_what_holds_the_directory_for_temporary_files(on_tmpfs: Path) -> None:
    new, base = build(on_tmpfs)
    ImageRuns(on_tmpfs)("new", "-d", "base", "-diff", "p.img").check()
    inside = ImageRuns(base)
    inside("-siff", on_tmpfs / "p.img", "-d", base).check()
    inside.temporary.rmdir()
    assert _but_times(differences(new, base)) == []


@needs_root
def test_trees_that_are_equal_make_a_patch_that_does_nothing(on_tmpfs: Path) -> None:
    new, _ = build(on_tmpfs)
    copy_of(new, on_tmpfs / "same")
    runs = ImageRuns(on_tmpfs)
    runs("new", "-d", "same", "-diff", "p.img").check()
    runs("-siff", "p.img", "-d", "same").check()
    assert differences(new, on_tmpfs / "same") == ""


REFUSED: dict[str, tuple[Callable[[Path], object], list[str], int, str]] = {
    "the patch is there": (lambda top: (top / "p.img").touch(), ["new", "-d", "base", "-diff", "p.img"], 2, "--yes"),
    "the patch would lie in a tree": (lambda top: None, ["new", "-d", "base", "-diff", "new/p.img"], 2, "compared"),
    "a tree is missing": (lambda top: None, ["nothing", "-d", "base", "-diff", "p.img"], 1, "no directory"),
    "whole disks": (lambda top: None, ["-dd", "a.img", "-d", "b.img", "-diff", "p.img"], 1, "whole disks"),
    "no patch": (
        lambda top: image_of(top / "base", top / "p.img"),
        ["-siff", "p.img", "-d", "base"],
        1,
        "Is it a patch",
    ),
    "no image": (lambda top: (top / "p.img").write_bytes(b"x" * 9999), ["-siff", "p.img", "-d", "base"], 1, "p.img"),
    "no target": (lambda top: (top / "p.img").touch(), ["-siff", "p.img", "-d", "nothing"], 1, "p.img is empty"),
}


@needs_root
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_patch_or_has_no_place_is_refused(what: str, on_tmpfs: Path) -> None:
    build(on_tmpfs)
    prepare, args, code, word = REFUSED[what]
    prepare(on_tmpfs)
    before = digest_of_tree(on_tmpfs / "base")
    done = ImageRuns(on_tmpfs)(*args)
    assert done.returncode == code and word in done.stderr, done
    assert digest_of_tree(on_tmpfs / "base") == before


@needs_root
def test_a_patch_that_its_place_has_no_room_for_is_refused_and_nothing_is_left(on_tmpfs: Path) -> None:
    build(on_tmpfs)
    script = """
        mkdir "$room/small"; mount -t tmpfs -o size=70M none "$room/small"
        cd "$1"; code=0
        "$2" -m hpcp_mpi new -d base -diff "$room/small/p.img" >&2 || code=$?
        echo $code $(ls -A "$room/small")
    """
    python = Path(__file__).resolve().parents[3] / ".venv/bin/python"
    assert in_private(script, on_tmpfs, python).split() == ["1"]


def _but_times(found: str) -> list[str]:
    """Differences, without those of which hpcp's patches say nothing: times of directories and symlinks."""
    return [line for line in found.splitlines() if not line.startswith((".d..t......", ".L..t......", "{"))]


def _hpcp(*words: str | Path) -> subprocess.CompletedProcess[str]:
    missing = hpcp_venv.missing()
    assert missing is None, missing
    command = ["unshare", "--mount", "--propagation", "private", hpcp_venv.program(), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)


@needs_root
def test_a_patch_is_applied_by_hpcp(on_tmpfs: Path) -> None:
    new, base = build(on_tmpfs, words=True)
    ImageRuns(on_tmpfs)("new", "-d", "base", "-diff", "p.img").check()
    done = _hpcp("-siff", on_tmpfs / "p.img", "-d", base)
    assert "failed 0" in done.stdout, done.stdout
    assert _but_times(differences(new, base)) == []


@needs_root
def test_a_patch_by_hpcp_is_applied(on_tmpfs: Path) -> None:
    new, base = build(on_tmpfs, words=True)
    _hpcp("-diff", on_tmpfs / "p.img", new, "-d", base)
    runs = ImageRuns(on_tmpfs)
    runs("-siff", "p.img", "-d", "base").check()
    assert _but_times(differences(new, base)) == []
    again = runs("-siff", "p.img", "-d", "base").check()
    assert "deleted 0, added 0, modified 0" in again.stderr
