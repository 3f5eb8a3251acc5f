"""The command whose rank 0 is killed when a phase has begun: `dying.py PHASE ARGUMENTS`. "scanning" is a phase, too.

Its ledger is written at every opportunity. When it dies, ranks have done more than that says.
"""

import os
import signal
import sys
import time

from hpcp_mpi.cli.main import main
from hpcp_mpi.engine import checkpoints as checkpoints
from hpcp_mpi.engine.checkpoints import CheckpointWriter, CopyState, Snapshot

if __name__ == "__main__":
    checkpoints.EVERY = checkpoints._FIRST = 0.0
    phase, write = sys.argv[1], CheckpointWriter.write

    def dying(self: CheckpointWriter, snapshot: Snapshot, state: CopyState) -> None:
        write(self, snapshot, state)
        if phase == ("scanning" if not snapshot.scan_done and snapshot.outcome.copied else snapshot.phase):
            time.sleep(0.3)  # until it is on the disk
            os.kill(os.getpid(), signal.SIGKILL)

    CheckpointWriter.write = dying  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:], os.environ))
