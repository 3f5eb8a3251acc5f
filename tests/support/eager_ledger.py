"""The command with a ledger that is written twenty times a second: `eager_ledger.py ARGUMENTS`."""

import os
import sys

from hpcp_mpi.cli.main import main
from hpcp_mpi.engine import checkpoints as checkpoints

if __name__ == "__main__":
    checkpoints.EVERY = checkpoints._FIRST = 0.05
    sys.exit(main(sys.argv[1:], os.environ))
