"""Another user puts their own, or a third one's, under names that root's run gives something to: it gets nothing.

Who may write to a directory may rename whatever is in it. What they do here they do as that user, before the run or at
the moment when it would hurt; where a usual copier is harmed, that is shown first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.operations.copy import directories, hard_links, worker
from tests.support import direct, oracle
from tests.support.copies import PLAIN, TINY_CHUNKS, copy
from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import needs_commands, worlds
from tests.support.trees import Dir, File, HardLink, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_commands("rsync", "setcap", "getcap", "setfacl", "getfacl"),
]
U, BOB = 65534, 1234  # the attacker, and a user who is not asked
TINY = {"chunk_files": 1, "chunk_size": 1}
T = 1_600_000_000 * 10**9
WORLDS = pytest.mark.parametrize("world", worlds((3,), launchers=("plain", "mpich")))
WAYS = pytest.mark.parametrize("ways", [(), ("-pfl", *TINY_CHUNKS)], ids=["chunks", "all-list"])


def as_u(*command: object) -> None:
    """Run a command as the attacker."""
    subprocess.run([str(each) for each in command], user=U, group=U, extra_groups=[], check=True)


def u_can_read(path: Path) -> bool:
    done = subprocess.run(["cat", path], user=U, group=U, extra_groups=[], capture_output=True)
    return done.returncode == 0


def owner_and_mode(path: Path) -> tuple[int, str]:
    status = path.lstat()
    return status.st_uid, oct(stat.S_IMODE(status.st_mode))


def naive(src: Path, dst: Path) -> None:
    """Compares size and time, and gives metadata to what has the name."""
    subprocess.run(["rsync", "-aHAX", f"{src}/", dst], check=True)


# --- files


def prepared_setuid(place: Path) -> None:
    """The attacker's file has the size, the time and the end of a program that is to be root's."""
    content = b"#!/bin/true\n" + bytes(200_000)
    build(place / "src", {"u": Dir({"tool": File(content, mode=0o4755, mtime_ns=T, owner=(0, 0))}, owner=(U, U))})
    evil = b"#!/bin/evil\n" + bytes(200_000)
    build(place / "dst", {"u": Dir({"tool": File(evil, mode=0o755, mtime_ns=T, owner=(U, U))}, owner=(U, U))})


def test_a_usual_copier_makes_a_prepared_file_setuid_root(on_tmpfs: Path) -> None:
    prepared_setuid(on_tmpfs)
    naive(on_tmpfs / "src", on_tmpfs / "dst")
    assert b"evil" in (on_tmpfs / "dst/u/tool").read_bytes()
    assert owner_and_mode(on_tmpfs / "dst/u/tool") == (0, "0o4755")


@each_value
@WORLDS
@WAYS
def test_a_prepared_file_does_not_become_roots(world: World, ways: tuple[str, ...], on_tmpfs: Path) -> None:
    prepared_setuid(on_tmpfs)
    copy(on_tmpfs / "src", on_tmpfs / "dst", *ways, world=world)
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


def test_who_has_a_file_open_for_writing_does_not_write_to_the_new_owners(on_tmpfs: Path) -> None:
    """Of equal content, in a directory of root's: the file was the attacker's, and it is open."""
    build(on_tmpfs / "src", {"f": File(b"equal", mtime_ns=T, owner=(0, 0))})
    build(on_tmpfs / "dst", {"f": File(b"equal", mtime_ns=T, owner=(U, U))})
    with (on_tmpfs / "dst/f").open("r+b") as file:
        copy(on_tmpfs / "src", on_tmpfs / "dst")
        file.write(b"OTHER")
    assert (on_tmpfs / "dst/f").read_bytes() == b"equal"
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


@pytest.mark.parametrize("run", [naive, lambda src, dst: copy(src, dst, "-hs", "0")], ids=["naive", "tool"])
def test_anothers_private_file_is_not_given_away(run: Callable[[Path, Path], object], on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"u": Dir({"mine": File(b"mine!!", mtime_ns=T, owner=(U, U))}, owner=(U, U))})
    build(dst, {"u": Dir({"bobs": File(b"secret", mode=0o600, mtime_ns=T, owner=(BOB, BOB))}, owner=(U, U))})
    as_u("mv", dst / "u/bobs", dst / "u/mine")
    run(src, dst)
    leaked = (dst / "u/mine").read_bytes() == b"secret" and u_can_read(dst / "u/mine")
    assert leaked == (run is naive)


def test_roots_own_file_is_given_in_place_only_where_nobody_else_can_have_put_it(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    for owner, name in ((0, "roots"), (U, "us")):
        entries = {"f": File(b"f", mtime_ns=T, owner=(U, U))}
        build(src / name, entries, owner=(owner, owner))
        build(dst / name, {"f": File(b"f", mtime_ns=T, owner=(0, 0))}, owner=(owner, owner))
    before = {name: (dst / name / "f").stat().st_ino for name in ("roots", "us")}
    assert copy(src, dst).report["copied"]["files"] == 1
    after = {name: (dst / name / "f").stat().st_ino for name in ("roots", "us")}
    assert {name for name in before if before[name] == after[name]} == {"roots"}
    oracle.assert_equal_trees(src, dst)


def test_a_hard_link_is_not_made_to_what_was_put_in_the_leaders_place(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"x": File(b"roots", mtime_ns=T)}, owner=(U, U)), "z": Dir({"x": HardLink("a/x")})})
    os.chown(src / "z", U, U)
    real = hard_links._Links._make
    followers: list[bytes] = []

    def linking(links: Any, unit: Any, target: bytes, leader: bytes) -> bool:
        if not followers:
            followers.append(target)
            as_u("sh", "-c", 'rm -f "$0"; printf EVIL! >"$0"; touch -d @1600000000 "$0"', dst / os.fsdecode(leader))
        return real(links, unit, target, leader)

    build(dst, {"a": Dir({}, owner=(U, U)), "z": Dir({}, owner=(U, U))})
    monkeypatch.setattr(hard_links._Links, "_make", linking)
    direct.copy(src, dst)
    (follower,) = followers
    assert (dst / os.fsdecode(follower)).read_bytes() == b"roots"


# --- directories


def renamed_private(place: Path, owner: int) -> None:
    """A private directory in the attacker's; there is another one in the source that is the attacker's."""
    build(place / "src", {"u": Dir({"b": Dir({"new": File(b"n")}, owner=(U, U))}, owner=(U, U))})
    secret = Dir({"deep": Dir({"secret": File(b"s", owner=(owner, owner))}, owner=(owner, owner))},
                 mode=0o700, owner=(owner, owner))  # fmt: skip
    build(place / "dst", {"u": Dir({"private": secret}, owner=(U, U))})
    as_u("mv", place / "dst/u/private", place / "dst/u/b")


@pytest.mark.parametrize("owner", [BOB, 0])
def test_a_usual_copier_gives_anothers_private_directory_away(owner: int, on_tmpfs: Path) -> None:
    renamed_private(on_tmpfs, owner)
    assert not u_can_read(on_tmpfs / "dst/u/b/deep/secret")
    naive(on_tmpfs / "src", on_tmpfs / "dst")
    assert u_can_read(on_tmpfs / "dst/u/b/deep/secret")


@each_value
@WORLDS
@WAYS
@pytest.mark.parametrize("owner", [BOB, 0])
def test_anothers_private_directory_is_not_given_away(
    owner: int, world: World, ways: tuple[str, ...], on_tmpfs: Path
) -> None:
    renamed_private(on_tmpfs, owner)
    failures = copy(on_tmpfs / "src", on_tmpfs / "dst", *ways, world=world, code=23).failures
    (reason,) = failures.values()
    assert list(failures) == [str(on_tmpfs / "src/u/b")] and f"chown {U}" in reason
    assert owner_and_mode(on_tmpfs / "dst/u/b") == (owner, "0o700")
    assert not u_can_read(on_tmpfs / "dst/u/b/deep/secret")
    # An admin who has looked at it follows the remedy.
    os.chown(on_tmpfs / "dst/u/b", U, U)
    copy(on_tmpfs / "src", on_tmpfs / "dst")
    assert owner_and_mode(on_tmpfs / "dst/u/b") == (U, "0o755")


def test_nor_for_a_list(on_tmpfs: Path) -> None:
    renamed_private(on_tmpfs, BOB)
    (on_tmpfs / "to").mkdir()
    dst = (on_tmpfs / "dst").rename(on_tmpfs / "to/src")
    PLAIN.run(["-fl", on_tmpfs / "list", "src"], cwd=on_tmpfs)
    done = PLAIN.run(["-sfl", on_tmpfs / "list", "-d", on_tmpfs / "to"], cwd=on_tmpfs)
    assert done.returncode == 23 and f"chown {U}" in done.stdout + done.stderr, str(done)
    assert not u_can_read(dst / "u/b/deep/secret")
    assert owner_and_mode(dst / "u/b") == (BOB, "0o700")


@WORLDS
def test_a_tree_that_changed_hands_is_given_to_its_new_owner(world: World, on_tmpfs: Path) -> None:
    """Nobody but the old owner could have put anything there. What only the destination has stays."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"home": Dir({f"d{i}": Dir({"f": File(b"f")}) for i in range(5)} | {"p": Dir({}, mode=0o700)})})
    copy(src, dst)
    for tree, owner in ((src, BOB), (dst, U)):
        subprocess.run(["chown", "-R", f"{owner}:{owner}", tree / "home"], check=True)
    (dst / "home/d1/extra").write_bytes(b"extra")
    copy(src, dst, *TINY_CHUNKS, world=world)
    assert (dst / "home/d1/extra").read_bytes() == b"extra"
    (dst / "home/d1/extra").unlink()
    os.utime(dst / "home/d1", ns=(0, (src / "home/d1").stat().st_mtime_ns))
    oracle.assert_equal_trees(src, dst)


def test_what_a_killed_run_has_left_in_another_users_directory_is_theirs_after_the_next(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"u": Dir({"new": Dir({"sub": Dir({"f": File(b"f"), "g": File(b"g")})})})})
    subprocess.run(["chown", "-R", f"{U}:{U}", src], check=True)
    build(dst, {"u": Dir({"new": Dir({"sub": Dir({}, mode=0o700)}, mode=0o700)}, owner=(U, U))})
    subprocess.run(["cp", "-a", src / "u/new/sub/f", dst / "u/new/sub/f"], check=True)
    copy(src, dst, *TINY_CHUNKS)
    oracle.assert_equal_trees(src, dst)


@each_value
@pytest.mark.parametrize("there", [False, True], ids=["made", "listed"])
@pytest.mark.parametrize("content", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("wanted", [U, 0], ids=["for-u", "for-root"])
def test_a_stage_of_another_run_under_the_name_of_a_directory_is_not_settled(
    wanted: int, content: bool, there: bool, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"u": Dir({"d": Dir({"f": File(b"f")}, owner=(wanted, wanted))}, owner=(U, U))})
    build(dst, {"u": Dir({"d": Dir({}, owner=(wanted, wanted), mode=0o777)} if there else {}, owner=(U, U))})
    stage = dst / "u/.hpcp-mpi.0123abcd.1.0"
    stage.mkdir(mode=0o700)
    if content:
        (stage / "f").write_bytes(b"half")
    lock = os.open(stage, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    inode = os.fstat(lock).st_ino
    real = directories._settle
    swapped: list[bytes] = []

    def settling(context: Any, batch: Any, unit: Any, outcome: Any) -> None:
        if unit.name == b"u/d":
            swapped.append(unit.name)
            as_u("mv", dst / "u/d", dst / "u/aside")
            as_u("mv", stage, dst / "u/d")
        real(context, batch, unit, outcome)

    monkeypatch.setattr(directories, "_settle", settling)
    report = direct.copy(src, dst, **TINY, directory_only=True)
    assert swapped == [b"u/d"]
    (failure,) = report.failures
    assert failure.path == os.fsencode(src / "u/d")
    assert (dst / "u/d").stat().st_ino == inode
    assert owner_and_mode(dst / "u/d") == (0, "0o700")
    os.close(lock)


@pytest.mark.parametrize("exchange", ["while it is copied", "while it is settled"])
def test_a_private_directory_that_stands_under_the_name_of_a_public_one_is_not_read(
    exchange: str, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob's readable file is in a directory that only he may enter; who may rename that gives it another's name."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    public = Dir({"f": File(b"public", mtime_ns=T)}, owner=(U, U), mode=0o755)
    private = Dir({"f": File(b"secret", mode=0o644)}, owner=(BOB, BOB), mode=0o700)
    build(src, {"p": Dir({"d": public, "v": private}, owner=(U, U), mode=0o777)})
    build(dst, {"p": Dir({"d": Dir({"f": File(b"older")}, owner=(U, U))}, owner=(U, U))})

    def exchanged() -> None:
        for one, other in (("d", "aside"), ("v", "d"), ("aside", "v")):
            as_u("mv", src / "p" / one, src / "p" / other)

    real_copy, real_settle = worker._copy, directories._settle
    seen: list[str] = []

    def copying(context: Any, batches: Any, outcome: Any, last: bool) -> None:
        here = exchange == "while it is copied" and any(batch.source_dir == b"p/d" for batch in batches)
        if here:
            exchanged()
        real_copy(context, batches, outcome, last)
        if here:
            seen.append("copied")
            exchanged()

    def settling(context: Any, batch: Any, unit: Any, outcome: Any) -> None:
        if exchange == "while it is settled" and unit.name == b"p/v":
            exchanged()  # what is bob's gets the mode of what all may enter
            seen.append("settled")
        real_settle(context, batch, unit, outcome)

    monkeypatch.setattr(worker, "_copy", copying)
    monkeypatch.setattr(directories, "_settle", settling)
    if exchange == "while it is settled":
        build(dst / "p", {"v": Dir({"f": File(b"older")}, owner=(BOB, BOB), mode=0o700)})
    report = direct.copy(src, dst, **TINY)
    assert seen
    assert b"another directory has its name" in b"".join(each.reason.encode() for each in report.failures)
    assert not [path for path in dst.rglob("f") if path.read_bytes() == b"secret" and u_can_read(path)]


# --- before anything is in it


def more_open(src: Path, dst: Path) -> list[str]:
    """The directories of the destination that let others do what their sources do not."""
    found = []
    for at, names, _ in os.walk(dst):
        names[:] = [name for name in names if not name.startswith(".hpcp-mpi.")]
        there, counterpart = Path(at), src / Path(at).relative_to(dst)
        try:
            mine, theirs = counterpart.stat(), there.stat()
        except FileNotFoundError:  # only the other source has it, or a stage in which cp works
            continue
        wide = theirs.st_mode & ~mine.st_mode & 0o077
        old_group = theirs.st_gid != mine.st_gid and (theirs.st_mode >> 3) & ~mine.st_mode & 0o007
        foreign = theirs.st_uid not in (0, mine.st_uid)
        if wide or old_group or foreign:
            found.append(f"{there}: {oct(theirs.st_mode)} {theirs.st_uid}:{theirs.st_gid}")
    return found


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], list[str]]:
    """watched(src, dst) returns what was too open whenever an entry was to get its name. Filled in during a run."""

    def watch(src: Path, dst: Path) -> list[str]:
        found: list[str] = []
        real = worker.publish_units

        def publishing(*args: Any) -> None:
            found.extend(more_open(src, dst))
            real(*args)
            found.append("")

        monkeypatch.setattr(worker, "publish_units", publishing)
        return found

    return watch


SOURCE = {"private": Dir({"f": File(b"f"), "sub": Dir({"g": File(b"g")})}, mode=0o700, owner=(BOB, BOB))}
OPEN = {
    "wide": Dir({"sub": Dir({}, mode=0o777)}, mode=0o777, owner=(BOB, BOB)),
    "group": Dir({"sub": Dir({}, mode=0o770)}, mode=0o770, owner=(BOB, U)),
    "foreign": Dir({"sub": Dir({}, mode=0o700, owner=(U, U))}, mode=0o700, owner=(U, U)),
    "setgid": Dir({}, mode=0o2777, owner=(0, U)),
}


@each_value
@pytest.mark.parametrize("old", OPEN)
@pytest.mark.parametrize("parallel", [False, True], ids=["chunks", "all-list"])
def test_a_directory_is_closed_before_anything_is_put_in_it(
    old: str, parallel: bool, on_tmpfs: Path, watched: Callable[[Path, Path], list[str]]
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, SOURCE)
    build(dst, {"private": OPEN[old]})
    os.chmod(src / "private/sub", 0o750)
    seen = watched(src, dst)
    report = direct.copy(src, dst, parallel_listing=parallel, **TINY)
    assert report.failures == []
    assert "" in seen and set(seen) == {""}
    oracle.assert_equal_trees(src, dst)


def test_whom_an_acl_names_is_kept_out_too(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"p": Dir({"f": File(b"f")}, mode=0o750, owner=(BOB, BOB))})
    build(dst, {"p": Dir({}, mode=0o750, owner=(BOB, BOB), acl=f"u::rwx,u:{U}:rwx,g::r-x,m::rwx,o::---")})
    real = worker.publish_units
    read: list[bool] = []

    def publishing(*args: Any) -> None:
        real(*args)
        read.append(u_can_read(dst / "p/f"))

    monkeypatch.setattr(worker, "publish_units", publishing)
    assert direct.copy(src, dst).failures == []
    assert read == [False]
    oracle.assert_equal_trees(src, dst)


@pytest.mark.parametrize("merged", [False, True])
def test_a_new_destination_is_closed_until_it_is_settled(
    merged: bool, on_tmpfs: Path, watched: Callable[[Path, Path], list[str]]
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"f"), "d": Dir({"g": File(b"g")})})
    build(on_tmpfs / "more", {"d": Dir({"h": File(b"h")}, mode=0o711)})
    for each in (src, on_tmpfs / "more"):
        os.chmod(each, 0o700)
    seen = watched(src, dst)
    before = os.umask(0)
    try:
        sources = [f"{on_tmpfs}/more/", f"{src}/"] if merged else [src]
        assert direct.copy(sources, dst, **TINY).failures == []
    finally:
        os.umask(before)
    assert "" in seen and set(seen) == {""}
    assert stat.S_IMODE(dst.stat().st_mode) == 0o700


def test_a_new_destination_that_no_source_stands_for_is_as_mkdir_makes_it(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"a": Dir({}), "b": Dir({})})
    copy(on_tmpfs / "a", on_tmpfs / "b", "-d", on_tmpfs / "dst")
    assert stat.S_IMODE((on_tmpfs / "dst").stat().st_mode) == 0o755


def test_who_makes_a_directory_before_root_does_cannot_read_what_is_put_in_it(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"u": Dir({"p": Dir({"f": File(b"f", owner=(BOB, BOB))}, mode=0o700, owner=(BOB, BOB))}, owner=(U, U))})
    build(dst, {"u": Dir({}, owner=(U, U))})
    real_copy, real = worker._copy_batch, worker.publish_units
    made: list[str] = []
    read: list[bool] = []

    def copying(context: Any, batch: Any, *args: Any, **more: Any) -> None:
        if batch.dest_dir == b"u/p" and not made:
            as_u("mkdir", "-m", "777", dst / "u/p")
            made.append("")
        real_copy(context, batch, *args, **more)

    def publishing(*args: Any) -> None:
        real(*args)
        read.append(u_can_read(dst / "u/p/f"))

    monkeypatch.setattr(worker, "_copy_batch", copying)
    monkeypatch.setattr(worker, "publish_units", publishing)
    direct.copy(src, dst, **TINY)
    assert made and read and not any(read)
    oracle.assert_equal_trees(src, dst)


@pytest.mark.parametrize("owner", [U, BOB])
def test_a_backup_of_something_private_is_private(owner: int, on_tmpfs: Path) -> None:
    """Though somebody has made the directory that it goes to before, for all to read."""
    src, dst, kept = (on_tmpfs / name for name in ("src", "dst", "bak"))
    for tree, content in ((src, b"new"), (dst, b"old!")):
        private = Dir({"f": File(content, owner=(BOB, BOB))}, mode=0o700, owner=(BOB, BOB))
        build(tree, {"u": Dir({"p": private}, owner=(U, U))})
    build(kept, {"u": Dir({"p": Dir({}, mode=0o777, owner=(owner, owner))}, owner=(U, U))})
    copy(src, dst, "--backup-dir", kept)
    assert (kept / "u/p/f").read_bytes() == b"old!"
    assert not u_can_read(kept / "u/p/f")
    assert (kept / "u/p.1").exists() == (owner == U)


# --- what a change of owner or content does to privileges


def capabilities(path: Path) -> str:
    return subprocess.run(["getcap", path], capture_output=True, text=True, check=True).stdout.partition(" ")[2]


@each_value
@pytest.mark.parametrize("owner", [0, BOB])
@pytest.mark.parametrize("ways", [(), ("-pfl",), ("-hs", "0"), ("-F", "1000")], ids=str)
def test_a_file_keeps_its_capabilities_when_its_group_changes(
    owner: int, ways: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"ping": File(b"ping", mode=0o755)}, owner=(owner, owner))})
    os.chown(src / "d/ping", owner, owner)
    subprocess.run(["setcap", "cap_net_raw+ep", src / "d/ping"], check=True)
    copy(src, dst)
    assert "cap_net_raw" in capabilities(dst / "d/ping")
    os.chown(src / "d/ping", owner, 4321)
    subprocess.run(["setcap", "cap_net_raw+ep", src / "d/ping"], check=True)
    copy(src, dst, *ways)
    assert capabilities(dst / "d/ping") == capabilities(src / "d/ping") != ""
    assert (dst / "d/ping").stat().st_gid == 4321
    assert copy(src, dst).copied_entries == 0


def test_setuid_bits_survive_a_change_of_the_group(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"f", mode=0o6755, owner=(0, 10))})
    copy(src, dst)
    os.chown(src / "f", 0, 4321)
    os.chmod(src / "f", 0o6755)
    copy(src, dst)
    oracle.assert_equal_trees(src, dst)


@each_value
@WORLDS
@pytest.mark.parametrize("ways", [(), ("--split-size", "4K")], ids=["cp", "ranges"])
def test_content_alone_does_not_inherit_privileges(ways: tuple[str, ...], world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {name: File(b"new" * 5000, owner=(U, U)) for name in ("setuid", "setgid", "capable")})
    build(dst, {
        "setuid": File(b"old", mode=0o4755), "setgid": File(b"old", mode=0o2755), "capable": File(b"old", mode=0o755)
    })  # fmt: skip
    subprocess.run(["setcap", "cap_setuid+ep", dst / "capable"], check=True)
    copy(src, dst, "-co", *ways, world=world)
    for name in ("setuid", "setgid", "capable"):
        assert (dst / name).read_bytes() == b"new" * 5000
        assert owner_and_mode(dst / name) == (0, "0o755")
        assert capabilities(dst / name) == ""


def test_a_tightened_entry_that_cannot_change_hands_is_as_it_was(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"f", mode=0o640, mtime_ns=T, owner=(0, 4321))})
    build(dst, {"f": File(b"f", mode=0o640, mtime_ns=T)})

    def refuse(*args: object, **more: object) -> None:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "chown", refuse)
    (failure,) = direct.copy(src, dst).failures
    assert "not here" in failure.reason
    assert owner_and_mode(dst / "f") == (0, "0o640")
