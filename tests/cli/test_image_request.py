"""Command lines with images and clones: what each asks for, and what is refused in words with what to do instead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.cli.amounts import parse_disk_size
from hpcp_mpi.cli.command_line import CommandLine, parse
from hpcp_mpi.operations.prepare.own_files import own_files, refuse
from hpcp_mpi.operations.prepare.places import placed
from hpcp_mpi.rules.excludes import from_lines
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.image_options import ImageOptions, Resize, Unclean
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Verb
from tests.support.launch import run

REPOSITORY = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def parsed(*words: str) -> CommandLine:
    return parse(words, from_lines)


# words: (verb, sources, destinations, what is asked of images)
ASKED: dict[str, tuple[Verb, tuple[bytes, ...], tuple[bytes, ...], dict[str, Any]]] = {
    "-si a.img -d out": (Verb.COPY, (), (b"out",), {"images": (b"a.img",)}),
    "-d out/ -si a.img b.img": (Verb.COPY, (), (b"out/",), {"images": (b"a.img", b"b.img")}),
    "-si a -si b c -n -si d -d out": (Verb.COPY, (), (b"out",), {"images": (b"a", b"b", b"c", b"d")}),
    "--src_image=a -C out": (Verb.COPY, (), (b"out",), {"images": (b"a",)}),
    "-si a --partition 2 --partition root --unclean copy -d out": (
        Verb.COPY,
        (),
        (b"out",),
        {"images": (b"a",), "partitions": ("2", "root"), "unclean": Unclean.COPY},
    ),
    "-si a -fl l": (Verb.LIST, (), (), {"images": (b"a",)}),
    "-si a -fl l -cfl": (Verb.COMPARE, (), (), {"images": (b"a",)}),
    "-si a b -d out -cfl": (Verb.COMPARE, (), (b"out",), {"images": (b"a", b"b")}),
    "-si a -d out -dfl t": (Verb.COMPARE, (), (b"out",), {"images": (b"a",)}),
    "a b -di x -cfl --image-root": (Verb.COMPARE, (b"a", b"b"), (), {"image": b"x", "image_root": True}),
    "-si a -di b -cfl": (Verb.COMPARE, (), (), {"images": (b"a",), "image": b"b"}),
    "a -di x": (Verb.IMAGE, (b"a",), (), {"image": b"x"}),
    "-di x a b": (Verb.IMAGE, (b"a", b"b"), (), {"image": b"x"}),
    "-di x -rme -rf a": (Verb.IMAGE, (b"a",), (), {"image": b"x"}),
    "-rf a -di x": (Verb.IMAGE, (b"a",), (), {"image": b"x"}),
    "-si a -di x --partition 2": (Verb.IMAGE, (), (), {"images": (b"a",), "image": b"x", "partitions": ("2",)}),
    "a --dest-image x -dis 120MiB": (Verb.IMAGE, (b"a",), (), {"image": b"x", "volume_size": 120 * MIB}),
    "a -di x --image-fs btrfs --image-label L --no-grow --no-check": (
        Verb.IMAGE,
        (b"a",),
        (),
        {"image": b"x", "file_system": "btrfs", "label": "L", "grow": False, "check": False},
    ),
    "a -di x.sqsh --mkfs-option=-comp --mkfs-option gzip": (
        Verb.IMAGE,
        (b"a",),
        (),
        {"image": b"x.sqsh", "mkfs_options": ("-comp", "gzip")},
    ),
    "-dd a -di b": (Verb.CLONE, (), (), {"images": (b"a",), "image": b"b", "disk": True}),
    "-dd -si a -di b --yes": (Verb.CLONE, (), (), {"images": (b"a",), "image": b"b", "disk": True, "yes": True}),
    "-dd a -d /dev/x": (Verb.CLONE, (), (), {"images": (b"a",), "image": b"/dev/x", "disk": True}),
    "-dd -si a -d /dev/x -nfp": (
        Verb.CLONE,
        (),
        (),
        {"images": (b"a",), "image": b"/dev/x", "disk": True, "mirror_geometry": False},
    ),
    "a -dd -di b -ddr 20GiB -ddr 4=300MiB -ddr EFI=min -ddr a=b=MAX --raw 3 --raw var": (
        Verb.CLONE,
        (),
        (),
        {
            "images": (b"a",),
            "image": b"b",
            "disk": True,
            "raw": ("3", "var"),
            "resize": (
                Resize("", 20 << 30),
                Resize("4", 300 * MIB),
                Resize("EFI", None, "min"),
                Resize("a=b", None, "max"),
            ),
        },
    ),
    "-dd a -di b -ddr=min -ddr=1=500MB": (
        Verb.CLONE,
        (),
        (),
        {"images": (b"a",), "image": b"b", "disk": True, "resize": (Resize("", None, "min"), Resize("1", 500_000_000))},
    ),
    "new -d base -diff": (Verb.PATCH, (b"new",), (b"base",), {"patch": b""}),
    "-diff p.img new -d base": (Verb.PATCH, (b"new",), (b"base",), {"patch": b"p.img"}),
    "new base -diff p.img --yes": (Verb.PATCH, (b"new",), (b"base",), {"patch": b"p.img", "yes": True}),
    "-si new -di base -diff": (Verb.PATCH, (), (), {"images": (b"new",), "image": b"base", "patch": b""}),
    "-dd new -di base -diff p": (
        Verb.PATCH,
        (),
        (),
        {"images": (b"new",), "image": b"base", "patch": b"p", "disk": True},
    ),
    "-siff p q -d dir": (Verb.APPLY, (), (b"dir",), {"patches": (b"p", b"q")}),
    "-siff p -siff q -di x -fa": (Verb.APPLY, (), (), {"patches": (b"p", b"q"), "image": b"x", "force_apply": True}),
}


@pytest.mark.parametrize("words", ASKED)
def test_what_a_command_line_with_images_asks_for(words: str) -> None:
    verb, sources, destinations, asked = ASKED[words]
    request = parsed(*words.split()).request
    assert (request.verb, request.sources, request.destinations) == (verb, sources, destinations)
    assert request.images == ImageOptions(**asked)


def test_a_command_line_without_images_has_none() -> None:
    assert parsed("a", "b").request.images is None


def test_names_of_images_are_kept_byte_by_byte() -> None:
    request = parsed("-si", "i\udcff", "-d", "d").request
    assert request.images is not None and request.images.images == (b"i\xff",)


def test_what_links_of_an_image_lead_to_is_never_copied() -> None:
    """A link in an image may lead out of it, to what lies beside its mount point."""
    for words in ("-si a -d out", "a -di x", "-dd a -di b"):
        assert parsed(*words.split()).request.options.links == "never"


def test_options_of_copies_are_the_same_with_images() -> None:
    request = parsed(
        *["-si", "a", "-d", "out", "-hs", "0", "-e", "/var/cache/*", "-n", "-j", "2", "-L", "1M", "--verify"]
    ).request
    expected = Options(
        hash_size=0,
        excludes=(b"/var/cache/*",),
        dry_run=True,
        itemize=True,
        slots=2,
        rate_bytes=1_000_000,
        verify=True,
        links="never",
    )
    assert request.options == expected


REFUSED = [
    # -si takes all that follows it.
    ("-si", "-si names no image", "named with -d"),
    ("-si -d out", "-si names no image", "named with -d"),
    ("-si a -d out -si", "-si names no image", "named with -d"),
    ("-si a.img out", "all that follows -si are images", "-si a.img -d out"),
    ("-si a b out", "all that follows -si are images", "-si a ... -d out"),
    ("-si a", "no destination is given", "Name it with -d"),
    ("-si a -n out", "a destination that is named", "-si a -d out"),
    ("-si a -d out -n b", "without other sources, and b is one", "in two runs"),
    ("-dd -si a b", "all that follows -si are images", "-dd -si a -di b"),
    ("-siff", "-siff names no patch", "named with -d"),
    ("-siff p dir", "all that follows -siff are patches", "-siff p -d dir"),
    ("-siff p -d dir -n other", "without other sources", "Name a destination"),
    ("-diff new -d base", "-diff took new for its PATCH: put -diff last", "NEW -d BASE -diff"),
    # What is not there, or there twice.
    ("-di= a", "value of -di is empty", "Name one"),
    ("-si= -d out", "the name of one image of -si is empty", "Name a file"),
    ("-siff= -d out", "the name of one patch of -siff is empty", "Name a file"),
    ("-di x", "no source was given", "SRC... -di IMG"),
    ("-di x -cfl", "no source was given", "-cfl SRC... -di IMG"),
    ("-di x -di y a", "-di names several", "Give -di once"),
    ("a -d out --partition=", "value of --partition is empty", "leave the option out"),
    # Destinations, lists.
    ("a -di x -d out", "two destinations", "Give one"),
    ("a -di x -d b -d c", "two destinations", "Give one"),
    ("-si a -d b -d c -cfl", "with one destination", "Give -d once"),
    ("a -di x -rds", "-rds has no meaning", "Leave out"),
    ("-dd a -di x -rds", "-rds", "Leave out -rds"),
    ("-dd a -d b -d c", "one destination", "Give -di once"),
    ("-sfl l -di x", "-sfl cannot be given with images", "Leave out -sfl"),
    ("-sfl l -dd a -di x", "-sfl cannot be given with images", "Leave out -sfl"),
    ("-sfl l -si a -d out", "-sfl cannot be given with images", "Leave out -sfl"),
    ("a -di x -tdfl", "-tdfl cannot be given with -di", "Use -diff"),
    ("-dd a -di x -tdfl", "-dd makes no list and no comparison", "in a second run"),
    ("a -di x -fl l", "with -fl there is no destination", "-si IMG -fl LIST"),
    ("a -di x -fl l -cfl", "with -fl there is no destination", "-si IMG -fl LIST"),
    ("-si a -fl l -d out", "there is no destination", "two runs"),
    ("-dd a -di x -cfl", "-dd makes no list and no comparison", "in a second run"),
    ("a -d b -diff p -fl l", "-diff makes no list and no comparison", "in a second run"),
    ("-siff p -d b -dfl t", "-siff makes no list and no comparison", "in a second run"),
    # Removal.
    ("-rm -si a -d out", "-rm cannot be given with images", "Leave out -rm"),
    ("-rm a -di x", "-rm cannot be given with images", "Leave out -rm"),
    ("-rm -dd a -di x", "-rm cannot be given with images", "Leave out -rm"),
    ("-rme -si a -d out", "only an existing image (-di) is made a mirror", "Leave out -rme"),
    ("-rme -dd a -di x", "only an existing image (-di) is made a mirror", "Leave out -rme"),
    ("-rme -siff p -d x", "only an existing image (-di) is made a mirror", "Leave out -rme"),
    ("-rme a -d b -diff p", "only an existing image (-di) is made a mirror", "Leave out -rme"),
    ("-rf -dd a -di x", "-rf answers questions about removals", "--yes"),
    ("-rf -siff p -d x", "-rf answers questions about removals", "-fa"),
    ("a -di x --max-delete 3", "--max-delete limits", "Give one of them"),
    ("a -di x -rme --backup-dir old", "--backup-dir cannot be given with images", "Leave out"),
    # Ledgers.
    ("--ledger l a -di x", "--ledger cannot be given with images", "the same command does the rest"),
    ("--resume --ledger l -si a -d b", "--resume cannot be given with images", "the same command does the rest"),
    ("--resume -dd a -di x", "--resume cannot be given with images", "the same command does the rest"),
    ("--ledger l -siff p -d x", "--ledger cannot be given with images", "the same command does the rest"),
    ("--ledger l a -d b -diff p", "--ledger cannot be given with images", "the same command does the rest"),
    ("--status l -di x", "--status shows a ledger", "--status LEDGER"),
    ("--status l -dd", "--status shows a ledger", "--status LEDGER"),
    # Clones.
    ("-dd a", "-dd names no destination", "-dd SRC -di DST"),
    ("-dd a b", "-dd names no destination", "-dd SRC -di DST"),
    ("-dd -di b", "-dd names no disk or image to clone", "-dd SRC -di DST"),
    ("-dd a b -di c", "-dd clones one disk, and 2 are named", "one run for each"),
    ("-dd -si a b -di c", "-dd clones one disk, and 2 are named", "one run for each"),
    ("-dd -si a -di c -n b", "without other sources", "in two runs"),
    ("-ddr 5G a b", "-ddr is about the partitions of a clone", "Leave out -ddr"),
    ("-ddr 5G a -di b", "-ddr has no meaning here", "Leave out -ddr"),
    ("-ddr 5G -si a -d b", "-ddr has no meaning here", "Leave out -ddr"),
    ("-dd a -di b -ddr 1=5G -ddr 1=6G", "gives partition 1 two sizes", "one size"),
    ("-dd a -di b -ddr max -ddr 2=max", "the rest of the disk to two partitions", "Give max once"),
    ("-dd a -di b -dis 1G", "-dis has no meaning here", "Leave out -dis"),
    ("-dd -di b -siff p", "a patch is applied to a disk as to any image", "-siff PATCH -di DISK"),
    ("-nfp a -di b", "-nfp has no meaning here", "Leave out -nfp"),
    ("-nfp a b", "-nfp is about the file systems of a clone", "Leave out -nfp"),
    ("-dd a -di b --image-fs xfs", "--image-fs has no meaning here", "Leave out --image-fs"),
    ("-dd a -di b --image-label l", "--image-label has no meaning here", "Leave out --image-label"),
    ("-dd a -di b --mkfs-option=-x", "--mkfs-option has no meaning here", "Leave out --mkfs-option"),
    ("-dd a -di b --image-root", "--image-root has no meaning here", "Leave out --image-root"),
    ("-dd a -di b --partition 1", "--partition has no meaning here", "Leave out --partition"),
    ("-dd a -di b --no-grow", "--no-grow has no meaning here", "Leave out --no-grow"),
    # New images, other images.
    ("-dis 1G a b", "-dis limits the images that -di makes", "Leave out -dis"),
    ("-dis 1G -si a -d b", "-dis has no meaning here", "Leave out -dis"),
    ("-dis 60MiB a -di b", "less than 64 MiB", "64 MiB or more"),
    ("--image-root a b", "--image-root is about where sources land", "Leave out --image-root"),
    ("--image-root -si a -d b", "--image-root has no meaning here", "Leave out --image-root"),
    ("--image-root -si a -d b -cfl", "--image-root has no meaning here", "Leave out --image-root"),
    ("--image-fs ext4 a b", "--image-fs is about a new image", "Leave out --image-fs"),
    ("--image-fs ext4 -si a -d b", "--image-fs has no meaning here", "Leave out --image-fs"),
    ("--image-label l -si a -d b", "--image-label has no meaning here", "Leave out --image-label"),
    ("--raw 1 -si a -d b", "--raw has no meaning here", "Leave out --raw"),
    ("--raw 1 a -di b", "--raw has no meaning here", "Leave out --raw"),
    ("--unclean copy a b", "--unclean is about images and disks as sources", "Leave out --unclean"),
    ("--unclean copy a -di x", "--unclean has no meaning here", "Leave out --unclean"),
    ("--unclean refuse -siff p -d b", "--unclean has no meaning here", "Leave out --unclean"),
    ("--partition 1 a b", "--partition picks from a partitioned image", "Leave out --partition"),
    ("--partition 1 a -d b -diff p", "--partition has no meaning here", "Leave out --partition"),
    ("--partition 1 --partition 2 a -di x", "--partition names several", "Give --partition once"),
    ("--no-grow -si a -d b", "--no-grow has no meaning here", "Leave out --no-grow"),
    ("--no-check -si a -d b", "--no-check has no meaning here", "Leave out --no-check"),
    ("--yes a b", "--yes is about what a clone or a patch would overwrite", "Leave out --yes"),
    ("--yes a -di x", "--yes has no meaning here", "Leave out --yes"),
    ("a -di x.sqsh -dis 1G", "a squashfs is as big as what is in it", "another --image-fs"),
    ("a -di x --image-fs squashfs --image-label l", "a squashfs has no label", "another --image-fs"),
    ("a -di x.SFS -rme", "a squashfs is never changed", "another --image-fs"),
    ("a -di x.squashfs --no-grow", "a squashfs is never changed", "another --image-fs"),
    # Patches.
    ("-fa a b", "-fa is about patches to apply", "Leave out -fa"),
    ("-fa a -di x", "-fa has no meaning here", "Leave out -fa"),
    ("-diff", "-diff compares two trees", "NEW -d BASE -diff"),
    ("new -diff", "-diff compares two trees", "NEW -d BASE -diff"),
    ("a b -d c -diff", "one tree with one other", "NEW -d BASE -diff"),
    ("a b c -diff", "one tree with one other", "NEW -d BASE -diff"),
    ("a -d b -d c -diff", "one tree with one other", "NEW -d BASE -diff"),
    ("-siff p -diff q -d b", "-diff writes a patch and -siff applies one", "two runs"),
    ("-siff p -si a -d b", "-si names something else to copy", "Leave out -si"),
    ("-siff p -d a -d b", "a patch is applied to one tree", "Give -d once"),
    ("-siff p -d a -e x", "a patch is applied whole", "when the patch is made"),
    ("-siff p -d a --verify", "--verify has no meaning here: -siff applies patches", "Leave out --verify"),
    # Options of copies that images have not.
    ("a -di x -lt", "-lt cannot be given with images", "Leave out -lt"),
    ("-si a -d x -lt", "-lt cannot be given with images", "Leave out -lt"),
    ("-si a -d x -nb", "-nb cannot be given with images", "Leave out -nb"),
    ("a -di x -co", "-co cannot be given with images", "Leave out -co"),
    ("a -di x -nds", "-nds cannot be given with images", "Leave out -nds"),
    ("a -di x -do", "-do cannot be given with images", "Leave out -do"),
    ("-dd a -di x -nhfl", "-nhfl has no meaning here: -dd clones a disk", "Leave out -nhfl"),
]


@pytest.mark.parametrize("words, says, remedy", REFUSED, ids=[words for words, *_ in REFUSED])
def test_what_images_have_no_meaning_for_is_refused_with_a_remedy(words: str, says: str, remedy: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*words.split())
    assert says in error.value.message and remedy in error.value.remedy
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "words, says",
    [
        ("-dd a -di b -ddr 5X", "not a size"),
        ("-dd a -di b -ddr =5G", "no partition is named"),
        ("-dd a -di b -ddr 4=", "not a size"),
        ("-dd a -di b -ddr 0", "can have this size"),
        ("a -di b -dis many", "not a size"),
        ("a -di b --image-fs zfs", "--image-fs takes auto, ext4, xfs, btrfs or squashfs, not 'zfs'; did you mean xfs?"),
        ("a -di b --unclean fix", "--unclean takes refuse, copy or ignore, not 'fix'"),
        ("a -di b --mkfs-option='", "cannot be split into words"),
    ],
)
def test_values_that_mean_nothing_are_refused(words: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*words.split())
    assert says in error.value.message


@pytest.mark.parametrize(
    "text, expected",
    [
        ("65536", 65536),
        ("512B", 512),
        ("20GiB", 20 << 30),
        ("20G", 20 << 30),
        ("20Gi", 20 << 30),
        ("20g", 20 << 30),
        ("500MB", 500_000_000),
        ("1KB", 1000),
        ("1K", 1024),
        ("1.5T", 3 << 39),
        ("2PiB", 2 << 50),
        ("0.1GB", 100_000_000),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_i_and_a_bare_letter_are_powers_of_1024_and_b_alone_of_1000(text: str, expected: int) -> None:
    assert parse_disk_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1X", "G", "1.G", "1e9", "1 G", "0.0001", "9000000P", "nan", "1iB", "+5"]
)
def test_what_no_image_can_have_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        parse_disk_size(text)


def test_a_patch_is_not_written_to_what_was_meant_as_a_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which is a directory"):
        parsed("-diff", str(tmp_path), "new", "-d", "base")


def test_images_of_other_hosts_are_refused() -> None:
    for words in ("-si host:a.img -d out", "a -di http://host/x.img", "-siff host:p -d out", "a -d b -diff host:p"):
        with pytest.raises(UsageError, match="looks like a place on another host"):
            placed(parsed(*words.split()).request)


@pytest.mark.parametrize(
    "words",
    [
        "-si {i} -d out --json {i}",
        "-si {i} -fl {i}",
        "a -di {i} --json {hard}",
        "-dd a -di {i} --json {soft}",
        "-siff {i} -d out --json {i}",
        "a -d b -diff {new} --json {new}",
    ],
)
def test_no_list_and_no_report_is_written_over_an_image(words: str, tmp_path: Path) -> None:
    image = tmp_path / "i"
    image.write_bytes(b"the only one")
    (tmp_path / "hard").hardlink_to(image)
    (tmp_path / "soft").symlink_to(image)
    names = {name: tmp_path / name for name in ("i", "hard", "soft", "new")}
    command_line = parsed(*words.format(**names).split())
    report = None if command_line.json is None else str(command_line.json).encode()
    with pytest.raises(UsageError, match="one of its images or patches"):
        refuse(command_line.request, own_files(command_line.request, None, report))


def test_a_run_without_images_loads_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/f").write_text("x")
    words = [sys.executable, "-X", "importtime", "-m", "hpcp_mpi", tmp_path / "src", tmp_path / "dst"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert "hpcp_mpi.operations.copy.rank0" in loaded, "it shows what is loaded"
    of_images = ("hpcp_mpi.operations.imaging", "hpcp_mpi.host.block", "hpcp_mpi.cli.image_", "hpcp_mpi.vocab.image_")
    assert [name for name in loaded if name.startswith(of_images)] == []
    assert (tmp_path / "dst/f").read_text() == "x"


def test_the_refusal_of_a_swallowed_destination_is_one_line_and_its_remedy(tmp_path: Path) -> None:
    done = run(["-si", str(tmp_path / "a.img"), str(tmp_path / "out")], flavour="plain")
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert len(done.stderr.splitlines()) == 2 and f"-d {tmp_path / 'out'}" in done.stderr
