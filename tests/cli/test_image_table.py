"""What is printed of images and clones, and what machines get of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcp_mpi import __version__
from hpcp_mpi.cli.command_line import parse
from hpcp_mpi.cli.end_table import table
from hpcp_mpi.cli.json_report import write_json
from hpcp_mpi.cli.report import first_line, last_line
from hpcp_mpi.rules.excludes import from_lines
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import ImageResult, PartitionResult, Report
from hpcp_mpi.vocab.tally import Tally

MIB = 1 << 20
CLONED = Report(
    "clone",
    images=[
        ImageResult(b"a.img", "read", 4 << 30, 900 * MIB, "gpt", "", "D-1"),
        ImageResult(b"b.img", "cloned", 1 << 30, 800 * MIB, "gpt", "", "D-1", 12.5),
    ],
    partitions=[
        PartitionResult(b"a.img", 1, "boot", "", "raw", MIB, MIB, MIB, MIB, 0, MIB, 0, 0.1),
        PartitionResult(
            b"a.img", 4, "ro\not", "ext4", "files", 9 * MIB, 2 * MIB, 3 << 30, 900 * MIB, 1234, 700 * MIB, 2, 11.0,
            ["sn\x1bapshot"],
        ),
    ],
    outcome=Outcome(copied=Tally(files=1234, bytes=700 * MIB)),
    seconds=13.0,
)  # fmt: skip


def test_each_image_has_a_line_and_each_partition_a_row_with_what_was_before() -> None:
    lines = table(CLONED).splitlines()
    assert lines[0] == "clone: 1,234 files copied (700.00 MiB)"
    assert lines[1:7] == [
        "image a.img: read, 4.00 GiB (900.00 MiB allocated), gpt, UUID D-1",
        "image b.img: cloned in 12.5s, 1.00 GiB (800.00 MiB allocated), gpt, UUID D-1",
        "partition  content  treatment                 start                    size  entries       bytes  failed"
        "   time",
        "1 boot     unknown        raw              1.00 MiB                1.00 MiB             1.00 MiB        "
        "   0.1s",
        r"4 ro\not      ext4      files  9.00 MiB -> 2.00 MiB  3.00 GiB -> 900.00 MiB    1,234  700.00 MiB       2"
        "  11.0s",
        r"partition 4 ro\not: sn\x1bapshot",
    ]
    assert "copied" in lines[9] and "1,234" in lines[9], "then the table of any copy"


def test_columns_of_nothing_are_left_out() -> None:
    read = Report(partitions=[PartitionResult(b"a", 2, "", "swap", "left out"), PartitionResult(b"a", 3, "", "xfs")])
    assert [line.split() for line in table(read).splitlines()[1:3]] == [
        ["partition", "content", "treatment"],
        ["2", "swap", "left", "out"],
    ]


def test_a_dry_run_says_what_it_would_make() -> None:
    report = Report("image", dry_run=True, images=[ImageResult(b"x", "made", 300 * MIB, None, "xfs", "data")])
    says = "dry run: image: x to be made\nimage x: would make, 300.00 MiB, xfs, label data\n"
    assert table(report).startswith(says)
    assert last_line(report) == "hpcp-mpi: dry run: nothing was changed"


MADE = ImageResult(b"x.img", "made", MIB, MIB, "ext4")
COPIED = Outcome(copied=Tally(files=3, bytes=2048))
BROKEN = Outcome(failures=[Failure(b"/s/f", "EIO")])


@pytest.mark.parametrize(
    "report, line",
    [
        (Report("image", images=[MADE], outcome=COPIED), "done: x.img made, 3 files, 2.00 KiB in 0.0s"),
        (Report("image", images=[MADE]), "done: x.img made in 0.0s"),
        (Report("image", images=[ImageResult(b"x.img", "updated")]), "done: nothing to copy in 0.0s"),
        (
            Report("image", images=[MADE], outcome=BROKEN),
            "1 entry failed; x.img is there, without it or with it in part (exit code 23)",
        ),
        (
            Report("image", images=[MADE, MADE], outcome=Outcome(failures=BROKEN.failures * 2)),
            "2 entries failed; x.img, x.img are there, without them or with them in part (exit code 23)",
        ),
        (Report("image", images=[MADE] * 7), "done: 7 images made in 0.0s"),
        (
            Report(images=[ImageResult(b"x.img", "read")], outcome=BROKEN),
            "1 entry failed (exit code 23)",
        ),
        (CLONED, "done: b.img cloned, 1,234 files, 700.00 MiB in 13.0s"),
    ],
)
def test_the_last_line_names_the_image_that_is_there(report: Report, line: str) -> None:
    assert last_line(report) == f"hpcp-mpi: {line}"


@pytest.mark.parametrize(
    "words, line",
    [
        ("-si a.img b.img -d out", "a.img b.img -> out"),
        ("-n -si a.img -d out", "dry run: a.img -> out"),
        ("src -di x.img", "image src -> x.img"),
        ("-n src -di x.img", "dry run: image src -> x.img"),
        ("-si a.img -di x.img", "image a.img -> x.img"),
        ("-dd a.img -d /dev/x", "clone a.img -> /dev/x"),
        ("-si a.img -fl l", "list a.img -> l"),
        ("-si a.img -fl - ", "list a.img -> standard output"),
        ("-si a.img -fl l -cfl", "compare a.img with l"),
        ("src -di x.img -cfl", "compare src with x.img"),
        ("new -d base -diff", "patch new with base -> a patch named after both"),
        ("-si new -di base -diff p", "patch new with base -> p"),
        ("-siff p q -d out", "apply p q -> out"),
    ],
)
def test_the_first_line_says_what_is_about_to_be_done_with_images(words: str, line: str) -> None:
    assert first_line(parse(words.split(), from_lines).request, 4) == f"hpcp-mpi {__version__}: {line}"


def test_machines_get_every_image_and_partition_with_names_that_are_escaped(tmp_path: Path) -> None:
    image = ImageResult(b"i\xff", "made", 5, None, "ext4", "l\udcff", "u", 1.23456)
    partition = PartitionResult(b"i\xff", 1, "n\udcff\n", "ext4", "files", 1, 2, 3, None, 5, 6, 7, 1.23456, ["a", "b"])
    write_json(Report("image", images=[image], partitions=[partition]), tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["images"] == [
        {
            "path": r"i\xff",
            "what": "made",
            "bytes": 5,
            "allocated": None,
            "file_system": "ext4",
            "label": r"l\xff",
            "uuid": "u",
            "seconds": 1.235,
        }
    ]
    assert report["partitions"] == [
        {
            "image": r"i\xff",
            "number": 1,
            "name": r"n\xff\n",
            "content": "ext4",
            "treatment": "files",
            "start_before": 1,
            "start": 2,
            "size_before": 3,
            "size": None,
            "entries": 5,
            "copied": 6,
            "failed": 7,
            "seconds": 1.235,
            "notes": ["a", "b"],
        }
    ]
    assert Report().as_dict()["images"] == Report().as_dict()["partitions"] == []


def test_what_two_runs_did_with_images_is_added() -> None:
    one, other = Report(images=[MADE]), Report(images=[MADE], partitions=CLONED.partitions)
    one.add(other)
    assert len(one.images) == 2 and one.partitions == CLONED.partitions
