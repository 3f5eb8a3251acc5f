"""Keywords of the API's functions: one that does not exist is refused with the name of the one that was meant."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from hpcp_mpi.vocab.report import Report

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Paths = Path | Iterable[Path]
Size = int | str  # bytes, or "64K", "1.5G": powers of 1024
Rate = int | str  # a second; "10M" is 10,000,000, "10Mi" 10,485,760

P = ParamSpec("P")
T = TypeVar("T")

# What is a function of its own, or has another name here.
_MEANT = {
    "mirror": "call hpcp_mpi.mirror()",
    "delete": "call hpcp_mpi.mirror()",
    "remove_extra": "call hpcp_mpi.mirror()",
    "move": "call hpcp_mpi.move()",
    "remove": "call hpcp_mpi.move(), or hpcp_mpi.remove()",
    "remove_force": "nothing is asked: to call what removes is to agree",
    "force": "nothing is asked: to call what removes is to agree",
    "json": "the report is what the function returns: see Report.as_dict()",
    "batch": "it is always on",
    "archive": "it is always on",
    "recursive": "it is always on",
    "workers": "did you mean 'max_workers'?",
    "threads": "did you mean 'max_workers'?",
    "slots": "did you mean 'max_workers'?",
    "ignore": "did you mean 'exclude'?",
    "bwlimit": "did you mean 'rate_limit'?",
    "checksum": "did you mean 'full_hash'?",
    "callback": "did you mean 'progress'?",
    "cancel": "did you mean 'should_stop'?",
    "stop": "did you mean 'should_stop'?",
}


def refusing(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function, which then raises TypeError with the right name for a keyword that it does not have."""
    parameters = inspect.signature(function).parameters

    @wraps(function)
    def checked(*arguments: P.args, **keywords: P.kwargs) -> T:
        for word in keywords:
            if word not in parameters:
                raise TypeError(_unknown(function.__name__, word, list(parameters)))
        return function(*arguments, **keywords)

    return checked


def carried_out(function: str, keywords: Mapping[str, Any]) -> Report:
    """Do what a function was called for. keywords: all of its parameters"""
    from hpcp_mpi.api.run import run  # which loads all that works

    return run(function, keywords)


def _unknown(function: str, word: str, known: list[str]) -> str:
    says = f"{function}() got an unexpected keyword {word!r}"
    plain = word.lower().replace("-", "_")
    if plain in known:
        return f"{says}: did you mean {plain!r}?"
    if plain in _MEANT and not _MEANT[plain].startswith(f"call hpcp_mpi.{function}()"):
        return f"{says}: {_MEANT[plain]}"
    near = difflib.get_close_matches(plain, known, 1, 0.6)
    return f"{says}: did you mean {near[0]!r}?" if near else f"{says}: help(hpcp_mpi.{function}) lists those it has"
