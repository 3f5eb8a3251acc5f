"""Values of the API's keywords: each is converted to what the engine takes, or refused in a sentence.

What is of a wrong type raises TypeError, what means nothing UsageError, as on the command line.
"""

import math
import operator
import os
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

from hpcp_mpi.vocab.amounts import parse_rate, parse_size
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import printable

Converter = Callable[[str, Any], Any]

_A_PATH = "a path (str, bytes or os.PathLike)"


def _wrong(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {wanted}, not {reprlib.repr(value)}")


def path(name: str, value: Any) -> bytes:
    """Return a path as bytes. Raises TypeError, UsageError."""
    return _path(name, value, _A_PATH)


def _path(name: str, value: Any, wanted: str) -> bytes:
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise _wrong(name, wanted, value)
    try:
        found = os.fsencode(value)
    except UnicodeEncodeError:
        raise UsageError(f"{name}: {value!r} is no path: it cannot be encoded", "Give it as bytes.") from None
    if not found:
        raise UsageError(f"{name}: an argument is empty")
    if b"\0" in found:
        raise UsageError(f"{name}: {printable(found)!r} is no path: it holds a NUL")
    return found


def file(name: str, value: Any) -> bytes | None:
    """Return the path of a file, or None. Raises TypeError, UsageError."""
    if value is None:
        return None
    found = path(name, value)
    if found == b"-":
        raise UsageError(
            f"{name}: '-' is a standard stream only on the command line", "Name a file; one called so is './-'."
        )
    return found


def paths(name: str, value: Any) -> tuple[bytes, ...]:
    """Return one path or several as a tuple. Raises TypeError, UsageError."""
    wanted = _A_PATH + " or several"
    if isinstance(value, (str, bytes, os.PathLike)):
        value = (value,)
    if not isinstance(value, Iterable) or isinstance(value, (bytearray, memoryview)):
        raise _wrong(name, wanted, value)
    return tuple(_path(name, each, f"{_A_PATH} or several of them") for each in value)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):  # a text that says "no" is true
        raise _wrong(name, "True or False", value)
    return value


def denied(name: str, value: Any) -> bool:
    """Return what an option that forbids something leaves allowed."""
    return not flag(name, value)


def yes_or_unknown(name: str, value: Any) -> bool | None:
    return True if flag(name, value) else None


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a str", value)
    return value


def choice(*choices: str) -> Converter:
    """Return a converter that takes one of these words."""

    def chosen(name: str, value: Any) -> str:
        if text(name, value) not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return str(value)

    return chosen


def size(name: str, value: Any) -> int:
    """Return a number of bytes, given as one or as "64K". Raises TypeError, UsageError."""
    return _amount(name, value, parse_size, "a number of bytes, or a size such as '64K' or '1.5G'")


def rate(name: str, value: Any) -> int:
    """Return a number a second, given as one or as "10M". Raises TypeError, UsageError."""
    return _amount(name, value, parse_rate, "a number a second, or a rate such as '500', '10M' or '10Mi'")


def _amount(name: str, value: Any, parse: Callable[[str], int], wanted: str) -> int:
    if isinstance(value, str):
        try:
            return parse(value)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
    return int(_at_least(name, _whole(name, value, wanted), 0))


def _whole(name: str, value: Any, wanted: str) -> int:
    if isinstance(value, bool):
        raise _wrong(name, wanted, value)
    try:
        return operator.index(value)  # numbers of numpy, too
    except TypeError:
        raise _wrong(name, wanted, value) from None


def _at_least(name: str, value: Any, least: float) -> Any:
    if not value >= least:
        raise UsageError(f"{name} must be {least:g} or more, not {value}")
    return value


def number(name: str, value: Any) -> int | None:
    """Return a whole number, or None. Raises TypeError."""
    return None if value is None else _whole(name, value, "a whole number or None")


def count(least: int, optional: bool = False) -> Converter:
    """Return a converter that takes a whole number of at least so many. optional: None, too"""

    def counted(name: str, value: Any) -> int | None:
        if optional and value is None:
            return None
        return int(_at_least(name, _whole(name, value, "a whole number" + " or None" * optional), least))

    return counted


def seconds(least: float, optional: bool = False) -> Converter:
    """Return a converter that takes a number of at least so many. optional: None, too"""

    def measured(name: str, value: Any) -> float | None:
        if optional and value is None:
            return None
        if isinstance(value, (bool, str, bytes)):
            raise _wrong(name, "a number" + " or None" * optional, value)
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            raise _wrong(name, "a number" + " or None" * optional, value) from None
        if not math.isfinite(found):
            raise UsageError(f"{name} must be a finite number, not {found}")
        return float(_at_least(name, found, least))

    return measured


def callback(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise _wrong(name, "something that can be called, or None", value)
    return value
