"""The command that shares out listing as soon as a rank is idle, all of it deep: `eager_sharing.py ARGUMENTS`.

A ledger of it is written twenty times a second.
"""

import os
import sys

from hpcp_mpi.cli.main import main
from hpcp_mpi.engine import checkpoints as checkpoints
from hpcp_mpi.operations.scan import rank0 as rank0
from hpcp_mpi.operations.scan import sharing as sharing

if __name__ == "__main__":
    checkpoints.EVERY = checkpoints._FIRST = 0.05
    sharing.ALONE_SECONDS, sharing.DRY, sharing._PLENTY = 0.0, 0.0, 0
    rank0._LINKED = 2.0
    sys.exit(main(sys.argv[1:], os.environ))
