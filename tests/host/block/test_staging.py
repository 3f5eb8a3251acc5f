import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcp_mpi.host.block.staging import Stage, Target, stage_of, target_at
from hpcp_mpi.vocab.errors import FatalError, UsageError

Named = Callable[[str], Target]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Named]:
    targets = []

    def at(name: str) -> Target:
        targets.append(target_at(os.fsencode(tmp_path / name)))
        return targets[-1]

    yield at
    for target in targets:
        target.close()


def left(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_a_stage_gets_the_name_of_its_image_when_it_is_published_and_only_its_owner_may_read_it(
    place: Named, tmp_path: Path
) -> None:
    umask = os.umask(0)
    try:
        stage = stage_of(place("x.img"))
    finally:
        os.umask(umask)
    stage.empty(1 << 20)
    os.pwrite(stage.fd, b"content", 0)
    assert left(tmp_path) == [".hpcp-mpi.image.x.img.part"]
    stage.publish()
    image = tmp_path / "x.img"
    assert left(tmp_path) == ["x.img"]
    assert image.read_bytes()[:7] == b"content"
    assert image.stat().st_size == 1 << 20
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    assert not stage.is_open


def test_a_name_that_appeared_meanwhile_is_not_replaced(place: Named, tmp_path: Path) -> None:
    stage = stage_of(place("x.img"))
    (tmp_path / "x.img").write_bytes(b"theirs")
    with pytest.raises(FatalError, match=r"cannot give .*x\.img: File exists"):
        stage.publish()
    stage.remove()
    assert left(tmp_path) == ["x.img"]
    assert (tmp_path / "x.img").read_bytes() == b"theirs"


def test_only_the_file_that_was_asked_about_is_replaced(place: Named, tmp_path: Path) -> None:
    image = tmp_path / "x.img"
    image.write_bytes(b"old")
    target = place("x.img")
    stage = stage_of(target)
    image.rename(tmp_path / "moved")
    image.write_bytes(b"new")
    with pytest.raises(FatalError, match="another file of that name"):
        stage.publish(replaced=target.status)
    image.unlink()
    (tmp_path / "moved").rename(image)
    os.pwrite(stage.fd, b"image", 0)
    stage.publish(replaced=target.status)
    assert image.read_bytes() == b"image"


def test_a_second_run_on_the_same_new_image_is_refused(place: Named) -> None:
    first = stage_of(place("x.img"))
    with pytest.raises(FatalError, match="another run is making"):
        stage_of(place("x.img"))
    stage_of(place("y.img")).remove()
    first.remove()


def test_what_killed_runs_left_is_removed_by_the_next_run_in_that_directory(place: Named, tmp_path: Path) -> None:
    alive = stage_of(place("alive.img"))
    for name in ("a", "b"):
        stage_of(place(name)).close()  # as the kernel does
    data = tmp_path / ".hpcp-mpi.image.data.part"
    data.write_bytes(b"of a user")
    data.chmod(0o644)
    stage_of(place("c")).remove()
    assert left(tmp_path) == [".hpcp-mpi.image.alive.img.part", ".hpcp-mpi.image.data.part"]
    alive.remove()


def test_a_kept_stage_is_what_the_next_run_of_the_same_image_goes_on_with(place: Named, tmp_path: Path) -> None:
    stage = stage_of(place("x.img"))
    os.pwrite(stage.fd, b"half", 0)
    path = stage.keep()
    assert path == os.fsencode(tmp_path / ".hpcp-mpi.image.x.img.kept")
    stage_of(place("other.img")).remove()
    again = stage_of(place("x.img"))
    assert again.kept
    assert os.pread(again.fd, 4, 0) == b"half"
    assert left(tmp_path) == [".hpcp-mpi.image.x.img.part"]
    again.close()
    new = stage_of(place("x.img"))  # killed: nobody knows what is in it
    assert not new.kept
    assert os.fstat(new.fd).st_size == 0
    new.remove()
    assert left(tmp_path) == []


def test_a_stage_that_was_exchanged_is_neither_published_nor_removed(place: Named, tmp_path: Path) -> None:
    stage = stage_of(place("x.img"))
    part = tmp_path / ".hpcp-mpi.image.x.img.part"
    part.rename(tmp_path / "away")
    part.write_bytes(b"theirs")
    with pytest.raises(FatalError, match="another user exchanged it"):
        stage.publish()
    stage.remove()
    assert left(tmp_path) == [".hpcp-mpi.image.x.img.part", "away"]


@pytest.mark.parametrize("name", ["a" * 250, "ü" * 120])
def test_an_image_with_a_long_name_has_a_stage_of_a_shorter_one(place: Named, tmp_path: Path, name: str) -> None:
    stage: Stage = stage_of(place(name))
    assert len(os.path.basename(stage.path)) < 200
    stage.publish()
    assert left(tmp_path) == [name]


@pytest.mark.parametrize("name", ["dir", "new.img/", "missing/x.img"])
def test_what_cannot_be_an_image_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(FatalError, match="image"):
        target_at(os.fsencode(tmp_path) + b"/" + os.fsencode(name))
    with pytest.raises(UsageError):
        target_at(b"")
