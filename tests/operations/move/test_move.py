"""-rm with a destination: what has a copy that is known good goes, and nothing else; what stays is named once."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.host import timestamps
from hpcp_mpi.host import uncached_read as rereading
from hpcp_mpi.operations.copy import directories
from hpcp_mpi.operations.copy.phases import _Copy
from hpcp_mpi.operations.dispatch import lead_operation
from hpcp_mpi.operations.move import rank0 as moving
from hpcp_mpi.operations.remove.rank0 import RemovalFeed
from hpcp_mpi.operations.session import lead
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request, Verb
from tests.operations.copy.test_any_tree import OPTIONS
from tests.support import direct, oracle
from tests.support.copies import TINY_CHUNKS, changed, copy, refused, run, state
from tests.support.effort import many
from tests.support.faultfs import mounted
from tests.support.launch import World, command_line
from tests.support.marks import each_world, needs_commands, needs_fuse, needs_root
from tests.support.small_trees import Tree, meddle, trees
from tests.support.torture import torture
from tests.support.trees import Dir, File, HardLink, Socket, Symlink, build

pytestmark = needs_commands("rsync")


def names(root: Path) -> set[bytes]:
    return set(oracle.entries(root)) if root.exists() else set()


@contextmanager
def before_the_removal(happens: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have something happen when all is copied and nothing is removed yet."""

    def late(*args: Any, **more: Any) -> RemovalFeed:
        happens()
        return RemovalFeed(*args, **more)

    monkeypatch.setattr(moving, "RemovalFeed", late)
    yield
    monkeypatch.undo()


# --- what goes


@settings(max_examples=many(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), OPTIONS, st.data())
def test_after_a_move_the_destination_holds_what_the_source_held(
    tree: Tree, options: dict[str, Any], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        src, dst, twin = (Path(place) / name for name in ("src", "dst", "twin"))
        build(src, tree)
        run(["cp", "-a", src, twin])
        if data.draw(st.booleans()):
            direct.copy(src, dst)
            meddle(data.draw, dst)
            for path in map(os.fsdecode, names(src)):  # which would not be replaced by a directory
                there, here = (os.lstat(each / path) if os.path.lexists(each / path) else None for each in (dst, src))
                if there and here and stat.S_ISDIR(here.st_mode) and not stat.S_ISDIR(there.st_mode):
                    (dst / path).unlink()
        options["sparse"] = "auto"
        excluded = [path for path in names(src) if options["excludes"] and b"d.x" in path.split(b"/")]
        holders = {path[:at] for path in excluded for at in range(len(path)) if path[at : at + 1] == b"/"}
        extras = names(dst) - names(src)
        kept = state(src)
        report = direct.copy(src, dst, move=True, **options)
        assert report.failures == []
        assert names(src) == set(excluded) | holders
        assert src.exists() == bool(excluded)
        assert all(kept[path][0] == state(src)[path][0] for path in excluded)
        oracle.assert_equal_trees(twin, dst, exclude=[*excluded, *extras])
        stays = {*excluded, *holders, *([b"."] if excluded else [])}
        assert report.outcome.removed.entries == len(kept) - len(stays)


@each_world((1, 4), launchers=("mpich", "openmpi"))
def test_a_torture_tree_is_moved_by_ranks(world: World, on_tmpfs: Path) -> None:
    src, dst, twin = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "twin"
    torture(src, as_root=os.geteuid() == 0, beyond_path_max=False)
    run(["cp", "-a", src, twin])
    sockets = {path for path, info in oracle.lstats(src).items() if stat.S_ISSOCK(info.st_mode)}
    copy(src, "-d", dst, "-rm", "-rf", *TINY_CHUNKS, world=world)
    oracle.assert_equal_trees(twin, dst, sockets=False)
    holders = {path[:at] for path in sockets for at in range(len(path)) if path[at : at + 1] == b"/"}
    assert names(src) == sockets | holders


@pytest.mark.parametrize("end", ["", "/"])
def test_a_source_directory_goes_itself_as_with_mv(end: str, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"d": Dir({"f": File(b"f")})})
    copy(f"{on_tmpfs}/src{end}", "-d", on_tmpfs / "dst", "-rm", "-rf")
    assert not (on_tmpfs / "src").exists() and (on_tmpfs / "dst/d/f").exists()


def test_the_working_directory_stays(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f")})
    copy(".", "-d", on_tmpfs / "dst", "-rm", "-rf", cwd=on_tmpfs / "src")
    assert names(on_tmpfs / "src") == set() and (on_tmpfs / "src").is_dir()


def test_single_files_links_and_several_sources(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f"), "g": File(b"g"), "l": Symlink("g"), "d": Dir({"x": File()}), "o": File()})
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    copy(src / "f", "-d", on_tmpfs / "renamed", "-rm", "-rf")
    assert (on_tmpfs / "renamed").read_bytes() == b"f"
    copy(src / "g", src / "l", src / "d", "-d", dst, "-rm", "-rf", "-nlt")
    assert names(src) == {b"o"}
    assert names(dst) == {b"g", b"l", b"d", b"d/x"}


@pytest.mark.parametrize("more", [(), ("-nb",)], ids=["together", "one-by-one"])
def test_merged_sources_and_files_of_several_names_are_moved(more: tuple[str, ...], on_tmpfs: Path) -> None:
    build(on_tmpfs, {
        "a": Dir({"x": File(b"x"), "y": HardLink("a/x"), "d": Dir({"1": File()})}),
        "b": Dir({"z": File() if more else HardLink("a/x"), "d": Dir({"2": File()})}),
    })  # fmt: skip
    copy(f"{on_tmpfs}/a/", f"{on_tmpfs}/b/", "-d", on_tmpfs / "dst", "-rm", "-rf", *more)
    assert names(on_tmpfs / "dst") == {b"x", b"y", b"z", b"d", b"d/1", b"d/2"}
    assert not (on_tmpfs / "a").exists() and not (on_tmpfs / "b").exists()


@pytest.mark.parametrize("more", [("-s",), ()], ids=str)
def test_names_of_one_file_in_several_sources_are_moved_one_by_one(more: tuple[str, ...], on_tmpfs: Path) -> None:
    """The last name is the only one by then, and was changed during the run: the bytes and the metadata decide."""
    build(on_tmpfs / "a", {"one": File(b"same file")})
    build(on_tmpfs / "b", {"other": File(b"mine")})
    os.link(on_tmpfs / "a/one", on_tmpfs / "b/two")
    copy("-rm", "-rf", "-nb", *more, "a", "b", "-d", "dst", cwd=on_tmpfs)
    assert not (on_tmpfs / "a").exists() and not (on_tmpfs / "b").exists()
    assert (on_tmpfs / "dst/a/one").read_bytes() == (on_tmpfs / "dst/b/two").read_bytes() == b"same file"


def test_what_was_copied_by_an_earlier_run_is_moved_too(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f"), "d": Dir({"g": File(b"g")})})
    direct.copy(on_tmpfs / "src", on_tmpfs / "dst")
    report = direct.copy(on_tmpfs / "src", on_tmpfs / "dst", move=True)
    assert report.failures == [] and report.outcome.copied.entries == 0
    assert not (on_tmpfs / "src").exists()


def test_a_mirror_is_no_move_as_the_next_run_would_remove_what_was_moved(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"today": File(b"f")})
    build(on_tmpfs / "dst", {"moved yesterday": File(b"o")})
    refused(on_tmpfs / "src", "-d", on_tmpfs / "dst", "-rm", "-rme", "-rf", says="only copy")
    assert names(on_tmpfs / "dst") == {b"moved yesterday"} and names(on_tmpfs / "src") == {b"today"}


# --- what stays


def write(path: Path) -> None:
    path.write_bytes(b"other bytes")


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    path.unlink()
    path.symlink_to("g")


HAPPENINGS = [write, same_size_and_time, replace, lambda path: path.chmod(0o600), lambda path: os.utime(path, (1, 1))]


@pytest.mark.parametrize("happens", HAPPENINGS, ids=["written", "in-secret", "replaced", "mode", "time"])
def test_what_changed_meanwhile_stays_and_is_named(
    happens: Callable[[Path], None], on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"f": File(b"first"), "g": File(b"g")}), "h": File(b"h")})
    with before_the_removal(lambda: happens(src / "d/f"), monkeypatch):
        report = direct.copy(src, dst, move=True)
    assert names(src) == {b"d", b"d/f"} and report.exit_code == 23
    assert [(failure.path, failure.reason) for failure in report.failures] == [
        (os.fsencode(src / "d/f"), "changed during the move, or just before; kept")
    ]
    assert (dst / "d/f").read_bytes() == b"first"
    again = direct.copy(src, dst, move=True)
    assert again.failures == [] and not src.exists()


def test_what_came_meanwhile_stays_and_is_named(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"f": File(b"f")})})
    build(dst, {"d": Dir({"same": File(b"1234", mtime_ns=10**18)})})

    def come() -> None:
        build(src, {"new": Dir({"n": File()}), "empty": Dir({})})
        build(src / "d", {"g": File(b"g"), "same": File(b"1234", mtime_ns=10**18)})

    with before_the_removal(come, monkeypatch):
        report = direct.copy(src, dst, move=True)
    assert names(src) == {b"d", b"d/g", b"d/same", b"new", b"new/n", b"empty"}
    assert {failure.path[len(os.fsencode(src)) + 1 :]: failure.reason for failure in report.failures} == {
        b"d/g": "created during the move; kept",
        b"d/same": "changed during the move, or just before; kept",
        b"new": "created during the move; kept",
        b"empty": "created during the move; kept",
    }


def test_a_copy_that_is_gone_or_changed_keeps_its_source(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"f": File(b"f")}), "e": Dir({"g": File(b"g")}), "h": File(b"h"), "l": Symlink("h")})

    def spoil() -> None:
        os.unlink(dst / "d/f")
        os.rename(dst / "e", dst / "elsewhere")
        os.symlink("elsewhere", dst / "e")
        os.truncate(dst / "h", 0)
        times = os.lstat(dst / "l")
        os.unlink(dst / "l")
        os.symlink("e", dst / "l")
        os.utime(dst / "l", ns=(times.st_atime_ns, times.st_mtime_ns), follow_symlinks=False)

    with before_the_removal(spoil, monkeypatch):
        report = direct.copy(src, dst, move=True, links="never")
    assert names(src) == {b"d", b"d/f", b"e", b"e/g", b"h", b"l"}
    assert {failure.path[len(os.fsencode(src)) + 1 :] for failure in report.failures} == {b"d/f", b"e", b"h", b"l"}


@needs_fuse
@pytest.mark.parametrize("fault", ["eio_read", "eio_list"])
def test_what_failed_stays_and_what_is_good_is_moved(fault: str, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"bad": Dir({"bad": File(b"x")}), "good": File(b"g")}), "e": Dir({"f": File()})})
    with mounted(src, **{fault: "bad"}) as mount:  # type: ignore[arg-type]
        run_ = copy(mount, "-d", dst, "-rm", "-rf", code=23)
        assert len(run_.failures) == 1
    assert names(src) == {b"d", b"d/bad", b"d/bad/bad"}


def test_a_directory_whose_copy_lacks_metadata_stays_with_all_in_it(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = on_tmpfs / "src"
    build(src, {"d": Dir({"f": File(b"f"), "e": Dir({})}, mtime_ns=10**18), "g": File()})
    real = directories._settle

    def refuse(place: Any, batch: Any, unit: Any, outcome: Any) -> None:
        if unit.target.partition(b"//")[0] == b"d":
            raise PermissionError(errno.EPERM, "not here")
        real(place, batch, unit, outcome)

    monkeypatch.setattr(directories, "_settle", refuse)
    report = direct.copy(src, on_tmpfs / "dst", move=True, chunk_size=1)
    assert names(src) == {b"d", b"d/f", b"d/e"}
    assert [failure.path for failure in report.failures] == [os.fsencode(src / "d")]


def test_a_socket_is_named_once_and_stays(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"d": Dir({"s": Socket(), "f": File()}), "e": Dir({})})
    run_ = copy(on_tmpfs / "src", "-d", on_tmpfs / "dst", "-rm", "-rf")
    assert names(on_tmpfs / "src") == {b"d", b"d/s"}
    assert run_.failures == {} and list(run_.notes) == [f"{on_tmpfs}/src/d/s"]


@needs_root
def test_what_is_the_destination_itself_under_another_name_stays(on_tmpfs: Path) -> None:
    """A directory of the source that is mounted in the destination, too, is its own copy."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"f": File(b"the only one")}), "g": File(b"g"), "alone": File(b"a")})
    build(dst, {"d": Dir({}), "alone": File()})
    run(["mount", "--bind", src / "d", dst / "d"])
    run(["mount", "--bind", src / "alone", dst / "alone"])
    try:
        run_ = copy(src, "-d", dst, "-rm", "-rf", code=23)
    finally:
        run(["umount", dst / "alone"])
        run(["umount", dst / "d"])
    assert names(src) == {b"d", b"d/f", b"alone"}
    assert set(run_.failures) == {f"{src}/d", f"{src}/alone"}


@needs_root
def test_mounts_in_the_source_stay(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"m": Dir({}), "f": File(b"f")})
    run(["mount", "-t", "tmpfs", "tmpfs", src / "m"])
    try:
        (src / "m/x").write_bytes(b"x")
        run_ = copy(src, "-d", dst, "-rm", "-rf", code=23)
        assert names(src) == {b"m", b"m/x"} and (dst / "m/x").exists()
        assert list(run_.failures) == [f"{src}/m"]
    finally:
        run(["umount", src / "m"])


def test_what_links_lead_to_is_copied_before_the_links_go(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"a": Dir({"l": Symlink("../b/f")}), "b": Dir({"f": File(b"f")})})
    copy(on_tmpfs / "a", "-d", f"{on_tmpfs}/dst/", "-rm", "-rf")
    assert (on_tmpfs / "dst/a/l").read_bytes() == b"f"
    assert not (on_tmpfs / "a").exists() and (on_tmpfs / "b/f").exists()


# --- questions, limits, refusals


@pytest.mark.parametrize("answer", [True, False])
def test_a_question_is_asked_when_all_is_copied(answer: bool, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"f")})
    request: list[str] = []

    def confirm(question: str) -> bool:
        assert (dst / "f").read_bytes() == b"f"
        request.append(question)
        return answer

    what = Request(Verb.COPY, (os.fsencode(src),), (os.fsencode(dst),), Options(move=True))
    with lead(None, StopRequest()) as ranks:
        report = lead_operation(ranks.wire, what, Frontend(confirm=confirm))
    assert report.exit_code == 0 and src.exists() is not answer
    (question,) = request
    assert re.fullmatch(r"Remove \S+/src, which was copied to \S+/dst\?", question)


def test_where_nobody_can_answer_nothing_is_even_copied(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f")})
    refused(on_tmpfs / "src", "-d", on_tmpfs / "dst", "-rm", says="-rf", code=[2])
    assert not (on_tmpfs / "dst").exists()


def test_a_dry_run_moves_and_asks_nothing(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f"), "d": Dir({})})
    before = state(on_tmpfs)
    run_ = copy(on_tmpfs / "src", "-d", on_tmpfs / "dst", "-rm", "-n")
    assert changed(before, state(on_tmpfs)) == set()
    assert ">f+++++++++ f" in run_.done.stdout
    assert run_.report["removed"]["files"] == 1 and run_.report["removed"]["directories"] == 2


def test_more_than_max_delete_means_that_all_stays(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f"), "d": Dir({"g": File()})})
    copy(on_tmpfs / "src", "-d", on_tmpfs / "dst", "-rm", "-rf", "--max-delete", "3", code=25)
    assert names(on_tmpfs / "src") == names(on_tmpfs / "dst") == {b"f", b"d", b"d/g"}
    copy(on_tmpfs / "src", "-d", on_tmpfs / "dst", "-rm", "-rf", "--max-delete", "4")
    assert not (on_tmpfs / "src").exists()


@pytest.mark.parametrize("local", [True, False], ids=["kernel", "server"])
def test_clocks_that_cannot_be_asked_leave_what_is_recent(
    local: bool, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source in which no file can be made to read the clock: what was changed in the last ten seconds stays, unless
    the times there are by this kernel's clock.
    """
    src = on_tmpfs / "src"
    build(src, {"f": File(b"f")})
    time.sleep(0.05)  # several steps of the kernel's clock: what was made in the step in which a run begins stays, too
    real_open, real_mkdir = os.open, os.mkdir

    def refuse(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no nameless files")
        return real_open(path, flags, *args, **more)

    def refuse_stages(path: Any, *args: Any, **more: Any) -> None:
        if b".hpcp-mpi" in os.fsencode(path) and os.readlink(f"/proc/self/fd/{more['dir_fd']}") == str(src):
            raise PermissionError(errno.EACCES, "no")
        real_mkdir(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "mkdir", refuse_stages)
    if not local:
        monkeypatch.setattr(timestamps, "has_this_clock", lambda path: False)
    report = direct.copy(src, on_tmpfs / "dst", move=True)
    if local:
        assert report.failures == [] and not src.exists()
        return
    assert [failure.reason for failure in report.failures] == ["changed during the move, or just before; kept"]
    assert (src / "f").exists()


@needs_commands("strace")
def test_the_copies_are_stored_before_a_source_goes(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"a": File(b"a"), "d": Dir({"b": File(b"b")})})
    log = on_tmpfs / "log"
    tracing = ["strace", "-f", "-y", "-qq", "-e", "trace=syncfs,unlink,unlinkat,rmdir", "-o", log]
    moving_it, environment = command_line(["-rm", "-rf", on_tmpfs / "src", "-d", on_tmpfs / "dst"], flavour="plain")
    done = subprocess.run([*tracing, *moving_it], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line for line in log.read_text().splitlines() if "AT_REMOVEDIR" not in line or ".hpcp-mpi." not in line]
    calls = [line for line in lines if "syncfs" in line or str(on_tmpfs / "src") in line]  # without markers and stages
    assert "syncfs" in calls[0] and str(on_tmpfs / "dst") in calls[0]
    assert sum("syncfs" in line for line in calls) == 1 < len(calls)


def test_what_cannot_be_stored_is_not_moved(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(on_tmpfs / "src", {"a": File(b"a")})
    monkeypatch.setattr(rereading, "write_out", lambda fd: False)
    with pytest.raises(FatalError, match="could not be stored") as refusal:
        direct.copy(on_tmpfs / "src", on_tmpfs / "dst", move=True)
    assert str(on_tmpfs / "dst") in str(refusal.value) and "system log" in str(refusal.value)
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


def test_nothing_is_removed_when_rank_0_could_not_end_the_copy(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"f": File(b"f")}, mode=0o750)})

    def broken(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(_Copy, "_settle", broken)  # copies are there, directories have no metadata yet
    what = Request(Verb.COPY, (os.fsencode(src),), (os.fsencode(dst),), Options(move=True))
    with lead(None, StopRequest()) as ranks:
        report = lead_operation(ranks.wire, what, Frontend(confirm=lambda question: True))
    assert report.exit_code == 23 and (src / "d/f").read_bytes() == b"f"
    assert [failure.reason for failure in report.failures] == ["rank 0 cannot continue: Input/output error"]
