"""Sizes and rates as people write and read them: for the command line and the Python API."""

import re

_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_RATE = re.compile(r"(\d{1,15}(?:\.\d*)?)(?:([KMGT])(I?))?B?(?:/S)?")


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


def size(count: float) -> str:
    """Return a number of bytes as `1.23 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} PiB"
