"""Partition tables written by sfdisk, tried in memory before: what it cannot write is known while nothing is lost."""

import os
from dataclasses import replace

from hpcp_mpi.host.block import gpt, table_text
from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.probing import FoundTable, found_table, own_sector
from hpcp_mpi.host.commands import answer_of
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.image_options import Table
from hpcp_mpi.vocab.paths import in_one_line, printable

# Signatures are not wiped: by then they are those of what was copied, and the boot code is there.
_SFDISK = ("sfdisk", "--no-reread", "--no-tell-kernel", "--quiet", "--wipe", "never", "--wipe-partitions", "never")


def tried(table: Table, sectors: int, shown: bytes) -> Table:
    """Return a table as sfdisk writes it on a disk of so many sectors, with what it adds. Raises FatalError.

    A disk that is all holes, in memory, gets it.
    """
    fd = os.memfd_create("table", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, sectors * table.sector)
        return write(fd, table, shown)
    except OSError as error:
        raise FatalError(f"a disk as big as {printable(shown)} cannot be tried: {reason_of(error)}") from None
    finally:
        os.close(fd)


def write(fd: int, table: Table, shown: bytes) -> Table:
    """Write a table to an open disk or image file; return what is read back. Raises FatalError, if that differs too.

    What lies before it, and between partitions, stays. fd: open for writing
    """
    if own_sector(fd) == table.sector:
        return _written(b"/proc/self/fd/%d" % fd, fd, (fd,), table, shown)
    with attach(fd, writable=True, sector=table.sector, name=shown) as loop:
        found = _written(loop.path, loop.fd, (), table, shown)
        os.fsync(loop.fd)
    return found


def _written(device: bytes, fd: int, descriptors: tuple[int, ...], table: Table, shown: bytes) -> Table:
    answer = answer_of([*_SFDISK, device], table_text.script(table), descriptors)
    if answer.code:
        raise FatalError(
            f"the partition table of {printable(shown)} cannot be written: {in_one_line(answer.words)}",
            "See what a newer sfdisk (util-linux) says.",
        )
    _name(fd, table)
    found = found_table(device, descriptors, shown)
    if found is None or _without_bounds(found.table) != _without_bounds(table):
        raise FatalError(
            f"the partition table of {printable(shown)} is not what was asked for: {_difference(table, found)}",
            "See what a newer sfdisk (util-linux) says.",
        )
    return found.table


def _name(fd: int, table: Table) -> None:
    """Give those partitions of a GPT their names whose names sfdisk cannot write: with emoji, for example."""
    names = {each.number: each.name for each in table.partitions if max(each.name, default="") > "\uffff"}
    if not names:
        return
    pieces = gpt.with_names(lambda offset, length: os.pread(fd, length, offset), table.sector, names)
    for offset, content in pieces:
        os.pwrite(fd, content, offset)


def _without_bounds(table: Table) -> Table:
    """Return a table as it is compared: what is usable is sfdisk's to find, and case means nothing."""
    partitions = tuple(
        replace(each, type=each.type.upper(), uuid=each.uuid.upper(), attributes=" ".join(each.attributes.split()))
        for each in table.partitions
    )
    return replace(table, partitions=partitions, first=0, last=0, id=table.id.upper())


def _difference(table: Table, found: FoundTable | None) -> str:
    """Return the first partition that sfdisk did not write as asked, for people."""
    there = {each.number: each for each in _without_bounds(found.table).partitions} if found is not None else {}
    for each in _without_bounds(table).partitions:
        if there.get(each.number) != each:
            return in_one_line(f"partition {each.number} ({each.name})")
    return "its head"
