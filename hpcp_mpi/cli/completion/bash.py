"""The completion script for bash. Pure."""

from collections.abc import Iterable, Iterator

from hpcp_mpi.cli.completion.values import LAUNCHERS
from hpcp_mpi.cli.help import Described

_HEAD = """\
# Completion of hpcp-mpi for bash, made by: hpcp-mpi --print-completion bash
# In ~/.local/share/bash-completion/completions it is loaded with hpcp-mpi; sourced in ~/.bashrc it also completes
# `mpiexec -n 4 hpcp-mpi ...` and `srun -n 64 hpcp-mpi ...` from the beginning.
"""
_KIND = """\
# What the value of an option is: directory, file, text, or words, with ? if they may be left out. Empty: it takes none.
_hpcp_mpi_kind() {
    case ${1//_/-} in
%s
        *) kind='' ;;
    esac
}
"""
_WORDS = """\
# Complete the last of the words, of which the first is hpcp-mpi.
_hpcp_mpi_complete() {
    local cur=${!#} option='' before='' kind='' IFS=$' \\t\\n'
    (($# > 1)) && option=${*: -2:1}
    # Where = ends a word, as it does by default, `--sparse=a` is three of them.
    if [[ $cur == = && $option == -* ]]; then
        cur=
    elif (($# > 3)) && [[ $option == = ]]; then
        option=${*: -3:1}
    elif [[ $cur == --*=* ]]; then
        option=${cur%%=*} before=$option= cur=${cur#*=}
    fi
    COMPREPLY=()
    [[ $option == -* && " ${*:1:$#-2} " != *" -- "* ]] && _hpcp_mpi_kind "$option"
    case $kind in
        directory) [[ $before ]] || compopt +o default +o bashdefault -o dirnames 2>/dev/null ;;
        file) ;;
        text) compopt +o default +o bashdefault 2>/dev/null ;;
        '')
            if [[ $cur == -* && $option != -- && " ${*:1:$#-1} " != *" -- "* ]]; then
                mapfile -t COMPREPLY < <(compgen -W '%s' -- "$cur")
            fi
            ;;
        *)
            # Where the words may be left out a path may follow: it is completed if none of them fits.
            [[ $kind == \\?* ]] || compopt +o default +o bashdefault 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -P "$before" -W "${kind#\\?}" -- "$cur")
            ;;
    esac
    if [[ $before && $kind == @(file|directory) ]]; then
        mapfile -t COMPREPLY < <(compgen -P "$before" -A "$kind" -- "$cur")
        compopt -o filenames 2>/dev/null
    fi
}

_hpcp_mpi() {
    _hpcp_mpi_complete "${COMP_WORDS[@]:0:COMP_CWORD+1}"
}

complete -o bashdefault -o default -F _hpcp_mpi hpcp-mpi
"""
_LAUNCHED = """\
# Behind a launcher hpcp-mpi's words are completed; all other words by what completes the launcher without this script.
declare -gA _hpcp_mpi_others _hpcp_mpi_loaded

_hpcp_mpi_launched() {
    local at name=${1##*/} loader
    for ((at = 1; at < COMP_CWORD; at++)); do
        if [[ ${COMP_WORDS[at]##*/} == hpcp-mpi ]]; then
            _hpcp_mpi_complete "${COMP_WORDS[@]:at:COMP_CWORD-at+1}"
            return
        fi
    done
    if [[ ! ${_hpcp_mpi_others[$name]-} && ! ${_hpcp_mpi_loaded[$name]-} ]]; then
        # bash-completion loads what it has for a command when that is completed first, by its default completion.
        _hpcp_mpi_loaded[$name]=yes
        if [[ $(complete -p -D 2>/dev/null) =~ \\ -F\\ ([^ ]+) ]]; then
            loader=${BASH_REMATCH[1]}
            complete -r -- "$name"
            "$loader" "$@"
            _hpcp_mpi_behind "$name"
        fi
    fi
    if [[ ${_hpcp_mpi_others[$name]-} ]]; then
        "${_hpcp_mpi_others[$name]}" "$@"
    elif [[ $2 != -* && $2 != */* ]]; then
        mapfile -t COMPREPLY < <(compgen -c -- "$2")
    fi
}

_hpcp_mpi_behind() {
    local spec
    spec=$(complete -p -- "$1" 2>/dev/null)
    if [[ ! $spec ]]; then
        complete -o bashdefault -o default -F _hpcp_mpi_launched -- "$1"
    elif [[ $spec =~ \\ -F\\ ([^ ]+) && ${BASH_REMATCH[1]} != _hpcp_mpi_launched ]]; then
        _hpcp_mpi_others[$1]=${BASH_REMATCH[1]}
        eval "${spec/ -F ${BASH_REMATCH[1]}/ -F _hpcp_mpi_launched}"
    fi
}

for _hpcp_mpi_launcher in %s; do
    _hpcp_mpi_behind "$_hpcp_mpi_launcher"
done
unset -v _hpcp_mpi_launcher
"""


def script(options: Iterable[Described]) -> str:
    """Return the script for options."""
    options = list(options)
    names = " ".join(name for option in options for name in option.names)
    return "\n".join(
        [
            _HEAD,
            _KIND.replace("%s", "\n".join(_cases(options))),
            _WORDS.replace("%s", names),
            _LAUNCHED.replace("%s", " ".join(LAUNCHERS)).rstrip(),
        ]
    )


def _cases(options: list[Described]) -> Iterator[str]:
    """Yield a line for each kind of value, with the options that take it."""
    kinds: dict[str, list[str]] = {}
    for option in options:
        if option.value:
            words = ("?" if option.optional else "") + " ".join(option.choices)
            kinds.setdefault(words if option.choices else option.completed or "text", []).extend(option.names)
    for kind, names in kinds.items():
        yield f"        {'|'.join(names)}) kind='{kind}' ;;"
