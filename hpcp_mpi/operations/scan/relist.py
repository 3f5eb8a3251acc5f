"""What a scan has left to look at, and what it looks at again: after a rank was lost, or when a run is resumed."""

from collections.abc import Callable, Iterable, Iterator

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.operations.scan.counterpart import counterpart
from hpcp_mpi.operations.scan.lister import Lister, in_its_place
from hpcp_mpi.operations.scan.records import Folder
from hpcp_mpi.operations.scan.task import ScanTask
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.paths import child_path
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units


class Relister:
    """Begins to look at directories again, beside what is at the destination by now."""

    def __init__(
        self,
        context: JobContext,
        landings: list[Landing],
        builder: UnitBuilder,
        lister: Lister,
        root: Callable[[int, Landing], list[Folder]],
        refused: Callable[[Failure], None],
    ) -> None:
        """root: returns the folder of a landing, or takes it at once where it is a single entry.

        refused: takes the failure of what cannot be looked at
        """
        self._context = context
        self._landings = landings
        self._builder = builder
        self._lister = lister
        self._root = root
        self._refused = refused

    def tasks(self, relist: Relist, counted: bool) -> list[ScanTask]:
        """Return the tasks that look at a directory again. counted: what is in it was counted by this run"""
        landing = self._landings[relist.source]
        if landing.name is not None:
            return [ScanTask(folder, self._lister, counted) for folder in self._root(relist.source, landing)]
        tasks = [ScanTask(folder, self._lister, counted) for folder in self._folders(relist)]
        for task in tasks:
            task.reported = not counted and (not relist.recursive or relist.found)
            task.flat = not relist.recursive
            task.skipped = frozenset(relist.seen.split(b"\0")[:-1])
        return tasks

    def _folders(self, relist: Relist) -> list[Folder]:
        new, over, above = counterpart(self._context, relist.dest_dir)
        if over and not self._context.options.replaces_others:
            source = self._context.job.sources[relist.source].path
            self._refused(in_its_place(self._context, child_path(source, relist.source_dir)))
            return []
        if relist.recursive:
            unit = Unit(relist.source_dir, NOTHING, 0, relist.dest_dir)
            batch = Batch(Kind.LIST, relist.source, b"", b"", Units.of([unit]), over=over, new=new, above=above)
            return self._lister.folders(self._builder, batch)
        folder = self._builder.place(relist.source, relist.source_dir, relist.dest_dir)
        folder.new, folder.needs_metadata, folder.replaces_file = new, new, over
        return [folder]


def emit_split(tasks: Iterable[ScanTask], builder: UnitBuilder) -> None:
    """Emit what directories hold that are not copied whole: somewhere below them there is something to list."""
    done: set[int] = set()
    for task in tasks:
        at: Folder | None = task.folder
        while at is not None and id(at) not in done:
            done.add(id(at))
            if at.split:
                builder.flush(at)
            at = at.parent


def maximal(tasks: Iterable[ScanTask], lister: Lister) -> Iterator[tuple[ScanTask, Tally]]:
    """Yield tasks, such that all that was found and not emitted is below one of them; and what was, and is found again.

    The directory of a task itself is found again only if it is a root.
    """
    known: set[int] = set()  # closed directories that were counted
    for task in tasks:
        folder = task.folder
        if folder.split or folder.parent is None:
            root = folder.parent is None and folder.counted and not folder.source_dir
            yield task, task.found.plus(ONE_DIRECTORY) if root else task.found
            continue
        found = NOTHING
        while True:
            top = folder.parent is None or folder.parent.split
            if id(folder) not in known:
                known.add(id(folder))
                found = found.plus(folder.tally)
                found = found.minus(ONE_DIRECTORY) if top else found
            if top or folder.parent is None:
                break
            folder = folder.parent
        yield _whole(task, folder, lister), found


def _whole(task: ScanTask, folder: Folder, lister: Lister) -> ScanTask:
    """Return the task of all that is in a closed directory: nothing of it was emitted. task: one in it"""
    whole = ScanTask(folder, lister)
    if folder is task.folder:
        whole.skipped = task.skipped
    return whole


def above(tasks: Iterable[ScanTask]) -> Tally:
    """Return the directories that need nothing, but are not counted so before all in them is done.

    No run looks at them again, as what is left to do is below them.
    """
    found, done = NOTHING, set[int]()
    for task in tasks:
        at = task.folder.parent
        while at is not None and id(at) not in done:
            done.add(id(at))
            if at.split and at.listed and at.counted and not (at.new or at.needs_metadata):
                found = found.plus(ONE_DIRECTORY)
            at = at.parent
    return found
