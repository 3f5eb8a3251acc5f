"""The completion script for tcsh. Pure."""

from collections.abc import Iterable, Iterator

from hpcp_mpi.cli.help import Described

_ACTIONS = {"file": "f", "directory": "d"}
_HEAD = "# Completion of hpcp-mpi for tcsh, made by: hpcp-mpi --print-completion tcsh. To be sourced in ~/.tcshrc."


def script(options: Iterable[Described]) -> str:
    """Return the script for options. tcsh takes the first rule that fits."""
    options = list(options)
    names = [name for option in options for name in option.names]
    long = " ".join(name[2:] for name in names if name.startswith("--"))
    short = " ".join(name[1:] for name in names if not name.startswith("--"))
    rules = [*_rules(options), f"'c/--/({long})/'", f"'c/-/({short})/'", "'p/*/f/'"]
    return "\n".join([_HEAD, "complete hpcp-mpi \\", *(f"    {rule} \\" for rule in rules[:-1]), f"    {rules[-1]}"])


def _rules(options: list[Described]) -> Iterator[str]:
    """Yield how the values are completed."""
    for option in options:
        action = f"({' '.join(option.choices)})" if option.choices else _ACTIONS.get(option.completed, "n")
        if option.value:
            yield from (f"'c/{name}=/{action}/'" for name in option.names if name.startswith("--"))
            if not option.optional:
                yield from (f"'n/{name}/{action}/'" for name in option.names)
