"""The range coder: byte for byte what constriction writes and reads, on hostile bytes too."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdic_ros.codec.range_coder import RangeDecoder, RangeEncoder, cumulative, intervals, shortest, uniform

try:
    import constriction
except ImportError:  # it comes with the extra `dev`
    constriction = None

needs_constriction = pytest.mark.skipif(constriction is None, reason="needs the package constriction")
Integers = npt.NDArray[np.int64]


# ------------------------------------------------------------------- what 0.1.0 did with constriction, as it was
def categorical() -> object:
    return constriction.stream.model.Categorical(perfect=False)


def written(coder: object) -> bytes:
    words, (lower, width) = coder.pos()  # type: ignore[attr-defined]
    # Sealing writes the words of low + 2^32 - 1, less its last 32 bits.
    sealed = coder.get_compressed()[: words + 1]  # type: ignore[attr-defined]
    point = int.from_bytes(sealed.astype(">u4").tobytes(), "big") << 32
    return shortest(point - (-lower & 0xFFFFFFFF), width, 32 * words + 64)


class Agreement:
    """Two decoders, with zeros and with ones behind the bytes; symbols while both find the same."""

    def __init__(self, data: bytes) -> None:
        padded = (data + bytes([padding]) * (-len(data) % 4 + 16) for padding in (0x00, 0xFF))
        self.decoders = [
            constriction.stream.queue.RangeDecoder(np.frombuffer(words, ">u4").astype(np.uint32)) for words in padded
        ]

    def decode(self, model: object, parameters: object) -> Integers | None:
        try:
            first, second = (decoder.decode(model, parameters) for decoder in self.decoders)
        except AssertionError:  # no symbol stands for these bits
            return None
        return first if np.array_equal(first, second) else None


# --------------------------------------------------------------------------------------------- random streams
def stream(random: np.random.Generator) -> Iterator[tuple[Integers | int, Integers]]:
    """Frequencies (n, K) and symbols (n,) of every kind, also the worst; by turns a number of bits and one symbol."""
    codes = int(random.choice([2, 3, 7, 33, 64, 300, 1024], p=[0.2, 0.2, 0.2, 0.15, 0.15, 0.07, 0.03]))
    for _ in range(random.integers(1, 4)):
        rows = int(random.integers(1, 9))
        kind = random.integers(5)
        if kind == 0:
            frequencies = random.integers(1, 2**24 + 1, (rows, codes))
        elif kind == 1:
            frequencies = np.exp2(24 * random.random((rows, codes))).astype(np.int64)
        elif kind == 2:
            frequencies = np.full((rows, codes), random.integers(1, 2**24 + 1))
        elif kind == 3:
            frequencies = np.ones((rows, codes), np.int64)
            frequencies[:, random.integers(codes)] = 2**24
        else:  # hardly anything is between two of equal weight: a carry can stay open for long
            frequencies = np.ones((rows, codes), np.int64)
            frequencies[:, [0, -1]] = 2**23
        which = random.integers(3)
        if which == 0:  # as the frequencies say
            chance = frequencies.cumsum(1) / frequencies.sum(1, keepdims=True)
            symbols = (chance < random.random((rows, 1))).sum(1).clip(0, codes - 1)
        elif which == 1:
            symbols = random.integers(0, codes, rows)
        else:  # the least likely; the middle one of those in a row
            symbols = np.array([np.median(np.flatnonzero(row == row.min())).astype(int) for row in frequencies])
        yield frequencies, symbols
        bits = int(random.integers(1, 9))
        yield bits, random.integers(0, 1 << bits, 1)


def compare(seed: int) -> int:
    """One random stream through both coders, valid and damaged; how many symbols damaged bytes decoded to."""
    random = np.random.default_rng(seed)
    parts = list(stream(random))
    ours, theirs = RangeEncoder(), constriction.stream.queue.RangeEncoder()
    tables = []
    for frequencies, symbols in parts:
        if isinstance(frequencies, int):
            tables.append(uniform(frequencies)[None])
            left, right = tables[-1][0][symbols], tables[-1][0][symbols + 1]
            theirs.encode(int(symbols[0]), constriction.stream.model.Uniform(1 << frequencies))
        else:
            tables.append(cumulative(frequencies))
            left, right = intervals(frequencies, symbols)
            assert np.array_equal(left, np.take_along_axis(tables[-1], symbols[:, None], 1)[:, 0]), seed
            theirs.encode(symbols.astype(np.int32), categorical(), frequencies.astype(np.float64))
        ours.encode(left.tolist(), right.tolist())
    data = ours.shortest()
    assert data == written(theirs), seed
    damaged = bytearray(data)
    damaged[random.integers(len(data))] ^= 1 << random.integers(8)
    cut = data[: random.integers(len(data) + 1)]
    hostile = 0
    for received in (data, cut, bytes(damaged), random.bytes(int(random.integers(30)))):
        decoder, agreement = RangeDecoder(received), Agreement(received)
        for (frequencies, symbols), table in zip(parts, tables, strict=True):
            one = decoder.decode(table)
            if isinstance(frequencies, int):
                two = agreement.decode(constriction.stream.model.Uniform(1 << frequencies), 1)
            else:
                two = agreement.decode(categorical(), frequencies.astype(np.float64))
            assert (one is None) == (two is None) and (one is None or np.array_equal(one, two)), seed
            assert received is not data or (one is not None and np.array_equal(one, symbols)), seed
            if one is None:
                break
            hostile += received is not data and len(one)
        if received is data:
            assert decoder.shortest() == data and decoder.interval() == ours.interval(), seed
    return hostile


@needs_constriction
def test_random_streams_are_those_of_constriction() -> None:
    assert sum(compare(seed) for seed in range(2000)) > 2000


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute and a half on a machine that does nothing else
@needs_constriction
def test_a_hundred_thousand_random_streams_are_those_of_constriction() -> None:
    for seed in range(2000, 100_000):
        compare(seed)


# ---------------------------------------------------------------------------------------------- by themselves
def test_probabilities_are_what_the_specification_says() -> None:
    frequencies = np.array([[1, 2, 1, 2**24], [5, 5, 5, 5]])
    for row, table in zip(frequencies.tolist(), cumulative(frequencies).tolist(), strict=True):
        scale = (2**24 - 4) / sum(row)
        assert table == [*(int(sum(row[:i]) * scale) + i for i in range(4)), 2**24]
    for symbol in range(4):
        left, right = intervals(frequencies, np.array([symbol, 3 - symbol]))
        expected = cumulative(frequencies)
        assert left.tolist() == [expected[0, symbol], expected[1, 3 - symbol]]
        assert right.tolist() == [expected[0, symbol + 1], expected[1, 4 - symbol]]
    assert uniform(2).tolist() == [0, 2**22, 2**23, 3 * 2**22, 2**24]


@given(
    st.lists(st.tuples(st.integers(1, 2**23), st.integers(0, 2**23 - 2), st.integers(0, 2)), min_size=1, max_size=60),
    st.sampled_from(["any", "middle"]),
)
@settings(max_examples=300, deadline=None)
def test_shortest_bytes_of_any_interval(draws: list[tuple[int, int, int]], which: str) -> None:
    """Also around a carry that stays open for long: "middle" keeps narrowing down on one half."""
    encoder = RangeEncoder()
    low, width, bits = 0, 2**64 - 1, 64  # the same in plain integers, which carry by themselves
    expected, tables = [], []
    for left, middle, symbol in draws:
        if which == "middle":
            left, middle, symbol = 2**23 - 1 - left % 50, 3 + middle % 99, 1
        table = [0, left, left + middle + 1, 2**24]
        encoder.encode([table[symbol]], [table[symbol + 1]])
        unit = width >> 24
        low, width = low + unit * table[symbol], unit * (table[symbol + 1] - table[symbol])
        if width < 2**32:
            low, width, bits = low << 32, width << 32, bits + 32
        expected.append(symbol)
        tables.append(table)
    assert encoder.interval() == (low, width, bits)
    found = encoder.shortest()
    start, unit = int.from_bytes(found, "big"), bits - 8 * len(found)
    assert unit >= 0 and low <= start << unit and (start + 1) << unit <= low + width
    if found:
        longer = unit + 8
        assert (-(-low >> longer) + 1) << longer > low + width  # nothing shorter lies inside
    for padding in (b"", b"\0", b"\xff" * 20):
        decoded = RangeDecoder(found + padding).decode(np.array(tables))
        assert decoded is not None and decoded.tolist() == expected


def test_bytes_that_no_encoder_writes() -> None:
    """Between the last symbol's end and the interval's there is a gap: the interval is no multiple of 2^24."""
    assert RangeDecoder(b"\xff" * 20).decode(uniform(1)[None]) is None
    found = RangeDecoder(b"\xff\xff\xfe" + b"\xff" * 20).decode(uniform(1)[None])
    assert found is not None and found.tolist() == [1]
    assert RangeDecoder(b"").decode(uniform(1)[None]) is None  # nothing is certain
