"""Conditions and parameters of tests. Every skip names what is missing; in CI they are failures (ci_guard)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

from hpcp_mpi.host.tmpfs_pages import pages_of
from tests.support import faultfs, launch

Test = TypeVar("Test", bound=Callable[..., object])


def needs_root(test: Test) -> Test:
    unprivileged = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    return pytest.mark.root(unprivileged(test))  # type: ignore[no-any-return]


def needs_commands(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")


def _pages_can_be_put() -> bool:
    file = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        with pages_of(file):
            return True
    except OSError:
        return False
    finally:
        os.close(file)


needs_pages = pytest.mark.skipif(not _pages_can_be_put(), reason="userfaultfd is not allowed in this sandbox")
needs_fuse = pytest.mark.skipif(faultfs.unavailable() is not None, reason=str(faultfs.unavailable()))


def worlds(sizes: Iterable[int] = (1, 2, 4), launchers: Iterable[str] = launch.LAUNCHERS) -> list[object]:
    """pytest parameters: each launcher with each number of ranks, and those without a launcher once.

    Of several numbers `make test` takes the first and the last, of Open MPI, which takes seconds to start, the last.
    """
    sizes = tuple(sizes)
    usual = {name: sizes[-1:] if name == "openmpi" else (sizes[0], sizes[-1]) for name in launch.WITH_MPIEXEC}
    found: list[object] = []
    for name in launchers:
        for n in sizes if name in launch.WITH_MPIEXEC else (1,):
            world = launch.World(name, n)
            marks = [pytest.mark.skipif(bool(world.missing()), reason=world.missing() or "")]
            marks += [pytest.mark.mpi] if name in launch.WITH_MPIEXEC else []
            marks += [pytest.mark.to_the_end] if n not in usual.get(name, (n,)) else []
            found.append(pytest.param(world, id=str(world), marks=marks))
    return found


def each_world(sizes: Iterable[int] = (1, 2, 4), launchers: Iterable[str] = launch.LAUNCHERS) -> pytest.MarkDecorator:
    """Run the test, which takes `world`, under each launcher with each number of ranks."""
    return pytest.mark.parametrize("world", worlds(sizes, launchers))
