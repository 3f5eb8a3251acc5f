"""What makes a shell complete the options: printed by --print-completion, made by shtab from the parser."""

import shtab

from hpcp_mpi.cli.parser import build_parser

_COMPLETED = {"file": shtab.FILE, "directory": shtab.DIRECTORY}


def completion(shell: str) -> str:
    """Return a script for the shell: one of groups_how.SHELLS."""
    parser = build_parser()
    for action in parser._actions:
        wanted = action.completed  # type: ignore[attr-defined]
        if wanted:
            action.complete = _COMPLETED[wanted]  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)
