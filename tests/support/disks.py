"""Images of disks with a partition of each kind on them, for tests of clones: made once in a session.

disk = disks.make("gpt", place)                 # also "dos" (MBR) and "gpt-4k" (sectors of 4096 bytes); < 2 s
mine = disk.copied(place / "a.img")             # sparse; the same parts at another path
mine["root"]                                    # Part: number, type, start and size in bytes
clone = mine.found_at(place / "b.img")          # the partitions of these numbers where the table of b.img has them
differences(mine, clone, "root")                # what rsync and find say of the two trees; "" when they are equal
mine.taken_out("root", place / "root.img")      # a partition as a file of its own, for blkid, dumpe2fs, fsck
mine.changed("root", 'echo x >"$1/new"')        # a shell script on the mounted partition

tests/operations/imaging/conftest.py has fixtures for these. All that mounts needs root.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support import tables, trees
from tests.support.private_mounts import in_private
from tests.support.tables import BIOS_BOOT, ESP, LINUX, SWAP
from tests.support.trees import Device, Dir, Entries, Fifo, File, HardLink, Sparse, Symlink

MIB = 1 << 20
KINDS = ("gpt", "dos", "gpt-4k")
COMMANDS = ("sfdisk", "sgdisk", "mkfs.vfat", "mcopy", "mkfs.xfs", "mkfs.btrfs", "mkfs.ext4", "cryptsetup")
QUOTED = "a \"quoted\" 'näme' \\ $x"  # of a partition
MOUNTED = ("ext2", "ext3", "ext4", "xfs", "btrfs")
_T = 1_600_000_000_123_456_789
_OPTIONS = {"xfs": "nouuid", "btrfs": "subvolid=5"}


@dataclass(frozen=True)
class Part:
    """A partition: what tests call it, where it lies (bytes), and what is in it."""

    key: str
    number: int
    start: int
    size: int
    type: str = ""  # blkid's; "": no signature
    gpt_type: str = LINUX
    name: str = ""
    attributes: int = 0
    mkfs: tuple[str, ...] = ()  # before the file


@dataclass(frozen=True)
class Disk:
    path: Path
    parts: tuple[Part, ...]
    sector: int = 512

    def __getitem__(self, key: str) -> Part:
        (part,) = (part for part in self.parts if part.key == key)
        return part

    @property
    def mountable(self) -> list[str]:
        """The keys of those partitions that are cloned by files."""
        return [part.key for part in self.parts if part.type in MOUNTED]

    def at(self, path: Path) -> Disk:
        """The same partitions at another path."""
        return replace(self, path=path)

    def found_at(self, path: Path) -> Disk:
        """The partitions of the same numbers, where the table of another image has them."""
        found = places(path, self.sector)
        parts = (replace(part, start=found[part.number][0], size=found[part.number][1]) for part in self.parts)
        return replace(self, path=path, parts=tuple(parts))

    def copied(self, path: Path) -> Disk:
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.path, path], check=True)
        return self.at(path)

    def taken_out(self, key: str, path: Path) -> Path:
        """Copy a partition to a sparse file of its own."""
        part = self[key]
        with open(self.path, "rb") as disk, open(path, "wb") as taken:
            taken.truncate(part.size)
            _copy_data(disk.fileno(), part.start, taken.fileno(), 0, part.size)
        return path

    def content(self, key: str) -> str:
        """A hash of all bytes of a partition."""
        part = self[key]
        with open(self.path, "rb") as file:
            return hash_of(file.fileno(), part.start, part.size)

    def changed(self, key: str, script: str, *arguments: str | Path | int) -> str:
        """Run a shell script with a partition mounted at $1; further arguments follow. Returns what it printed."""
        return in_private(_on(self, key) + f'set -- "$mount" "${{@:4}}"; {script}', *_where(self, key), *arguments)

    def hash(self) -> str:
        with open(self.path, "rb") as file:
            return hash_of(file.fileno(), 0, self.path.stat().st_size)


def make(kind: str, place: Path) -> Disk:
    """Make a test disk in the directory. Its partitions' keys and numbers are those of the lists below."""
    disk = Disk(place / f"{kind}.img", _PARTS[kind], sector=4096 if kind == "gpt-4k" else 512)
    keys = [key for key in disk.mountable if key != "trees"]
    script = f'{_SUBVOLUMES}\ncd "$1"; "$2" -m tests.support.disks "$room" {" ".join(keys)} trees'
    some = random.Random(kind)
    code = {0: some.randbytes(440)} | ({512: some.randbytes(MIB - 512)} if kind == "dos" else {})
    assemble(disk, code, script, Path(__file__).resolve().parents[2], sys.executable)
    return disk


def assemble(disk: Disk, code: Mapping[int, bytes], script: str, *arguments: str | Path, efi: bytes = b"") -> None:
    """Make a disk: a GPT or, if their types are those of an MBR, such a table.

    code: bytes at offsets; script: shell, fills what is mounted at $room/KEY; efi: the program of the vfat
    """
    with open(disk.path, "wb") as file:
        file.truncate(max(part.start + part.size for part in disk.parts) + 9 * MIB)
        for offset, data in code.items():
            os.pwrite(file.fileno(), data, offset)
    if all(len(part.gpt_type) == 36 for part in disk.parts):
        _write_gpt(disk)
    else:
        _write_dos(disk)
    raw = disk.path.parent / "partitions"
    raw.mkdir()
    for part in disk.parts:
        _make_part(part, raw / part.key, efi or b"an EFI program\n" * 1000)
    mounted = [part for part in disk.parts if part.type in MOUNTED]
    mounting = "".join(
        f'on "${at}" 0 {part.size} "$room/{part.key}" -t {part.type}\n' for at, part in enumerate(mounted, 1)
    )
    in_private(f"{mounting}shift {len(mounted)}\n{script}", *(raw / part.key for part in mounted), *arguments)
    with open(disk.path, "r+b") as file:
        for part in disk.parts:
            with open(raw / part.key, "rb") as made:
                _copy_data(made.fileno(), 0, file.fileno(), part.start, part.size)
            (raw / part.key).unlink()
    raw.rmdir()


def places(path: Path, sector: int = 512) -> dict[int, tuple[int, int]]:
    """Start and size, in bytes, of each partition by number: what sfdisk finds, or we where it needs a device."""
    if sector != 512:
        return {
            number: (start * sector, size * sector) for number, (start, size) in tables.read_gpt(path, sector).items()
        }
    printed = subprocess.run(["sfdisk", "--json", path], check=True, capture_output=True).stdout
    found = json.loads(printed)["partitiontable"].get("partitions", [])
    return {int(re.findall(r"\d+$", each["node"])[0]): (each["start"] * 512, each["size"] * 512) for each in found}


def differences(one: Disk, other: Disk, key: str) -> str:
    """Return in what the trees of a partition of two disks differ, "" if in nothing: rsync's and find's words."""
    script = _on(one, key, "ro") + "first=$mount; shift 3; " + _on(other, key, "ro") + _COMPARE
    return in_private(script, *_where(one, key), *_where(other, key))


def _where(disk: Disk, key: str) -> tuple[str | Path | int, ...]:
    return disk.path, disk[key].start, disk[key].size


def _on(disk: Disk, key: str, mode: str = "rw") -> str:
    """The script that mounts what $1 to $3 say at $mount."""
    type = disk[key].type
    options = ",".join([mode, *([_OPTIONS[type]] if type in _OPTIONS else [])])
    return f'mount=$(mktemp -d "$room/XXXX"); on "$1" "$2" "$3" "$mount" -t {type} -o {options}; '


# rsync compares neither nanoseconds nor numbers of links everywhere.
_COMPARE = r"""
rsync -aHAXn --checksum --delete --itemize-changes "$first/" "$mount/"
for each in "$first" "$mount"; do
    (cd "$each" && find . -printf '%P %y %m %U %G %T@ %n %l\0' | LC_ALL=C sort -z | tr '\n\0' '?\n') >"$each.listing"
done
diff --text "$first.listing" "$mount.listing" || true
"""


def hash_of(file: int, at: int, size: int) -> str:
    """A hash of what an open file holds from an offset on; holes and zeros are the same."""
    found = hashlib.sha256(b"%d" % size)
    for offset, block in _data(file, at, size):
        found.update(b"%d:" % offset + block)
    return found.hexdigest()


def _copy_data(source: int, at: int, target: int, to: int, size: int) -> None:
    """Copy what is not zero: the target is one hole."""
    for offset, block in _data(source, at, size):
        os.pwrite(target, block, to + offset)


def _data(file: int, at: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield each block of 64 KiB that is not all zero, with its offset from where it began."""
    for offset in range(0, size, MIB):
        try:  # the next data may be far
            data_at = os.lseek(file, at + offset, os.SEEK_DATA)
        except OSError:
            return
        if data_at >= at + offset + MIB:
            continue
        piece = os.pread(file, min(MIB, size - offset), at + offset)
        for start in range(0, len(piece), 65536):
            block = piece[start : start + 65536]
            if block.strip(b"\0"):
                yield offset + start, block


def _write_gpt(disk: Disk) -> None:
    entries = [
        tables.Entry(
            part.number,
            part.start // disk.sector,
            part.size // disk.sector,
            part.gpt_type,
            part.name,
            "",
            part.attributes,
        )
        for part in disk.parts
    ]
    tables.write_gpt(disk.path, entries, sector=disk.sector)


def _write_dos(disk: Disk) -> None:
    lines = ["label: dos", "label-id: 0x7e57d15c"]
    logical = [part for part in disk.parts if part.number > 4]
    if logical:
        start, end = logical[0].start - MIB, logical[-1].start + logical[-1].size
        lines.append(f"2 : start={start // 512}, size={(end - start) // 512}, type=f")
    for part in disk.parts:
        bootable = ", bootable" if part.attributes else ""
        lines.append(
            f"{part.number} : start={part.start // 512}, size={part.size // 512}, type={part.gpt_type}{bootable}"
        )
    command: list[str | Path] = ["sfdisk", "--no-reread", "--no-tell-kernel", "--quiet", "--wipe", "never", disk.path]
    subprocess.run(command, input="\n".join(lines).encode(), check=True, capture_output=True)


def _make_part(part: Part, path: Path, efi: bytes) -> None:
    with open(path, "wb") as file:
        file.truncate(part.size)
        if not part.type:  # zeros between, and nothing that looks like a signature
            file.write(b"\1" + random.Random(part.key).randbytes(70000).replace(b"\0", b"\1"))
            os.pwrite(file.fileno(), b"the end\n", part.size - 8)
    if part.mkfs:
        subprocess.run([*part.mkfs, str(path)], check=True, capture_output=True, input=b"password")
    if part.type == "vfat":
        for command in (["mmd", "-i", str(path), "::/EFI", "::/EFI/boot"], ["mcopy", "-i", str(path), "-", _LOADER]):
            given = efi if command[0] == "mcopy" else b""
            subprocess.run(command, input=given, check=True, capture_output=True)


_LOADER = "::/EFI/boot/bootx64.efi"
_SUBVOLUMES = """
trees=$room/trees
btrfs -q subvolume create "$trees"/@ >/dev/null
btrfs -q subvolume create "$trees"/@home >/dev/null
mkdir "$trees"/@/var
btrfs -q subvolume create "$trees"/@/var/inner >/dev/null
btrfs subvolume set-default "$trees"/@ >/dev/null
"""


def tree(seed: str) -> dict[str, trees.Node]:
    """A small tree with all that a file system can hold and a copy takes along: no sockets."""
    some = random.Random(seed)
    return {
        "empty": File(mtime_ns=_T),
        "line": File(f"This is the file system {seed}.\n".encode(), mtime_ns=_T + 1),
        "random": File(some.randbytes(300_000), mode=0o640, owner=(1000, 1001), mtime_ns=_T),
        "setuid": File(b"#!/bin/sh\n", mode=0o4755, mtime_ns=_T),
        "twin": HardLink("random"),
        "hole": Sparse(8 * MIB + 1, ((5 * MIB, b"x" * 10_000), (8 * MIB, b"y")), mtime_ns=_T),
        "link": Symlink("line", mtime_ns=_T),
        "long link": Symlink("/nowhere/" + "x" * 300, mtime_ns=_T),
        "fifo": Fifo(mode=0o604, mtime_ns=_T),
        "null": Device(1, 3, mode=0o666, mtime_ns=_T),
        "named": File(b"x", xattrs={"user.color": b"red", "trusted.x": b"\0\1"}, mtime_ns=_T),
        "able": File(b"x", xattrs={"security.capability": bytes.fromhex("0100000200040000000000000000000000000000")}),
        "allowed": File(b"x", acl="u::rw-,u:65534:r--,g::r--,m::rw-,o::---", mtime_ns=_T),
        "names": Dir(
            {"\n": File(b"x"), "é\\": File(b"y"), b"\xff": File(), "-n": File(), "x" * 255: File(), "*": File()},
            mode=0o3770,
            default_acl="u::rwx,g::r-x,o::---",
            mtime_ns=_T,
        ),
        "many": Dir({f"{n:03}": File(bytes([n]) * n * 20, mtime_ns=_T + n) for n in range(200)}, mtime_ns=_T),
        "deep": Dir({"a": Dir({"b": Dir({"c": Dir({"twin": HardLink("line")}, mtime_ns=_T)}, mtime_ns=_T)})}),
    }


def _root_tree(seed: str) -> Entries:
    more: dict[str, trees.Node] = {
        "etc": Dir({"hostname": File(b"testhost\n"), "line": File(b"a file of the root\n", mtime_ns=_T)}),
        "data": File(random.Random(seed).randbytes(24 * MIB), mtime_ns=_T),  # so it cannot shrink to 10 MiB
    }
    return {**tree(seed), **more}


def _ext(kind: str, *options: str) -> tuple[str, ...]:
    return ("mke2fs", "-q", "-F", "-t", kind, "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", *options)


def _uuid(number: int) -> str:
    return f"7e57d15c-0000-4000-8000-{number:012}"


def _laid_out(*parts: tuple[float, float, Part]) -> tuple[Part, ...]:
    """Give the parts their start and size, which are MiB."""
    return tuple(replace(part, start=int(start * MIB), size=int(size * MIB)) for start, size, part in parts)


_EXT4_1K = _ext("ext4", "-b", "1024", "-I", "256", "-O", "^metadata_csum,^64bit", "-L", "root", "-U", _uuid(4))
_EXT2 = _ext("ext2", "-I", "128", "-m", "3", "-L", "old", "-U", _uuid(9))
_XFS = ("mkfs.xfs", "-q", "-i", "size=1024", "-m", f"reflink=0,uuid={_uuid(7)}", "-L", "big")
# No UUID is given: one that a device of another test has is refused.
_BTRFS = ("mkfs.btrfs", "-q", "-n", "16384", "-L", "tree of trees")
_LUKS = ("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--uuid",
         _uuid(12))  # fmt: skip
_MKSWAP = ("mkswap", "-q", "-L", "swap", "-U", _uuid(5))
_VFAT = ("mkfs.vfat", "-F", "32", "-i", "7E57D15C", "-n", "ESP")
_ALL_ATTRIBUTES = 0xFFFF_0000_0000_0007

# Start and size in MiB, in the order on the disk. The numbers are out of order, and there are gaps.
_GPT = _laid_out(
    (1, 1, Part("bios", 1, 0, 0, "", BIOS_BOOT, "BIOS boot")),
    (2, 40, Part("esp", 2, 0, 0, "vfat", ESP, "EFI System Partition", 1, mkfs=_VFAT)),
    (45, 16, Part("swap", 5, 0, 0, "swap", SWAP, "", mkfs=_MKSWAP)),
    (61, 200, Part("root", 4, 0, 0, "ext4", LINUX, "root", 4, mkfs=_EXT4_1K)),
    (270, 24, Part("old", 9, 0, 0, "ext2", LINUX, QUOTED, mkfs=_EXT2)),
    (294.5, 320, Part("big", 7, 0, 0, "xfs", LINUX, "big/..", mkfs=_XFS)),
    (615, 160, Part("trees", 3, 0, 0, "btrfs", LINUX, "日本語", mkfs=_BTRFS)),
    (780, 4, Part("luks", 12, 0, 0, "crypto_LUKS", LINUX, "..", mkfs=_LUKS)),
    (784, 3, Part("unknown", 20, 0, 0, "", LINUX, "unknown", _ALL_ATTRIBUTES)),
)
_GPT_4K = _laid_out(
    (1, 1, Part("bios", 1, 0, 0, "", BIOS_BOOT, "BIOS boot")),
    (2, 264, Part("esp", 2, 0, 0, "vfat", ESP, "ESP", 1, mkfs=(*_VFAT, "-S", "4096"))),
    (270, 16, Part("swap", 5, 0, 0, "swap", SWAP, "", mkfs=_MKSWAP)),
    (286, 200, Part("root", 4, 0, 0, "ext4", LINUX, "root", 4, mkfs=_ext("ext4", "-b", "4096", "-U", _uuid(4)))),
    (500, 320, Part("big", 7, 0, 0, "xfs", LINUX, QUOTED, _ALL_ATTRIBUTES, mkfs=(*_XFS, "-s", "size=4096"))),
    (830, 160, Part("trees", 3, 0, 0, "btrfs", LINUX, "日本語", mkfs=_BTRFS)),
)
_DOS = _laid_out(
    (1, 200, Part("root", 3, 0, 0, "ext4", "83", attributes=1, mkfs=_EXT4_1K)),
    (205, 40, Part("esp", 1, 0, 0, "vfat", "c", mkfs=_VFAT)),
    (250, 16, Part("swap", 5, 0, 0, "swap", "82", mkfs=_MKSWAP)),
    (270, 24, Part("old", 6, 0, 0, "ext2", "83", mkfs=_EXT2)),
    (300, 160, Part("trees", 7, 0, 0, "btrfs", "83", mkfs=_BTRFS)),
    (470, 3, Part("unknown", 4, 0, 0, "", "da")),
)
_PARTS: Mapping[str, tuple[Part, ...]] = {"gpt": _GPT, "gpt-4k": _GPT_4K, "dos": _DOS}
_TREES: Mapping[str, Callable[[str], Entries]] = {"root": _root_tree}


def _main(room: Path, keys: Sequence[str]) -> None:
    for key in keys:
        places = [room / key] if key != "trees" else [room / key / at for at in ("@", "@home", "@/var/inner")]
        for place in places:
            trees.build(place, _TREES.get(key, tree)(f"{key} {place.name}"))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
