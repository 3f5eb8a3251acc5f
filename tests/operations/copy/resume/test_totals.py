"""The numbers of a ledger's runs add up after kills in any phase, and what was found is what the tree holds."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import dying, oracle, reports
from tests.support.copies import PLAIN, copy
from tests.support.launch import World
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, HardLink, Node, Symlink, build

pytestmark = needs_commands("rsync")

T = 1_600_000_000 * 10**9
KINDS = ("files", "directories", "links", "other", "bytes")
PHASES = ("scanning", "copying", "linking", "setting directory metadata")


def grow(src: Path, dst: Path) -> None:
    """A tree with all that is counted in its own way, and a destination that has some of it."""
    some: dict[str, Node] = {
        f"d{i}": Dir({f"f{j}": File(b"x" * (i + j), mtime_ns=T) for j in range(9)}, mtime_ns=T) for i in range(40)
    }
    twins: dict[str, Node] = {f"t{i}": HardLink(f"some/d{i}/f{i % 9}") for i in range(30)}
    huge: dict[str, Node] = {f"h{i}": File(b"", mtime_ns=T) for i in range(5000)}
    huge |= {f"in{i}": Dir({"g": File(b"g", mtime_ns=T), "l": Symlink("g", mtime_ns=T)}, mtime_ns=T) for i in range(50)}
    build(src, {"some": Dir(some), "twins": Dir(twins), "huge": Dir(huge), "empty": Dir({"deep": Dir({})})})
    build(src / "big", {"file": File(os.urandom(3 << 20), mtime_ns=T)})
    dst.mkdir()
    subprocess.run(["cp", "-a", *(src / "some" / f"d{i}" for i in range(20)), dst], check=True)
    (dst / "some").mkdir()
    for i in range(20):
        os.rename(dst / f"d{i}", dst / "some" / f"d{i}")
    os.chmod(dst / "some/d3", 0o700)
    os.chmod(dst / "some/d4/f0", 0o600)
    (dst / "huge").mkdir()


def by_find(src: Path) -> int:
    return subprocess.run(["find", src, "-printf", "x"], check=True, capture_output=True).stdout.count(b"x")


def summed(account: dict[str, Any], names: tuple[str, ...]) -> list[int]:
    return [sum(account[name][kind] for name in names) for kind in KINDS]


def in_table(text: str) -> dict[str, list[int]]:
    """The rows of the table in what was printed, without bytes."""
    rows = ("found", "copied before", "copied", "metadata only", "identical", "failed", "left")
    found = {}
    for line in text.splitlines():
        for name in rows:
            words = line.removeprefix(name).split()
            if line.startswith(name + "  ") and len(words) >= 4:
                found[name] = [int(word.replace(",", "")) for word in words[:4]]
    return found


def status(ledger: Path) -> tuple[dict[str, Any], dict[str, list[int]]]:
    report = ledger.with_suffix(".json")
    done = PLAIN.run(["--status", ledger, "--json", report]).check()
    account = reports.check(json.loads(report.read_text()))
    return account, in_table(done.stdout)


@pytest.mark.parametrize("world, listing", [(PLAIN, ""), (World("mpich", 3), "-pfl")], ids=str)
def test_after_kills_in_every_phase_the_numbers_are_those_of_the_tree(
    world: World, listing: str, on_tmpfs: Path
) -> None:
    src, dst, ledger = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "run.ledger"
    grow(src, dst)
    options = ["--ledger", ledger, "-f", "100", "--split-size", "1M", *([listing] if listing else [])]
    killed = 0
    for phase in PHASES:
        again = ["--resume"] if ledger.exists() else []
        done = world.run([*options, *again, src, dst], python_args=(dying.__file__, phase))
        killed += done.returncode not in (0, 23)
        numbers, table = status(ledger)
        assert summed(numbers, ("found",)) == summed(
            numbers, ("copied", "metadata_only", "identical", "failed", "left")
        ), phase
        rows = [table.get(name, [0] * 4) for name in ("copied", "metadata only", "identical", "failed", "left")]
        assert table["found"] == [sum(some) for some in zip(*rows, strict=True)], phase
        assert sum(table["found"]) <= by_find(src)
    assert killed == len(PHASES)
    last = copy(*options, "--resume", src, dst, world=world)
    report = last.report
    parts = ("copied_before", "copied", "metadata_only", "identical", "failed", "left")
    assert summed(report, ("found",)) == summed(report, parts)
    assert sum(report["found"][kind] for kind in KINDS[:4]) == by_find(src)
    assert not any(report["left"].values())
    table = in_table(last.done.stdout)
    rows = [table.get(name, [0] * 4) for name in ("copied before", "copied", "metadata only", "identical", "left")]
    assert table["found"] == [sum(some) for some in zip(*rows, strict=True)]
    assert sum(table["found"]) == by_find(src)
    numbers, table = status(ledger)
    assert (summed(numbers, ("found",)), sum(table["found"])) == (summed(report, ("found",)), by_find(src))
    assert not any(numbers["left"].values())
    oracle.assert_equal_trees(src, dst)
