"""The command with a fault: `breaking.py WHERE RANK` and then hpcp-mpi's arguments.

WHERE: slot (a bite of work raises), loop (the worker's loop raises), scan (rank 0's listing raises)
"""

import os
import sys
from collections.abc import Mapping


def rank_of(environment: Mapping[str, str]) -> int:
    return int(environment.get("PMI_RANK", environment.get("OMPI_COMM_WORLD_RANK", "0")))


def injected_fault(*anything: object) -> None:
    raise RuntimeError("injected")


where, rank = sys.argv[1], int(sys.argv[2])
if rank_of(os.environ) == rank:
    if where == "slot":
        from hpcp_mpi.operations import worker

        worker.work = injected_fault  # type: ignore[attr-defined]
    elif where == "loop":
        from hpcp_mpi.cluster.worker_loop import Follower

        Follower.receive = injected_fault  # type: ignore[assignment,method-assign]
    else:
        from hpcp_mpi.operations.scan.rank0 import Scan

        Scan._step = injected_fault  # type: ignore[assignment,method-assign]

from hpcp_mpi.cli.main import main  # noqa: E402

sys.exit(main(sys.argv[3:], os.environ))
