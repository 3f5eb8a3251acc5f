"""Parsing and formatting of sizes, rates and durations for people."""

import re
from collections.abc import Callable
from decimal import Decimal

_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_RATE = re.compile(r"(\d{1,15}(?:\.\d*)?)(?:([KMGT])(I?))?B?(?:/S)?")
_DISK_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)(?:([KMGTP])(IB?|B)?|B)?")
_BIGGEST = 2**63 - 1  # of a file


def parse_size(text: str) -> int:
    """Return the bytes in `65536`, `64K`, `64KiB`, `1.5G` (powers of 1024). Raises ValueError."""
    word = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = word[-1:] if word[-1:].isalpha() else ""
    if unit not in _FACTORS:
        raise ValueError(f"not a size: {text!r}; write it as 65536, 64K, 512M or 2G")
    digits = word.removesuffix(unit)
    try:
        # A float holds no more than 53 bits of a whole number.
        size = (int(digits) if digits.isdecimal() else float(digits)) * _FACTORS[unit]
        if size < 0:
            raise ValueError(f"a size cannot be negative: {text!r}")
        return int(size)
    except OverflowError:
        raise ValueError(f"not a size: {text!r}; it is infinite") from None
    except ValueError as error:
        if "negative" in str(error):
            raise
        raise ValueError(f"not a size: {text!r}; write it as 65536, 64K, 512M or 2G") from None


def parse_disk_size(text: str) -> int:
    """Return the bytes in `20GiB` and `20G` (powers of 1024), `500MB` (of 1000), `65536`: hpcp's. Raises ValueError."""
    match = _DISK_SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"not a size: {text!r}; write it as 20GiB or 20G (1024), 500MB (1000), or in bytes")
    number, unit, kind = match.groups()
    size = int(Decimal(number) * (1000 if kind == "B" else 1024) ** "_KMGTP".index(unit or "_"))
    if not 0 < size <= _BIGGEST:
        raise ValueError(f"no image and no partition can have this size: {text!r}")
    return size


def parse_rate(text: str) -> int:
    """Return the rate per second in `500`, `10K` (10,000), `10Ki` (10,240): hpcp's units. Raises ValueError."""
    match = _RATE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"not a rate: {text!r}; write it as 500, 10K, 10M or 10Mi (per second)")
    number, unit, binary = match.groups()
    rate = float(number) * (1024 if binary else 1000) ** "_KMGT".index(unit or "_")
    if 0 < rate < 1:
        raise ValueError(f"a rate is 1 a second or more, or 0 for no limit, not {text!r}")
    return int(rate)


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


def size(count: float) -> str:
    """Return a number of bytes as `1.23 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} PiB"


def duration(seconds: float) -> str:
    """Return seconds as `1h02m03s`, `2m03s`, `4.2s`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m{rest:02}s" if hours else f"{minutes}m{rest:02}s"
