"""Helpers of the tests of verifying: runs in a cluster of threads, where copies are changed as they get their names."""

from __future__ import annotations

import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.cluster.threads import thread_cluster
from hpcp_mpi.engine import destination
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.operations import session
from hpcp_mpi.operations.copy import publishing
from hpcp_mpi.operations.dispatch import lead_operation
from hpcp_mpi.operations.verify import records as written
from hpcp_mpi.operations.verify.reread import CopyComparer, OpenPair
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.units import Units

Meddle = Callable[[int, bytes], None]  # with an entry of a directory, before it lands


def run(src: Path, dst: Path, nodes: Sequence[str] = ("a", "b"), **options: Any) -> Report:
    """Copy with --verify; one working rank on each of nodes."""
    request = Request(Verb.COPY, (os.fsencode(src),), (os.fsencode(dst),), Options(verify=True, slots=2, **options))
    own, *others = thread_cluster(1 + len(nodes))
    for wire, node in zip(others, nodes, strict=True):
        wire.node = node
    workers = [threading.Thread(target=session.serve, args=(wire, StopRequest())) for wire in others]
    for worker in workers:
        worker.start()
    try:
        with session.lead(own, StopRequest()):
            return lead_operation(own, request, Frontend())
    finally:
        for worker in workers:
            worker.join()


@contextmanager
def meddling(monkeypatch: Any, meddle: Meddle) -> Iterator[None]:
    """Call meddle with every file, link and special file before it gets its name, also with those in subtrees."""

    together = publishing._renamed

    def renamed(context: JobContext, units: Units, names: Sequence[bytes], stage: int, dest: int) -> list[int]:
        for name, target in zip(names, units.targets, strict=True):
            _each(stage, name, target, meddle)
        return together(context, units, names, stage, dest)

    def publish(
        context: JobContext, staged_as: tuple[int, bytes], dest: int, target: bytes, *rest: Any, **own: Any
    ) -> None:
        _each(*staged_as, target, meddle)
        destination.publish(context, staged_as, dest, target, *rest, **own)

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_renamed", renamed)
        patch.setattr(publishing, "publish", publish)
        yield


def _each(directory: int, name: bytes, known_as: bytes, meddle: Callable[[int, bytes], None]) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        # In a stage a file may be called by a number.
        meddle(directory, name) if known_as == name else _under_its_name(directory, name, known_as, meddle)
        return
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        for child in map(os.fsencode, sorted(os.listdir(fd))):
            _each(fd, child, child, meddle)
    finally:
        os.close(fd)


def _under_its_name(directory: int, name: bytes, known_as: bytes, meddle: Callable[[int, bytes], None]) -> None:
    os.rename(name, known_as, src_dir_fd=directory, dst_dir_fd=directory)
    meddle(directory, known_as)
    os.rename(known_as, name, src_dir_fd=directory, dst_dir_fd=directory)


def flip(directory: int, name: bytes) -> None:
    """Change one byte and keep the time stamps."""
    before = os.stat(name, dir_fd=directory, follow_symlinks=False)
    fd = os.open(name, os.O_RDWR, dir_fd=directory)
    try:
        at = before.st_size // 2
        byte = os.pread(fd, 1, at)[0]
        os.pwrite(fd, bytes([byte ^ 1]), at)
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)


class Times:
    """A meddler with entries of some names, so many times in all; 0: always."""

    def __init__(self, meddle: Meddle, names: Sequence[bytes], times: int = 1) -> None:
        self._meddle = meddle
        self._names = names
        self._left = times or -1
        self._lock = threading.Lock()
        self.done: list[bytes] = []

    def __call__(self, directory: int, name: bytes) -> None:
        with self._lock:
            if name not in self._names or not self._left:
                return
            self._left -= 1
            self.done.append(name)
        self._meddle(directory, name)


class Watch:
    """The ranks that wrote files, and those that read them again, by the inode of the source."""

    def __init__(self, monkeypatch: Any) -> None:
        self.read: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # (rank, start, length)
        self.landed: list[tuple[int, written.WrittenUnit]] = []  # (rank, what it copied)
        self._note_writes(monkeypatch)
        self._note_reads(monkeypatch)

    def _note_writes(self, monkeypatch: Any) -> None:
        gathered = written.gathered

        def noting(news: list[Any], rank: int) -> list[Any]:
            for each in news:
                if isinstance(each, written.WrittenUnit):
                    self.landed.append((rank, each))
            return gathered(news, rank)

        monkeypatch.setattr("hpcp_mpi.operations.worker.gathered", noting)

    def _note_reads(self, monkeypatch: Any) -> None:
        read = CopyComparer.read

        def noting(reread: CopyComparer, files: OpenPair, start: int, length: int) -> None:
            self.read[files.wanted.st_ino].append((reread._context.rank, start, length))
            read(reread, files, start, length)

        monkeypatch.setattr(CopyComparer, "read", noting)

    def writers(self, src: Path) -> dict[tuple[int, int], set[int]]:
        """The ranks that copied each range, by the source's inode and where the range begins."""
        found: dict[tuple[int, int], set[int]] = defaultdict(set)
        for rank, landed in self.landed:
            batch, directory = landed.batch, src / os.fsdecode(landed.batch.source_dir)
            if landed.unit is None:
                assert batch.big is not None
                inode = (directory / os.fsdecode(batch.big.name)).stat().st_ino
                for unit in batch.units:
                    found[inode, int(unit.name)].add(rank)
            elif batch.big is None:
                top = directory / os.fsdecode(landed.unit.name)
                for path in [top, *top.rglob("*")] if top.is_dir() and not top.is_symlink() else [top]:
                    found[path.lstat().st_ino, 0].add(rank)
        return found
