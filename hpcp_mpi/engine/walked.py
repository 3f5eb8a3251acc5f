"""What a walk through a part of a tree leaves for others, told to rank 0."""

from dataclasses import dataclass, field
from typing import Any

from hpcp_mpi.vocab.units import Batch


@dataclass(slots=True)
class Walked:
    """What became of units that a rank was asked to walk through."""

    done: int  # of the units that it was asked for
    found: list[Batch] = field(default_factory=list)  # units that there was no time for: for anyone
    told: Any = None  # what the operation wants to know of what was done
