"""A run that goes on: what failed is tried again, what is done is left alone, and nothing old is believed for ever."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host.external_sort import RecordedSort
from hpcp_mpi.operations.copy.big_files.worker import _copied
from hpcp_mpi.operations.scan.at_once import AtOnce
from hpcp_mpi.operations.scan.lister import Lister, Unlisted
from hpcp_mpi.vocab.checkpoint import Checkpoint, ResumeState
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.options import MIB, Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Unit, Units
from tests.chaos import trees
from tests.support import oracle
from tests.support.copies import stages
from tests.support.interrupted import BrokenOff, Notes, run
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, HardLink, build

pytestmark = needs_commands("rsync")

SMALL = Options(chunk_files=5, chunk_seconds=0.02, slots=1, parallel_listing=False, split_size=MIB)


def copying(place: Path, **options: Any) -> Request:
    return Request(Verb.COPY, (os.fsencode(place / "src"),), (os.fsencode(place / "dst"),), replace(SMALL, **options))


class Looks:
    """Counts the directories that are listed; some cannot be."""

    def __init__(self) -> None:
        self.refused: set[bytes] = set()
        self.at: list[bytes] = []


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    found = Looks()
    listings = Lister.listings

    def counted(self: Lister, folder: Any, failures: list[Failure]) -> Iterator[Any]:
        found.at.append(folder.source_dir)
        if folder.source_dir in found.refused:
            path = os.path.join(self._context.job.sources[folder.source].path, folder.source_dir)
            raise Unlisted(Failure(path, "cannot list: Input/output error"))
        yield from listings(self, folder, failures)

    monkeypatch.setattr(Lister, "listings", counted)
    monkeypatch.setattr(AtOnce, "_leaf", lambda self, *args: None)
    return found


def broken_off(request: Request, phase: str, saved: ResumeState | None = None) -> Notes:
    """The notes of a run that ended when a phase had begun. saved: what it had resumed"""

    class Ending(Notes):
        def checkpoint(self, cp: Checkpoint) -> None:
            super().checkpoint(cp)
            if cp.phase == phase:
                raise BrokenOff

    notes = Ending()
    with pytest.raises(BrokenOff):
        run(request, notes, saved)
    return notes


def after(notes: Notes, request: Request, exit_code: int | None = None, said: list[str] | None = None) -> Report:
    """The report of a run that goes on."""
    return run(request, Notes(), notes.saved(len(notes.checkpoints), exit_code), said)


@pytest.mark.parametrize("parallel", [False, True])
def test_what_could_not_be_listed_is_tried_again_and_nothing_else(parallel: bool, looks: Looks, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"d{i}": Dir({"x": Dir({"f": File(b"%d" % i)}), "g": File(b"g")}) for i in range(10)})
    request = copying(on_tmpfs, parallel_listing=parallel)
    looks.refused = {b"d3/x"}
    notes = Notes()
    assert run(request, notes).exit_code == 23
    assert [each.path for each in notes.saved(10**6, 23).latest.failures] == [os.fsencode(on_tmpfs / "src/d3/x")]
    looks.refused, looks.at = set(), []
    assert after(notes, request, 23).exit_code == 0
    assert looks.at == [b"d3/x"]
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


def test_entries_that_are_sources_themselves_are_tried_again_each(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f"), "g": File(b"g"), "d": Dir({"h": File(b"h"), "e": Dir({"i": File()})})})
    # In the way are a directory for g, and one for the h of a source that is in another one, too.
    build(on_tmpfs / "dst", {"g": Dir({"full": File()}), "d": Dir({"h": Dir({"full": File()})})})
    names = (b"src/f", b"src/g", b"src/d", b"src/d/e")
    request = replace(copying(on_tmpfs), sources=tuple(os.fsencode(on_tmpfs) + b"/" + name for name in names))
    notes = Notes()
    assert run(request, notes).exit_code == 23
    os.unlink(on_tmpfs / "dst/g/full")
    os.unlink(on_tmpfs / "dst/d/h/full")
    assert after(notes, request, 23).exit_code == 0
    assert [(on_tmpfs / "dst" / name).read_bytes() for name in ("f", "g", "d/h", "e/i")] == [b"f", b"g", b"h", b""]


def test_failures_are_looked_for_in_all_sources_that_hold_them(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"d": Dir({"e": Dir({"f": File(b"f")})})})
    build(on_tmpfs / "dst", {"e": Dir({"f": Dir({"full": File()})})})
    names = (b"src/d", b"src/d/e")
    request = replace(copying(on_tmpfs), sources=tuple(os.fsencode(on_tmpfs) + b"/" + name for name in names))
    notes = Notes()
    assert run(request, notes).exit_code == 23
    os.unlink(on_tmpfs / "dst/e/f/full")
    assert after(notes, request, 23).exit_code == 0
    assert (on_tmpfs / "dst/e/f").read_bytes() == b"f"


def test_a_complete_run_is_begun_anew_and_what_it_had_recorded_is_forgotten(looks: Looks, on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {"a": Dir({"f": File(b"f")}), "b": Dir({"g": HardLink("a/f"), "h": File(b"h")}), "c": Dir({})})
    request = copying(on_tmpfs)
    first = Notes()
    assert run(request, first).exit_code == 0
    # Names and directories of the first run's records are gone.
    for name in ("b/g", "b/h"):
        os.unlink(src / name)
    os.rmdir(src / "b")
    os.rmdir(src / "c")
    build(src / "new", {"n": File(b"n")})
    mirror = replace(request, options=replace(request.options, mirror=True))
    looks.at = []
    second = broken_off(mirror, "linking", first.saved(10**6, 0))
    assert b"" in looks.at
    third = Notes()
    third.checkpoints = first.checkpoints + second.checkpoints
    report = after(third, mirror)
    assert (report.exit_code, report.failures) == (0, [])
    oracle.assert_equal_trees(src, on_tmpfs / "dst")


def test_what_changed_in_a_directory_that_was_done_is_left_to_the_next_run(looks: Looks, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"done": Dir({"f": File(b"old"), "g": File(b"g")}), "d": Dir({"twin": HardLink("done/g")})})
    request = copying(on_tmpfs)
    notes = broken_off(request, "linking")
    (src / "done/f").write_bytes(b"new content")
    looks.at, said = [], []
    assert after(notes, request, said=said).exit_code == 0
    assert looks.at == [] and "0 directories to scan again" in said[-1]
    assert (dst / "done/f").read_bytes() == b"old"
    assert run(request, Notes()).outcome.copied.files == 1
    oracle.assert_equal_trees(src, dst)


def test_a_name_that_became_another_file_meanwhile_is_not_linked_to_what_it_was(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"f": File(b"one file")}), "b": Dir({"g": HardLink("a/f"), "h": HardLink("a/f")})})
    request = copying(on_tmpfs)
    notes = broken_off(request, "linking")
    os.unlink(src / "b/g")
    (src / "b/g").write_bytes(b"another file")
    assert after(notes, request).exit_code == 0
    assert [(dst / name).read_bytes() for name in ("a/f", "b/g", "b/h")] == [b"one file", b"another file", b"one file"]


@pytest.mark.parametrize(
    "phase, verify", [("linking", False), ("setting directory metadata", False), ("verifying", True)]
)
def test_what_is_gone_meanwhile_is_a_note_and_no_failure_for_ever(phase: str, verify: bool, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    full = {"a": Dir({"f": File(b"f"), "k": File(b"k")}), "b": Dir({"g": HardLink("a/f")}), "c": Dir({})}
    build(src, {**full, "d": Dir({"h": HardLink("a/f"), "i": File(b"i")})})
    (dst / "d").mkdir(parents=True)  # so that it is filled by several units
    request = copying(on_tmpfs, verify=verify)
    notes = broken_off(request, phase)
    for directory in ("b", "c", "d"):
        subprocess.run(["rm", "-r", src / directory], check=True)
    report = after(notes, request)
    assert (report.exit_code, report.failures) == (0, [])
    assert (dst / "a/f").read_bytes() == b"f" and stages(dst) == []
    assert any("d" in os.fsdecode(path) for path, _ in report.outcome.notes)


def test_a_ledger_that_cannot_be_written_any_more_is_a_note(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Notes):
        def checkpoint(self, cp: Checkpoint) -> None:
            super().checkpoint(cp)
            if len(self.checkpoints) == 3:
                raise FatalError("cannot write the ledger /the/ledger: No space left on device")

    spills: list[RecordedSort] = []
    make = RecordedSort.__init__
    monkeypatch.setattr(RecordedSort, "__init__", lambda self, *args: (spills.append(self), make(self, *args))[1])
    trees.grow(on_tmpfs / "src", random.Random(3), 100)
    request, said = copying(on_tmpfs, verify=True), []
    notes = Full()
    report = run(request, notes, said=said)
    assert (report.exit_code, len(notes.checkpoints)) == (0, 3)
    told = [note for path, note in report.outcome.notes if path == Notes.path]
    assert len(told) == 1 and "No space left on device; the run continues without it" in told[0]
    assert spills and all(spill._new is None for spill in spills), "nobody reads what is kept"
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("command", ["one after the other", "spread", "a list", "a move"])
def test_commands_whose_frontier_is_not_remembered_look_at_everything(command: str, seed: int, on_tmpfs: Path) -> None:
    rng = random.Random(seed)
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    trees.grow(src, rng, 60)
    trees.grow(on_tmpfs / "more", rng, 30)
    request, sources = copying(on_tmpfs), (os.fsencode(src), os.fsencode(on_tmpfs / "more"))
    if command == "one after the other":
        request = replace(request, sources=sources, options=replace(request.options, sequential=True))
    elif command == "spread":
        request = replace(request, destinations=(os.fsencode(dst), os.fsencode(on_tmpfs / "dst2")))
    elif command == "a list":
        (on_tmpfs / "list").write_bytes(b"".join(name + b"\0" for name in oracle.entries(src)))
        request = replace(request, source_list=os.fsencode(on_tmpfs / "list"), nul=True)
    else:
        subprocess.run(["cp", "-a", src, on_tmpfs / "kept"], check=True)
        request = replace(request, options=replace(request.options, move=True))
    try:
        notes = Notes(rng.randint(1, 30))
        run(request, notes)
    except BrokenOff:
        pass
    report = after(notes, request)
    assert (report.exit_code, report.failures) == (0, [])
    assert stages(dst) == []
    if command == "one after the other":
        oracle.assert_equal_trees(src, dst / "src")
        oracle.assert_equal_trees(on_tmpfs / "more", dst / "more")
    elif command == "spread":
        here, there, all_ = (set(files(each)) for each in (dst, on_tmpfs / "dst2", src))
        assert here | there == all_ and not here & there
    elif command == "a list":
        oracle.assert_equal_trees(src, dst, top=False)
    else:
        assert not src.exists()
        oracle.assert_equal_trees(on_tmpfs / "kept", dst)


def files(root: Path) -> list[bytes]:
    return [path for path, info in oracle.lstats(root).items() if not (root / os.fsdecode(path)).is_dir()]


def test_of_ranges_that_were_cut_all_that_was_copied_is_verified() -> None:
    units = Units.of(Unit(b"%d" % (start * MIB), Tally(bytes=4 * MIB), 2 * MIB) for start in (0, 4, 8))  # half is holes
    assert list(_copied(units, Units([], []))) == list(units)
    for done in range(3):
        whole, cut = units[:done], list(units)[done]
        assert list(_copied(units, units[done:])) == list(whole)
        rest = Unit(b"%d" % (int(cut.name) + MIB), Tally(bytes=3 * MIB), 2 * MIB)
        left = Units.of([rest, *units[done + 1 :]])
        assert list(_copied(units, left)) == [*whole, cut._replace(tally=Tally(bytes=MIB), amount=0)]
