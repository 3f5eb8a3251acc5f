"""The names of directories that partitions land in: any words of an image become safe, different names."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from hpcp_mpi.operations.imaging.rules.source_names import Named, directory_names, picks

WORDS = st.one_of(
    st.sampled_from(
        ["", "root", "root-1", "root-2", ".", "..", "a/b", "a_b", "a\0b", " ", "\ud800", "\udcff", "é" * 200]
    ),
    st.text("a/\0.-12é", max_size=5),
)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=8))
@example([("root", ""), ("root", ""), ("root-1", ""), ("root-1-1", "")])
@example([("x" * 255, ""), ("x" * 300, "")])
def test_names_are_single_components_and_all_different(words: list[tuple[str, str]]) -> None:
    names = directory_names([Named(number, *each) for number, each in enumerate(words, 1)])
    assert len(set(names)) == len(names) == len(words)
    for name in names:
        assert 0 < len(name) <= 255
        assert name not in (b".", b"..")
        assert b"/" not in name
        assert b"\0" not in name


def test_the_name_of_the_partition_counts_before_the_label_and_the_number() -> None:
    partitions = [
        Named(1, "esp", "EFI"),
        Named(2, "", "root"),
        Named(7, "", ""),
        Named(8, "..", "x"),
        Named(9, "a/b", ""),
    ]
    assert directory_names(partitions) == [b"esp", b"root", b"part7", b"part8", b"a_b"]


def test_equal_names_get_their_numbers() -> None:
    assert directory_names([Named(4, "root", ""), Named(2, "", "root"), Named(3, "home", "")]) == [
        b"root-4",
        b"root-2",
        b"home",
    ]


def test_a_partition_is_picked_by_number_or_name() -> None:
    assert picks(4, "root", "4")
    assert picks(4, "root", "root")
    assert not picks(4, "", "")
    assert not picks(4, "root", "04")
