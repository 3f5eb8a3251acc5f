"""Helpers of the tests of compares: a compare in this process, and the differences that rsync and lstat find."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hpcp_mpi.operations import session
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from tests.support import oracle

Groups = dict[str, set[bytes]]


def compared(src: Path, dst: Path, *, to: Path | None = None, **options: Any) -> Report:
    """Compare the contents of two directories. to: where a table of changes goes."""
    request = {key: options.pop(key) for key in ("tar_list", "nul") if key in options}
    changes = None if to is None else os.fsencode(to)
    places = (os.fsencode(src),), (os.fsencode(dst),)
    return session.run(Request(Verb.COMPARE, *places, Options(**options), changes_file=changes, **request), {})


def groups(report: Report) -> Groups:
    assert report.paths is not None and report.differences is not None
    found = {name: set(paths) for name, paths in report.paths.items()}
    for name, paths in report.paths.items():
        assert paths == sorted(found[name]) and len(paths) == report.differences[name]
    return found


def expected(src: Path, dst: Path) -> Groups:
    """The differences: content, metadata and missing entries by rsync, types and nanoseconds by lstat."""
    command = ["rsync", "-aHAX", "--numeric-ids", "--checksum", "-n", "-i", "--delete", f"{src}/", f"{dst}/"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    found: Groups = {"added": set(), "modified": set(), "deleted": set()}
    for line in done.stdout.splitlines():
        if line.startswith(b"*deleting"):
            found["deleted"].add(_unescaped(line[12:]))
            continue
        match = re.fullmatch(rb"[.<>ch][fdLDS](\S{9}| {9}) (.*?)(?: (?:->|=>) .*)?", line)
        assert match is not None, line
        found["added" if match[1] == b"+" * 9 else "modified"].add(_unescaped(match[2]))
    _add_what_rsync_cannot_see(found, src, dst)
    return found


def _add_what_rsync_cannot_see(found: Groups, src: Path, dst: Path) -> None:
    ours, theirs = oracle.lstats(src), oracle.lstats(dst)
    for path in ours.keys() & theirs.keys():
        kinds = [tree[path].st_mode >> 12 for tree in (ours, theirs)]
        if kinds[0] != kinds[1]:
            found["deleted"].add(_called(path, theirs[path]))
        elif ours[path].st_mtime_ns != theirs[path].st_mtime_ns:
            found["modified"].add(_called(path, ours[path]))


def _called(path: bytes, status: os.stat_result) -> bytes:
    return path + b"/" if status.st_mode >> 12 == 0o4 else path


def _unescaped(name: bytes) -> bytes:
    return re.sub(rb"\\#([0-7]{3})", lambda match: bytes([int(match[1], 8)]), name)


def several_names(*roots: Path) -> list[frozenset[bytes]]:
    """The names of each file that has several in any of the trees: a compare may report any of these as different."""
    clusters: list[frozenset[bytes]] = []
    for group in (group for root in roots for group in oracle.hard_link_groups(root)):
        touching = [cluster for cluster in clusters if cluster & group]
        clusters = [cluster for cluster in clusters if not cluster & group] + [group.union(*touching)]
    return clusters


def assert_as_rsync_says(report: Report, src: Path, dst: Path) -> None:
    ours, theirs = groups(report), expected(src, dst)
    clusters = several_names(src, dst)
    linked = frozenset[bytes]().union(*clusters)
    for name in ours:
        assert ours[name] - linked == theirs[name] - linked, name
    links = {root: oracle.hard_link_groups(root) for root in (src, dst)}
    for cluster in clusters:
        told = cluster & frozenset[bytes]().union(*ours.values())
        alike = [{group for group in links[root] if group & cluster} for root in (src, dst)]
        differs = cluster & frozenset[bytes]().union(*theirs.values()) or alike[0] != alike[1]
        assert bool(told) == bool(differs), cluster
