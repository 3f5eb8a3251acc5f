"""python -m hpcp_mpi"""

from hpcp_mpi.cli.main import console

console()
