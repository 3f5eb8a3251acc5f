"""File systems that are made like others: dumpe2fs, xfs_db and btrfs see no difference but in counts and times."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.host.block import filesystems, making
from hpcp_mpi.host.block.loops import Loop
from hpcp_mpi.operations.imaging.measuring import needed
from hpcp_mpi.operations.imaging.rules import likeness, sizes
from hpcp_mpi.operations.imaging.rules.geometry import MIB, Geometry
from hpcp_mpi.vocab.image_options import Need
from tests.support.effort import TO_THE_END
from tests.support.marks import needs_commands, needs_root
from tests.support.privately import device_of, mounted, privately

pytestmark = needs_commands("mke2fs", "mkfs.xfs", "mkfs.btrfs", "btrfstune")

PROGRAMS = {"xfs": "mkfs.xfs -q -f", "btrfs": "mkfs.btrfs -q -f"}
# The type, the words of its mkfs, commands of tune2fs that follow.
COMMON = [
    ("ext2", "-b 1024 -I 128 -i 2048 -L boot", ()),
    ("ext3", "-b 2048 -J size=8", ()),
    ("ext4", "-b 1024 -O ^metadata_csum,^64bit -m 3.7 -L 'q r' -M /some/where -e remount-ro", ("-c 20 -i 30d",)),
    ("ext4", "-G 8 -I 512", ("-o journal_data,nobarrier -u 5 -g 7", "-E mount_opts=data=ordered", "-E hash_alg=tea")),
    ("xfs", "-m reflink=0,bigtime=0,inobtcount=0 -i size=1024", ()),
    ("xfs", "-m rmapbt=1 -i nrext64=1,maxpct=50 -L 123456789012", ()),
    ("btrfs", "-m single -d dup -O ^extref,^no-holes -L 'a b'", ()),
    ("btrfs", "-R ^free-space-tree -O ^skinny-metadata --csum xxhash", ()),
]
RARE = [
    ("ext2", "", ()),
    ("ext2", "-r 0 -I 128 -O none", ()),
    ("ext3", "", ()),
    ("ext4", "", ("-i 5",)),
    ("ext4", "-O bigalloc -C 16384", ()),
    ("ext4", "-O casefold", ()),
    ("ext4", "-O fast_commit -J size=8,fast_commit_size=512", ()),
    ("ext4", "-O quota,project,mmp,inline_data,ea_inode,large_dir,orphan_file,metadata_csum_seed", ()),
    ("ext4", "-O ^has_journal,^resize_inode,sparse_super2 -E num_backup_sb=1", ()),
    ("ext4", "-O ^resize_inode,meta_bg", ()),
    ("ext4", "-O ^flex_bg,uninit_bg,^metadata_csum", ()),
    ("ext4", "-O stable_inodes,^dir_index", ()),
    ("ext4", "-N 5000 -g 4096 -b 1024 -E stride=16,stripe_width=32", ()),
    ("ext4", "-O quota -E quotatype=usr", ()),
    ("ext4", "-O ^sparse_super,^resize_inode", ()),
    ("xfs", "", ()),
    ("xfs", "-m crc=0,finobt=0 -n ftype=0 -i attr=1,projid32bit=0 -l lazy-count=0,version=1", ()),
    ("xfs", "-b size=1024 -n size=8192 -n version=ci", ()),
    ("xfs", "-i sparse=0 -m finobt=0,inobtcount=0", ()),
    ("xfs", "-s size=4096", ()),
    ("btrfs", "", ()),
    ("btrfs", "--csum blake2 -n 4096", ()),
    ("btrfs", "-M -L mixed", ()),
]


def geometry_on(loop: Loop, kind: str) -> Geometry:
    return likeness.parsed(kind, *filesystems.file_system_of(loop.path, kind))


def is_mountable(kind: str, words: str) -> bool:
    """Whether any kernel mounts it: some features are left out of many."""
    return not any(word in words for word in ("casefold", "quota", "crc=0", "version=ci"))


def make_source(loop: Loop, kind: str, words: str, tunes: tuple[str, ...]) -> None:
    program = PROGRAMS.get(kind, f"mke2fs -q -F -t {kind}")
    subprocess.run([*shlex.split(f"{program} {words}"), loop.path], check=True, capture_output=True)
    for tune in tunes:
        subprocess.run(["tune2fs", *shlex.split(tune), loop.path], check=True, capture_output=True)


@needs_root
@pytest.mark.parametrize(("kind", "words", "tunes"), COMMON + RARE * TO_THE_END)
@privately
def test_a_clone_has_the_geometry_label_and_uuid_of_its_source(
    on_tmpfs: Path, kind: str, words: str, tunes: tuple[str, ...]
) -> None:
    size = (320 if kind in PROGRAMS else 64) * MIB
    with device_of(on_tmpfs / "a.img", size) as source, device_of(on_tmpfs / "b.img", size) as clone:
        make_source(source, kind, words, tunes)
        wanted = geometry_on(source, kind)
        assert (wanted.obstacle, wanted.size) == ("", size)
        what = likeness.made_like(wanted, size, Need())
        assert making.refusal(what) == ""
        making.make(clone.path, what)
        if is_mountable(kind, words):
            with mounted(clone, kind, on_tmpfs / "mounted") as place:
                (place / "file").write_bytes(b"x" * 10_000)
        making.finish(clone.path, what)
        assert likeness.differences(wanted, geometry_on(clone, kind)) == []
        assert making.check(clone.path, kind) == ""


@needs_root
@privately
def test_a_btrfs_gets_the_uuid_of_one_that_is_there_at_once_where_that_is_asked(on_tmpfs: Path) -> None:
    size = 320 * MIB
    with device_of(on_tmpfs / "a.img", size) as source, device_of(on_tmpfs / "b.img", size) as clone:
        make_source(source, "btrfs", "", ())
        wanted = geometry_on(source, "btrfs")
        making.make(clone.path, likeness.made_like(wanted, size, Need(), uuid_now=True))
        assert likeness.differences(wanted, geometry_on(clone, "btrfs")) == []


@needs_root
@pytest.mark.parametrize("kind", ["ext2", "ext4", "xfs", "btrfs"])
@privately
def test_a_clone_with_the_defaults_of_mkfs_has_the_label_and_uuid(on_tmpfs: Path, kind: str) -> None:
    size = 320 * MIB
    with device_of(on_tmpfs / "a.img", size) as source, device_of(on_tmpfs / "b.img", size) as clone:
        make_source(source, kind, "-L two" + (" -b 1024 -I 128" if kind == "ext2" else ""), ())
        wanted = geometry_on(source, kind)
        what = likeness.made_plain(wanted, size, Need(files=1000))
        assert making.refusal(what) == ""
        making.make(clone.path, what)
        making.finish(clone.path, what)
        found = geometry_on(clone, kind)
        assert (found.label, found.uuid) == (b"two", wanted.uuid)
        said = subprocess.run(["blkid", "-p", "-o", "export", clone.path], check=True, capture_output=True, text=True)
        assert f"UUID={wanted.uuid}\n" in said.stdout
        assert "LABEL=two\n" in said.stdout


@needs_root
@pytest.mark.parametrize(
    ("kind", "old", "new", "named"),
    [
        ("ext4", "metadata_csum", "FEATURE_C20", "FEATURE_C20"),
        ("xfs", "reflink=1", "reflink=1 exchange=1", "exchange"),
        ("btrfs", "crc32c", "md5", "md5"),
    ],
)
@privately
def test_what_mkfs_does_not_know_is_refused_before_anything_is_made(
    on_tmpfs: Path, kind: str, old: str, new: str, named: str
) -> None:
    with device_of(on_tmpfs / "a.img", 320 * MIB) as source:
        make_source(source, kind, "", ())
        text, label, uuid = filesystems.file_system_of(source.path, kind)
    assert old in text
    what = likeness.made_like(likeness.parsed(kind, text.replace(old, new), label, uuid), 320 * MIB, Need())
    assert named in making.refusal(what)


@needs_root
@privately
def test_a_label_that_is_no_text_and_forges_nothing_is_kept(on_tmpfs: Path) -> None:
    label = b"\xff\n: x -L"
    with device_of(on_tmpfs / "a.img", 64 * MIB) as source, device_of(on_tmpfs / "b.img", 64 * MIB) as clone:
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, source.path], check=True, capture_output=True)
        wanted = geometry_on(source, "ext4")
        assert wanted.label == label
        what = likeness.made_like(wanted, 64 * MIB, Need())
        making.make(clone.path, what)
        assert geometry_on(clone, "ext4").label == label


@needs_root
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ext2", "-b 1024 -I 128"),
        ("ext4", "-b 1024 -O ^metadata_csum,^64bit"),
        ("ext4", "-b 4096 -i 65536 -J size=4"),
        ("xfs", "-b size=1024"),
        ("btrfs", "-m dup -d dup"),
    ],
)
@privately
def test_the_smallest_clone_of_a_geometry_holds_the_tree(on_tmpfs: Path, kind: str, words: str) -> None:
    tree = on_tmpfs / "tree"
    for number in range(500):
        if number % 100 == 0:
            (tree / f"{number}").mkdir(parents=True)
        (tree / f"{number // 100 * 100}" / f"a file of some name {number}").write_bytes(b"x" * (number * 28))
    need = needed([bytes(tree)])
    with device_of(on_tmpfs / "a.img", 1024 * MIB) as source:
        make_source(source, kind, words, ())
        geometry = geometry_on(source, kind)
    size = likeness.smallest_like(geometry, need)
    assert size < 512 * MIB
    what = likeness.made_like(geometry, size, need)
    assert not what.held
    with device_of(on_tmpfs / "b.img", size) as clone:
        assert making.refusal(what) == ""
        making.make(clone.path, what)
        with mounted(clone, kind, on_tmpfs / "mounted") as place:
            assert sizes.missing(what, need, *making.room_of(bytes(place), kind)) == (0, 0)
            subprocess.run(["cp", "-a", f"{tree}/.", place], check=True)
            subprocess.run(["sync", "-f", place], check=True)
        assert making.check(clone.path, kind) == ""
