"""The options for images and clones, as `hpcp-mpi --help` shows them, and whether a command line has one.

What they mean, and which contradict each other, is in `image_request` and `image_conflicts`, which only a command line
with one of them loads.
"""

import shlex
from typing import Any

from hpcp_mpi.cli.amounts import parse_disk_size
from hpcp_mpi.cli.options_what import Parser

FILE_SYSTEMS = ("auto", "ext4", "xfs", "btrfs", "squashfs")
# Where the parser keeps each of them, and how it is called in messages.
NAMES = {
    "src_image": "-si",
    "dest_image": "-di",
    "dest_image_size": "-dis",
    "disk_dump": "-dd",
    "dd_resize": "-ddr",
    "no_fs_param_mirror": "-nfp",
    "get_diff_image": "-diff",
    "load_diff_image": "-siff",
    "force_apply": "-fa",
    "image_fs": "--image-fs",
    "image_root": "--image-root",
    "image_label": "--image-label",
    "mkfs_option": "--mkfs-option",
    "partition": "--partition",
    "raw": "--raw",
    "unclean": "--unclean",
    "no_grow": "--no-grow",
    "no_check": "--no-check",
    "yes": "--yes",
}


def add_images(parser: Parser) -> None:
    add = parser.group("images and clones (Linux, root; squashfs: anyone)").add
    add(
        "-si",
        "--src-image",
        nargs="*",
        action="append",
        metavar="IMG",
        complete="file",
        help="images or block devices as sources instead of SRC; name the destination with -d or -di",
    )
    add(
        "-di",
        "--dest-image",
        action="append",
        metavar="IMG",
        complete="file",
        help="copy into this image, each SRC to its absolute path in it; made if it is not there",
    )
    add(
        "-dis",
        "--dest-image-size",
        type=parse_disk_size,
        metavar="SIZE",
        help="no image is bigger than SIZE: the rest goes to IMG_1, IMG_2 and so on (20GiB, 20G; 500MB: of 1000)",
    )
    add(
        "-dd",
        "--disk-dump",
        action="store_true",
        help="clone the disk or image SRC to -di DST",
    )
    add(
        "-ddr",
        "--dd-resize",
        action="append",
        type=_resize,
        metavar="SIZE",
        help="size of the clone's biggest partition, given again of the next one; NAME=SIZE, NUMBER=SIZE: of this one; "
        "min: what it holds takes, max: the rest",
    )
    add(
        "-nfp",
        "--no-fs-param-mirror",
        action="store_true",
        help="make a clone's file systems with defaults, not as the source's are",
    )
    add(
        "-diff",
        "--get-diff-image",
        nargs="?",
        const="",
        metavar="PATCH",
        complete="file",
        help="write a patch that makes DST equal to SRC, and change neither",
    )
    add(
        "-siff",
        "--load-diff-image",
        nargs="*",
        action="append",
        metavar="PATCH",
        complete="file",
        help="apply patches to -d DST or -di IMG, in this order",
    )
    add("-fa", "--force-apply", action="store_true", help="apply patches that do not fit, too")
    add(
        "--image-fs",
        choices=FILE_SYSTEMS,
        metavar="TYPE",
        help=f"file system of a new image: {', '.join(FILE_SYSTEMS[1:])} (default auto: squashfs by the name .sqsh, "
        "xfs from 1 GiB on, else ext4)",
    )
    add("--image-root", action="store_true", help="sources land in the image as in a directory")
    add("--image-label", metavar="TEXT", help="label of a new image")
    add(
        "--mkfs-option",
        action="append",
        type=_words,
        metavar="WORDS",
        help="give WORDS to the program that makes the file system: --mkfs-option='-comp gzip'",
    )
    add(
        "--partition",
        action="append",
        metavar="P",
        help="only the partition of this name or number, of -si (repeatable), else of -di",
    )
    add("--raw", action="append", metavar="P", help="clone this partition (name or number) block by block")
    add(
        "--unclean",
        choices=("refuse", "copy", "ignore"),
        metavar="HOW",
        help="a source whose journal was not replayed: refuse (default), copy (replay it in a copy), ignore it",
    )
    add("--no-grow", action="store_true", help="never make an existing image bigger")
    add("--no-check", action="store_true", help="do not check file systems that were written")
    add("--yes", action="store_true", help="overwrite without asking; -rf does not stand for this")


def given_names(given: Any) -> list[str]:
    """Return how the options for images are called that were given. given: the parser's"""
    return [name for attribute, name in NAMES.items() if getattr(given, attribute) not in (None, False)]


def _resize(text: str) -> tuple[str, int | None, str]:
    """Return (partition or "", bytes, word) of SIZE, NAME=SIZE, NUMBER=SIZE, or with a word. Raises ValueError."""
    partition, named, size = text.rpartition("=")
    if named and not partition:
        raise ValueError(f"no partition is named before the = of {text!r}")
    word = size.strip().lower()
    if word in ("min", "max"):
        return partition, None, word
    return partition, parse_disk_size(size), ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {text!r}: {error}") from None
