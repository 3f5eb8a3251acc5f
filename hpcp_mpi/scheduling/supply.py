"""What ranks have to do at a moment: the planner knows it, and a scan that may have them list asks for it."""

from typing import NamedTuple


class Supply(NamedTuple):
    """What ranks have to do."""

    ranks: int = 0
    idle: int = 0  # of them: with a slot that has nothing to do, and there is nothing for it
    slots: int = 0  # of all ranks
    seconds: float = 0.0  # of work that waits for each slot, beside directories to list
