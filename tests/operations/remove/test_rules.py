"""However a removal is divided: each directory goes once, after all that is in it, and unless something in it stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.remove.rules import (
    FinishedUnits,
    PendingDirectories,
    PendingDirectory,
    RemovalProgress,
    chain,
    is_walk,
    others,
    walks,
)
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import ONE_LINK
from hpcp_mpi.vocab.units import Batch, Kind


@dataclass
class Folder:
    folders: dict[bytes, Folder] = field(default_factory=dict)
    stays: bool = False  # a file in it does


@st.composite
def forests(draw: st.DrawFn) -> Folder:
    root = Folder()
    places = [root]
    for _ in range(draw(st.integers(0, 25))):
        place = draw(st.sampled_from(places))
        made = place.folders.setdefault(draw(st.sampled_from([b"a", b"b", b"c", b"\xff", b"a b"])), Folder())
        made.stays = draw(st.integers(0, 9)) == 9
        places.append(made)
    return root


class Work:
    """Workers that divide the work as they are told by data."""

    def __init__(self, root: Folder, data: st.DataObject) -> None:
        self.root = root
        self.data = data
        self.emptying = PendingDirectories()
        self.stack: list[tuple[bytes, bytes]] = [(b"", b"")]  # (directory, name) of units to walk through
        self.there = {path: folder for path, folder in below(root, b"")}
        self.removed: list[bytes] = []
        self.told = RemovalProgress()

    def run(self) -> None:
        """Walk through unit after unit, in any order, until nothing is left to do."""
        while self.stack:
            directory, name = self.stack.pop(self.data.draw(st.integers(0, len(self.stack) - 1)))
            self.told = RemovalProgress()
            state = self.walk(join(directory, name))
            if state is not None:
                self.told.finished.append(FinishedUnits(0, directory if name else None, 1, state))
            self.tell()

    def tell(self) -> None:
        self.emptying.update(self.told)
        while self.emptying.due:
            due, self.emptying.due = self.emptying.due, []
            for batch in due:
                assert batch.kind is Kind.RMDIR and not is_walk(batch)
                for unit in batch.units:
                    *paths, above = chain(unit)
                    for path in paths:
                        self.remove(path)
                    self.emptying.update(RemovalProgress(finished=[FinishedUnits(0, above, 1, False)]))

    def walk(self, path: bytes) -> bool | None:
        """Walk through a directory; return whether something stays, None if others have to finish it."""
        folder, handed, kept = self.there[path], 0, self.there[path].stays
        for name in folder.folders:
            if self.data.draw(st.booleans()):
                self.stack.append((path, name))
                handed += 1
                continue
            state = self.walk(join(path, name))
            handed += state is None
            kept = kept or state is True
        if handed:
            self.told.left.append(PendingDirectory(Kind.REMOVE, 0, path, handed, kept))
            return None
        if not kept and path:
            self.remove(path)
        return kept

    def remove(self, path: bytes) -> None:
        assert not any(each.startswith(path + b"/") for each in self.there), "it is not empty"
        assert not self.there.pop(path).stays
        self.removed.append(path)


def below(folder: Folder, path: bytes) -> Iterator[tuple[bytes, Folder]]:
    yield path, folder
    for name, each in folder.folders.items():
        yield from below(each, join(path, name))


def holds(folder: Folder) -> bool:
    return folder.stays or any(map(holds, folder.folders.values()))


@given(forests(), st.data())
def test_each_directory_goes_once_and_after_what_is_in_it(root: Folder, data: st.DataObject) -> None:
    work = Work(root, data)
    work.run()
    assert sorted(work.removed) == sorted(path for path, folder in below(root, b"") if path and not holds(folder))
    assert work.emptying.emptied == (set() if holds(root) else {0})
    assert not work.emptying._waiting


def left(directory: bytes, units: int, **more: bool | int) -> RemovalProgress:
    return RemovalProgress(left=[PendingDirectory(Kind.REMOVE, 3, directory, units, False, **more)])  # type: ignore[arg-type]


def finished(directory: bytes, units: int, gone: int = 0, kept: bool = False) -> RemovalProgress:
    return RemovalProgress(finished=[FinishedUnits(3, directory, units, kept, gone)])


def test_a_line_of_directories_that_wait_for_one_is_removed_in_one_go() -> None:
    emptying = PendingDirectories()
    for directory in (b"a", b"a/b", b"a/b/c"):
        emptying.update(left(directory, 1))
    emptying.update(finished(b"a/b/c", 1))
    (batch,) = emptying.due
    assert chain(next(iter(batch.units))) == [b"a/b/c", b"a/b", b"a", b""]
    assert (batch.kind, batch.source) == (Kind.RMDIR, 3)


def test_a_huge_directory_is_listed_again_until_nothing_goes_and_then_once_to_the_end() -> None:
    emptying = PendingDirectories()
    for gone, again in ((5, False), (0, True)):
        emptying.update(left(b"a/huge", 10, again=True))
        emptying.update(finished(b"a/huge", 4, gone=gone))
        assert emptying.due == []
        emptying.update(finished(b"a/huge", 6, kept=True))
        (batch,) = emptying.due
        emptying.due = []
        assert (batch.source_dir, batch.units.names, batch.again) == (b"a", [b"huge"], again)
        assert is_walk(batch)


def test_units_of_directories_are_walked_and_others_are_not() -> None:
    batches = [
        Batch(Kind.REMOVE, 0, b"", b"", units) for units in (walks([b"a"]), others([b"a"]), others([], ONE_LINK))
    ]
    assert [is_walk(batch) for batch in batches] == [True, False, False]
    assert not is_walk(Batch(Kind.REMOVE, 0, b"", b"", others([b"l"], ONE_LINK)))
