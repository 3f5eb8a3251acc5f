"""Output files get their names when they are complete, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcp_mpi.host.output_file import output_file


def test_a_file_appears_when_it_is_complete_with_the_mode_of_the_one_that_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("old")
    path.chmod(0o640)
    with output_file(bytes(path)) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_broken_off_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("old")

    def broken_off() -> None:
        with output_file(bytes(path)) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_where_there_is_no_directory_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), output_file(bytes(tmp_path / "gone" / "table")):
        pass
