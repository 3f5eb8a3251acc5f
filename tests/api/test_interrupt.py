"""Ctrl-C in a program that copies: KeyboardInterrupt when the run has ended, soon, and nothing is left behind; so with
SIGTERM, after which the process is gone."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.launch import World, start
from tests.support.marks import worlds
from tests.support.trees import File, build

PROGRAM = """
import signal, sys, threading, time
import hpcp_mpi
source, destination = sys.argv[1:]
started = []
def progress(now):
    if now.entries > 3 and not started:
        started.append(now)
        print("copying", flush=True)
try:
    hpcp_mpi.copy(source, destination, file_rate_limit=30, files_per_job=2, progress=progress)
except KeyboardInterrupt:
    left = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    python_s = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("interrupted", left, python_s, flush=True)
    sys.exit(130)
print("ended", flush=True)
"""


@pytest.mark.parametrize("world", worlds((3,), launchers=("plain", "mpich", "openmpi")))
def test_ctrl_c_ends_the_run_in_good_order_and_is_raised(world: World, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"{number:03}": File(b"x" * 1000) for number in range(600)})
    with world.start([on_tmpfs / "src", on_tmpfs / "dst"], python_args=("-c", PROGRAM)) as running:
        running.wait_for("copying", 30)
        began = time.monotonic()
        running.signal(signal.SIGINT)
        done = running.finish(timeout=30)
        took = time.monotonic() - began
    assert took < 3 + 3 * (world.flavour != "plain") and not done.left_behind, str(done)
    if world.flavour != "openmpi":  # whose mpiexec sends SIGTERM
        assert done.returncode == 130 and done.stdout.count("interrupted [] True") == world.n, str(done)
    assert 0 < len(list((on_tmpfs / "dst").iterdir())) < 600
    assert not list(on_tmpfs.rglob(".hpcp-mpi.*"))
    assert "Traceback" not in done.stderr, str(done)


def test_sigterm_ends_the_run_in_good_order_and_then_the_process(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"{number:03}": File(b"x" * 1000) for number in range(600)})
    with start([on_tmpfs / "src", on_tmpfs / "dst"], flavour="plain", python_args=("-c", PROGRAM)) as running:
        running.wait_for("copying", 30)
        running.signal(signal.SIGTERM)
        done = running.finish(timeout=10)
    assert done.returncode == -signal.SIGTERM and "ended" not in done.stdout, str(done)
    assert not list(on_tmpfs.rglob(".hpcp-mpi.*")) and not done.left_behind


def test_a_second_ctrl_c_ends_a_run_at_once_that_waits_for_its_storage(on_tmpfs: Path) -> None:
    """A pause of the storage: a slot that does not come back, which is waited for after the first one."""
    build(on_tmpfs / "src", {"a": File(b"a")})
    with start([on_tmpfs / "src", on_tmpfs / "dst"], flavour="plain", python_args=("-c", STUCK + PROGRAM)) as running:
        running.wait_for("stuck", 30)
        running.signal(signal.SIGINT)
        time.sleep(0.5)
        assert not running.ended
        running.signal(signal.SIGINT)
        running.wait_for("interrupted", 2)


STUCK = """
import time
import hpcp_mpi.operations.worker
def stuck(context, batches):
    print("stuck", flush=True)
    time.sleep(5)
hpcp_mpi.operations.worker.work = stuck
"""
