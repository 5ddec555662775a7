"""A range coder: symbols and integer frequencies <-> bytes.

64 bits of state, 32-bit words, probabilities of 24 bits; the arithmetic of `constriction`'s `stream.queue` coder with
`Categorical(perfect=False)` and `Uniform` models, which version 0.1.0 used, so the bytes are the same. Specified in
docs/bitstream.md.

The encoder's state is an interval [low, low + width) / 2^bits of the unit interval; every symbol makes it narrower.
The decoder finds only symbols that are certain: it decodes as if the bytes were followed by zero bits and as if they
were followed by one bits. Range coding preserves order, so what both agree on holds whatever follows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

PROBABILITY_BITS = 24
PROBABILITY_ONE = 1 << PROBABILITY_BITS
STATE_BITS, WORD_BITS = 64, 32
_WORD_BYTES, _WORD_MAX = WORD_BITS // 8, (1 << WORD_BITS) - 1
_STATE_MAX = (1 << STATE_BITS) - 1
_MIN_WIDTH = 1 << (STATE_BITS - WORD_BITS)


def cumulative(frequencies: Integers) -> Integers:
    """Cumulative probabilities of all symbols.

    Args:
        frequencies: (n, K) int64, at least 1, the sum of a row below 2^53; K is 2 .. 2^16.

    Returns:
        (n, K + 1) int64, strictly increasing from 0 to 2^24: symbol s has the interval from entry s to entry s + 1.
    """
    rows, codes = frequencies.shape
    sums = np.cumsum(frequencies, 1)
    table = np.empty((rows, codes + 1), np.int64)
    table[:, 0] = 0
    np.multiply(sums, _scale(sums[:, -1:], codes), out=table[:, 1:], casting="unsafe")  # truncates
    table += np.arange(codes + 1)
    table[:, -1] = PROBABILITY_ONE
    return table


def intervals(frequencies: Integers, symbols: Integers) -> tuple[Integers, Integers]:
    """Ends, (n,) each, of the intervals of these symbols (n,): entries of `cumulative`, without making all of it."""
    rows, codes = frequencies.shape
    # Sums of each row before the symbol and from the symbol on. `reduceat` gives an empty piece one element: its first.
    starts = np.arange(rows) * codes
    at = starts + symbols
    sums = np.add.reduceat(frequencies.ravel(), np.stack([starts, at], 1).ravel()).reshape(rows, 2)
    sums[:, 0] *= symbols > 0
    below = sums[:, 0]
    scale = _scale(sums.sum(1), codes)
    left = (below * scale).astype(np.int64) + symbols
    right = ((below + frequencies.ravel()[at]) * scale).astype(np.int64) + symbols + 1
    right[symbols == codes - 1] = PROBABILITY_ONE
    return left, right


def _scale(total: Integers, codes: int) -> npt.NDArray[np.float64]:
    """Each symbol has a probability of 2^-24; this shares out the rest. One rounded division, then one product."""
    return (PROBABILITY_ONE - codes) / total


def uniform(bits: int) -> Integers:
    """(2^bits + 1,) int64: a row of `cumulative` for symbols of `bits` bits, all equally likely."""
    return np.arange((1 << bits) + 1, dtype=np.int64) << (PROBABILITY_BITS - bits)


class RangeEncoder:
    """Symbols -> bytes."""

    def __init__(self) -> None:
        self._words: list[int] = []  # what has been shifted out of `_low`
        self._low, self._width = 0, _STATE_MAX

    def encode(self, left: Iterable[int], right: Iterable[int]) -> None:
        """Appends symbols by the ends of their intervals, 0 <= left < right <= 2^24, plain integers."""
        low, width, words = self._low, self._width, self._words
        for start, end in zip(left, right, strict=True):
            unit = width >> PROBABILITY_BITS
            low += unit * start
            width = unit * (end - start)
            if low > _STATE_MAX:
                low &= _STATE_MAX
                self._carry()
            if width < _MIN_WIDTH:
                words.append(low >> WORD_BITS)
                low = (low & _WORD_MAX) << WORD_BITS
                width <<= WORD_BITS
        self._low, self._width = low, width

    def _carry(self) -> None:
        last = len(self._words) - 1
        while self._words[last] == _WORD_MAX:
            self._words[last] = 0
            last -= 1
        self._words[last] += 1

    def interval(self) -> tuple[int, int, int]:
        """(low, width, bits)."""
        out = b"".join(word.to_bytes(_WORD_BYTES, "big") for word in self._words)
        return int.from_bytes(out, "big") << STATE_BITS | self._low, self._width, 8 * len(out) + STATE_BITS

    def shortest(self) -> bytes:
        """The shortest bytes that decode to what was encoded whatever bytes follow, of these the smallest."""
        return shortest(*self.interval())


class RangeDecoder:
    """Bytes -> the symbols that are certain.

    Args:
        data: any bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._read = 0  # bytes, words of the padding included
        self._width = _STATE_MAX
        self._zeros = self._ones = 0  # distance from low to data followed by zeros, and to data followed by ones
        for _ in range(STATE_BITS // WORD_BITS):
            self._shift()

    def _shift(self) -> None:
        word = self._data[self._read : self._read + _WORD_BYTES]
        self._read += _WORD_BYTES
        self._zeros = self._zeros << WORD_BITS | int.from_bytes(word.ljust(_WORD_BYTES, b"\x00"), "big")
        self._ones = self._ones << WORD_BITS | int.from_bytes(word.ljust(_WORD_BYTES, b"\xff"), "big")

    def decode(self, table: Integers) -> Integers | None:
        """The next symbols.

        Args:
            table: (n, K + 1) int64, the `cumulative` of each symbol.

        Returns:
            (n,) int64; None if the bytes leave one open, or no encoder writes them. Decoding ends there.
        """
        symbols = np.empty(len(table), np.int64)
        for number, row in enumerate(table):
            unit = self._width >> PROBABILITY_BITS
            quantile = self._zeros // unit
            if quantile >= PROBABILITY_ONE:  # between the last symbol's end and the interval's: never written
                return None
            symbol = int(row.searchsorted(quantile, "right")) - 1
            left, right = row.item(symbol), row.item(symbol + 1)
            if self._ones >= unit * right:
                return None
            self._zeros -= unit * left
            self._ones -= unit * left
            self._width = unit * (right - left)
            if self._width < _MIN_WIDTH:
                self._width <<= WORD_BITS
                self._shift()
            symbols[number] = symbol
        return symbols

    def interval(self) -> tuple[int, int, int]:
        """(low, width, bits): an encoder's interval after the symbols that were decoded."""
        point = int.from_bytes(self._data[: self._read].ljust(self._read, b"\x00"), "big")
        return point - self._zeros, self._width, 8 * self._read

    def shortest(self) -> bytes:
        """What an encoder writes for the symbols that were decoded, see `RangeEncoder.shortest`."""
        return shortest(*self.interval())


def shortest(low: int, width: int, bits: int) -> bytes:
    """The shortest bytes whose every continuation lies in [low, low + width) / 2^bits, of these the smallest."""
    size = max(0, (bits - width.bit_length()) // 8)
    while True:
        unit = bits - 8 * size  # bits left of `size` bytes; 8 * size <= bits, as width >= 2^32
        first = -(-low >> unit)
        if (first + 1) << unit <= low + width:
            return first.to_bytes(size, "big")
        size += 1
