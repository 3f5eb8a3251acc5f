"""What is the same in the completion scripts of all shells. Pure."""

# The programs that start ranks: behind them the words from hpcp-mpi on are completed.
LAUNCHERS = ("mpiexec", "mpirun", "srun")


def quoted(text: str) -> str:
    """Return text in single quotes, as bash and zsh read it."""
    return "'" + text.replace("'", "'\\''") + "'"
