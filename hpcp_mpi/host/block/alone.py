"""Running a program that sees one block device, and no other.

btrfstune gives no file system a UUID that it finds elsewhere on the machine, and a clone gets that of its source. It
looks for it in /dev: there, for it alone, is nothing but its device.
"""

import os
import threading
from collections.abc import Callable, Sequence

from hpcp_mpi.host.block.mounts import BIND, NO_EXEC, NO_SUID, mount, private_namespace
from hpcp_mpi.host.commands import Answer, answer_of
from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.vocab.errors import FatalError, reason_of

_HIDDEN = (b"/dev", b"/run/blkid")  # in the second one blkid writes down what it has seen
_KEPT = (b"/dev/null", b"/dev/zero", b"/dev/random", b"/dev/urandom")


def answer_alone(arguments: Sequence[bytes | str], device: bytes, stop: Callable[[], bool] | None = None) -> Answer:
    """Run a program as answer_of does, in a namespace in which only one block device is in /dev.

    device: its absolute path. Raises FatalError, and Stopped as stop says.
    """
    found: list[Answer | BaseException] = []

    def run() -> None:
        try:
            private_namespace()  # of this thread, and what it starts; it goes with it
            _hide_others(device)
            found.append(answer_of(arguments, stop=stop))
        except OSError as error:
            found.append(FatalError(f"cannot hide other devices from {_name(arguments)}: {reason_of(error)}"))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, name="alone")
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _name(arguments: Sequence[bytes | str]) -> str:
    return os.fsdecode(arguments[0])


def _hide_others(device: bytes) -> None:
    """Mount an empty /dev, with a device in it. Raises OSError."""
    kept = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in (device, *_KEPT) if os.path.exists(path)]
    try:
        for hidden in filter(os.path.isdir, _HIDDEN):
            mount(b"hpcp-mpi", hidden, "tmpfs", NO_SUID | NO_EXEC, "mode=0755,size=1m")
        for path, fd in kept:
            if not path.startswith(b"/dev/"):
                continue  # it is where it was
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            mount(path_of(fd).replace(b"/self/", b"/thread-self/"), path, "", BIND)
    finally:
        for _, fd in kept:
            os.close(fd)
