"""What users of rsync, cp, rm and dcp type by habit: accepted where it is always so, else refused in a sentence."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.cli.command_line import CommandLine, parse
from hpcp_mpi.cli.parser import build_parser
from hpcp_mpi.rules.excludes import from_lines
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Verb
from tests.support.effort import many
from tests.support.launch import run


def parsed(*words: str) -> CommandLine:
    return parse(words, from_lines)


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("-a", {}),
    ("-r", {}),
    ("-R", {}),
    ("-p", {}),
    ("-P", {}),
    ("-HAX", {}),
    ("-rlptgoD", {}),
    ("-dpR", {}),
    ("-af", {}),
    ("-avh", {"itemize": True}),
    ("-avz", {"itemize": True}),
    ("-avP", {"itemize": True}),
    ("-rv", {"itemize": True}),
    ("-avn", {"dry_run": True, "itemize": True}),
    ("-avcn", {"full_hash": True, "dry_run": True, "itemize": True}),
    ("-aS", {"sparse": "always"}),
    ("-av --progress", {"itemize": True}),
    ("--archive --recursive --hard-links --acls --xattrs --numeric-ids --partial --stats", {}),
    ("--preserve=all", {}),
    ("--preserve", {}),
    ("--info=progress2", {}),
    ("--checksum", {"full_hash": True}),
    ("--contents", {"full_hash": True}),
    ("--itemize-changes", {"itemize": True}),
    ("--delete", {"mirror": True}),
    ("--delete-after --max-delete=5", {"mirror": True, "max_delete": 5}),
    ("-av --delete --exclude=x --exclude y", {"mirror": True, "itemize": True, "excludes": (b"x", b"y")}),
    ("-a -e *.o --dry-run", {"dry_run": True, "itemize": True, "excludes": (b"*.o",)}),
]


@pytest.mark.parametrize("words, expected", ACCEPTED, ids=[words for words, _ in ACCEPTED])
def test_what_has_an_equal_here_is_accepted(words: str, expected: dict[str, Any]) -> None:
    request = parsed(*words.split(), "src", "dst").request
    assert (request.sources, request.destinations, request.options) == ((b"src",), (b"dst",), Options(**expected))


@pytest.mark.parametrize(
    "words, says",
    [
        ("-avx", "-avx: there is no x here: what is mounted below SRC is copied, too"),
        ("-aL", "-aL: there is no L here: symlinks are copied as symlinks"),
        ("-au", "over a newer file"),
        ("-u", "there is no -u here: what differs is copied, also over a newer file"),
        ("--update", "also over a newer file"),
        ("-aR", "directories above a source"),
        ("-ab", "no suffix"),
        ("-al", "no links are made instead of copies"),
        ("-as", "no links are made instead of copies"),
        ("-ai", "nothing is asked before a file is replaced"),
        ("-re ssh", "-re: there is no e here: no remote shell"),
        ("-a -e ssh", "no remote shell"),
        ("-e /usr/bin/ssh -a", "no remote shell"),
        ("--rsh=ssh", "no remote shell"),
        ("-fr", "-fr: there is no f here"),
        ("-rfv", "-rfv: there is no f here"),
        ("-Rf", "-Rf: there is no f here"),
        ("-rmf", "options of several letters are not joined"),
        ("-rf", "-rf with several paths"),
        ("--include=*.c", "no include rules yet"),
        ("--filter", "no include rules yet"),
        ("--inplace", "made anew beside its place"),
        ("--append-verify", "made anew beside its place"),
        ("--delete-before", "after all is copied"),
        ("--delete-during", "after all is copied"),
        ("--del", "after all is copied"),
        ("--link-dest=old", "no links are made"),
        ("--no-perms", "copied as they are"),
        ("--one-file-system", "what is mounted below SRC"),
        ("--files-from=l", "with -sfl"),
        ("--bwlimit=1000", "write --rate-limit=1000Ki"),
        ("--bwlimit=10m", "write --rate-limit=10Mi"),
        ("--bwlimit=10MB", "write --rate-limit=10M"),
        ("--bwlimit 1000", "--rate-limit"),
        ("-t", "-t: not a whole number: 'src'"),
        ("-L", "-L: not a rate: 'src'"),
        ("--sparse", "--sparse takes auto, always or never, not 'src'"),
        ("--reflink", "--reflink takes auto, always or never, not 'src'"),
        ("--backup", "no suffix"),
        ("-xv", "unknown option -xv"),
        ("-ddir", "unknown option -ddir: if 'dir' is the value of -d, write -d dir"),
    ],
)
def test_what_is_done_otherwise_is_refused_in_one_sentence_with_a_remedy(words: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*words.split(), "src", "dst")
    assert says in error.value.message
    assert error.value.remedy or "write --" in error.value.message or "--help" in error.value.message
    assert "\n" not in error.value.message + error.value.remedy


@pytest.mark.parametrize("words", ["-d", "-C", "-x", "-f", "-m", "-t", "-L", "-F"])
@pytest.mark.parametrize("habit", ["-a", "-av", "--delete", "--archive", "--exclude-from=/dev/null"])
def test_beside_words_of_rsync_a_letter_that_is_another_option_there_takes_no_source_away(
    habit: str, words: str
) -> None:
    """`rsync -a -C src dst` has src as its source; -C src would be the destination here."""
    for line in ((habit, words, "2024", "dst"), (words, "2024", habit, "dst"), ("2024", "dst", habit, words, "3")):
        if words == "-d" and line[0] == "2024":
            continue
        with pytest.raises(UsageError, match=rf"{words} beside .*ambiguous.*"):
            parsed(*line)


def test_a_destination_behind_its_source_is_clear_whatever_was_said_before() -> None:
    assert parsed("-a", "src", "-d", "dst").request.destinations == (b"dst",)


def test_minus_rf_beside_words_of_cp_is_no_removal() -> None:
    with pytest.raises(UsageError, match="-rf beside -a: to remove tree, or to copy it"):
        parsed("-a", "-rf", "tree")
    assert parsed("-r", "-rm", "-rf", "tree").request.verb is Verb.REMOVE


OPTIONS = {name for name in build_parser()._option_string_actions if not name.startswith("--")}


@settings(max_examples=many(300), deadline=None)
@given(st.text(string.ascii_letters, min_size=2, max_size=7).filter(lambda letters: f"-{letters}" not in OPTIONS))
def test_no_joined_letters_remove_overwrite_without_asking_or_change_what_is_copied(letters: str) -> None:
    try:
        line = parsed(f"-{letters}", "src", "dst")
    except UsageError:
        return
    if line.show:
        return
    request, options = line.request, line.request.options
    assert (request.verb, request.sources, request.destinations) == (Verb.COPY, (b"src",), (b"dst",))
    assert not (options.mirror or options.move or request.force or options.excludes or options.backup_dir)


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("--dryrun", "--dry-run (-n)?"),
        ("--dry", "--dry-run (-n)?"),
        ("-dry", "--dry-run (-n)?"),
        ("--just-print", "--dry-run (-n)?"),
        ("-exclude", "--exclude (-e)"),
        ("--excludes", "--exclude (-e)"),
        ("--exlude", "--exclude (-e)"),
        ("-recursive", "--recursive?"),
        ("--max-worker", "--max-workers (-j)?"),
        ("--jobs=4", "--max-workers (-j)?"),
        ("--hash_siz", "--hash-size (-hs)?"),
        ("--target-directory=x", "--dest-path (-d)?"),
        ("--mirror", "--remove-extra (-rme)?"),
        ("--cfl", "-cfl?"),
        ("--hs=0", "-hs?"),
    ],
)
def test_a_misspelt_option_is_answered_with_what_it_may_have_been(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=r"^unknown option") as error:
        parsed(typed, "a", "b")
    assert f"did you mean {meant}" in error.value.message and "hpcp-mpi --help" in error.value.message


@pytest.mark.parametrize("typed", ["--re", "--r", "--rem", "--d", "--de", "--f", "--y", "--acc", "--no", "--res"])
def test_no_beginning_of_an_option_is_taken_for_it_or_answered_with_one_that_removes_first(typed: str) -> None:
    names = [name for name in build_parser()._option_string_actions if name.startswith(typed) and "_" not in name]
    with pytest.raises(UsageError, match=f"unknown option {typed}") as error:
        parsed(typed, "a", "b")
    harmless = [name for name in names if not name.startswith(("--remove", "--delete", "--yes", "--acc", "--force"))]
    if typed[1:] in build_parser()._option_string_actions:
        assert f"did you mean {typed[1:]}?" in error.value.message, "a letter with one dash too many"
    elif harmless and "did you mean" in error.value.message:
        assert any(f"did you mean {name}" in error.value.message for name in harmless), error.value.message


@pytest.mark.parametrize("words", ["copy a b", "rm -rf x", "mv a b", "ls a", "help", "status l", "mirror a b -rf"])
def test_a_command_of_other_tools_is_answered_with_how_it_is_written(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there are no commands: write hpcp-mpi "):
        parsed(*words.split())
    (tmp_path / "copy").mkdir()
    assert parsed("copy", "b").request.sources == (b"copy",)


def test_a_word_of_rsync_with_a_directory_says_where_it_lands_and_mirrors_nothing_by_mistake(tmp_path: Path) -> None:
    """There src dst is dst/src, here the contents of src in dst: --delete would remove all that is beside dst/src."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    assert parsed("-a", str(src), str(dst)).notes == ()
    dst.mkdir()
    (note,) = parsed("-a", str(src), str(dst)).notes
    assert f"the contents of {src} go into {dst}, not into {dst}/src" in note
    with pytest.raises(UsageError, match="in rsync") as error:
        parsed("-a", "--delete", str(src), "-d", str(dst))
    assert f"{src}/ {dst} for the first, {src} {dst}/ for the second" in error.value.remedy
    for source, destination in ((f"{src}/", str(dst)), (str(src), f"{dst}/"), (f"{src}/.", str(dst))):
        line = parsed("-a", "--delete", source, destination)
        assert line.request.options.mirror and line.notes == ()
    assert parsed("-rme", str(src), str(dst)).request.options.mirror, "who speaks hpcp knows"


def test_an_exclude_file_with_rules_of_rsync_is_refused_with_the_rule(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_bytes(b"*.o\n+ keep/\n- *\n")
    with pytest.raises(UsageError, match=r"holds a rule of rsync.*: \+ keep/"):
        parsed(f"--exclude-from={rules}", "a", "b")
    rules.write_bytes(b"*.o\n./+ keep\n")
    assert parsed("--exclude-from", str(rules), "a", "b").request.options.excludes == (b"*.o", b"./+ keep")


def test_what_means_nothing_here_is_said_and_the_copy_is_made(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/file").write_text("content")
    done = run(["-avz", "src/", "dst"], flavour="plain", cwd=tmp_path).check()
    assert done.stderr.startswith("hpcp-mpi: -z has no meaning here: nothing is sent over a network")
    assert (tmp_path / "dst/file").read_text() == "content" and "file" in done.stdout
    assert parsed("-e", "ssh", "a", "b").notes[0].startswith("-e ssh excludes what is called so")
