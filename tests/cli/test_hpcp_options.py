"""The table of hpcp's options in docs/from-hpcp.md: complete, true to the parser, and each row with a test."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from hpcp_mpi.cli.parser import build_parser

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = REPOSITORY / "docs/from-hpcp.md"

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
ROWS = "operations/test_hpcp_rows.py"
# Where a row is tested: (file below tests/, function), by the row's first spelling.
TESTED = {
    "src_path": (
        "operations/copy/test_landing.py",
        "test_an_existing_name_is_taken_literally_and_only_then_as_a_pattern",
    ),
    "-h": ("cli/test_parser.py", "test_help_groups_options_by_task_and_ends_with_examples_and_exit_codes"),
    "-s": ("operations/copy/test_options.py", "test_one_rank_alone_works_in_single_mode"),
    "-j": ("operations/copy/test_options.py", "test_single_mode_and_job_counts_give_the_same"),
    "-b": (ROWS, "test_batches_or_not_several_sources_end_up_the_same"),
    "-nb": (ROWS, "test_batches_or_not_several_sources_end_up_the_same"),
    "-v": (ROWS, "test_minus_v_lists_what_is_changed_as_rsync_does"),
    "-do": (ROWS, "test_minus_do_copies_directories_and_not_even_a_single_file"),
    "-nds": (
        "operations/copy/test_options.py",
        "test_without_directory_metadata_directories_are_made_as_mkdir_makes_them",
    ),
    "-fh": (ROWS, "test_a_full_hash_wins_over_no_hash"),
    "-hs": ("operations/copy/test_options.py", "test_how_much_of_a_file_is_compared"),
    "-f": ("cli/test_parser.py", "test_each_option_says_what_it_says_in_hpcp"),
    "-sfl": (ROWS, "test_what_a_list_names_keeps_its_place_and_nothing_else_is_copied"),
    "-fl": (ROWS, "test_lists_are_written_and_read_with_every_kind_of_name"),
    "-cfl": (ROWS, "test_a_compare_that_finds_something_ends_with_3_and_writes_nothing"),
    "-dfl": (ROWS, "test_minus_dfl_implies_a_compare_and_never_overwrites_the_list"),
    "-tdfl": (ROWS, "test_minus_tdfl_alone_compares_and_its_names_make_a_tar_file"),
    "-nhfl": (ROWS, "test_without_hashes_a_list_has_names_only"),
    "-rm": (ROWS, "test_a_move_leaves_what_has_no_copy"),
    "-rf": (ROWS, "test_minus_rf_alone_removes_one_path_and_never_makes_a_copy_a_move"),
    "-rme": (ROWS, "test_a_mirror_removes_directories_too_and_is_refused_for_a_file"),
    "-rwloff": (ROWS, "test_minus_rwloff_changes_nothing"),
    "-e": ("operations/copy/test_options.py", "test_what_is_excluded_is_pruned_and_protected"),
    "-x": ("cli/test_parser.py", "test_exclude_files_add_to_the_patterns_without_comments_and_blank_lines"),
    "-lt": (ROWS, "test_what_relative_links_point_to"),
    "-nlt": (ROWS, "test_what_relative_links_point_to"),
    "-V": ("cli/test_versions.py", "test_it_names_the_program_the_mpi_library_and_cp"),
    "-pfl": (ROWS, "test_minus_pfl_copies_the_same"),
    "-d": ("operations/copy/test_landing.py", "test_a_directory_lands"),
    "-rds": (ROWS, "test_files_are_spread_and_a_later_run_finds_them"),
    "-L": ("operations/copy/test_rates.py", "test_bytes_take_their_time"),
    "-F": ("operations/copy/test_rates.py", "test_files_take_their_time"),
    "-tfs": (ROWS, "test_another_type_of_file_system_is_refused"),
    "-ncd": (ROWS, "test_a_destination_that_is_not_there_is_left_out"),
    "-co": (ROWS, "test_content_only_copies_no_times"),
    "-ctl": (
        "operations/copy/test_destination_options.py",
        "test_a_cp_that_takes_too_long_is_ended_and_what_it_finished_lands",
    ),
    "-enes": (
        "operations/prepare/test_preflight.py",
        "test_too_little_room_is_said_at_once_and_with_enes_ends_the_run",
    ),
    **dict.fromkeys(
        ("-si", "-siff", "-di", "-dis", "-diff", "-fa", "-dd", "-ddr", "-nfp"),
        ("cli/test_image_request.py", "test_what_a_command_line_with_images_asks_for"),
    ),
}


@functools.cache
def rows() -> dict[tuple[str, ...], str]:
    """The rows of the table: what it says of the option, by its spellings."""
    text = DOCUMENT.read_text()
    lines = text.partition("## Every option of hpcp\n")[2].partition("\n## ")[0].splitlines()
    found = {}
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[0].startswith("`"):
            found[tuple(re.findall(r"`([^`]+)`", cells[0]))] = cells[1]
    return found


def test_every_option_of_hpcp_has_a_row_with_all_its_spellings() -> None:
    assert sorted(map(sorted, rows())) == sorted(sorted(line.split()) for line in HPCP.strip().splitlines())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_is_of_one_option_that_is_there(row: tuple[str, ...]) -> None:
    actions = build_parser()._option_string_actions
    assert [name for name in row if name in actions or name == "src_path"] == list(row)
    assert len({id(actions.get(name)) for name in row}) == 1, "all of them are one option"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_row_has_a_test_that_names_the_option(row: tuple[str, ...]) -> None:
    file, function = TESTED[row[0]]
    text = (REPOSITORY / "tests" / file).read_text()
    assert function in {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert row[0] == "src_path" or any(re.search(rf"(?<![-\w]){name}\b", text) for name in row)


def test_the_document_names_every_option_that_hpcp_does_not_have() -> None:
    text = DOCUMENT.read_text().partition("\n## Only here\n")[2].partition("\n## ")[0]
    ours = {action.names[0] for action in build_parser()._actions if action.option_strings}  # type: ignore[attr-defined]
    assert set(re.findall(r"`([^`]+)`", text)) == ours - set(HPCP.split())
