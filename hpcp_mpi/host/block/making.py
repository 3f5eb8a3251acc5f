"""Making file systems and swap on a device, and what is done with one afterwards: checked, grown, trimmed, asked."""

import errno
import fcntl
import os
import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hpcp_mpi.host.block.alone import answer_alone
from hpcp_mpi.host.commands import Answer, answer_of
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import MakeFileSystem
from hpcp_mpi.vocab.paths import in_one_line, printable

Stop = Callable[[], bool] | None

_EXT = ("ext2", "ext3", "ext4")
_USAGE = re.compile(r"^(?:Usage: |usage: |Extended options are )", re.MULTILINE)  # what is behind says nothing
_WORDS = 400  # characters of what a program said that are shown
_CAP_SYS_RESOURCE = 24
_FITRIM = 0xC0185879
_RANGE = struct.Struct("=QQQ")
_WHOLE = (1 << 64) - 1
_KEPT = 4096  # the most blocks, and
_KEPT_PART = 50  # one of so many, that the kernel keeps of an ext for itself, from root too
# What mkfs says by its options' names is joined where the last one would count.
_JOINED = ("-O", "-E")
_LABELS = ("-L", "--label")  # what follows may be called as an option is


class Room(NamedTuple):
    """What can still be written to a file system."""

    bytes: int
    inodes: int


def make(device: bytes, what: MakeFileSystem, stop: Stop = None, zeros: bool = False) -> None:
    """Make a file system on a device, and tune it. Raises FatalError, and Stopped as stop says.

    zeros: all bytes of the device are zero, as those of a new sparse file
    """
    device = os.path.abspath(device)
    # Of two devices with one UUID btrfs's tools make neither.
    run = answer_alone if _uuid_at(what.arguments) is not None else _answer
    done = run([*command_of(what, _known(what, zeros)), device, *_size_words(what)], device, stop)
    _need_success(done, f"cannot make {what.type} on {printable(device)}", what)
    _follow(device, what, what.tune, stop)


def finish(device: bytes, what: MakeFileSystem, stop: Stop = None) -> None:
    """Do what follows when all is copied and the file system is unmounted again. Raises as make does."""
    _follow(os.path.abspath(device), what, what.finish, stop)


def _follow(device: bytes, what: MakeFileSystem, commands: Sequence[Sequence[str]], stop: Stop) -> None:
    for words in commands:
        run = answer_alone if words[0] == "btrfstune" else _answer
        done = run([*map(_bytes, words), device], device, stop)
        if words[0] == "debugfs" and len(done.errors.strip().splitlines()) > 1:
            done = done._replace(code=done.code or 1)  # it ends with 0 in any case; the first line is its version
        _need_success(done, f"cannot set up {what.type} on {printable(device)}: {in_one_line(' '.join(words))}", what)


def command_of(what: MakeFileSystem, optional: Sequence[tuple[str, ...]] = ()) -> list[bytes]:
    """Return the words that make a file system, without the device."""
    words = [*(word for each in optional for word in each), *what.arguments]
    if what.type in _EXT:
        start = ["mke2fs", "-q", "-F", "-t", what.type]
        words = _joined(words)
    else:
        start = {
            "xfs": ["mkfs.xfs", "-q", "-f", "-d", f"size={what.bytes}"],
            "btrfs": ["mkfs.btrfs", "-q", "-f", "-b", str(what.bytes)],
        }[what.type]
    return [_bytes(word) for word in (*start, *words)]


def _size_words(what: MakeFileSystem) -> list[bytes]:
    """Return the words behind the device: mke2fs wants the size there, in KiB."""
    return [b"%dk" % (what.bytes // 1024)] if what.type in _EXT else []


def refusal(what: MakeFileSystem) -> str:
    """Return why this machine's mkfs would not make a file system, in its words; "" if it would.

    Nothing is written but into memory: it is tried before anything is overwritten.
    """
    for choices in what.either:
        if not any(_tried(what, [each]).code == 0 for each in choices):
            return " / ".join(dict.fromkeys(_said(_tried(what, [each])) for each in choices))
    tried = _tried(what, _known(what, False))
    return _said(tried) or f"mkfs ended with code {tried.code}" if tried.code else ""


def _tried(what: MakeFileSystem, more: Sequence[tuple[str, ...]]) -> Answer:
    """Return what mkfs says to words, without a device: those that can are not to write, btrfs is made in memory."""
    fd = os.memfd_create("mkfs", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, what.bytes)
        program, *words = command_of(what, more)
        at = _uuid_at([*map(os.fsdecode, words)])
        if at is not None:  # one that is there would not be made again
            del words[at : at + 2]
        dry = {"xfs": [b"-N"], "btrfs": []}.get(what.type, [b"-n"])
        return answer_of([program, *dry, *words, b"/proc/self/fd/%d" % fd, *_size_words(what)], descriptors=(fd,))
    finally:
        os.close(fd)


def _known(what: MakeFileSystem, zeros: bool) -> list[tuple[str, ...]]:
    """Return those of the optional words, and of alternatives the first, that this machine's mkfs knows."""
    known: list[tuple[str, ...]] = []
    for choices in what.either:
        known += [next((each for each in choices if _tried(what, [*known, each]).code == 0), choices[0])]
    optional = list(what.optional)
    if zeros and what.type in _EXT:
        optional.append(("-E", "assume_storage_prezeroed=1"))  # no zeros for the journal and the inodes
    for each in optional:
        if _tried(what, [*known, each]).code == 0:
            known.append(each)
    return known


def _uuid_at(words: Sequence[str]) -> int | None:
    """Return where in words of mkfs.btrfs the UUID is given; None: nowhere."""
    found = (at for at, word in enumerate(words) if word == "--uuid" and words[at - 1] not in _LABELS)
    return next(found, None)


def _joined(words: Sequence[str]) -> list[str]:
    """Return words in which no option of mke2fs is there twice that would count only once."""
    found: dict[str, str] = {}
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word in _LABELS:
            rest += words[at : at + 2]
            at += 2
        elif word in _JOINED and at + 1 < len(words):
            found[word] = f"{found[word]},{words[at + 1]}" if word in found else words[at + 1]
            at += 2
        else:
            rest.append(word)
            at += 1
    return [*(word for pair in found.items() for word in pair), *rest]


def make_swap(device: bytes, label: bytes = b"", uuid: str = "", page_size: int = 0, stop: Stop = None) -> None:
    """Make a swap area on a device. page_size 0: this machine's. Raises FatalError, and Stopped as stop says."""
    device = os.path.abspath(device)
    words = [b"mkswap", b"-f"]
    if label:
        words += [b"-L", label]
    if uuid:
        words += [b"-U", uuid.encode()]
    if page_size:
        words += [b"-p", b"%d" % page_size]
    done = answer_of([*words, device], stop=stop)
    if done.code:
        raise FatalError(f"cannot make swap on {printable(device)}: {_said(done)}")


def grows_mounted(type: str) -> bool:
    """Return whether a mounted file system may be made bigger by us: of ext, Linux wants CAP_SYS_RESOURCE for that.

    Containers often lack it. Unmounted, each ext can be made bigger.
    """
    if type not in _EXT:
        return True
    with open("/proc/thread-self/status", "rb") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith(b"CapEff:"))
    return bool(effective >> _CAP_SYS_RESOURCE & 1)


def grow(device: bytes, mount: bytes, type: str, stop: Stop = None) -> None:
    """Make a mounted file system as big as its device. Raises FatalError, and Stopped as stop says.

    mount: where it is mounted; b"": nowhere, which only ext can be, and then it was found to be good by check
    """
    device = os.path.abspath(device)
    words = {
        "xfs": [b"xfs_growfs", mount],
        "btrfs": [b"btrfs", b"filesystem", b"resize", b"max", mount],
    }.get(type, [b"resize2fs", device] if mount else [b"resize2fs", b"-f", device])
    done = answer_of(words, stop=stop)
    if done.code:
        raise FatalError(
            f"cannot grow {type} on {printable(device)}: {_said(done)}",
            "What is in it is as it was; make a bigger image, and copy this one into it",
        )


def check(device: bytes, type: str, stop: Stop = None) -> str:
    """Return what is wrong with an unmounted file system, in the words of its checker; "" if nothing is.

    Nothing is written. Raises FatalError where there is no such program, and Stopped as stop says.
    """
    device = os.path.abspath(device)
    words = {
        "xfs": [b"xfs_repair", b"-n", device],
        "btrfs": [b"btrfs", b"check", b"--readonly", device],
    }.get(type, [b"e2fsck", b"-fn", device])
    done = answer_of(words, stop=stop)
    return _said(done) or f"{words[0].decode()} ended with code {done.code}" if done.code else ""


def trim(mount: bytes) -> bool:
    """Give the free blocks of a mounted file system back to what lies below; return whether that is possible.

    Raises OSError for what is not just missing.
    """
    fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _FITRIM, bytearray(_RANGE.pack(0, _WHOLE, 0)))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EROFS):
            return False
        raise
    finally:
        os.close(fd)
    return True


def room_of(mount: bytes | int, type: str = "") -> Room:
    """Return what root can still write to a mounted file system. Raises OSError. mount: its path, or a descriptor

    type: of ext, what is reserved for root is ours, too, but not what the kernel keeps for itself.
    """
    status = os.statvfs(mount)
    blocks = status.f_bavail
    if type in _EXT:
        kept = min(_KEPT, status.f_blocks // _KEPT_PART + 1)
        blocks = max(blocks, status.f_bfree - kept)
    return Room(blocks * status.f_frsize, status.f_ffree)


def _answer(words: Sequence[bytes], device: bytes, stop: Stop) -> Answer:
    return answer_of(words, stop=stop)


def _bytes(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


def _need_success(done: Answer, doing: str, what: MakeFileSystem) -> None:
    if done.code:
        raise FatalError(f"{doing}: {_said(done)}", f"Its words were: {in_one_line(' '.join(what.arguments))}")


def _said(done: Answer) -> str:
    """Return what a program said as one line: its errors, else its last words."""
    text = (done.errors.strip() or done.output.strip()).decode("utf-8", "replace")
    text = _USAGE.split(text, maxsplit=1)[0].strip() or text
    said = "; ".join(in_one_line(line.strip()) for line in text.splitlines() if line.strip())
    return said if len(said) <= _WORDS else f"{said[: _WORDS // 2]} ... {said[-_WORDS // 2 :]}"
