"""What is listed at once, in loops of their own, becomes the same work as what is listed entry by entry."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.operations.prepare.arguments import root_of
from hpcp_mpi.operations.scan.at_once import AtOnce
from hpcp_mpi.operations.scan.lister import Lister, builder_for
from hpcp_mpi.operations.scan.records import ClassifiedEntries
from hpcp_mpi.vocab.abilities import Abilities, StoredTimes
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options
from tests.support.effort import many
from tests.support.trees import Dir, Fifo, File, HardLink, Name, Node, Socket, Symlink, build

TOO_LATE = 5_000_000_000  # seconds: more than what the destination can store, where it ends in 2038
ENDS_IN_2038 = StoredTimes(latest_ns=(1 << 31) * 10**9 - 1)

NAMES = st.sampled_from(["a", "b", "c", ".d", ".hpcp-mpi.x.1.1", "n" * 220])
MODES = st.sampled_from([0o755, 0o755, 0o755, 0o777])  # others may exchange what is in the last one
TIMES = st.sampled_from([None, None, TOO_LATE * 10**9])
LEAVES = st.one_of(
    st.builds(File, st.binary(max_size=50), mtime_ns=TIMES),
    st.builds(File, st.binary(max_size=50)),
    st.just(Symlink("a")),
    st.just(Fifo()),
    st.just(Socket()),
    st.just(HardLink("original")),
)
NODES: st.SearchStrategy[Node] = st.recursive(
    LEAVES, lambda nodes: st.builds(Dir, st.dictionaries(NAMES, nodes), mode=MODES, mtime_ns=TIMES), max_leaves=25
)
TREES = st.dictionaries(NAMES, NODES)


@contextmanager
def none_at_once() -> Iterator[None]:
    """Have all listed entry by entry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtOnce, "entries", lambda self, folder: None)
        yield


def work_of(src: Path, dst: Path, abilities: Abilities, options: Options) -> list[object]:
    """All that a scan of src finds to do, with src missing at the destination."""
    source, dest = root_of(os.fsencode(src)), root_of(os.fsencode(dst))
    place = JobContext(Job(options, (source,), "token", dest.path, dest, abilities=abilities), Commands(), 1)
    builder = builder_for(options)
    told: list[object] = []
    builder.lost = lambda path, mtime_ns: told.append((path, mtime_ns))
    failures: list[Failure] = []
    lister = Lister(place, lambda path, note: told.append((path, note)))
    waiting = [builder.root(0, b"", True)]
    while waiting:
        folder = waiting.pop()
        for listing in lister.listings(folder, failures):
            waiting += builder.add(folder, listing)
        builder.close(folder)
    place.release()
    units = [(each.kind.value, each.dest_dir, unit) for each in builder.out for unit in each.units]
    deferred = builder.deferred
    return [builder.scanned, sorted(units), sorted(deferred.settled), sorted(deferred.linked), told, failures]


def unordered(work: list[object]) -> list[object]:
    return [sorted(map(str, each)) if isinstance(each, list) else each for each in work]


@settings(max_examples=many(120), deadline=None)
@given(TREES, st.sampled_from([StoredTimes(), ENDS_IN_2038]), st.sampled_from([16, 2000, 10**6]), st.booleans())
def test_the_work_is_the_same_however_it_is_listed(
    tree: dict[Name, Node], times: StoredTimes, chunk: int, collapse: bool
) -> None:
    options = Options(chunk_size=chunk, chunk_files=16, directory_sync=collapse, links="never")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        src, dst = Path(made, "src"), Path(made, "dst")
        build(src, {"original": File(b"linked"), **tree})
        dst.mkdir()
        at_once = work_of(src, dst, Abilities(times=times), options)
        with none_at_once():
            assert unordered(at_once) == unordered(work_of(src, dst, Abilities(times=times), options))


def listed(src: Path) -> ClassifiedEntries:
    source = root_of(os.fsencode(src))
    job = Job(Options(), (source,), "token", source.path, source)
    place = JobContext(job, Commands(), 1)
    failures: list[Failure] = []
    (found,) = Lister(place, lambda path, note: None).listings(builder_for(job.options).root(0, b"", True), failures)
    place.release()
    assert failures == []
    return found


def test_directories_of_plain_files_are_listed_with_the_one_that_they_are_in(on_tmpfs: Path) -> None:
    plain, hidden = Dir({"f": File(b"1"), "g": File(b"22")}), Dir({".h": File(b"333")})
    deep, linked = Dir({"d": Dir()}), Dir({"f": File(), "l": Symlink("f")})
    build(on_tmpfs, {"plain": plain, "hidden": hidden, "empty": Dir(), "deep": deep, "linked": linked})
    found = listed(on_tmpfs)
    sizes = {leaf.name: dict(zip(leaf.names, leaf.sizes, strict=True)) for leaf in found.leaves}
    assert sizes == {b"plain": {b"f": 1, b"g": 2}, b"hidden": {b".h": 3}, b"empty": {}}
    assert sorted(name for name, _, _ in found.folders) == [b"deep", b"linked"]


def test_no_directory_is_entered_through_a_symlink_that_took_its_place(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(on_tmpfs, {"src": Dir({"d": Dir({"f": File()})}), "secret": Dir({"s": File()})})
    leaf = AtOnce._leaf

    def exchanged(self: AtOnce, parent: int, name: bytes, *rest: object) -> object:
        (on_tmpfs / "src/d").rename(on_tmpfs / "was")
        (on_tmpfs / "src/d").symlink_to("../secret")
        return leaf(self, parent, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(AtOnce, "_leaf", exchanged)
    found = listed(on_tmpfs / "src")
    assert found.leaves == [] and [name for name, _, _ in found.folders] == [b"d"]
