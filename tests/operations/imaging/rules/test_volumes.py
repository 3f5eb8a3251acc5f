from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.imaging.rules.sizes import of_size, smallest
from hpcp_mpi.operations.imaging.rules.volumes import capacity, directories_of, how_many, share, usable, volume_name
from hpcp_mpi.vocab.image_options import Need

MIB = 1 << 20
NEEDS = st.builds(
    lambda files, directories, size: Need(
        files=files,
        directories=directories,
        entries=files + directories,
        blocks=files * size,
        data=files * size,
        name_bytes=20 * (files + directories),
        directory_blocks=4096 * directories,
    ),
    st.integers(0, 100_000),
    st.integers(0, 10_000),
    st.integers(0, 64).map(lambda blocks: blocks * 4096),
)


def test_volumes_are_numbered_before_the_last_suffix() -> None:
    assert volume_name(b"/a.b/x.img", 0) == b"/a.b/x.img"
    assert volume_name(b"/a.b/x.img", 1) == b"/a.b/x_1.img"
    assert volume_name(b"/a.b/x", 12) == b"/a.b/x_12"
    assert volume_name(b".img", 1) == b".img_1"
    assert volume_name(b"a.tar.img", 2) == b"a.tar_2.img"


@given(st.integers(0, 1 << 50), st.lists(st.integers(0, 1 << 40), max_size=5), st.integers(1 << 20, 1 << 40))
def test_there_are_as_many_volumes_as_hold_everything_and_not_one_more(data: int, there: list[int], each: int) -> None:
    count = how_many(data, there, each)
    room = sum(map(usable, there))
    assert room + count * usable(each) >= data
    assert count == 0 or room + (count - 1) * usable(each) < data or count == 1
    assert there or count, "there is one at least"


@given(NEEDS, st.integers(1, 50))
def test_a_share_has_all_directories_and_never_more_than_the_whole(need: Need, volumes: int) -> None:
    part = share(need, volumes)
    assert part.directories == need.directories
    assert all(getattr(part, name) <= getattr(need, name) for name in Need.__slots__)
    assert part.inodes * volumes >= need.inodes, "together they have inodes for all"
    assert directories_of(need).inodes == need.directories


@given(NEEDS, st.integers(64, 4096).map(lambda count: count * MIB))
def test_the_capacity_is_the_most_that_fits(need: Need, size: int) -> None:
    empty = share(need, 2)
    found = capacity("ext4", size, empty)
    if found:
        assert smallest("ext4", _with(empty, found)).bytes <= size
    assert smallest("ext4", _with(empty, found + 64 * MIB)).bytes > size
    assert of_size("ext4", size, empty).bytes == size


def _with(need: Need, data: int) -> Need:
    return Need(**{**{name: getattr(need, name) for name in Need.__slots__}, "blocks": data, "data": data})
