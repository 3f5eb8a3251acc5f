"""The findings that verifying needs, sent to rank 0: which rank copied what, and which copies are not good. Pure."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units


class WrittenUnit(NamedTuple):
    """Something of a batch was copied. Only inside a rank: see gathered."""

    batch: Batch
    unit: Unit | None = None  # None: all of a RANGE batch
    lossy: bool = False  # not all that is in the unit


@dataclass(frozen=True, slots=True)
class Written:
    """What a rank has copied in one bite."""

    rank: int
    batches: bytes  # VERIFY batches, as stored_batches packs them: rank 0 only puts them aside; b"": none
    big: tuple[Batch, ...] = ()  # of big files: RANGE, what was copied; FINISH_FILE or START_FILE, it has its name


@dataclass(frozen=True, slots=True)
class Differing:
    """A copy that is not equal to its source."""

    batch: Batch  # copies it again, or links it: one unit
    reason: str
    links: Batch | None = None  # afterwards makes its other names again
    counted: Tally = NOTHING  # what it counted for when it was copied
    begins: bool = True  # of a big file: the range at its beginning is one of those that differ


def gathered(news: list[Any], rank: int) -> list[Any]:
    """Return news with what was written put together."""
    written = [each for each in news if isinstance(each, WrittenUnit)]
    if not written:
        return news
    big = tuple(each.batch for each in written if each.batch.big is not None)
    small = (each for each in written if each.batch.big is None)
    batches = [_verifying(list(some)) for _, some in groupby(small, key=lambda each: (id(each.batch), each.lossy))]
    together = Written(rank, _packed(batches) if batches else b"", big)
    return [*(each for each in news if not isinstance(each, WrittenUnit)), together]


def _packed(batches: list[Batch]) -> bytes:
    from hpcp_mpi.vocab.stored_batches import packed  # only runs that verify need it, and it needs json

    return packed(batches)


def _verifying(written: list[WrittenUnit]) -> Batch:
    """Return the batch that verifies what was written of one batch."""
    batch, _, lossy = written[0]
    some = [each.unit for each in written if each.unit is not None]
    units = Units([unit.name for unit in some], [unit.amount for unit in some]) if batch.units.plain else Units.of(some)
    return Batch(Kind.VERIFY, batch.source, batch.source_dir, batch.dest_dir, units, lossy=lossy)
