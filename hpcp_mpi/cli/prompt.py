"""Questions, asked before something is removed."""

import sys
from collections.abc import Callable

from hpcp_mpi.vocab.errors import UsageError


def confirmation(force: bool) -> Callable[[str], bool]:
    """Return what asks a question and tells whether the answer is yes. force: it is, without asking.

    Without a terminal nobody can answer: UsageError.
    """
    return (lambda question: True) if force else _ask


def _ask(question: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{question} There is no terminal to answer at.", "Add -rf to go on without a question.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
