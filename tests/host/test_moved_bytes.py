"""What a program writes counts while it runs, up to what it was given to do; no other thread's work does."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hpcp_mpi.host import commands
from hpcp_mpi.host.commands import Commands, MovedBytes
from hpcp_mpi.host.uncached_read import same_bytes

MIB = 1 << 20


@pytest.mark.parametrize("watched", [True, False])
def test_what_a_program_writes_counts_while_it_runs(
    watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """watched: as where other users may exchange what it opens"""
    monkeypatch.setattr(commands, "_LOOK", 0.05)
    running = Commands()
    seen: set[int] = set()
    ended = threading.Event()

    def run() -> None:
        running.moved.begin(4 * MIB)

        script = b"import time\nf = open('copy', 'wb', 0)\nfor i in range(4): f.write(bytes(1 << 20)); time.sleep(0.2)"
        code, said = running.run([b"python3", b"-c", script], bytes(tmp_path), (), (lambda: False) if watched else None)
        assert (code, said) == (0, b"")
        ended.set()

    slot = threading.Thread(target=run)
    slot.start()
    while not ended.wait(0.02):
        seen.add(running.moved.total)
    slot.join()
    assert any(0 < each < 4 * MIB for each in seen), sorted(seen)
    assert max(seen) <= 4 * MIB
    assert running.moved.total <= 4 * MIB and running.moved.mine == 0


def test_a_thread_counts_no_more_than_it_was_given_to_do_and_may_begin_again() -> None:
    moved = MovedBytes()
    moved.add(5)
    assert moved.total == 0, "nothing was begun: what calls and who lists is not counted"
    moved.begin(100)
    moved.add(70)
    moved.add(70)
    assert moved.total == moved.mine == 100
    moved.back_to(30)
    assert moved.total == 30
    moved.end()
    assert moved.total == 0
    moved.begin(10)
    assert moved.mine == 0


def test_a_program_that_ends_soon_is_not_waited_for_longer() -> None:
    running = Commands()
    began = time.monotonic()
    for _ in range(20):
        assert running.run([b"true"], b"/") == (0, b"")
    assert time.monotonic() - began < 20 * commands._LOOK / 2


def test_what_is_read_again_counts_block_by_block(tmp_path: Path) -> None:
    content = bytes(range(256)) * (9 * MIB // 256)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(content)
    counts: list[int] = []
    with (tmp_path / "a").open("rb") as mine, (tmp_path / "b").open("rb") as theirs:
        assert same_bytes(mine.fileno(), theirs.fileno(), 0, len(content), lambda: False, counts.append)
    assert len(counts) > 1 and len(content) - 4 * MIB < sum(counts) <= len(content)
