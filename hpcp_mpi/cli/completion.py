"""The shell completion that --print-completion prints, made by shtab from the parser."""

import shtab

from hpcp_mpi.cli.parser import build_parser

_COMPLETED = {"file": shtab.FILE, "directory": shtab.DIRECTORY}
# shtab's scripts for zsh and tcsh complete the first path only: its text, and a text that completes all of them.
_EVERY_PATH = {
    "zsh": (('"(*)::', '"*:'), ("one_or_more='(*)'", "one_or_more='*:'")),
    "tcsh": (("'p/*/()/'", "'p/*/f/'"),),
}


def completion(shell: str) -> str:
    """Return the completion script for a shell, one of options_how.SHELLS."""
    parser = build_parser()
    for action in parser._actions:
        wanted = action.completed  # type: ignore[attr-defined]
        if wanted:
            action.complete = _COMPLETED[wanted]  # type: ignore[attr-defined]
    script = shtab.complete(parser, shell)
    for written, meant in _EVERY_PATH.get(shell, ()):
        script = script.replace(written, meant)
    return script
