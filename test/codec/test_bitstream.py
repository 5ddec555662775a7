"""The header: every field, every limit, any bytes."""

import hashlib
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdic_ros.codec.bitstream import (
    GEOMETRIES,
    MAX_SIDE,
    MIN_HEIGHT,
    MIN_WIDTH,
    BitstreamError,
    BitstreamInfo,
    View,
    inspect,
    pack_header,
    split,
)
from mdic_ros.errors import ImageError

FINGERPRINT = bytes(range(7, 39))


def test_headers_byte_by_byte() -> None:
    assert pack_header(2, FINGERPRINT, 128, 256).hex() == "120701"
    assert pack_header(0, FINGERPRINT, 375, 1242).hex() == "100710"
    assert pack_header(15, FINGERPRINT, 65, 129).hex() == "1f0700040080"
    assert pack_header(4, FINGERPRINT, 4096, 4096).hex() == "140700ffffff"
    assert pack_header(2, FINGERPRINT, 128, 256, "right").hex() == "120781"
    assert pack_header(15, FINGERPRINT, 65, 129, "right").hex() == "1f0780040080"


def test_geometries_never_change() -> None:
    """New sizes go to the end: extend the count and the digest of the whole, the first digest stays."""
    first = ",".join(f"{h}x{w}" for h, w in GEOMETRIES[:54])
    assert (
        hashlib.sha256(first.encode()).hexdigest() == "c7509ed27a78e3940f15ded61f03af7a4c4f670953029556282762ecc845ba61"
    )
    assert len(GEOMETRIES) == 54
    assert all(MIN_HEIGHT <= h <= MAX_SIDE and MIN_WIDTH <= w <= MAX_SIDE for h, w in GEOMETRIES)


def test_the_documentation_says_the_same() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
    table = {int(code): (int(h), int(w)) for code, h, w in re.findall(r"(\d+) \| (\d+) x (\d+)", text)}
    assert table == dict(enumerate(GEOMETRIES, 1))
    examples = {"12 07 01": (2, 128, 256, "left"), "1f 07 00 04 00 80": (15, 65, 129, "left")}
    for header, values in {**examples, "12 07 81": (2, 128, 256, "right")}.items():
        assert f"`{header}`" in text
        info = inspect(bytes.fromhex(header))
        assert (info.rate_point, info.height, info.width, info.view) == values


VIEWS = st.sampled_from(get_args(View))


@given(st.integers(0, 15), st.integers(64, 4096), st.integers(128, 4096), VIEWS, st.binary(max_size=9))
def test_round_trip(rate_point: int, height: int, width: int, view: View, payload: bytes) -> None:
    header = pack_header(rate_point, FINGERPRINT, height, width, view)
    assert len(header) == (3 if (height, width) in GEOMETRIES else 6)
    expected = BitstreamInfo(1, rate_point, 7, height, width, view, len(header))
    assert inspect(header + payload) == expected
    assert split(header + payload, expected, FINGERPRINT, 16) == (header, payload)
    assert inspect(memoryview(header)) == inspect(bytearray(header)) == expected


@pytest.mark.parametrize("size", GEOMETRIES)
def test_common_sizes_take_three_bytes(size: tuple[int, int]) -> None:
    header = pack_header(0, FINGERPRINT, *size)
    assert len(header) == 3
    assert (inspect(header).height, inspect(header).width) == size


@pytest.mark.parametrize("size", [(63, 128), (64, 127), (4097, 128), (64, 4097), (0, 0), (-1, 256)])
def test_sizes_out_of_range_are_not_packed(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="64 to 4096"):
        pack_header(0, FINGERPRINT, *size)


def test_other_arguments_out_of_range() -> None:
    for rate_point in (-1, 16):
        with pytest.raises(ValueError, match="rate point"):
            pack_header(rate_point, FINGERPRINT, 128, 256)
    with pytest.raises(ValueError, match="32 bytes"):
        pack_header(0, FINGERPRINT[:8], 128, 256)
    with pytest.raises(ValueError, match="left or right, not 'up'"):
        pack_header(0, FINGERPRINT, 128, 256, "up")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "too short"),
        ("1007", "too short"),
        ("000701", "version 0"),
        ("200701", "version 2"),
        ("f00701", "version 15"),
        ("100737", "geometry code 55"),
        ("1007ff", "geometry code 127"),
        ("10070003f0", "too short"),
        ("10070003e07f", "below 64x128"),
        ("10070003f07e", "below 64x128"),
    ],
)
def test_bad_headers_are_refused_in_words(data: str, words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        inspect(bytes.fromhex(data))


def test_another_model_is_refused() -> None:
    packet = pack_header(4, FINGERPRINT, 128, 256) + b"payload"
    with pytest.raises(BitstreamError, match="another model"):
        split(packet, inspect(packet), b"\0" * 32, 5)
    with pytest.raises(BitstreamError, match="rate point 4"):
        split(packet, inspect(packet), FINGERPRINT, 4)


@given(st.binary(max_size=12))
def test_any_bytes(data: bytes) -> None:
    try:
        info = inspect(data)
    except BitstreamError as error:
        assert str(error)
        return
    assert MIN_HEIGHT <= info.height <= MAX_SIDE and MIN_WIDTH <= info.width <= MAX_SIDE
    assert info.header_bytes <= len(data)
