"""A pool of threads that walks a tree depth first, and grows only where the file system is slow."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_ENOUGH = 64  # threads

T = TypeVar("T")


class Pool(Generic[T]):
    """Threads that call step(task) for each task; step returns further tasks. The last task added is done first.

    failed: called with what a step raised; the pool ends then.
    """

    def __init__(
        self,
        step: Callable[[T], list[T]],
        failed: Callable[[BaseException], None],
        most: int = _ENOUGH,
        slow: Callable[[], bool] = lambda: True,
    ) -> None:
        """most: threads. slow: returns whether steps wait for a slow file system, so that more threads gain."""
        self._slow = slow
        self._step = step
        self._failed = failed
        self._most = most
        self._changed = threading.Condition()
        self._tasks: list[T] = []
        self._busy = 0
        self._threads = 0  # that were ever started
        self._alive = 0
        self._held = False
        self._ended = False

    @property
    def exhausted(self) -> bool:
        """Whether no task is waiting or running."""
        with self._changed:
            return not self._tasks and not self._busy

    def add(self, tasks: list[T]) -> None:
        """Add tasks, to be done in their order before those that are waiting."""
        if tasks:
            with self._changed:
                self._tasks += reversed(tasks)
                self._changed.notify_all()
                if not self._alive:
                    self._grow()

    @property
    def waiting(self) -> int:
        """The number of tasks that nobody is at. No lock: it changes all the time."""
        return len(self._tasks)

    def take(self, most: int, which: Callable[[T], bool]) -> list[T]:
        """Take the oldest of certain tasks that nobody is at, to be done elsewhere; return them, the oldest first."""
        with self._changed:
            taken: list[T] = []
            left: list[T] = []
            for task in self._tasks:
                (taken if len(taken) < most and which(task) else left).append(task)
            self._tasks[:] = left
            self._changed.notify_all()  # there may be nothing more to wait for
        return taken

    def hold(self, held: bool) -> None:
        """Pause or resume the walk: work that was found already should be done first."""
        if held != self._held:
            with self._changed:
                self._held = held
                self._changed.notify_all()

    def end(self) -> None:
        """Start no further task."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _grow(self) -> None:
        self._threads += 1
        self._alive += 1
        threading.Thread(target=self._run, name=f"scan-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        try:
            while (task := self._next()) is not None:
                found = self._step(task[0])
                with self._changed:
                    self._tasks.extend(reversed(found))
                    self._busy -= 1
                    self._changed.notify(len(found) if self._tasks else self._alive)
                    self._consider()
        except BaseException as error:
            with self._changed:
                self._alive -= 1
            self.end()
            self._failed(error)

    def _next(self) -> tuple[T] | None:
        with self._changed:
            while not self._ended and (self._held or not self._tasks) and not self.exhausted:
                self._changed.wait()
            if self._ended or not self._tasks:
                self._alive -= 1
                return None
            self._busy += 1
            return (self._tasks.pop(),)

    def _consider(self) -> None:
        """Add threads if there is work for them and they would gain."""
        # As many again as there are: sixty are reached within a few steps.
        for _ in range(self._alive if not self._held and self._slow() else 0):
            if self._alive < self._most and len(self._tasks) > 1:
                self._grow()
