"""Which programs are missing for what, and where to get them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hpcp_mpi.host.block import tools
from hpcp_mpi.host.block.tools import Use
from hpcp_mpi.host.commands import Answer
from hpcp_mpi.vocab.errors import FatalError

ALL = [Use(purpose, kind) for kind, purposes in tools._PROGRAMS.items() for purpose in purposes]


def test_every_program_has_its_packages_and_every_purpose_its_words() -> None:
    programs = {program for use in ALL for program in tools.programs_for(use)}
    assert programs == set(tools._PACKAGES)
    assert {use.purpose for use in ALL} == set(tools._FOR)


@pytest.mark.skipif(not Path("/var/lib/dpkg/info").is_dir(), reason="needs dpkg")
def test_debians_packages_have_these_programs() -> None:
    checked = 0
    for program, (debian, _) in tools._PACKAGES.items():
        lists = [
            *Path("/var/lib/dpkg/info").glob(f"{debian}.list"),
            *Path("/var/lib/dpkg/info").glob(f"{debian}:*.list"),
        ]
        for each in lists:  # none of a package that is not installed
            names = {Path(line).name for line in each.read_text().splitlines() if "bin/" in line}
            assert program in names, f"{program} is not in {debian}"
            checked += 1
    assert checked > 5


def test_each_missing_program_is_named_with_its_reasons_and_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mount").touch(0o755)
    (tmp_path / "umount").touch(0o755)
    monkeypatch.setitem(tools.ENVIRONMENT, "PATH", str(tmp_path))
    tools.need([Use("mount")])
    with pytest.raises(FatalError) as refused:
        tools.need([Use("mount"), Use("make", "xfs"), Use("mirror", "xfs"), Use("table"), Use("make", "xfs")])
    assert refused.value.message == (
        "missing programs: mkfs.xfs (makes xfs and makes xfs like the source's); sfdisk (reads and writes partition "
        "tables); xfs_db (makes xfs like the source's)"
    )
    assert "Debian: fdisk xfsprogs; on RHEL: util-linux xfsprogs." in refused.value.remedy


def test_what_nobody_makes_needs_nothing() -> None:
    assert tools.programs_for(Use("make", "ntfs")) == ()
    assert tools.missing([Use("check", "ntfs")]) == []


def test_programs_run_where_setpriv_cannot_end_them_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of util-linux 2.32 (RHEL 8) does not know --pdeathsig; some machines have none at all."""
    tools.ending_with_us.cache_clear()
    assert tools.ending_with_us("TERM") == ("setpriv", "--pdeathsig", "TERM")

    def missing(words: Sequence[str]) -> Answer:
        raise FatalError("cannot run setpriv: No such file or directory")

    for answer in (lambda words: Answer(1, b"", b"setpriv: unrecognized option '--pdeathsig'"), missing):
        tools.ending_with_us.cache_clear()
        monkeypatch.setattr(tools, "answer_of", answer)
        assert tools.ending_with_us("TERM") == ()
    tools.ending_with_us.cache_clear()
