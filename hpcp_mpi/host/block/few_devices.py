"""A program that sees one block device of all.

Some look at every device for a UUID that theirs is to get, and refuse what is exactly wanted of a clone.
"""

import os
import stat
import threading
from collections.abc import Callable
from typing import TypeVar

from hpcp_mpi.host.block.mounts import NO_EXEC, NO_SUID, mount, private_namespace
from hpcp_mpi.vocab.errors import FatalError, reason_of

_Result = TypeVar("_Result")


def alone_with(device: bytes, action: Callable[[], _Result]) -> _Result:
    """Return what an action returns, for which /dev holds nothing but one block device, at the same path.

    It runs in a thread of its own, and what it starts sees that, too. Raises FatalError, and what it raises.
    """
    found: list[_Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            _hide_others(device)
            found.append(action())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="few devices")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _hide_others(device: bytes) -> None:
    """Mount a new /dev for this thread, whose mounts are its own from then on. Raises FatalError."""
    number = os.stat(device).st_rdev
    private_namespace()
    try:
        mount(b"hpcp-mpi", b"/dev", "tmpfs", NO_SUID | NO_EXEC, "mode=0700,size=64k")
        os.makedirs(os.path.dirname(device), exist_ok=True)
        os.mknod(device, stat.S_IFBLK | 0o600, number)
    except OSError as error:
        raise FatalError(f"cannot make a /dev of one device: {reason_of(error)}") from None
