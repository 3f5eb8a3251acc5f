"""The lines of a run with images: what was asked, each image, each partition."""

from collections.abc import Callable, Iterator, Sequence

from hpcp_mpi.cli.amounts import duration
from hpcp_mpi.vocab.amounts import size
from hpcp_mpi.vocab.paths import first_few, in_one_line, printable
from hpcp_mpi.vocab.report import ImageResult, PartitionResult, Report
from hpcp_mpi.vocab.request import Request, Verb

_NAMED = 5  # sources in the first line
_HEADS = ("partition", "content", "treatment", "start", "size", "entries", "bytes", "failed", "time")
_WOULD = {"made": "would make", "updated": "would update", "cloned": "would clone", "read": "read"}


def asked(request: Request) -> str:
    """Return what a request with images copies, and where to."""
    images = request.images
    if images is None:
        return ""
    sources = first_few(images.patches or images.images or request.sources, _NAMED, between=" ")
    targets = " ".join(map(printable, request.destinations or ((images.image,) if images.image else ())))
    if request.verb is Verb.PATCH:
        return f"{sources} with {targets} -> {printable(images.patch) if images.patch else 'a patch named after both'}"
    if request.file_list is not None:
        listed = "standard output" if request.file_list == b"-" else printable(request.file_list)
        return f"{sources} {'with' if request.verb is Verb.COMPARE else '->'} {listed}"
    return f"{sources} {'with' if request.verb is Verb.COMPARE else '->'} {targets}"


def image_lines(report: Report, in_columns: Callable[[Sequence[Sequence[str]]], list[str]]) -> Iterator[str]:
    """Yield a line for each image, and a table of the partitions. in_columns: end_table's"""
    for image in report.images:
        yield _image(image, report.dry_run)
    if report.partitions:
        rows = [_partition(each) for each in report.partitions]
        some = [at for at, head in enumerate(_HEADS) if any(row[at] for row in rows) or at < 2]
        yield from in_columns([[row[at] for at in some] for row in (_HEADS, *rows)])
        for each in report.partitions:
            yield from (f"partition {_called(each)}: {in_one_line(note)}" for note in each.notes)


def _image(image: ImageResult, dry_run: bool) -> str:
    parts = [image.file_system, image.label and f"label {image.label}", image.uuid and f"UUID {image.uuid}"]
    words = ", ".join(in_one_line(part) for part in parts if part)
    room = f", {size(image.size)}" if image.size else ""  # of a squashfs that was not made nobody knows
    room += "" if image.allocated is None else f" ({size(image.allocated)} allocated)"
    took = f" in {duration(image.seconds)}" if image.seconds else ""
    what = _WOULD.get(image.what, image.what) if dry_run else image.what
    return f"image {printable(image.path)}: {what}{took}{room}{', ' if words else ''}{words}"


def _partition(each: PartitionResult) -> tuple[str, ...]:
    return (
        _called(each),
        in_one_line(each.content) or "unknown",
        each.treatment,
        _changed(each.start_before, each.start),
        _changed(each.size_before, each.size),
        f"{each.entries:,}" if each.entries else "",
        size(each.copied) if each.copied else "",
        f"{each.failed:,}" if each.failed else "",
        duration(each.seconds) if each.seconds else "",
    )


def _called(each: PartitionResult) -> str:
    return f"{each.number}{' ' if each.name else ''}{in_one_line(each.name)}"


def _changed(before: int | None, now: int | None) -> str:
    if before is None or now is None or before == now:
        known = now if before is None else before
        return "" if known is None else size(known)
    return f"{size(before)} -> {size(now)}"
