"""What will go wrong is said at the beginning, once, with what to do; of a copy that goes well nothing is said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.host.free_space import FreeSpace
from hpcp_mpi.operations.prepare import preflight, space_watch
from hpcp_mpi.operations.prepare.arguments import root_of
from hpcp_mpi.operations.prepare.preflight import Preflight
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.tally import Tally
from tests.support import oracle
from tests.support.copies import copy, refused, stages
from tests.support.faultfs import mounted
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse, needs_root
from tests.support.torture import torture
from tests.support.trees import Dir, File, Sparse, build

MIB = 1 << 20
PLAIN = World("plain")
LOCAL = Abilities("tmpfs")


@contextmanager
def tmpfs(at: Path, options: str) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@needs_root
@needs_commands("rsync")
def test_nothing_is_said_of_a_copy_that_goes_well(on_tmpfs: Path, on_disk: Path) -> None:
    torture(on_tmpfs / "src", as_root=True, beyond_path_max=False)
    for dst in (on_tmpfs / "dst", on_disk / "dst"):
        done = copy(on_tmpfs / "src", "-d", dst)
        assert not [note for note in done.notes.values() if "socket" not in note]
        copy(on_tmpfs / "src", "-d", dst)
        oracle.assert_equal_trees(on_tmpfs / "src", dst, sockets=False)


# --- room


@needs_root
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("size=4m", r"had 4\.00 MiB free .* about 8\.00 MiB"),
        ("size=64m,nr_inodes=40", r"had 39 inodes free .* 5\d entries"),
    ],
)
def test_too_little_room_is_said_at_once_and_with_enes_ends_the_run(on_tmpfs: Path, options: str, says: str) -> None:
    build(on_tmpfs / "src", {str(at): File(b"x" * (8 * MIB // 50)) for at in range(50)})
    with tmpfs(on_tmpfs / "small", options) as small:
        done = copy(on_tmpfs / "src", "-d", small, code=23)
        (note,) = (note for note in done.notes.values() if "free when it began" in note)
        assert "No space left on device" in note and "make room" in note
        said = [line for line in done.done.stderr.splitlines() if "free when it began" in line]
        assert len(said) == 2 and said[0].startswith("20") and said[1].startswith("note: ")
    with tmpfs(on_tmpfs / "second", options) as small:
        refused("-enes", on_tmpfs / "src", "-d", small, says=rf"(?s){says}.*What was copied stays", code=[1])
        copy("-enes", "-n", on_tmpfs / "src", "-d", small)
        assert stages(small) == []


@needs_root
def test_sparse_files_are_no_reason_to_warn(on_tmpfs: Path) -> None:
    with tmpfs(on_tmpfs / "src", "size=64m") as src, tmpfs(on_tmpfs / "small", "size=4m") as small:
        build(src / "tree", {"sparse": Sparse(40 * MIB, ((MIB, b"x"),))})
        build(src, {"large": File(bytes(range(256)) * (40 << 10))})  # so that what is used there is no bound
        done = copy("-enes", src / "tree", "-d", small / "dst")
        assert done.notes == {}


@needs_root
def test_a_resync_of_a_full_file_system_is_no_reason_to_warn(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {str(at): File(b"x" * MIB) for at in range(6)})
    with tmpfs(on_tmpfs / "small", "size=8m") as small:
        copy(on_tmpfs / "src", "-d", small)
        for path in (on_tmpfs / "src").iterdir():
            path.write_bytes(b"y" * MIB)
        done = copy("-enes", "-j", "1", "-f", "1", on_tmpfs / "src", "-d", small)
        assert (done.notes, done.report["copied"]["files"]) == ({}, 6)


def flight(src: Path, dst: Path, said: list[str], found: Abilities = LOCAL, **options: Any) -> Preflight:
    source, dest = root_of(os.fsencode(src)), root_of(os.fsencode(dst))
    job = Job(Options(**options), (source,), "token", dest.path, dest, abilities=found)
    return Preflight(JobContext(job, Commands(), 0), lambda path, note: said.append(f"{os.fsdecode(path)}: {note}"))


def test_over_what_was_there_it_warns_if_the_copies_do_take_room(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half was copied. If that took its bytes, the rest will not fit; if it replaced as much, all is well."""
    build(on_tmpfs, {"src": Dir({}), "dst": Dir({"old": File(b"")})})
    free = [1000 * MIB]
    for module in (preflight, space_watch):
        monkeypatch.setattr(module, "rooms", lambda *_: [FreeSpace("", free[0], None)])
    for left, warns in ((1000, False), (900, False), (600, True)):
        said: list[str] = []
        free[0] = 1000 * MIB
        watching = flight(on_tmpfs / "src", on_tmpfs / "dst", said).check()
        assert watching is not None
        watching._source_bytes = None
        free[0] = left * MIB
        watching.look(Tally(), Tally(bytes=MIB), lambda: 2000 * MIB, False)
        assert said == [], "too early to tell"
        watching._next = 0
        watching.look(Tally(), Tally(bytes=500 * MIB), lambda: 1000 * MIB, False)
        assert bool(said) == warns
        watching._next = 0
        watching.look(Tally(), Tally(bytes=500 * MIB), lambda: 1000 * MIB, True)
        assert len(said) <= 1, "once"


def test_a_quota_is_room_too(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(on_tmpfs, {"src": Dir({}), "dst": Dir({})})
    monkeypatch.setattr(
        preflight, "rooms", lambda *_: [FreeSpace("", 10**15, None), FreeSpace("the quota of user 7", 100, 10)]
    )
    for found in (Tally(files=1, bytes=101), Tally(files=11)):
        said: list[str] = []
        watching = flight(on_tmpfs / "src", on_tmpfs / "dst", said).check()
        assert watching is not None
        watching.look(found, Tally(), lambda: 0, True)
        assert len(said) == 1 and "the quota of user 7" in said[0] and "Disk quota exceeded" in said[0]
    strict = flight(on_tmpfs / "src", on_tmpfs / "dst", [], require_space=True).check()
    assert strict is not None
    with pytest.raises(FatalError, match="quota of user 7"):
        strict.look(found, Tally(), lambda: 0, True)


# --- the destination


@needs_root
def test_a_read_only_destination_is_refused_before_anything_is_scanned(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"a": File(b"a")})
    with tmpfs(on_tmpfs / "there", "size=1m") as there:
        (there / "dst").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", there], check=True)
        refused(
            on_tmpfs / "src", "-d", there / "dst", says="mounted read-only; nothing was copied\n.*remount,rw", code=[1]
        )
        dry = copy("-n", on_tmpfs / "src", "-d", there / "dst")
        assert "a real run will refuse" in dry.notes[str(there / "dst")]


@needs_root
@needs_commands("chattr")
@pytest.mark.parametrize(("flag", "says"), [("i", "immutable"), ("a", "append-only")])
def test_an_immutable_or_append_only_destination_is_named(on_disk: Path, flag: str, says: str) -> None:
    build(on_disk, {"src": Dir({"a": File(b"a")}), "dst": Dir({})})
    subprocess.run(["chattr", f"+{flag}", on_disk / "dst"], check=True)
    try:
        done = copy(on_disk / "src", "-d", on_disk / "dst", code=23)
    finally:
        subprocess.run(["chattr", f"-{flag}", on_disk / "dst"], check=True)
    assert says in done.notes[str(on_disk / "dst")] and f"chattr -{flag}" in done.notes[str(on_disk / "dst")]


@needs_root
def test_who_is_not_root_is_told_what_cannot_be_kept_or_written(on_tmpfs: Path, everyone: Any) -> None:
    build(on_tmpfs, {"src": Dir({"a": File(b"a")}), "dst": Dir({}, mode=0o755), "mine": Dir({}, mode=0o2775)})
    everyone(on_tmpfs / "mine")
    os.chown(on_tmpfs / "mine", -1, 4242)
    os.chmod(on_tmpfs / "mine", 0o2775)
    nobody = os.stat(on_tmpfs / "mine").st_uid
    done = copy(on_tmpfs / "src", "-d", on_tmpfs / "dst", code=23, user="nobody")
    assert "this user may not write in it" in done.notes[str(on_tmpfs / "dst")]
    done = copy(on_tmpfs / "src", "-d", on_tmpfs / "mine", user="nobody")
    said = [each["note"] for each in done.report["notes"]]
    assert any(f"belongs to user 0, and its copy will belong to user {nobody}" in note for note in said)
    assert any("not in its group 0: copies will have group 4242" in note and "setgid" in note for note in said)
    assert (on_tmpfs / "mine/a").stat().st_gid == 4242, "as was said"
    assert not (copy("-co", on_tmpfs / "src", "-d", on_tmpfs / "mine", user="nobody").notes)


@needs_root
def test_who_copies_their_own_is_told_nothing(on_tmpfs: Path, everyone: Any) -> None:
    build(on_tmpfs / "all", {"src": Dir({"a": File(b"a")}), "dst": Dir({})})
    everyone(on_tmpfs / "all")
    assert copy(on_tmpfs / "all/src", "-d", on_tmpfs / "all/dst", user="nobody").notes == {}


@needs_fuse
def test_attributes_that_would_be_lost_are_named_once_and_a_dry_run_makes_nothing_to_find_out(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir({"a": File(b"a")}), "backing": Dir({"dst": Dir({})})})
    before = (on_tmpfs / "backing/dst").stat()
    with mounted(on_tmpfs / "backing") as mount:
        dry = copy("-n", on_tmpfs / "src", "-d", mount / "dst")
        assert (on_tmpfs / "backing/dst").stat().st_ctime_ns == before.st_ctime_ns
        done = copy(on_tmpfs / "src", "-d", mount / "dst")
    for run in (dry, done):
        (note,) = run.notes.values()
        assert note.startswith("its file system does not store ACLs:") and "tar" in note


@needs_root
def test_a_server_that_does_not_let_root_be_root_is_refused(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir({}), "dst": Dir({})})
    squashed = Abilities("nfs4", tried=True, owner=65534)
    with pytest.raises(FatalError, match=r"(?s)belongs to user 65534.*root_squash.*Run as the owner"):
        flight(on_tmpfs / "src", on_tmpfs / "dst", [], squashed).check()


@needs_root
def test_it_makes_no_lasting_change_and_few_system_calls(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir({}), "dst": Dir({"a": File(b"")}, mtime_ns=10**18)})
    said: list[str] = []
    before = oracle.lstats(on_tmpfs / "dst")
    flight(on_tmpfs / "src", on_tmpfs / "dst", said).check()
    after = oracle.lstats(on_tmpfs / "dst")
    assert said == [] and before.keys() == after.keys()
    assert all(before[path].st_mtime_ns == after[path].st_mtime_ns for path in before)


def test_names_are_warned_of_where_case_does_not_count(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir({}), "dst": Dir({})})
    for found in (Abilities("vfat"), Abilities("cifs", tried=True, case=False)):
        said: list[str] = []
        flight(on_tmpfs / "src", on_tmpfs / "dst", said, found).check()
        assert len(said) == 1 and "names that differ only in case will be one entry" in said[0]
