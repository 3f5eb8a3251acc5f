"""Verifying, on rank 0: what was copied is read again by ranks that did not copy it.

Ranks are put in at most eight groups, by node where there are several. What a group has written is verified while its
ranks get nothing to do. What is not good is copied again, once, and verified again.
"""

import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hpcp_mpi.cluster.feed import Feed, Stream
from hpcp_mpi.host.spool import Spool
from hpcp_mpi.operations.verify.records import Differing, Written
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.stored_batches import packed, unpacked
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Kind, ranges

if TYPE_CHECKING:
    from hpcp_mpi.engine.coordinator import Coordinator

# More would leave fewer ranks idle in each of them (an eighth), and each has an end, when ranks wait for the last one.
_MOST_GROUPS = 8
_WRITTEN = "written"  # the ledger's records of what was copied and is to be verified
_PART = struct.Struct("<Q")
_NO_RANK = -1  # a rank of an earlier run
ALONE = "only one rank worked, so it verified its own copies"

Drive = Callable[[str, Feed], None]


class Recorder:
    """The record of what each rank has copied, put aside until it is verified."""

    def __init__(self, split_size: int) -> None:
        self.journal = Spool()
        self._split_size = max(1, split_size)
        self._ranges: dict[tuple[bytes, bytes], list[tuple[int, Batch]]] = {}  # of big files that have no name yet

    def add(self, written: Written) -> None:
        """Record what a rank has written."""
        if written.batches:
            self.journal.add(written.rank, written.batches)
        for batch in written.big:
            assert batch.big is not None
            key = batch.dest_dir, batch.big.stage
            if batch.kind is Kind.RANGE:
                self._ranges.setdefault(key, []).append((written.rank, batch))
                continue
            for rank, part in self._ranges.pop(key, None) or [(written.rank, self._whole(batch))]:
                self.journal.add(rank, packed([_verifying(part)]))

    def _whole(self, batch: Batch) -> Batch:
        """Return the ranges of a file that one rank copied as a whole."""
        assert batch.big is not None
        if not batch.big.size:
            return replace(_verifying(batch), big=None)
        length = self._split_size * batch.big.size // max(1, batch.big.size - batch.big.holes)
        return _verifying(batch.with_units(ranges(batch.big.size, length)))


def _verifying(batch: Batch) -> Batch:
    return Batch(Kind.VERIFY, batch.source, batch.source_dir, batch.dest_dir, batch.units, big=batch.big)


class _Recorded:
    """A feed, of which is recorded what was copied."""

    def __init__(self, feed: Feed, take: Callable[[Written], None]) -> None:
        self._feed = feed
        self._take = take

    @property
    def done(self) -> bool:
        return self._feed.done

    def next_batches(self) -> list[Batch]:
        return self._feed.next_batches()

    def on_findings(self, news: list[Any]) -> None:
        for each in news:
            if isinstance(each, Written):
                self._take(each)
        others = [each for each in news if not isinstance(each, Written)]
        if others:
            self._feed.on_findings(others)

    def pause(self, held: bool) -> None:
        self._feed.pause(held)


class _Rereads(Stream):
    """What a group has written, to be verified."""

    def __init__(self, batches: Iterable[Batch], differs: Callable[[Differing], None]) -> None:
        super().__init__(batches)
        self._differs = differs

    def on_findings(self, news: list[Any]) -> None:
        for each in news:
            if isinstance(each, Differing):
                self._differs(each)


class Verification:
    """The verification of a run, on rank 0.

    verification = Verification(coordinator)
    coordinator.drive("copying", verification.recorded(feed))
    verification.run(drive)
    """

    def __init__(self, coordinator: "Coordinator") -> None:
        self._coordinator = coordinator
        self._recorder = self._new_recorder()
        self._new: list[Written] | None = None
        self._alone_noted = False

    def _new_recorder(self) -> Recorder:
        return Recorder(self._coordinator.job.options.split_size)

    def recorded(self, feed: Feed) -> Feed:
        """Return a feed like feed: what is copied while it is driven will be verified."""
        return _Recorded(feed, self._take)

    def _take(self, written: Written) -> None:
        self._recorder.add(written)
        if self._new is not None:
            self._new.append(written)

    def take_new(self) -> dict[str, bytes]:
        """Return what came since the last call, for a ledger; from the first call on it is kept for the next."""
        new, self._new = self._new, []
        return {_WRITTEN: _stored(new)} if new else {}

    def forget_new(self) -> None:
        """Keep nothing for take_new() any more."""
        self._new = None

    def restore(self, records: Mapping[str, Iterable[bytes]]) -> None:
        """Take what earlier runs have copied and not verified, or not recorded as verified: any rank may read it."""
        for block in records.get(_WRITTEN, ()):
            for batches, big in _restored(block):
                self._recorder.add(Written(_NO_RANK, batches, tuple(unpacked(big))))

    def run(self, drive: Drive) -> None:
        """Verify what was recorded and not verified yet. drive: copies, and records that."""
        first = _Round(self._coordinator, last=False)
        self._verify(first)
        if first.again:
            drive("copying", Stream(first.copying()))
            drive("linking", Stream(first.linking()))
            self._verify(_Round(self._coordinator, last=True))

    def _verify(self, round_: "_Round") -> None:
        recorder, self._recorder = self._recorder, self._new_recorder()
        journal = recorder.journal
        if not journal:
            return
        planner = self._coordinator.planner
        shares = [share for share in planner.shares if not share.lost]
        ranks = [(share.rank, share.node) for share in shares]
        # Workers that are processes of one program are one rank to its user.
        found = [frozenset(rank for rank, _ in ranks)] if self._coordinator.wire.united else groups(ranks)
        orphans = frozenset(journal.owners).difference(*found)  # what lost ranks have written any rank may read
        try:
            for group in [*found, orphans] if orphans else found:
                writers = [rank for rank in journal.owners if rank in group]
                if not writers:
                    continue
                if group is orphans:
                    planner.pause(frozenset())
                elif any(share.rank not in group and not share.lost for share in planner.shares):
                    planner.pause(group)
                else:
                    self._note_alone()
                self._coordinator.drive("verifying", _Rereads(_batches(journal, writers), round_.add))
        finally:
            planner.pause(frozenset())
        round_.end()

    def _note_alone(self) -> None:
        if not self._alone_noted:
            self._alone_noted = True
            self._coordinator.outcome.warn(self._coordinator.job.destination, ALONE)


def _stored(written: Iterable[Written]) -> bytes:
    """Return what was copied, for a ledger: pairs of packed batches, each after its length."""
    return b"".join(_PART.pack(len(part)) + part for each in written for part in (each.batches, packed(each.big)))


def _restored(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Undo _stored(). Raises ValueError if that did not make block."""
    at, parts = 0, []
    while at < len(block):
        try:
            (length,) = _PART.unpack_from(block, at)
        except struct.error as error:
            raise ValueError(str(error)) from None
        at += _PART.size + length
        parts.append(block[at - length : at])
    yield from zip(parts[::2], parts[1::2], strict=True)


def _batches(journal: Spool, writers: Iterable[int]) -> Iterator[Batch]:
    for rank in writers:
        for block in journal.blocks(rank):
            yield from unpacked(block)


def groups(ranks: Iterable[tuple[int, str]], most: int = _MOST_GROUPS) -> list[frozenset[int]]:
    """Return ranks, given with their nodes, in groups that do not verify their own copies.

    Ranks of one node are in one group, where there are several nodes.
    """
    by_node: dict[str, list[int]] = {}
    for rank, node in ranks:
        by_node.setdefault(node, []).append(rank)
    units = list(by_node.values()) if len(by_node) > 1 else [[rank] for some in by_node.values() for rank in some]
    found: list[list[int]] = [[] for _ in range(min(most, len(units)))]
    for unit in sorted(units, key=len, reverse=True):
        min(found, key=len).extend(unit)
    return [frozenset(group) for group in found]


class _Round:
    """The result of verifying once. last: what is not good now is a failure."""

    def __init__(self, coordinator: "Coordinator", last: bool) -> None:
        self._coordinator = coordinator
        self._last = last
        self._big: dict[tuple[int, bytes, bytes], bool] = {}  # big files that differ: whether at their beginning too
        self.again = Spool()

    def add(self, differing: Differing) -> None:
        """Take what is not good."""
        batch = differing.batch
        (unit,) = batch.units
        outcome = self._coordinator.outcome
        if batch.kind is Kind.START_FILE:
            key = batch.source, batch.source_dir, unit.name
            known = key in self._big
            self._big[key] = differing.begins or self._big.get(key, False)
            if known:
                return
        outcome.copied = outcome.copied.minus(differing.counted)
        path = self._coordinator.context.source_path(batch, unit.name)
        if self._last:
            reason = f"differs from its source after two copies: {differing.reason}"
            outcome.failures.append(Failure(path, reason, attempted=differing.counted))
        else:
            outcome.warn(path, f"copied again: {differing.reason}")
            self.again.add(0, pickle.dumps(differing, pickle.HIGHEST_PROTOCOL))

    def end(self) -> None:
        """Take back big files whose first range was found good, and so counted."""
        wrong = sum(not begins for begins in self._big.values())
        outcome = self._coordinator.outcome
        outcome.verified = outcome.verified.minus(Tally(files=wrong))

    def _differing(self) -> Iterator[Differing]:
        for block in self.again.blocks(0):  # of this process: the file has no name
            yield pickle.loads(block)

    def copying(self) -> Iterator[Batch]:
        """Yield what is to be copied again."""
        return (each.batch for each in self._differing() if each.batch.kind is not Kind.LINK)

    def linking(self) -> Iterator[Batch]:
        """Yield the links to what was copied again, and those that were lost."""
        for each in self._differing():
            if each.batch.kind is Kind.LINK:
                yield each.batch
            elif each.links is not None:
                yield each.links
