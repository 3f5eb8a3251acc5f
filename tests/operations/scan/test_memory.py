"""What rank 0 holds does not grow with the tree: listings go in, batches and records go out."""

from __future__ import annotations

import tracemalloc

from hpcp_mpi.operations.scan.lister import builder_for
from hpcp_mpi.operations.scan.records import ClassifiedEntries, Linked
from hpcp_mpi.operations.scan.waiting import Waiting
from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.tally import one_file

FILES = 1000  # in each directory; heavy enough that it is opened, so that it has to be settled


def peak(directories: int) -> float:
    """Return the most bytes held while so many directories pass through the scan's interface."""
    options = Options()
    builder, waiting = builder_for(options), Waiting()
    backlog = Backlog(CostModel(options.chunk_seconds, options.chunk_files, options.chunk_size))
    root = builder.root(0, b"", True)
    names = [b"a file with a name of usual length %d" % number for number in range(FILES)]
    tracemalloc.start()
    for number in range(directories):
        (folder,) = builder.add(root, ClassifiedEntries(folders=[(b"directory %d" % number, True, False)]))
        linked = [Linked(b"one of two names", one_file(1), (0, number), 2, False, None)]
        builder.add(folder, ClassifiedEntries(plain=(names, [4096] * FILES), linked=linked))
        builder.close(folder)
        waiting.add(builder.deferred)
        backlog.add(builder.out)
        builder.out.clear()
        while backlog:  # what workers would be granted
            backlog.cut(options.chunk_seconds)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert builder.scanned.files == directories * (FILES + 1)
    assert sum(1 for _ in waiting.settled) >= directories
    return most


def test_a_tree_of_ten_times_as_many_entries_takes_no_more_than_its_records_of_directories_and_links() -> None:
    """Those are some hundred bytes each, and beyond 50,000 of a kind they wait on disk (test_spill)."""
    small, large = peak(100), peak(1000)
    assert large - small < 900 * 2000  # bytes for 900,000 entries more
