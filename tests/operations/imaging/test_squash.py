"""Squashfs images: made and read with root and without, judged by unsquashfs and rsync."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.copies import PLAIN, Copied, copy, stages
from tests.support.launch import Argument, World, run, start
from tests.support.marks import needs_commands, needs_root
from tests.support.trees import Dir, File, HardLink, Node, Sparse, Symlink, build

pytestmark = [needs_commands("mksquashfs", "unsquashfs", "squashfuse", "rsync", "setpriv")]

SECOND = 1_000_000_000
NOBODY = 65534
WHEN = 1_234_567_890 * SECOND
# Names that lists of excludes and patterns give another meaning to.
AWKWARD: list[bytes] = [
    b" lead", b"trail ", b"#hash", b"st*r", b"q?", b"[a]", b"p(a|b)", b"+(x)", b"back\\slash", b"new\nline", b"-dash",
    b"... dots", b"\xff\xfe", b"caf\xc3\xa9", b"a'b\"c", b"!x",
]  # fmt: skip


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may write to, on a file system with ACLs and attributes."""
    with tempfile.TemporaryDirectory(prefix="hpcp-mpi-test-", dir="/var/tmp") as made:
        os.chmod(made, 0o777)
        yield Path(made)
    assert " fuse.squashfuse " not in Path("/proc/self/mountinfo").read_text(), "nothing stays mounted"


def tree(**more: Node) -> Mapping[str, Node]:
    plain = {
        "file": File(b"content", mode=0o640, mtime_ns=WHEN),
        "empty": File(b"", mtime_ns=WHEN),
        "holes": Sparse(5 << 20, ((1 << 20, b"data"),), mtime_ns=WHEN),
        "sub": Dir({"deep": Dir({"twin": HardLink("file")}, mtime_ns=WHEN)}, mode=0o750, mtime_ns=WHEN),
        "link": Symlink("sub/deep", mtime_ns=WHEN),
        "pipe.tmp": File(b"left out", mtime_ns=WHEN),
    }
    return {**plain, **more}


def equal(src: Path, dst: Path, *options: str) -> None:
    """rsync finds no difference at all. Sources end in / where contents are meant."""
    words = ["rsync", "-aHAXn", "--checksum", "--delete", "-i", *options, f"{src}/", f"{dst}/"]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b""


def unpacked(image: Path, to: Path) -> Path:
    """What unsquashfs makes of an image."""
    subprocess.run(["unsquashfs", "-quiet", "-no-progress", "-d", to, image], check=True, capture_output=True)
    return to


def names(image: Path) -> set[bytes]:
    """The paths in an image."""
    listed = subprocess.run(["unsquashfs", "-l", "-d", "", image], check=True, capture_output=True).stdout
    return {path.removeprefix(b"/") for path in listed.removesuffix(b"\n").split(b"\n/") if path.strip()}


def as_nobody(*args: Argument, code: int = 0, **setting: Any) -> Copied:
    return copy(*args, code=code, user="nobody", **setting)


def owned(root: Path) -> Path:
    """Give a tree to nobody."""
    subprocess.run(["chown", "-hR", f"{NOBODY}:{NOBODY}", root], check=True)
    return root


@needs_root
def test_who_is_not_root_makes_an_image_and_gets_the_same_back(place: Path) -> None:
    build(place / "D", tree(note=File(b"x", xattrs={"user.note": b"kept"}, mtime_ns=WHEN)))
    os.utime(place / "D", ns=(WHEN, WHEN))
    owned(place / "D")
    made = as_nobody(place / "D", "-di", place / "d.sqsh", "--image-root", "-e", "*.tmp", "--verify")
    assert made.report["verb"] == "image" and made.failures == {} == made.notes
    (image,) = made.report["images"]
    assert (image["what"], image["file_system"], image["bytes"]) == (
        "made",
        "squashfs",
        (place / "d.sqsh").stat().st_size,
    )
    assert made.report["verified"]["files"] == made.report["copied"]["files"] == 5
    assert stat.S_IMODE((place / "d.sqsh").stat().st_mode) == 0o600, "who may not read a file may not read it here"
    equal(place / "D", unpacked(place / "d.sqsh", place / "judged"), "--exclude=*.tmp")
    back = as_nobody("-si", place / "d.sqsh", "-d", place / "out")
    assert back.report["copied"]["files"] == 5 and back.failures == {}
    equal(place / "D", place / "out", "--exclude=*.tmp")
    assert sorted(os.listdir(place)) == ["D", "d.sqsh", "judged", "out"], "no stage is left"


@needs_root
def test_a_squashfs_is_looked_into_without_root(place: Path) -> None:
    build(place / "D", tree())
    owned(place / "D")
    subprocess.run(["mksquashfs", place / "D", place / "d.sqsh", "-quiet", "-no-progress"], check=True)
    os.chmod(place / "d.sqsh", 0o644)
    build(place / "out", {"mine": File(b"stays")})
    owned(place / "out")
    copied = as_nobody("-si", place / "d.sqsh", "-d", place / "out", "-e", "/sub/deep", "-e", "*.tmp")
    assert copied.failures == {} and copied.report["images"][0]["what"] == "read"
    assert sorted(os.listdir(place / "out")) == ["empty", "file", "holes", "link", "mine", "sub"]
    assert os.listdir(place / "out/sub") == [] and (place / "out/mine").read_bytes() == b"stays"
    compared = as_nobody("-cfl", "-si", place / "d.sqsh", "-d", place / "out", code=3)
    assert compared.report["paths"]["added"] == ["pipe.tmp", "sub/deep/", "sub/deep/twin"]
    assert compared.report["paths"]["deleted"] == ["mine"]
    listed = as_nobody("-fl", "-", "-nhfl", "-si", place / "d.sqsh", "-e", "*.tmp")
    assert set(listed.done.stdout.split()) == {
        "./",
        "empty",
        "file",
        "holes",
        "link",
        "sub/",
        "sub/deep/",
        "sub/deep/twin",
    }


@pytest.mark.parametrize("in_root", [True, False], ids=["in the root", "at its path"])
def test_exactly_what_is_excluded_is_left_out_whatever_it_is_called(in_root: bool, place: Path) -> None:
    files = {name: File(b"x") for name in AWKWARD}
    build(
        place / "D",
        {"keep": Dir(files), "drop": Dir(files), "x": File(b""), "a": File(b""), "keepa": Dir({"drop": File(b"")})},
    )
    lines = [b"/D/drop/" + b"".join(b"[%c]" % c if c in b"*?[" else b"%c" % c for c in name) for name in AWKWARD]
    excludes = [word for line in lines for word in ("-e", os.fsencode(place) + line)]
    words = ["--image-root"] if in_root else []
    copy(place / "D", "-di", place / "d.sqsh", *words, *excludes)
    top = b"" if in_root else os.fsencode(place)[1:] + b"/D/"
    expected = {b"keep", b"drop", b"x", b"a", b"keepa", b"keepa/drop"} | {b"keep/" + name for name in AWKWARD}
    found = {path.removeprefix(top) for path in names(place / "d.sqsh") if path.startswith(top)} - {b""}
    assert found - {os.fsencode(place)[1:] + b"/D"} == expected


def test_each_source_lands_at_its_absolute_path_with_the_directories_above(place: Path) -> None:
    build(place, {"one": Dir({"f": File(b"1")}, mode=0o700), "two": Dir({"g": File(b"2"), "h": File(b"3")})})
    copy(place / "one", place / "two/g", "-di", place / "d.sqsh")
    out = unpacked(place / "d.sqsh", place / "out")
    below = out / str(place)[1:]
    assert sorted(os.listdir(below)) == ["one", "two"] and os.listdir(below / "two") == ["g"]
    assert (below / "one/f").read_bytes() == b"1" and (below / "two/g").read_bytes() == b"2"
    assert stat.S_IMODE((below / "one").stat().st_mode) == 0o700 and stat.S_IMODE(below.stat().st_mode) == 0o777
    assert stat.S_IMODE((out / "var/tmp").stat().st_mode) == 0o1777


def test_with_image_root_sources_land_as_in_a_directory(place: Path) -> None:
    build(
        place,
        {"one": Dir({"f": File(b"1")}), "two": Dir({"g": File(b"2")}), "file": File(b"3"), "link": Symlink("one")},
    )
    copy(place / "one", place / "two", place / "file", place / "link", "-di", place / "d.sqsh", "--image-root")
    assert names(place / "d.sqsh") == {b"one", b"one/f", b"two", b"two/g", b"file", b"link"}
    copy(place / "link", "-di", place / "e.sqsh", "--image-root")
    assert names(place / "e.sqsh") == {b"f"}
    copy(place / "file", "-di", place / "f.sqsh", "--image-root")
    assert names(place / "f.sqsh") == {b"file"}


@pytest.mark.parametrize(
    "words, says",
    [
        (["{p}/one/", "{p}/two/", "--image-root"], "cannot be merged in a squashfs"),
        (["{p}/one", "{p}/under/one", "--image-root"], "would both land on one"),
        (["{p}/link/f"], "has a symlink in it"),
        (["{p}/one", "{p}/one/f"], "lies in"),
        (["{p}/gone"], "No such file or directory"),
        (["{p}/one", "--mkfs-option=-e x"], "is not said to mksquashfs"),
        (["{p}/one", "--mkfs-option=-comp", "--mkfs-option=fantasy"], "mksquashfs could not make"),
    ],
)
def test_what_cannot_be_packed_is_refused_and_nothing_is_left(words: list[str], says: str, place: Path) -> None:
    build(place, {"one": Dir({"f": File(b"")}), "two": Dir(), "under": Dir({"one": Dir()}), "link": Symlink("one")})
    before = sorted(os.listdir(place))
    done = run([*(word.format(p=place) for word in words), "-di", place / "d.sqsh"], flavour="plain")
    assert done.returncode in (1, 2) and says in done.stderr, str(done)
    assert sorted(os.listdir(place)) == before


def test_a_squashfs_that_is_there_is_never_changed(place: Path) -> None:
    build(place, {"one": Dir({"f": File(b"")}), "d.sqsh": File(b"something")})
    done = run([place / "one", "-di", place / "d.sqsh"], flavour="plain")
    assert done.returncode == 1 and "is there already, and a squashfs is never changed" in done.stderr
    assert (place / "d.sqsh").read_bytes() == b"something"


def test_a_dry_run_makes_nothing_and_says_what_it_would(place: Path) -> None:
    build(place / "one", tree())
    planned = copy("-n", place / "one", "-di", place / "d.sqsh")
    assert os.listdir(place) == ["one"] and planned.report["copied"]["files"] == 5
    assert f"image {place}/d.sqsh: would make, squashfs\n" in planned.done.stderr


@needs_root
def test_what_cannot_be_read_is_named_and_not_an_empty_file(place: Path) -> None:
    build(place / "D", {"ok": File(b"1"), "secret": File(b"2", mode=0), "closed": Dir({"f": File(b"")}, mode=0)})
    made = as_nobody(place / "D", "-di", place / "d.sqsh", "--image-root", code=23)
    assert made.failures == {
        f"{place}/D/secret": "cannot read: Permission denied",
        f"{place}/D/closed": "cannot list: Permission denied",
    }
    assert f"2 entries failed; {place}/d.sqsh is there, without them or with them in part" in made.done.stderr
    os.chown(place / "d.sqsh", 0, 0)
    assert names(place / "d.sqsh") == {b"ok"}


def test_what_a_squashfs_does_not_store_is_noted_or_with_strict_metadata_a_failure(place: Path) -> None:
    acl = "u::rw-,u:65534:r--,g::r--,m::rw-,o::---"
    build(place / "D", {"f": File(b"1", acl=acl), "g": File(b"2", acl=acl), "old": File(b"", mtime_ns=-5 * SECOND)})
    made = copy(place / "D", "-di", place / "d.sqsh", "--image-root")
    assert made.notes == {
        str(place / "d.sqsh"): "2 POSIX ACLs are not in it: a squashfs cannot store them",
        f"{place}/D/old": "changed before 1970 or after 2105, which a squashfs cannot store",
    }
    assert "it stores whole seconds, no POSIX ACLs" in made.done.stderr, "said before it begins"
    strict = copy("--strict-metadata", place / "D", "-di", place / "e.sqsh", "--image-root", code=23)
    assert "2 POSIX ACLs" in strict.failures[str(place / "e.sqsh")]


def test_the_image_is_not_in_itself(place: Path) -> None:
    build(place / "D", tree())
    made = copy(place / "D", "-di", place / "D/d.sqsh", "--image-root")
    assert [note for note in made.notes.values()] == ["it is the image that is being made, and not in it"]
    assert not [name for name in names(place / "D/d.sqsh") if b"sqsh" in name or b"hpcp" in name]


@needs_root
def test_root_gets_owners_and_devices_back(place: Path) -> None:
    build(place / "D", tree(theirs=File(b"x", owner=(1234, 4321), mode=0o4755, mtime_ns=WHEN)))
    os.mknod(place / "D/device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.utime(place / "D/device", ns=(WHEN, WHEN))
    os.utime(place / "D", ns=(WHEN, WHEN))
    copy(place / "D", "-di", place / "d.sqsh", "--image-root", "--mkfs-option=-comp gzip")
    copy("-si", place / "d.sqsh", "-d", place / "new/out")
    equal(place / "D", place / "new/out")
    twins = (place / "new/out/file").stat(), (place / "new/out/sub/deep/twin").stat()
    assert twins[0].st_ino == twins[1].st_ino
    (place / "other").mkdir()
    copy("-si", place / "d.sqsh", "-d", place / "other")
    equal(place / "D", place / "other")


@needs_root
@needs_commands("mkfs.ext4")
def test_an_image_is_packed_again_as_a_squashfs(place: Path) -> None:
    build(place / "D", tree())
    subprocess.run(["mkfs.ext4", "-q", "-d", place / "D", place / "x.img", "16M"], check=True, capture_output=True)
    made = copy("-si", place / "x.img", "-di", place / "d.sqsh", "-e", "/sub/deep", "--verify")
    assert [each["what"] for each in made.report["images"]] == ["made", "read"] and made.failures == made.notes == {}
    assert names(place / "d.sqsh") == {b"empty", b"file", b"holes", b"link", b"pipe.tmp", b"sub"}
    assert made.report["verified"]["files"] == 4


@needs_root
def test_a_destination_that_is_read_only_gets_its_name_without_root(place: Path) -> None:
    build(place / "D", {"f": File(b"1")})
    os.chmod(place / "D", 0o555)
    subprocess.run(["mksquashfs", place / "D", place / "d.sqsh", "-quiet", "-no-progress"], check=True)
    os.chmod(place / "d.sqsh", 0o644)
    as_nobody("-si", place / "d.sqsh", "-d", place / "out")
    assert stat.S_IMODE((place / "out").stat().st_mode) == 0o555 and os.listdir(place / "out") == ["f"]


def test_a_squashfs_that_is_cut_short_is_an_error_and_nothing_appears(place: Path) -> None:
    build(place / "D", {"f": File(os.urandom(300_000)), "g": File(b"x" * 9999)})
    subprocess.run(["mksquashfs", place / "D", place / "d.sqsh", "-quiet", "-no-progress"], check=True)
    os.truncate(place / "d.sqsh", 200_000)
    done = run(["-si", place / "d.sqsh", "-d", place / "out"], flavour="plain")
    assert done.returncode == 1 and "unsquashfs could not unpack" in done.stderr, str(done)
    assert sorted(os.listdir(place)) == ["D", "d.sqsh"]


def test_what_a_killed_run_left_beside_it_is_removed(place: Path) -> None:
    build(
        place,
        {"D": Dir({"f": File(b"x")}), ".hpcp-mpi.0123abcd.0.0": Dir({"tree": Dir({"f": File(b"")})}, mode=0o1700)},
    )
    subprocess.run(["mksquashfs", place / "D", place / "d.sqsh", "-quiet", "-no-progress"], check=True)
    copy("-si", place / "d.sqsh", "-d", place / "out")
    assert sorted(os.listdir(place)) == ["D", "d.sqsh", "out"]


@needs_root
def test_what_only_root_can_make_is_named_or_noted(place: Path) -> None:
    build(place / "D", {"f": File(b"1", xattrs={"user.x": b"1"})})
    os.mknod(place / "D/null", 0o644 | stat.S_IFCHR, os.makedev(1, 3))
    subprocess.run(["setfattr", "-n", "trusted.x", "-v", "1", place / "D/f"], check=True)
    subprocess.run(["mksquashfs", place / "D", place / "d.sqsh", "-quiet", "-no-progress"], check=True)
    os.chmod(place / "d.sqsh", 0o644)
    copied = as_nobody("-si", place / "d.sqsh", "-d", place / "out", code=23)
    image = str(place / "d.sqsh")
    assert "could not create character device" in copied.failures[image] and f"{image}:/null" in copied.failures[image]
    assert "could not write xattr trusted.x" in copied.notes[image]
    assert os.listdir(place / "out") == ["f"] and os.getxattr(place / "out/f", "user.x") == b"1"


@needs_root
def test_a_full_disk_leaves_no_tree(on_tmpfs: Path) -> None:
    build(on_tmpfs / "D", {"big": File(os.urandom(4 << 20)), "small": File(b"x")})
    subprocess.run(["mksquashfs", on_tmpfs / "D", on_tmpfs / "d.sqsh", "-quiet", "-no-progress"], check=True)
    (on_tmpfs / "small").mkdir()
    script = 'mount -t tmpfs -o size=2m none "$1/small" && p=$1 && shift && "$@"; c=$?; ls -A "$p/small"; exit $c'
    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", on_tmpfs]
    done = run(["-si", on_tmpfs / "d.sqsh", "-d", on_tmpfs / "small/out"], flavour="plain", wrapper=wrapper)
    assert done.returncode == 1 and "No space left on device" in done.stderr and done.stdout == "", str(done)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_run_that_is_ended_leaves_no_image_and_no_program(number: int, code: int, place: Path) -> None:
    build(place / "D", {"big": File(os.urandom(32 << 20))})
    words = [place / "D", "-di", place / "d.sqsh", "--mkfs-option=-comp xz -Xdict-size 100% -b 1M", "-s"]
    with start(words, flavour="plain") as running:
        running.wait_for("mksquashfs packs")
        running.signal(number)
        done = running.finish(20)
    assert done.returncode == code and done.left_behind == (), str(done)
    assert os.listdir(place) == ["D"]


def at_work(place: Path) -> bool:
    """Whether a mksquashfs packs what is below a directory."""
    found = subprocess.run(["pgrep", "-f", f"^mksquashfs .*{place.name}"], stdout=subprocess.DEVNULL)
    return found.returncode == 0


@needs_root
def test_a_killed_run_leaves_a_stage_that_the_next_one_removes(place: Path) -> None:
    build(place / "D", {"big": File(os.urandom(32 << 20))})
    words = [place / "D", "-di", place / "d.sqsh", "--mkfs-option=-comp xz -Xdict-size 100% -b 1M", "-s"]
    with start(words, flavour="plain") as running:
        until = time.monotonic() + 20
        while not at_work(place):
            assert time.monotonic() < until
            time.sleep(0.01)
        running.signal(signal.SIGKILL)
        running.finish(20)
    assert len(os.listdir(place)) == 2 and not (place / "d.sqsh").exists()
    until = time.monotonic() + 10
    while at_work(place):
        assert time.monotonic() < until, "it is killed with the run"
        time.sleep(0.01)
    copy(place / "D", "-di", place / "d.sqsh")
    assert sorted(os.listdir(place)) == ["D", "d.sqsh"]


@needs_root
def test_a_full_disk_leaves_no_image(on_tmpfs: Path) -> None:
    build(on_tmpfs / "D", {"big": File(os.urandom(4 << 20))})
    (on_tmpfs / "small").mkdir()
    script = 'mount -t tmpfs -o size=2m none "$1/small" && shift && exec "$@"'
    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", on_tmpfs]
    done = run([on_tmpfs / "D", "-di", on_tmpfs / "small/d.sqsh"], flavour="plain", wrapper=wrapper)
    assert done.returncode == 1 and "No space left on device" in done.stderr, str(done)


@pytest.mark.parametrize("world", [World("mpich", 2)], ids=str)
def test_other_ranks_wait_and_that_is_said_once(world: World, place: Path) -> None:
    build(place / "D", tree())
    made = copy(place / "D", "-di", place / "d.sqsh", "--image-root", world=world)
    assert made.done.stderr.count("-n 1 is enough") == 1
    copy("-si", place / "d.sqsh", "-d", place / "out", world=world)
    assert (place / "out/file").read_bytes() == b"content" and stages(place) == []


@needs_root
@pytest.mark.parametrize("words", ["{p}/D -di {p}/x.img", "-si {p}/x.img -d {p}/out", "-dd {p}/x.img -di {p}/y.img"])
def test_who_is_not_root_is_told_of_the_way_without(words: str, place: Path) -> None:
    build(place, {"D": Dir({"f": File(b"")}), "x.img": File(b"\0" * 4096)})
    done = PLAIN.run(words.format(p=place).split(), user="nobody")
    assert done.returncode == 1 and "Images need root" in done.stderr and ".sqsh" in done.stderr, str(done)
    assert sorted(os.listdir(place)) == ["D", "x.img"]
