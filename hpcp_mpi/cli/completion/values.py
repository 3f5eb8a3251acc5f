"""What is the same in the completion scripts of all shells. Pure."""

from hpcp_mpi.cli.help import Described

# The programs that start ranks: behind them the words from hpcp-mpi on are completed.
LAUNCHERS = ("mpiexec", "mpirun", "srun")


def value_needed(option: Described) -> bool:
    """Return whether the word behind an option is its value."""
    return bool(option.value) and not (option.optional and option.choices)


def quoted(text: str) -> str:
    """Return text in single quotes, as bash and zsh read it."""
    return "'" + text.replace("'", "'\\''") + "'"
