"""What partition tables mean: which partition a word names, which kinds of partitions there are, where boot code lies.

Pure.
"""

from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Partition, Table, is_extended
from hpcp_mpi.vocab.paths import printable

MIB = 1 << 20
BOOT_CODE = 440  # bytes of sector 0 before the disk's number and the table

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
_PREP = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
_MSR = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"
_BOOT_PROGRAMS = {BIOS_BOOT: "BIOS boot", _PREP: "PReP boot", _MSR: "reserved by Microsoft", "41": "PReP boot"}


def is_logical(table: Table, partition: Partition) -> bool:
    """Return whether a partition lies in an extended one."""
    return table.label == "dos" and partition.number > 4


def boot_program(partition: Partition) -> str:
    """Return what a partition is that by its type holds a program and never a file system; "" of others."""
    return _BOOT_PROGRAMS.get(partition.type.upper(), "")


def on_disk(table: Table) -> list[Partition]:
    """Return the partitions in the order in which they lie; an extended one comes before what it holds."""
    return sorted(table.partitions, key=lambda each: (each.start, not is_extended(table, each), each.number))


def shown_partition(partition: Partition) -> str:
    """Return how messages call a partition."""
    name = printable(partition.name.encode("utf-8", "surrogateescape"))
    return f"partition {partition.number} ({name})" if name else f"partition {partition.number}"


def partition_named(table: Table, word: str) -> Partition:
    """Return the partition that a name or a number means. Raises FatalError where it is none, or several."""
    named = [each for each in table.partitions if each.name == word]
    numbered = [each for each in table.partitions if word.isdecimal() and each.number == int(word)]
    found = {each.number: each for each in numbered + named}
    shown = printable(word.encode("utf-8", "surrogateescape"))
    if len(found) == 1:
        return found.popitem()[1]
    if found:
        raise FatalError(
            f"{shown} is the name or number of several partitions: {', '.join(map(str, sorted(found)))}",
            "Name it by a number that is no name, or give the partitions names of their own.",
        )
    there = ", ".join(shown_partition(each).removeprefix("partition ") for each in table.partitions)
    raise FatalError(f"there is no partition {shown}", f"There are: {there}.")


def boot_gap(table: Table) -> int:
    """Return the bytes at the begin of a disk that hold boot code: those before the table, of an MBR up to a partition.

    GRUB lies between sector 1 and the first partition, at most 1 MiB.
    """
    if table.label != "dos":
        return BOOT_CODE
    first = min((each.start for each in table.partitions), default=MIB // table.sector)
    return min(first * table.sector, MIB)


def backup_sectors(table: Table) -> int:
    """Return the sectors that the table needs at the end of the disk: those of a GPT's backup."""
    if table.label != "gpt":
        return 0
    return 1 + -(-table.length * 128 // table.sector)


def shown_size(count: int) -> str:
    """Return bytes as people see them: whole MiB, or else exactly."""
    return f"{count // MIB:,} MiB" if count % MIB == 0 else f"{count:,} bytes"
