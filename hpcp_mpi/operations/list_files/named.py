"""The result of a walk through a part of a tree, for a file list."""

from dataclasses import dataclass, field

from hpcp_mpi.vocab.tally import NOTHING, Tally

# Entries of a list that follow each other in it as far as one walk knows: the keys of the first and of the last,
# where they begin in the text, and how many bytes they are.
Part = tuple[bytes, bytes, int, int]


@dataclass(slots=True)
class ListPart:
    """Entries, ready to be written."""

    text: bytes = b""
    parts: list[Part] = field(default_factory=list)
    tally: Tally = NOTHING
    huge: list[tuple[int, bytes]] = field(default_factory=list)  # (source, path) of directories too large to hold whole
