"""The completion script for zsh. Pure."""

from collections.abc import Iterable, Iterator

from hpcp_mpi.cli.completion.values import LAUNCHERS, quoted
from hpcp_mpi.cli.help import Described

_FILES = {"file": "_files", "directory": "_files -/"}
_SCRIPT = """\
#compdef hpcp-mpi -P {launchers}
# Completion of hpcp-mpi for zsh, made by: hpcp-mpi --print-completion zsh
# It is loaded from a directory in fpath, as _hpcp-mpi. Launchers that have a completion of their own keep it.

local -i at=1
if [[ ${{words[1]:t}} != hpcp-mpi ]]; then
    at=${{words[(i)(*/|)hpcp-mpi]}}
    if (( at >= CURRENT )); then
        _alternative 'commands:command:_command_names -e' 'files:file:_files'
        return
    fi
    (( CURRENT -= at - 1 ))
    shift $(( at - 1 )) words
fi

_arguments -S \\
{specs}
    '*:SRC:_files'
"""


def script(options: Iterable[Described]) -> str:
    """Return the script for options."""
    specs = "\n".join(f"    {quoted(spec)} \\" for option in options for spec in _specs(option))
    return _SCRIPT.format(launchers=" ".join(LAUNCHERS), specs=specs).rstrip()


def _specs(option: Described) -> Iterator[str]:
    """Yield what _arguments is told of each spelling."""
    text = option.brief.replace("\\", "\\\\").replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")
    before = "*" if option.repeated else f"({' '.join(option.names)})"
    for name in option.names:
        yield f"{before}{name}{_equals(option, name)}[{text}]{_value(option)}"


def _equals(option: Described, name: str) -> str:
    """Return how a spelling is joined to its value: by = if it is a long one."""
    return "=" if option.value and name.startswith("--") else ""


def _value(option: Described) -> str:
    if not option.value:
        return ""
    action = f"({' '.join(option.choices)})" if option.choices else _FILES.get(option.completed, "")
    name = option.value.removesuffix("...").replace(",", " ") if not option.choices else "value"
    return f"{'::' if option.optional else ':'}{name}:{action}"
