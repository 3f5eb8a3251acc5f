"""The completion script for fish. Pure."""

from collections.abc import Iterable, Iterator

from hpcp_mpi.cli.completion.values import LAUNCHERS
from hpcp_mpi.cli.help import Described

_HEAD = """\
# Completion of hpcp-mpi for fish, made by: hpcp-mpi --print-completion fish
# In ~/.config/fish/completions, as hpcp-mpi.fish, it is loaded with hpcp-mpi; in ~/.config/fish/conf.d it also
# completes `mpiexec -n 4 hpcp-mpi ...` and `srun -n 64 hpcp-mpi ...` from the beginning.
"""
_LAUNCHED = """\
function __hpcp_mpi_launched -d 'Whether hpcp-mpi is behind a launcher, as its own words are'
    string match -q -r '^(.*/)?hpcp-mpi$' -- (commandline -opc)
end

function __hpcp_mpi_complete -d 'Complete the words from hpcp-mpi on'
    set -l words (commandline -opc)
    while not string match -q -r '^(.*/)?hpcp-mpi$' -- $words[1]
        set -e words[1]
    end
    set -e words[1]
    complete -C (string join ' ' -- hpcp-mpi (string escape -- $words) (commandline -ct))
end

for launcher in %s
    complete -c $launcher -n __hpcp_mpi_launched -f -a '(__hpcp_mpi_complete)'
end
"""


def script(options: Iterable[Described]) -> str:
    """Return the script for options."""
    lines = [line for option in options for line in _lines(option)]
    return "\n".join([_HEAD, *lines, "", _LAUNCHED.replace("%s", " ".join(LAUNCHERS)).rstrip()])


def _lines(option: Described) -> Iterator[str]:
    names = " ".join(map(_spelling, option.names))
    yield " ".join(filter(None, ("complete -c hpcp-mpi", names, _value(option), "-d", _quoted(option.brief))))
    if option.optional and option.choices:
        behind = f"contains -- (commandline -opc)[-1] {' '.join(option.names)}"
        yield f"complete -c hpcp-mpi -n {_quoted(behind)} -a {_quoted(' '.join(option.choices))}"


def _spelling(name: str) -> str:
    if name.startswith("--"):
        return f"-l {name[2:]}"
    return f"-s {name[1:]}" if len(name) == 2 else f"-o {name[1:]}"


def _value(option: Described) -> str:
    """Return the words for an option's value: -x asks for one that is no file, -r for one that may be."""
    if not option.value:
        return ""
    words = f"-a {_quoted(' '.join(option.choices))}" if option.choices else ""
    if option.optional and option.choices:
        return f"-f {words}"
    if option.completed == "file":
        return "-r -F"
    directories = "-a '(__fish_complete_directories)'" if option.completed == "directory" else ""
    return f"-x {words or directories}".strip()


def _quoted(text: str) -> str:
    """Return text in single quotes, as fish reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
