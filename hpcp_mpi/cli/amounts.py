"""Amounts that only the command line reads and shows: sizes of disks, numbers, durations. Others: `vocab.amounts`."""

import re
from collections.abc import Callable

_DISK_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)(?:([KMGTP])(IB?|B)?|B)?")
_BIGGEST = 2**63 - 1  # of a file


def parse_disk_size(text: str) -> int:
    """Return the bytes in `20GiB` and `20G` (powers of 1024), `500MB` (of 1000), `65536`: hpcp's. Raises ValueError."""
    from decimal import Decimal  # only images need it

    match = _DISK_SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"not a size: {text!r}; write it as 20GiB or 20G (1024), 500MB (1000), or in bytes")
    number, unit, kind = match.groups()
    size = int(Decimal(number) * (1000 if kind == "B" else 1024) ** "_KMGTP".index(unit or "_"))
    if not 0 < size <= _BIGGEST:
        raise ValueError(f"no image and no partition can have this size: {text!r}")
    return size


def whole_number(text: str) -> int:
    """Return the number in `4` or `-2`. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"not a whole number: {text!r}") from None


def at_least(lowest: float, convert: Callable[[str], float] = float) -> Callable[[str], float]:
    """Return a function that parses a number of at least lowest. It raises ValueError."""

    def checked(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            raise ValueError(f"not a number: {text!r}") from None
        if not value >= lowest:
            raise ValueError(f"must be {lowest:g} or more, not {text}")
        return value

    return checked


def duration(seconds: float) -> str:
    """Return seconds as `1h02m03s`, `2m03s`, `4.2s`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m{rest:02}s" if hours else f"{minutes}m{rest:02}s"
