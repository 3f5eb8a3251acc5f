"""The choice of the completion script for a shell."""

from hpcp_mpi.cli.completion import bash, fish, tcsh, zsh
from hpcp_mpi.cli.parser import described


def completion(shell: str) -> str:
    """Return the completion script for a shell, one of options_how.SHELLS."""
    script = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script, "tcsh": tcsh.script}[shell]
    return script([option for section in described() for option in section.options if option.is_option])
