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
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._tasks: list[T] = []
        self._busy = 0
        self._threads = 0  # that were ever started
        self._alive = 0
        self._waiting = 0  # of those, for tasks
        self._held = False
        self._ended = False

    @property
    def exhausted(self) -> bool:
        """Whether no task is waiting or running."""
        with self._lock:
            return not self._tasks and not self._busy

    def add(self, tasks: list[T]) -> None:
        """Add tasks, to be done in their order before those that are waiting."""
        if tasks:
            with self._lock:
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
            with self._lock:
                self._held = held
                self._changed.notify_all()

    def end(self) -> None:
        """Start no further task."""
        with self._lock:
            self._ended = True
            self._changed.notify_all()

    def _grow(self) -> None:
        self._threads += 1
        self._alive += 1
        threading.Thread(target=self._run, name=f"scan-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        found: list[T] | None = None
        try:
            while (task := self._turn(found)) is not None:
                found = self._step(task[0])
        except BaseException as error:
            with self._lock:
                self._alive -= 1
            self.end()
            self._failed(error)

    def _turn(self, found: list[T] | None) -> tuple[T] | None:
        """Take in what a task has found, None at first; return the next one, None at the end. One lock for both."""
        tasks = self._tasks
        with self._lock:
            if found is not None:
                self._busy -= 1
                tasks += reversed(found)
                if self._waiting:
                    self._changed.notify(len(found) if tasks else self._waiting)
                self._consider()
            while not self._ended and (self._held or not tasks) and (tasks or self._busy):
                self._waiting += 1
                self._changed.wait()
                self._waiting -= 1
            if self._ended or not tasks:
                self._alive -= 1
                return None
            self._busy += 1
            return (tasks.pop(),)

    def _consider(self) -> None:
        """Add threads if there is work for them and they would gain."""
        # As many again as there are: sixty are reached within a few steps.
        if len(self._tasks) > 1 and self._alive < self._most and not self._held and self._slow():
            for _ in range(min(self._alive, self._most - self._alive)):
                self._grow()
