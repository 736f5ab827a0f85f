"""Frames to bytes and back: whatever the bytes are cut into, and whatever garbage comes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import PilothouseError, SessionLostError, TooLargeError
from pilothouse.link import failures
from pilothouse.link.frames import _IN_PARTS, FRAME_BYTES, PART_BYTES, Decoder, Frame, Kind, encode, encode_parts

FRAMES = st.builds(
    lambda kind, number, name, body, more: Frame(kind, number, name, body, more and kind in _IN_PARTS),
    st.sampled_from(Kind),
    st.integers(0, 2**64 - 1),
    st.text(st.characters(codec="utf-8"), max_size=16),
    st.binary(max_size=200),
    st.booleans(),
)


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 400), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_frames(frames, cuts):
    data = b"".join(map(encode, frames))
    decoder, found, at = Decoder(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += decoder.feed(data[at:cut])
        at = max(at, cut)
    assert found == frames


@given(st.binary(max_size=300), st.lists(FRAMES, max_size=2))
def test_garbage_is_refused_or_waited_for_but_never_anything_else(garbage, frames):
    decoder, found = Decoder(), []
    assert decoder.feed(b"".join(map(encode, frames))) == frames
    with contextlib.suppress(SessionLostError):
        found = decoder.feed(garbage)
    for frame in found:
        assert Decoder().feed(encode(frame)) == [frame]


@given(st.binary(max_size=3 * PART_BYTES), st.sampled_from(sorted(_IN_PARTS)))
def test_a_body_in_parts_is_the_same_body(body, kind):
    frames = Decoder().feed(b"".join(encode_parts(kind, 7, "name", body)))
    assert b"".join(frame.body for frame in frames) == body
    assert [frame.more for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert frames[0].name == "name"
    assert all(len(frame.body) <= PART_BYTES for frame in frames)


def test_a_body_just_beyond_one_part_takes_two():
    assert [
        frame.more for frame in Decoder().feed(b"".join(encode_parts(Kind.ASK, 1, "n", bytes(PART_BYTES + 1))))
    ] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "is it Pilothouse"),
        ((FRAME_BYTES + 1).to_bytes(4, "big") + bytes([1, 0]) + bytes(8), "at most"),
        (bytes([0, 0, 0, 9, 1, 0]) + bytes(8), "9 bytes"),
        (bytes([0, 0, 0, 10, 1, 4]) + bytes(8), "a name of 4 bytes"),
        (bytes([0, 0, 0, 11, 1, 1]) + bytes(8) + b"\xff", "no text"),
        (bytes([0, 0, 0, 10, 0x80 | 9, 0]) + bytes(8), "in parts"),
    ],
)
def test_what_is_no_frame_is_refused_with_the_reason(data, why):
    with pytest.raises(SessionLostError, match=why):
        Decoder().feed(data)


def test_a_frame_beyond_the_limit_is_not_sent():
    with pytest.raises(TooLargeError):
        encode(Frame(Kind.ASK, 1, "x", bytes(FRAME_BYTES)))


def every_error(above=PilothouseError):
    below = [each for each in above.__subclasses__() if each.__module__ == above.__module__]
    return [above, *(found for each in below for found in every_error(each))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_crosses_with_its_code_and_message(kind):
    back = failures.from_bytes(failures.to_bytes(kind("what, where, why: 'ä'")))
    assert (back.code, str(back)) == (kind.code, "what, where, why: 'ä'")
    assert type(back) is kind or kind.code == PilothouseError.code


def test_an_error_of_another_version_is_an_error_all_the_same():
    back = failures.from_bytes(b"PH777 the moon is in the way")
    assert (type(back), str(back)) == (PilothouseError, "the moon is in the way")
