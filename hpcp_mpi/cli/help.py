"""The words around the options in `hpcp-mpi -h`."""

from hpcp_mpi.vocab.errors import EXIT_CODES

USAGE = """\
hpcp-mpi [options] SRC... DST
       hpcp-mpi [options] SRC... -d DST
       hpcp-mpi -rm [options] PATH...
       hpcp-mpi -fl LIST [options] SRC...
       hpcp-mpi -cfl [options] SRC DST"""
DESCRIPTION = (
    "Copy, re-sync, list, compare and remove file trees with all nodes of an MPI or Slurm job, "
    "each running local cp workers."
)

_EPILOG = """\
where things land:
  SRC DST, SRC -d DST    the contents of directory SRC in DST; file SRC as DST, or in DST if that is a directory
  SRC -d DST/            DST/SRC
  SRC/ -d DST            the contents of SRC in DST
  SRC1 SRC2 -d DST       DST/SRC1 and DST/SRC2

examples:
  hpcp-mpi /scratch/run1 /project/run1                on this machine
  mpiexec -n 4 hpcp-mpi /scratch/run1 /project/run1   with 4 ranks: rank 0 plans, 3 copy
  srun -n 64 --mpi=pmi2 hpcp-mpi /old/proj -d /new/   in a Slurm job, MPICH flavour; lands in /new/proj
  hpcp-mpi -n -hs 0 src dst                           what would be done, judged by size and mtime alone
  hpcp-mpi -e '*.tmp' -e cache src dst                without these
  hpcp-mpi --json report.json src dst                 and a report for machines

exit codes:
"""


def epilog() -> str:
    """Return what follows the options."""
    return _EPILOG + "".join(f"  {code:<4} {meaning}\n" for code, meaning in EXIT_CODES.items())
