"""The manifest of a patch: read back as it was written, and refused where it is none, newer, or damaged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpcp_mpi.formats.entry_state import FULL
from hpcp_mpi.formats.patch_manifest import Manifest, read, written

MANIFEST = Manifest(b"0c9d", b"new\t\\name", b"base\xff", "2026-01-01T00:00:00Z", tail=65536, program="hpcp-mpi")
# As hpcp 9.79 has written it.
HPCPS = b"""format	hpcp-diff
format_version	1
patch_id	1f6a1f0d0c0e4c0f9d8f7a6b5c4d3e2f
volume	1/1
created	2026-11-28T04:19:21Z
hpcp_version	9.79
new	new
base	base
hash_algo	xxh64
hash_size	16777216
full_hash	0
xattrs	1
layout	root
added	3
modified	1
deleted	2
payload_bytes	7
section	root	.	changes.tsv
"""


@pytest.mark.parametrize("tail", [FULL, 0, 65536])
def test_a_manifest_is_read_back(tail: int) -> None:
    manifest = replace(MANIFEST, tail=tail)
    assert read(written(manifest)) == manifest


def test_hpcps_manifest_is_read() -> None:
    found = read(HPCPS)
    assert (found.new, found.base, found.tail, found.hashes) == (b"new", b"base", 16777216, True)
    assert found.volume == (1, 1) and found.program == "9.79"


def test_a_whole_hash_has_a_size_too_as_hpcp_hashes_nothing_where_it_is_0() -> None:
    lines = dict(line.split(b"\t", 1) for line in written(replace(MANIFEST, tail=FULL)).splitlines())
    assert lines[b"full_hash"] == b"1" and int(lines[b"hash_size"]) > 0


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"hpcp-diff", b"something"),
        (b"format_version\t1", b"format_version\t4"),
        (b"format_version\t1", b"format_version\tx"),
        (b"volume\t1/1", b"volume\t2/1"),
        (b"volume\t1/1", b"volume\t1"),
        (b"patch_id\t1f6a", b"patch_id\t../1f6a"),
        (b"hash_size\t16777216", b"hash_size\t-1"),
        (b"new\tnew", b"new\tnew\nnew\tnew"),
        (b"section\troot\t.\tchanges.tsv", b"section\troot\t..\tchanges.tsv"),
        (b"section\troot\t.\tchanges.tsv", b"section\troot\t.\t../changes.tsv"),
        (b"section\troot\t.\tchanges.tsv\n", b""),
        (b"new\tnew", b"new"),
        (b"base\tbase", rb"base\tba\qse".replace(rb"\t", b"\t")),
    ],
)
def test_what_is_no_manifest_is_refused(was: bytes, becomes: bytes) -> None:
    assert was in HPCPS
    with pytest.raises(ValueError):
        read(HPCPS.replace(was, becomes))


@pytest.mark.parametrize("line", [b"layout\tdisk", b"format_version\t2"])
def test_a_patch_of_a_disk_is_told_from_a_damaged_one(line: bytes) -> None:
    key = line.split(b"\t")[0]
    lines = [line if each.startswith(key + b"\t") else each for each in HPCPS.splitlines()]
    with pytest.raises(NotImplementedError):
        read(b"\n".join(lines))


def test_keys_that_are_unknown_are_left_alone() -> None:
    assert read(HPCPS + b"some_day\tmore\n# a comment\n") == read(HPCPS)
