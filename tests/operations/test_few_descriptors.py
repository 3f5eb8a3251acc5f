"""Few open files are allowed, or many slots asked for: everything is done all the same, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.copies import PLAIN, TINY_CHUNKS, copy, rsync_items, run
from tests.support.launch import World
from tests.support.marks import needs_root
from tests.support.trees import Dir, File, build

RANKS = World("mpich", 3)
# Hard limits too, which no process can raise again.
FEW = ("sh", "-c", 'ulimit -n 256; exec "$0" "$@"')


def forest(root: Path, count: int) -> None:
    build(root, {f"t{i % 10}": Dir() for i in range(10)})
    for i in range(count):
        path = root / f"t{i % 10}/d{i}"
        path.mkdir()
        (path / "f").write_bytes(b"x")


@pytest.mark.parametrize(
    "world, more",
    [(PLAIN, ("-j", "32", *TINY_CHUNKS)), (PLAIN, ("-pfl",)), (RANKS, ("-pfl", "-j", "16"))],
    ids=["plain", "list", "ranks-list"],
)
def test_a_move_of_many_directories(world: World, more: tuple[str, ...], on_tmpfs: Path) -> None:
    if world.missing():
        pytest.skip(str(world.missing()))
    src, dst, like = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "like"
    forest(src, 300)
    run(["cp", "-a", src, like])
    build(dst, {"t1": Dir({"old": File(b"o")})})
    copy("-rm", "-rf", src, "-d", dst, *more, world=world, wrapper=FEW)
    (dst / "t1/old").unlink()
    os.utime(dst / "t1", ns=(os.lstat(like / "t1").st_atime_ns, os.lstat(like / "t1").st_mtime_ns))
    assert not src.exists() and rsync_items(like, dst, "--checksum") == {}


@pytest.mark.parametrize("verb", ["copy", "remove"])
def test_many_arguments(verb: str, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    forest(src, 400)
    names = sorted(each for top in src.iterdir() for each in top.iterdir())
    if verb == "copy":
        copy(*names, "-d", dst, wrapper=FEW)
        assert len(list(dst.iterdir())) == 400 and all((each / "f").exists() for each in dst.iterdir())
    else:
        copy("-rm", "-rf", *names, wrapper=FEW)
        assert not any(any(top.iterdir()) for top in src.iterdir())


def test_thousands_of_slots_are_started_as_they_are_needed_and_end_at_once(on_tmpfs: Path) -> None:
    forest(on_tmpfs / "src", 300)
    with PLAIN.start(["-j", "8000", "-L", "100", on_tmpfs / "src", on_tmpfs / "dst"]) as running:
        deadline = time.monotonic() + 20
        while not (on_tmpfs / "dst/t1").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        threads = len(os.listdir(f"/proc/{running.pid}/task"))
        began = time.monotonic()
        running.signal(signal.SIGTERM)
        done = running.finish(30)
    assert threads < 300
    assert time.monotonic() - began < 10, str(done)
    assert "Traceback" not in done.stderr


@needs_root
def test_a_limit_of_threads_makes_fewer_slots(on_tmpfs: Path) -> None:
    """As pids.max of a control group, or ulimit -u, does it: a hook refuses to start more than ten threads."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    forest(src, 300)
    hook = """
import sys, threading
start, started = threading.Thread.start, []
def limited(thread):
    if thread.name.startswith("slot") and len(started) >= 3:
        raise RuntimeError("can't start new thread")
    started.append(thread)
    start(thread)
threading.Thread.start = limited
from hpcp_mpi.cli.main import console
sys.exit(console())
"""
    done = PLAIN.run(["-j", "500", src, dst, *TINY_CHUNKS], python_args=("-c", hook))
    assert done.returncode == 0 and "Traceback" not in done.stderr, str(done)
    assert rsync_items(src, dst) == {}
