"""What is shown of a file with several names is what is done: a fresh copy, and what was different."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.copies import copy, items
from tests.support.trees import File, build

T = 1_600_000_000 * 10**9


def test_a_file_whose_mode_alone_changed_is_not_said_to_have_other_content(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(
        src,
        {"mode": File(b"same", mtime_ns=T), "both": File(b"same", mtime_ns=T), "content": File(b"same", mtime_ns=T)},
    )
    copy(src, dst)
    for name in ("mode", "both", "content"):
        os.link(dst / name, on_tmpfs / f"snapshot-of-{name}")
        if name != "mode":
            (src / name).write_bytes(b"else")
            os.utime(src / name, ns=(T, T))
        if name != "content":
            os.chmod(src / name, 0o604)
    wanted = {"mode": ">f...p.....", "both": ">fc..p.....", "content": ">fc........"}
    assert items(copy("-n", src, dst).done.stdout) == wanted
    done = copy("-v", src, dst)
    assert items(done.done.stdout) == wanted and done.report["copied"]["files"] == 3
    assert all((dst / name).read_bytes() == (src / name).read_bytes() for name in wanted)
    assert all((on_tmpfs / f"snapshot-of-{name}").read_bytes() == b"same" for name in wanted)
    assert all((on_tmpfs / f"snapshot-of-{name}").stat().st_mode & 0o777 != 0o604 for name in wanted)
