"""Partition tables as text: what `sfdisk --json` prints, and the script that makes the same table again. Pure."""

import json
import re
from typing import Any

from hpcp_mpi.vocab.image_options import Partition, Table

LABELS = ("gpt", "dos")
_NUMBER = re.compile(r"(?:^|\D)(\d+)$")
_PLAIN = re.compile(r"[ !#-\[\]-~]")  # printable ASCII without `"` and `\`


def parse(text: bytes, sector: int = 512) -> Table:
    """Return the table that `sfdisk --json` printed. Raises ValueError where it is no such text.

    sector: bytes of one on that disk, of which util-linux before 2.35 says nothing
    """
    try:
        found = json.loads(text.decode("utf-8", "surrogateescape"), strict=False)["partitiontable"]
        partitions = [_partition(each, str(found["device"])) for each in found.get("partitions", ())]
        table = Table(
            label=str(found["label"]),
            id=str(found.get("id", "")),
            sector=int(found.get("sectorsize", sector)),
            partitions=tuple(sorted(partitions, key=lambda each: each.number)),
            first=int(found.get("firstlba", 0)),
            last=int(found.get("lastlba", 0)),
            length=int(found.get("table-length", 128)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what sfdisk prints: {error}") from error
    if len({each.number for each in partitions}) < len(partitions):
        raise ValueError("two partitions have one number")
    return table


def _partition(found: dict[str, Any], device: str) -> Partition:
    node = str(found["node"])
    number = _NUMBER.search(node[len(device) :] if node.startswith(device) else node)
    if number is None:
        raise ValueError(f"no number in {node!r}")
    return Partition(
        number=int(number.group(1)),
        start=int(found["start"]),
        size=int(found["size"]),
        type=str(found["type"]),
        uuid=str(found.get("uuid", "")),
        name=str(found.get("name", "")),
        attributes=str(found.get("attrs", "")),
        bootable=found.get("bootable") is True,
    )


def script(table: Table) -> bytes:
    """Return the script with which sfdisk makes this table on a disk with sectors of that size.

    The size itself is not named, as util-linux before 2.35 refuses a script with it.
    Where `last` is 0 sfdisk takes what the disk has room for.
    """
    head = [f"label: {table.label}", f"label-id: {table.id}", "unit: sectors"]
    if table.label == "gpt":
        head += [f"first-lba: {table.first}"] * (table.first > 0) + [f"last-lba: {table.last}"] * (table.last > 0)
        head += [f"table-length: {table.length}"] * (table.length != 128)
    return "".join(line + "\n" for line in [*head, "", *map(_line, table.partitions)]).encode("ascii")


def _line(partition: Partition) -> str:
    fields = [f"start={partition.start}", f"size={partition.size}", f"type={partition.type}"]
    fields += [f"uuid={partition.uuid}"] * bool(partition.uuid)
    fields += [f'name="{_quoted(partition.name)}"'] * bool(partition.name)
    fields += [f'attrs="{partition.attributes}"'] * bool(partition.attributes)
    return f"{partition.number} : " + ", ".join(fields + ["bootable"] * partition.bootable)


def _quoted(name: str) -> str:
    """Return a name as sfdisk reads it within quotes: what is not plain as \\xNN, byte by byte."""
    return "".join(
        each if _PLAIN.match(each) else "".join(f"\\x{byte:02x}" for byte in each.encode("utf-8", "surrogateescape"))
        for each in name
    )
