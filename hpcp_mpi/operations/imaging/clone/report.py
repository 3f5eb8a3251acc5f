"""What a dry run says of a clone: its table before and after, and what is done with each partition."""

from hpcp_mpi.operations.imaging.clone.plan import Plan, PlannedPart
from hpcp_mpi.operations.imaging.clone.target import CloneTarget
from hpcp_mpi.operations.imaging.rules.table import shown_partition, shown_size
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.paths import printable


def say_plan(run: Imaging, plan: Plan, target: CloneTarget) -> None:
    """Say what would be done."""
    table = plan.layout.table
    run.frontend.say(
        f"hpcp-mpi: {printable(target.path)} would become a clone of {printable(plan.source.image.path)}: "
        f"{table.label}, {plan.size:,} bytes"
    )
    for part in plan.parts:
        run.frontend.say(f"hpcp-mpi:   {_line(plan, part)}")


def _line(plan: Plan, part: PlannedPart) -> str:
    before = part.source.partition
    sector = plan.source.table.sector
    place = _change(f"byte {before.start * sector:,}", f"byte {part.offset:,}")
    size = _change(shown_size(before.size * sector), shown_size(part.size))
    reason = f" ({part.source.treatment.reason})" if part.source.treatment.reason else ""
    content = part.source.content.type or "unknown"
    return f"{shown_partition(part.target)}: {content}, {part.source.kind.value}{reason}, at {place}, {size}"


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
