"""Combinations of options: each means one thing, or is refused in words with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.cli.command_line import CommandLine, parse
from hpcp_mpi.rules.excludes import from_lines
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.request import Request, Verb
from tests.support.effort import many


def parsed(*words: str) -> CommandLine:
    return parse(words, from_lines)


@pytest.mark.parametrize(
    "words, verb",
    [
        ("a b", Verb.COPY),
        ("a -d b", Verb.COPY),
        ("-rme a b", Verb.COPY),
        ("-rme -rf a b", Verb.COPY),
        ("-rme -rm a -d b", Verb.COPY),
        ("-rm a -d b", Verb.COPY),
        ("-rf a -d b", Verb.COPY),
        ("-rm a", Verb.REMOVE),
        ("-rm a b c", Verb.REMOVE),
        ("-rm -rf a b", Verb.REMOVE),
        ("-rf a", Verb.REMOVE),
        ("-n -rf a", Verb.REMOVE),
        ("-fl l a", Verb.LIST),
        ("-tfl l a b", Verb.LIST),
        ("-cfl a b", Verb.COMPARE),
        ("-cfl a -d b", Verb.COMPARE),
        ("-cfl a -fl l", Verb.COMPARE),
        ("-dfl a b c", Verb.COMPARE),
        ("a b -dfl", Verb.COMPARE),
        ("-tdfl a b", Verb.COMPARE),
        ("-sfl l -d b", Verb.COPY),
        ("-sfl l -cfl -fl m", Verb.COMPARE),
    ],
)
def test_what_a_command_line_does(words: str, verb: Verb) -> None:
    assert parsed(*words.split()).request.verb is verb


def test_only_minus_rm_with_a_named_destination_moves() -> None:
    assert parsed("-rm", "a", "-d", "b").request.options.move
    assert not parsed("-rf", "a", "-d", "b").request.options.move
    assert not parsed("-rme", "-rf", "a", "b").request.options.move
    assert parsed("-rm", "a", "b").request.sources == (b"a", b"b"), "without -d they are all removed"


REFUSED = [
    ("-rf a b", "is the last one a destination", "add -rm"),
    ("-rm -rme a b", "a destination, or to be removed", "with -d"),
    ("-rm", "no path", "-rm PATH"),
    ("-rm -fl l a", "-rm has no meaning", "Leave out"),
    ("-rm -cfl a b", "-rm has no meaning", "Leave out"),
    ("-rme -cfl a b", "-rme has no meaning", "Leave out"),
    ("-rme -fl l a", "-rme has no meaning", "Leave out"),
    ("-rme -sfl l a -d b", "everything that the list does not name", "Mirror without a list"),
    ("-fl l a -d b", "there is no destination", "Compare with a directory"),
    ("-fl l", "no path", "-fl LIST"),
    ("-fl l -n a", "-n has no meaning", "Leave out"),
    ("-rds a b", "several destinations", "Give -d for each"),
    ("-rds a -d b", "several destinations", "Give -d for each"),
    ("-ncd -rm a", "-ncd has no meaning", "Leave out"),
    ("-do -rm a -d b", "copies no files", "Leave out -do or -rm"),
    ("-do -nds a b", "-nds forbids", "Give one"),
    ("-do -cfl a b", "-do has no meaning", "Leave out"),
    ("--verify -rm a", "--verify has no meaning", "Leave out"),
    ("--verify -cfl a b", "--verify has no meaning", "Leave out"),
    ("--max-delete 3 a b", "--max-delete limits", "leave it out"),
    ("--accept-loss a b", "--accept-loss says", "leave it out"),
    ("--accept-loss -rm a", "--accept-loss says", "leave it out"),
    ("--max-delete 0 -fl l a", "--max-delete limits", "leave it out"),
    ("--delete-excluded a b", "only when mirroring", "Add -rme"),
    ("--delete-excluded -rm a", "only when mirroring", "Add -rme"),
    ("--backup-dir b -rm a", "--backup-dir has no meaning", "Leave out"),
    ("-0 a b", "there is none", "Add -fl"),
    ("-nhfl a b", "-nhfl has no meaning", "Leave out"),
    ("-sfl l a b", "named with -d", "-sfl LIST [BASE] -d DST"),
    ("-sfl l a b -d c", "relative to one directory", "Give one directory beside -sfl"),
    ("-sfl l -rm a -d c", "copied, not moved", "Leave out -rm"),
    ("-sfl l a -d b -d c", "several destinations", "Give -d once"),
    ("-sfl l -cfl a -d b", "not compared with a directory", "DIR -fl LIST"),
    ("-cfl a -d b -d c", "with one destination", "Give -d once"),
    ("-fl l -dfl l a", "name the same file", "file of its own"),
    ("-fl l --json l a", "name the same file", "file of its own"),
    ("-sfl l --json ./l a -d b", "name the same file", "file of its own"),
    ("-dfl a b", "-dfl took a", "hpcp-mpi SRC"),
    ("--status l a", "--status shows a ledger", "--status LEDGER"),
    ("--status l -d a", "--status shows a ledger", "--status LEDGER"),
    ("--status l -fl m", "--status shows a ledger", "--status LEDGER"),
    ("--status l --ledger m", "only shows", "--status LEDGER"),
    ("--status l --resume", "only shows", "--status LEDGER"),
    ("--status= --json m", "is empty", "--status LEDGER"),
    ("--status l --json ./l", "name the same file", "file of its own"),
    ("--resume a b", "outside of a Slurm job", "--ledger FILE"),
    ("--ledger= a b", "is empty", "Leave it out"),
    ("--ledger l --json l a b", "name the same file", "file of its own"),
]
# What is said of one option, in one line that ends with what to do.
ONE_LINE = re.compile(
    r"unknown option .*(--help shows all\)|write \./-\d)|needs a value: -|takes no value|: (not|must) "
)


@pytest.mark.parametrize("words, says, remedy", REFUSED, ids=[words for words, *_ in REFUSED])
def test_what_has_no_meaning_is_refused_with_a_remedy(words: str, says: str, remedy: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*words.split())
    assert says in error.value.message and remedy in error.value.remedy
    assert error.value.exit_code == 2


def test_a_table_is_not_written_to_what_was_meant_as_a_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which is a directory"):
        parsed("-dfl", str(tmp_path), "b", "c")


def test_one_letter_flags_may_be_put_together_and_numbers_to_their_letter() -> None:
    options = parsed("-nvs", "-j4", "a", "b").request.options
    assert options.dry_run and options.itemize and options.single and options.slots == 4
    assert parsed("-vs", "a", "b").request.options.itemize, "also without -n"


# Every option once with a value, paths, and things that are none of it.
WORDS = """
a | b | -d x | -d y | -rds | -ncd | -tfs ext4 | -enes | -b | -nb | -e p | -sfl l | -sfl - | -do | -nds | -co
-lt | -nlt | -n | -rm | -rme | -rf | -rwloff | --max-delete 3 | --accept-loss | --backup-dir o | --delete-excluded
-fl m | -fl -
-nhfl | -0 | -cfl | -dfl | -dfl t | -tdfl | -hs 0 | -fh | -j 2 | -s | -pfl | --verify | -L 1M | -F 10 | -ctl 5
--ledger k | --resume | --status k | --stop-before 5 | --heartbeat-timeout 9
-si i | -di o | -di o.sqsh | -dis 1G | -dd | -ddr 2=min | -nfp | -diff | -diff p | -siff q | -fa | --image-fs ext4
--image-root | --image-label l | --mkfs-option=-x | --partition 1 | --raw 1 | --unclean copy | --no-grow | --no-check
--yes
-a | -avz | -rt | -u | -avx | --archive | --delete | --delete-after | --exclude-from nowhere | -rf --delete | -C z
-f 3 | -v | --json r | -V | --print-man | -di | -x nowhere | -- | -1 | -j x
"""
CHOICES = [choice.split() for line in WORDS.strip().splitlines() for choice in line.split("|")]


def answer(words: list[str]) -> CommandLine | FatalError:
    """What comes of words: a request, or a refusal."""
    try:
        return parsed(*words)
    except FatalError as error:
        return error


@settings(max_examples=many(1500), deadline=None)
@given(st.lists(st.sampled_from(CHOICES), max_size=7))
def test_any_combination_is_one_verb_or_is_refused_in_words(chosen: list[list[str]]) -> None:
    found = answer([word for words in chosen for word in words])
    if isinstance(found, CommandLine):
        assert found.show or found.status or consistent(found.request), found
    else:
        assert found.message and not found.message.endswith(".")
        assert (
            found.remedy or found.message.startswith("cannot read the exclude file") or ONE_LINE.search(found.message)
        )


def consistent(request: Request) -> bool:
    """Return whether what is asked has what its verb needs, and nothing that belongs to another."""
    options = request.options
    if request.images is not None:
        return consistent_images(request)
    compares_list = request.verb is Verb.COMPARE and request.file_list is not None
    needs_destination = request.verb in (Verb.COPY, Verb.COMPARE) and not compares_list
    return all(
        (
            bool(request.destinations) == needs_destination,
            request.sources or request.source_list is not None,
            request.source_list is None or len(request.sources) <= 1,
            (request.file_list is not None) == (request.verb is Verb.LIST or compares_list),
            request.changes_file is None or request.verb is Verb.COMPARE,
            not request.tar_list or request.changes_file is not None,
            not (options.move or options.mirror or options.verify) or request.verb is Verb.COPY,
            not options.delete_excluded or options.mirror,
            not options.backup_dir or request.verb is Verb.COPY,
            not request.random_destinations or len(request.destinations) > 1,
            options.max_delete is None or request.verb is Verb.REMOVE or options.mirror or options.move,
        )
    )


def consistent_images(request: Request) -> bool:
    """Return whether a request with images has one kind of source and one of destination, and no other verb's parts."""
    options, images = request.options, request.images
    assert images is not None
    reads = len(request.sources) + len(images.images) + len(images.patches)
    writes = len(request.destinations) + bool(images.image)
    lists = request.verb is Verb.LIST or request.file_list is not None
    return all(
        (
            reads >= 1,
            [bool(request.sources), bool(images.images), bool(images.patches)].count(True) == 1,
            writes == 0 if lists else writes >= 1,
            not (request.destinations and images.image),
            bool(images.patches) == (request.verb is Verb.APPLY),
            (images.patch is not None) == (request.verb is Verb.PATCH),
            images.disk == (request.verb is Verb.CLONE) or request.verb is Verb.PATCH,
            not images.disk or (len(images.images) == 1 and bool(images.image)),
            not (options.move or options.backup_dir) or request.verb is Verb.COPY,
            not options.move,
            not options.mirror or request.verb is Verb.IMAGE,
            options.links == "never",
            request.source_list is None,
            not (images.resize or images.raw or not images.mirror_geometry) or request.verb is Verb.CLONE,
        )
    )
