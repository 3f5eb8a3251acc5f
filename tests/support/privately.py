"""Mounting in a test: in a thread that has a mount namespace of its own, so that nothing can be left mounted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from hpcp_mpi.host.block import mounts
from hpcp_mpi.host.block.loops import Loop, attach


def privately(test: Callable[..., None]) -> Callable[..., None]:
    """Decorate a test: it runs in a thread, whose mounts nobody else sees and that go with it."""

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        failed: list[BaseException] = []

        def inside() -> None:
            try:
                mounts.private_namespace()
                test(*args, **kwargs)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    return run


@contextmanager
def device_of(path: Path, size: int = 0) -> Iterator[Loop]:
    """Yield a loop device of an image file, which is made anew where a size is given."""
    if size:
        with path.open("wb") as file:
            file.truncate(size)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        with attach(fd, writable=True) as loop:
            yield loop
    finally:
        os.close(fd)


@contextmanager
def mounted(loop: Loop, kind: str, place: Path) -> Iterator[Path]:
    """Mount a loop device for writing during a `with` block."""
    place.mkdir(exist_ok=True)
    mounts.mount(loop.path, bytes(place), kind, mounts.NO_SUID)
    try:
        yield place
    finally:
        mounts.unmount(bytes(place))
