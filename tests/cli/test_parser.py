"""The command line: hpcp's spellings, and what is refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.cli.command_line import CommandLine, parse
from hpcp_mpi.cli.help import EXAMPLES, screen
from hpcp_mpi.cli.parser import build_parser, described, help_text
from hpcp_mpi.rules.excludes import from_lines
from hpcp_mpi.vocab.errors import EXIT_CODES, FatalError, UsageError
from hpcp_mpi.vocab.options import Options
from tests.support.launch import World, run

WORLDS = (World("plain"), World("mpich", 4))


def parsed(*words: str) -> CommandLine:
    return parse(words, from_lines)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("-j 3", {"slots": 3}),
    ("-m 3", {"slots": 3}),
    ("-t 3", {"slots": 3}),
    ("-j -2", {"slots": -2}),
    ("-j=-2", {"slots": -2}),
    ("-j 0", {"slots": 0}),
    ("--max_workers -1", {"slots": -1}),
    ("--max-workers=7", {"slots": 7}),
    ("-s", {"single": True}),
    ("--single_thread", {"single": True}),
    ("-f 5", {"chunk_files": 5}),
    ("--files_per_job 5", {"chunk_files": 5}),
    ("-b", {}),
    ("--batch", {}),
    ("-do", {"directory_only": True}),
    ("-nds", {"directory_sync": False}),
    ("--no_directory_sync", {"directory_sync": False}),
    ("-fh", {"full_hash": True}),
    ("-hs 0", {"hash_size": 0}),
    ("-hs 1M", {"hash_size": 1 << 20}),
    ("--hash_size=1.5k", {"hash_size": 1536}),
    ("-e a -e b", {"excludes": (b"a", b"b")}),
    ("--exclude=*.log", {"excludes": (b"*.log",)}),
    ("-n", {"dry_run": True, "itemize": True}),
    ("-v", {"itemize": True}),
    ("--chunk-size 2G", {"chunk_size": 2 << 30}),
    ("--chunk_size 0", {"chunk_size": 1}),
    ("--modify-window 2", {"modify_window": 2.0}),
    ("-co", {"content_only": True}),
    ("-lt", {"links": "anywhere"}),
    ("--no_link_tracking", {"links": "never"}),
    ("-nb", {"sequential": True}),
    ("-L 10M -F 10Ki", {"rate_bytes": 10_000_000, "rate_files": 10_240}),
    ("--rate_limit 1Gi --file-rate-limit 5", {"rate_bytes": 1 << 30, "rate_files": 5}),
    ("-ctl 1.5", {"command_timeout": 1.5}),
    ("-tfs lustre -ncd -enes", {"file_system": "lustre", "make_destination": False, "require_space": True}),
    ("-rm --accept-loss -d dst", {"move": True, "accept_loss": True}),
    ("-rme --max-delete 3", {"mirror": True, "max_delete": 3}),
    ("-rme --backup_dir old --delete_excluded", {"mirror": True, "backup_dir": b"old", "delete_excluded": True}),
    ("--verify", {"verify": True}),
    ("--sparse always --reflink never", {"sparse": "always", "reflink": "never"}),
]


@pytest.mark.parametrize("words, expected", OPTIONS, ids=[words or "none" for words, _ in OPTIONS])
def test_each_option_says_what_it_says_in_hpcp(words: str, expected: dict[str, Any]) -> None:
    assert parsed("src", *words.split(), "dst").request.options == Options(**expected)


@pytest.mark.parametrize(
    "words, sources, destination",
    [
        ("a b", [b"a"], b"b"),
        ("a b c", [b"a", b"b"], b"c"),
        ("a -d c", [b"a"], b"c"),
        ("a b -d c", [b"a", b"b"], b"c"),
        ("-d c a", [b"a"], b"c"),
        ("a -d c b", [b"a", b"b"], b"c"),
        ("a -C c/", [b"a"], b"c/"),
        ("a --dest_path=c", [b"a"], b"c"),
        ("a -v b -j 2 c", [b"a", b"b"], b"c"),
        ("-n -- -a -b", [b"-a"], b"-b"),
    ],
)
def test_the_last_of_several_is_the_destination_unless_one_is_named(
    words: str, sources: list[bytes], destination: bytes
) -> None:
    command_line = parsed(*words.split())
    assert (command_line.request.sources, command_line.request.destinations) == (tuple(sources), (destination,))


def test_names_are_kept_byte_by_byte() -> None:
    assert parsed("src\udcff", "d \n").request.sources == (b"src\xff",)
    assert parsed("src", "-e", "\udcfe", "d").request.options.excludes == (b"\xfe",)


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "a source and a destination"),
        (["src"], "a destination must be given"),
        (["-d", "dst"], "no source"),
        (["src", "-d", ""], "is empty"),
        (["", "dst"], "is empty"),
        (["-do", "-nds", "a", "b"], "Give one of them"),
    ],
)
def test_what_has_no_meaning_is_a_usage_error(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*words)
    assert says in str(error.value) and error.value.exit_code == 2


@pytest.mark.parametrize(
    "words, says",
    [
        ("-j many a b", "-j: not a whole number: 'many'"),
        ("-hs 1X a b", "-hs: not a size: '1X'"),
        ("-hs -1 a b", "-hs: a size cannot be negative"),
        ("-f 0 a b", "-f: must be 1 or more"),
        ("-f 1.5 a b", "-f: not a number"),
        ("--modify-window -1 a b", "--modify-window: must be 0 or more"),
        ("--modify-window nan a b", "must be 0 or more"),
        ("--heartbeat-timeout 0.5 a b", "--heartbeat-timeout: must be 1 or more"),
        ("--stop-before -1 a b", "--stop-before: must be 0 or more"),
        ("--sparse sometimes a b", "--sparse takes auto, always or never, not 'sometimes'"),
        ("--sparse=atuo a b", "not 'atuo'; did you mean auto?"),
        ("-b -nb a b", "-b and -nb exclude each other"),
        ("-lt --no_link_tracking a b", "-lt and -nlt exclude each other"),
        ("--verify=yes a b", "--verify takes no value"),
        ("a b -d", "-d needs a value: -d DST"),
        ("a b -e -n", "-e needs a value: -e PATTERN"),
        ("a b --exclude --exclude", "--exclude needs a value"),
        ("--max_work 3 a b", "unknown option --max_work: did you mean --max-workers (-j)?"),
        ("--no-such-option a b", "unknown option --no-such-option (hpcp-mpi --help shows all)"),
        ("-9 a b", "unknown option -9; if it is a name, write ./-9"),
    ],
)
def test_a_wrong_command_line_is_said_in_one_line(words: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*words.split())
    assert says in error.value.message and "\n" not in error.value.message


@pytest.mark.parametrize("words", ["-e=-a", "-e=--exclude", "--exclude=-n", "-e-a"])
def test_a_value_may_begin_with_a_dash_where_it_is_joined_to_its_option(words: str) -> None:
    (pattern,) = parsed("a", "b", words).request.options.excludes
    assert pattern.decode() in words and pattern.startswith(b"-")


@pytest.mark.parametrize(
    "words, progress",
    [
        ("--progress", "auto"),
        ("--progress=bar", "bar"),
        ("--progress none", "none"),
        ("--progress=lines --progress", "auto"),
    ],
)
def test_progress_takes_no_source_for_its_value(words: str, progress: str) -> None:
    command_line = parsed(*words.split(), "src", "dst")
    assert (command_line.progress, command_line.request.sources) == (progress, (b"src",))


def test_a_misspelt_word_behind_progress_is_no_source() -> None:
    with pytest.raises(UsageError, match="--progress line: did you mean lines") as error:
        parsed("--progress", "line", "src", "dst")
    assert "./line" in error.value.remedy
    assert parsed("--progress", "./line", "dst").request.sources == (b"./line",)


def test_exclude_files_add_to_the_patterns_without_comments_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"# build\n*.o\n\n cache\n")
    (tmp_path / "two").write_bytes(b"\xff")
    command_line = parsed("a", "b", "-x", str(tmp_path / "one"), "-e", "tmp", "-x", str(tmp_path / "two"))
    assert command_line.request.options.excludes == (b"tmp", b"*.o", b" cache", b"\xff")


def test_a_missing_exclude_file_is_fatal_and_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"exclude file .*gone: No such file or directory") as error:
        parsed("a", "b", "-x", str(tmp_path / "gone"))
    assert error.value.exit_code == 1


def test_version_needs_no_paths() -> None:
    assert parsed("-V").show == parsed("--version", "a").show == "version"


def test_where_the_report_and_the_progress_go() -> None:
    command_line = parsed("a", "b", "--json", "r.json", "--progress-interval", "0.5", "-v")
    assert (command_line.json, command_line.progress_interval) == ("r.json", 0.5)
    assert command_line.request.options.itemize
    assert parsed("a", "b").json is None and not parsed("a", "b").request.options.itemize


def test_how_long_runs_are_written_down_and_gone_on_with() -> None:
    command_line = parsed(
        "a", "b", "--ledger", "l\udcff", "--resume", "--stop-before", "7.5", "--heartbeat_timeout", "30"
    )
    assert (command_line.ledger, command_line.resume) == (b"l\xff", True)
    assert (command_line.stop_before, command_line.request.options.heartbeat_timeout) == (7.5, 30.0)
    command_line = parsed("a", "b")
    assert (command_line.ledger, command_line.resume, command_line.status) == (None, False, None)
    assert (command_line.stop_before, command_line.request.options.heartbeat_timeout) == (None, 60.0)


def test_in_a_slurm_job_a_run_finds_the_ledger_to_go_on_with() -> None:
    job = {"SLURM_JOB_ID": "12", "SLURM_SUBMIT_DIR": "/home/me"}
    assert parse(["a", "b", "--resume"], from_lines, job).ledger == b"/home/me/hpcp-mpi-12.ledger"
    assert parse(["a", "b", "--resume", "--ledger", "mine"], from_lines, job).ledger == b"mine"
    assert parse(["a", "b"], from_lines, job).ledger is None
    with pytest.raises(UsageError, match="--resume") as error:
        parsed("a", "b", "--resume")
    assert "--ledger" in error.value.remedy


def test_a_ledger_is_shown_without_sources() -> None:
    command_line = parsed("--status", "l\udcff", "--json", "j")
    assert (command_line.status, command_line.json) == (b"l\xff", "j")


def test_help_groups_options_by_task_and_ends_with_examples_and_exit_codes() -> None:
    assert parsed("--help").show == "--help"
    text = help_text()
    headings = [
        "sources and destinations",
        "removal:",
        "what counts as identical",
        "performance:",
        "long runs",
        "output:",
        "examples:",
        "exit codes:",
    ]
    assert sorted(headings, key=text.index) == headings
    for code in EXIT_CODES:
        assert f"\n  {code} " in text
    assert len(text.splitlines()) < 300
    assert max(map(len, text.splitlines())) <= 80, "as wide as the smallest terminal"


def test_the_short_help_fits_on_the_smallest_screen_and_its_options_and_commands_are_there() -> None:
    """Minus h also wins over whatever else is wrong."""
    assert parsed("-h", "--no-such-option").show == parsed("a", "-vh").show == "-h"
    text = screen(described())
    lines = text.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    options = build_parser()._option_string_actions
    assert {name for name in re.findall(r"(?<![-\w])--?[a-z][-a-z]*", text) if name != "-l"} <= {*options, "-mpi"}
    assert "--help" in lines[-1] and "--print-man" in lines[-1]
    assert sum("  # " in line for line in lines) >= 6 and sum(line.startswith("  -") for line in lines) == 10


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_the_long_help_is_never_wider_than_80_columns(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert max(map(len, help_text().splitlines())) <= 80


def test_every_option_says_what_it_does_and_its_spellings_differ_in_dashes_only() -> None:
    spelled: set[str] = set()
    for section in described():
        for option in section.options:
            assert len(option.text) > 10 and not option.text.endswith(".") and option.text[0].islower()
            assert spelled.isdisjoint(option.names)
            spelled.update(option.names)
    actions = build_parser()._option_string_actions
    assert {name.replace("_", "-") for name in actions} == {name.replace("_", "-") for name in spelled} - {"SRC", "-0"}


@pytest.mark.parametrize("spelling", ["--max-delete", "--max_delete", "--dest_path", "--dest-path"])
def test_long_options_may_be_spelled_with_either_dash(spelling: str) -> None:
    assert parsed("-rme", "a", "-d", "b", spelling, "7").request.sources == (b"a",)


def test_minus_0_is_an_option_and_negative_numbers_are_numbers() -> None:
    command_line = parsed("-fl", "l", "-0", "-j", "-2", "a")
    assert command_line.request.nul and command_line.request.options.slots == -2


def test_without_arguments_a_short_help_is_shown_and_nothing_was_done() -> None:
    done = run([], flavour="plain")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 80
    assert sum("hpcp-mpi" in line and "  #" in line for line in lines) == 5 and "hpcp-mpi --help" in lines[-1]


def test_every_example_is_understood() -> None:
    for _, command in EXAMPLES:
        words = shlex.split(command.replace("mpiexec -n 4 ", "").replace("PATH...", "PATH"))
        assert words[0] == "hpcp-mpi"
        parsed(*words[1:])


def test_a_wrong_option_is_shown_without_its_escape_sequences_and_by_one_rank() -> None:
    """It may be the name of another user's file, where a shell's pattern is on the command line."""
    for world in WORLDS:
        done = world.run(["--\x1b]0;owned\x07", "a", "b"])
        said = [line for line in done.stderr.splitlines() if "hpcp-mpi: " in line]
        assert said == ["hpcp-mpi: unknown option --\\x1b]0;owned\\x07 (hpcp-mpi --help shows all)"]
        assert "\x1b" not in done.stderr and "usage:" not in done.stderr
        assert (done.returncode, done.stdout) == (2, "")
