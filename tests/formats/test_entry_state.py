"""States of entries in patches: what is written is read back; what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.formats.entry_state import ABSENT, FULL, State, full, parsed_full, parsed_plain, plain

TAIL = 1000
_numbers = st.integers(0, 2**32 - 1)
_digests = st.binary(min_size=8, max_size=8).map(lambda some: some.hex().encode())
_names = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name)


@st.composite
def states(draw: st.DrawFn) -> State:
    kind = draw(st.sampled_from([b"f", b"d", b"l", b"p", b"s", b"c", b"b"]))
    state = State(
        kind,
        None if kind == b"l" else draw(st.integers(0, 0o7777)),
        draw(_numbers),
        draw(_numbers),
        mtime=draw(st.integers(-(10**18), 2 * 10**18)),
        attributes=draw(_digests),
    )
    if kind == b"l":
        return state._replace(target=draw(_names))
    state = state._replace(portable=draw(_digests))
    if kind in (b"c", b"b"):
        return state._replace(device=(draw(st.integers(0, 4095)), draw(st.integers(0, 2**20))))
    if kind == b"f":
        size = draw(st.integers(0, 5000))
        return state._replace(size=size, hashes=((TAIL if size > TAIL else FULL, draw(_digests)),))
    return state


@given(state=states())
def test_the_words_of_the_second_table_say_all_of_a_state(state: State) -> None:
    assert parsed_full(full(state), TAIL) == state._replace(portable=None)


@given(state=states())
def test_the_words_of_the_table_of_changes_say_what_hpcp_knows(state: State) -> None:
    words = plain(state)
    if state.kind in (b"p", b"s", b"c", b"b"):
        assert words is None
        return
    assert words is not None and b"\t" not in words and b"\n" not in words
    found = parsed_plain(words, TAIL)
    if state.kind == b"l":
        assert found == State(b"l", target=state.target)
    else:
        mtime = state.mtime if state.kind == b"f" else None
        assert found == state._replace(attributes=None, mtime=mtime)


def test_nothing_is_a_state_of_both_tables() -> None:
    assert plain(ABSENT) == full(ABSENT) == b"-"
    assert parsed_plain(b"-", TAIL) == parsed_full(b"-", TAIL) == ABSENT


def test_a_hash_of_a_whole_file_is_marked_as_hpcp_marks_it() -> None:
    found = parsed_plain(b"f:5000:0:100644:0:0:F0123456789abcdef:-", TAIL)
    assert found.hashes == ((FULL, b"0123456789abcdef"),) and found.portable is None


@pytest.mark.parametrize(
    "word",
    [
        b"",
        b"?",
        b"f",
        b"x:1",
        b"f:1:2:3",
        b"f:-1:0:100644:0:0:-:-",
        b"f:1:0:100644:0:-1:-:-",
        b"f:1:0:100644:0:4294967296:-:-",
        b"f:1:0:40644:0:0:-:-",
        b"f:1:0:100648:0:0:-:-",
        b"f:1:0:100644:0:0:nohash:-",
        b"f:1:0:100644:0:0:-:nodigest",
        b"f:1e3:0:100644:0:0:-:-",
        b"f:99999999999999999999999:0:100644:0:0:-:-",
        b"d:100755:0:0:-",
        b"d:40755:0:0",
        rb"l:\x",
    ],
)
def test_what_is_no_state_is_refused(word: bytes) -> None:
    with pytest.raises(ValueError):
        parsed_plain(word, TAIL)
    with pytest.raises(ValueError):
        parsed_full(word, TAIL)
