"""README's table of hpcp's options: complete, true to the parser, and each row with a test."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from hpcp_mpi.cli.parser import build_parser
from hpcp_mpi.cli.request import parse
from hpcp_mpi.cli.words import NOT_YET
from hpcp_mpi.plan.excludes import from_lines
from hpcp_mpi.vocab.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]

# What `hpcp -h` names, of 8.96 to 9.79.
HPCP = """
src_path
-h --help
-s --single_thread
-j -m -t --max_workers
-b --batch
-nb --no_batch --sequential
-v --verbose
-do --directory_only
-nds --no_directory_sync
-fh --full_hash
-hs --hash_size
-f -fpj --files_per_job
-sfl -lfl --source_file_list
-fl -tfl --target_file_list
-cfl --compare_file_list
-dfl --diff_file_list
-tdfl --tar_diff_file_list
-nhfl --no_hash_file_list
-rm --remove
-rf --remove_force
-rme --remove_extra
-rwloff --do_not_remove_files_while_listing
-e --exclude
-x --exclude_file
-lt --link_tracking
-nlt --no_link_tracking
-V --version
-pfl --parallel_file_listing
-si --src_image
-siff --load_diff_image
-d -C --dest_path
-rds --random_dest_selection
-di --dest_image
-dis --dest_image_size
-diff --get_diff_image
-fa --force_apply
-dd --disk_dump
-ddr --dd_resize
-nfp --no_fs_param_mirror
-L -rl --rate_limit
-F -frl --file_rate_limit
-tfs --target_file_system
-ncd --no_create_dir
-co --content_only
-ctl --command_timeout_limit
-enes --exit_not_enough_space
"""
# Where a row is tested: (file below tests/, function), by the row's first spelling.
TESTED = {
    "src_path": ("operations/test_landing.py", "test_an_existing_name_is_taken_literally_and_only_then_as_a_pattern"),
    "-h": ("cli/test_parser.py", "test_help_groups_options_by_task_and_ends_with_examples_and_exit_codes"),
    "-s": ("operations/test_options.py", "test_one_rank_alone_works_in_single_mode"),
    "-j": ("operations/test_options.py", "test_single_mode_and_job_counts_give_the_same"),
    "-b": ("cli/test_parser.py", "test_each_option_says_what_it_says_in_hpcp"),
    "-v": ("operations/test_itemizing.py", "test_lines_are_sorted_and_the_report_holds_none"),
    "-do": ("operations/test_options.py", "test_directories_only"),
    "-nds": ("operations/test_options.py", "test_without_directory_metadata_directories_are_made_as_mkdir_makes_them"),
    "-fh": ("operations/test_options.py", "test_how_much_of_a_file_is_compared"),
    "-hs": ("operations/test_options.py", "test_how_much_of_a_file_is_compared"),
    "-f": ("cli/test_parser.py", "test_each_option_says_what_it_says_in_hpcp"),
    "-cfl": ("operations/test_compare_any.py", "test_the_groups_are_what_rsync_would_do"),
    "-e": ("operations/test_options.py", "test_what_is_excluded_is_pruned_and_protected"),
    "-x": ("cli/test_parser.py", "test_exclude_files_add_to_the_patterns_without_comments_and_blank_lines"),
    "-V": ("cli/test_versions.py", "test_it_names_the_program_the_mpi_library_and_cp"),
    "-d": ("operations/test_landing.py", "test_a_directory_lands"),
    **dict.fromkeys(NOT_YET, ("cli/test_hpcp_options.py", "test_what_is_not_there_yet_is_refused_and_not_misread")),
}


@functools.cache
def rows() -> dict[tuple[str, ...], str]:
    """The rows of README's table: what it says of the option, by its spellings."""
    text = (REPOSITORY / "README.md").read_text()
    lines = text.partition("### Every option of hpcp\n")[2].partition("\n## ")[0].splitlines()
    found = {}
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[0].startswith("`"):
            found[tuple(re.findall(r"`([^`]+)`", cells[0]))] = cells[1]
    return found


def test_every_option_of_hpcp_has_a_row_with_all_its_spellings() -> None:
    assert sorted(map(sorted, rows())) == sorted(sorted(line.split()) for line in HPCP.strip().splitlines())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_says_of_an_option_whether_it_is_there(row: tuple[str, ...]) -> None:
    actions = build_parser()._option_string_actions
    understood = [name for name in row if name in actions or name == "src_path"]
    if rows()[row] == "not there yet":
        assert not understood and NOT_YET[row[0]] == row[1]
    else:
        assert understood == list(row)
        assert len({id(actions.get(name)) for name in row}) == 1, "all of them are one option"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_row_has_a_test(row: tuple[str, ...]) -> None:
    file, function = TESTED[row[0]]
    text = (REPOSITORY / "tests" / file).read_text()
    tree = ast.parse(text)
    assert row[0] == "src_path" or any(re.search(rf"(?<![-\w]){name}\b", text) for name in row)
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("option", [*NOT_YET, *NOT_YET.values(), "--disk-dump"])
def test_what_is_not_there_yet_is_refused_and_not_misread(option: str) -> None:
    for words in ([option, "value", "src", "dst"], ["src", "dst", option], [f"{option}=value", "src", "dst"]):
        with pytest.raises(UsageError, match=f"{option} of hpcp is not there yet"):
            parse(words, from_lines)


def test_readme_names_every_option_that_hpcp_does_not_have() -> None:
    text = (REPOSITORY / "README.md").read_text().partition("Only here: ")[2].partition("Letters")[0]
    ours = {action.names[0] for action in build_parser()._actions if action.option_strings}  # type: ignore[attr-defined]
    assert set(re.findall(r"`([^`]+)`", text)) == ours - set(HPCP.split())
