"""What makes a shell complete the options: printed by --print-completion, made by shtab from the parser."""

import shtab

from hpcp_mpi.cli.parser import build_parser

_COMPLETED = {"file": shtab.FILE, "directory": shtab.DIRECTORY}
# shtab has zsh and tcsh complete the first path only: what it writes, and what completes all of them.
_EVERY_PATH = {
    "zsh": (('"(*)::', '"*:'), ("one_or_more='(*)'", "one_or_more='*:'")),
    "tcsh": (("'p/*/()/'", "'p/*/f/'"),),
}


def completion(shell: str) -> str:
    """Return a script for the shell: one of groups_how.SHELLS."""
    parser = build_parser()
    for action in parser._actions:
        wanted = action.completed  # type: ignore[attr-defined]
        if wanted:
            action.complete = _COMPLETED[wanted]  # type: ignore[attr-defined]
    script = shtab.complete(parser, shell)
    for written, meant in _EVERY_PATH.get(shell, ()):
        script = script.replace(written, meant)
    return script
