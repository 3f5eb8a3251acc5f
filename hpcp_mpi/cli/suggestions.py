"""What a mistyped option or value may have meant. Pure.

Nothing is guessed: a suggestion is only named. Options that remove or overwrite are named last, so that nobody runs
one because it came first.
"""

from collections.abc import Iterable, Mapping

MOST = 3  # suggestions
SEE = "hpcp-mpi --help shows all"
# What other programs call it, where that is not spelled alike.
_OTHER_WORDS = {
    "--max-workers": ("jobs", "threads", "workers", "parallel", "processes", "nprocs", "num-workers", "cpus"),
    "--dry-run": ("simulate", "just-print", "pretend", "noop", "no-op", "whatif", "what-if", "test", "list-only"),
    "--dest-path": ("destination", "dest", "dst", "to", "target", "target-directory", "output-dir"),
    "--exclude": ("ignore", "skip", "exclude-pattern", "not"),
    "--exclude-file": ("ignore-file", "exclude-list", "exclude-if-present"),
    "--source-file-list": ("files-from", "file-list", "input", "from-file", "source-list"),
    "--full-hash": ("contents", "content", "check-contents", "compare-contents", "hash", "full-compare"),
    "--rate-limit": ("bw", "bandwidth", "limit", "max-rate", "throttle", "speed-limit"),
    "--io-size": ("bufsize", "buffer-size", "blocksize", "block-size", "bs"),
    "--split-size": ("chunksize", "part-size", "stripe-size"),
    "--content-only": ("data-only", "no-metadata", "no-attributes"),
    "--resume": ("continue", "restart", "recover"),
    "--ledger": ("checkpoint", "journal", "state", "state-file", "database"),
    "--json": ("report", "output", "stats-file"),
    "--stop-before": ("time-limit", "walltime", "stop-after", "max-time"),
    "--command-timeout-limit": ("timeout", "io-timeout"),
    "--compare-file-list": ("compare", "diff", "check"),
    "--link-tracking": ("follow", "follow-links", "follow-symlinks"),
    "--help": ("usage", "options"),
    "--verbose": ("list", "itemize", "debug"),
    "--print-man": ("man", "manual"),
    "--print-completion": ("completion", "completions"),
    "--remove-extra": ("mirror", "sync", "purge", "prune"),
}
_REMOVES = ("--remove", "--delete", "--yes", "--accept-loss", "--force", "--do-not-remove")


def options_like(typed: str, options: Mapping[str, tuple[str, ...]]) -> str:
    """Return " did you mean --dry-run (-n)?" for an unknown option; "" where nothing is like it.

    options: the spellings of each option that is shown, by each of them
    """
    short = typed[1:]
    if short in options and not short.startswith("--"):
        return _question([short])
    word = typed.lstrip("-").replace("_", "-").lower()
    found = _like(word, [name for name in options if name.startswith("--")]) if word else []
    return _question([_shown(name, options[name]) for name in found])


def values_like(typed: str, values: Iterable[str]) -> str:
    """Return " did you mean auto?" for a value that is none of the possible ones; "" where none is like it."""
    return _question(_near(typed.lower(), values, 1, 0.6))


def _like(word: str, names: list[str]) -> list[str]:
    """Return the long options that are most like a word, those that remove something last."""
    squeezed = {name: name.replace("-", "") for name in names}
    if same := [name for name in names if squeezed[name] == word.replace("-", "")]:
        return same
    if other := [name for name, words in _OTHER_WORDS.items() if word in words and name in names]:
        return other
    begin = [name for name in names if len(word) > 1 and name.startswith(f"--{word}")]
    near = [f"--{each}" for each in _near(word, [name[2:] for name in names], MOST, 0.7)]
    unique = dict.fromkeys([*begin, *near])
    return sorted(unique, key=lambda name: name.startswith(_REMOVES))[:MOST]


def _near(word: str, words: Iterable[str], most: int, alike: float) -> list[str]:
    import difflib  # which only a mistake needs

    return difflib.get_close_matches(word, list(words), n=most, cutoff=alike)


def _shown(name: str, spellings: tuple[str, ...]) -> str:
    """Return a long option with its short spelling."""
    short = next((each for each in spellings if not each.startswith("--")), "")
    return f"{name} ({short})" if short else name


def _question(found: list[str]) -> str:
    if not found:
        return ""
    return f" did you mean {' or '.join(filter(None, (', '.join(found[:-1]), found[-1])))}?"
