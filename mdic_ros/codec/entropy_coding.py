"""Token indices <-> payload bytes: range coding driven by the exact frequencies of the prior.

The scales follow each other in one range-coded stream, coarse to fine; behind each scale stands a check
symbol (8 bits behind the first, 2 behind each further one) that depends on the header, the bundle and all
tokens so far. After each scale the shortest byte string is cut that decodes to what was coded so far
*whatever follows it*: the payload of that rate point. So a longer payload can be cut anywhere, and what is
whole is found without any lengths or markers: the bytes are decoded twice, as if followed by zero bits and as
if followed by one bits. Range coding preserves order, so whatever both decodings agree on is certain, and
where they part the stream ends. Specified in docs/bitstream.md.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from mdic_ros.codec.bitstream import MAX_SCALES, BitstreamError
from mdic_ros.codec.range_coder import RangeDecoder, RangeEncoder, cumulative, intervals, uniform
from mdic_ros.models.entropy.exact import ExactPrior, PriorError

Tokens = npt.NDArray[np.int64]

# The matrices of the prior are small: a second thread of NumPy's BLAS gains a fifth on an idle machine, and beside
# other work the threads wait for each other, spinning, so that coding a frame took ten times as long.
_one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")

CHECK_BITS_FIRST, CHECK_BITS_NEXT = 8, 2
# No probability is below 2^-24.
_MAX_BITS_PER_SYMBOL = 24.01  # and the coder's own rounding costs less than 2^-8 of a symbol's interval


class EntropyCoder:
    """Codes token grids with a prior, exactly the same on every machine.

    Args:
        prior: gives the frequencies.
        fingerprint: SHA-256 of the bundle, 32 bytes. A stream of another bundle fails its check.

    Raises:
        PriorError: a prior with more scales or codes than the container has room for.
    """

    def __init__(self, prior: ExactPrior, fingerprint: bytes):
        if len(fingerprint) != 32:
            raise ValueError("a fingerprint has 32 bytes")
        if prior.scales > MAX_SCALES:
            raise PriorError(f"entropy model: the container has room for {MAX_SCALES} scales, not {prior.scales}")
        if prior.codebook_size > 2**16:
            raise PriorError(f"entropy model: the container has room for 2^16 codes, not {prior.codebook_size}")
        self.prior = prior
        self.fingerprint = fingerprint

    def max_bytes(self, grid: tuple[int, int], scales: int) -> int:
        """No payload of this many scales of a feature grid (h, w) is longer than this."""
        tokens = sum(h * w for h, w in self.prior.grid_shapes(*grid)[:scales])
        checks = CHECK_BITS_FIRST + CHECK_BITS_NEXT * (scales - 1)
        return math.ceil((tokens * _MAX_BITS_PER_SYMBOL + checks) / 8) + 1

    @_one_thread
    def encode(self, indices: Sequence[Tokens], header: bytes, max_bytes: int | None = None) -> list[bytes]:
        """Codes token grids, coarse to fine.

        Args:
            indices: token grids (h_k, w_k) int64 in 0 .. codebook_size - 1, coarse to fine; may stop at any
                scale.
            header: the container's header; its rate point (low half of the first byte) may be any.
            max_bytes: no scales are coded behind the first payload longer than this, which would be longer still.

        Returns:
            one payload per rate point, coarse to fine, never shorter than the one before.

        Raises:
            ValueError: a token out of range, or no token grid.
        """
        if not indices or len(indices) > self.prior.scales:
            raise ValueError(f"{len(indices)} token grids for a prior of {self.prior.scales} scales")
        codes = self.prior.codebook_size
        for number, tokens in enumerate(indices):
            if not 0 <= int(tokens.min()) <= int(tokens.max()) < codes:
                raise ValueError(f"scale {number} has a token outside 0..{codes - 1}")
        coder, check, payloads = RangeEncoder(), self._check(header), []
        # The frequencies come lazily, so that few are held, and none are made that are not needed.
        for number, (tokens, groups) in enumerate(zip(indices, self.prior.frequencies(indices))):
            for frequencies, positions in groups:
                left, right = intervals(frequencies, tokens.ravel()[positions])
                coder.encode(left.tolist(), right.tolist())
            symbol, table = self._check_symbol(check, number, tokens)
            coder.encode([table.item(symbol)], [table.item(symbol + 1)])
            payloads.append(coder.shortest())
            if max_bytes is not None and len(payloads[-1]) > max_bytes:
                break
        return payloads

    @_one_thread
    def decode(self, payload: bytes, grid: tuple[int, int], max_scales: int, header: bytes) -> list[Tokens]:
        """Decodes as many scales as the payload has whole.

        Args:
            payload: bytes behind the header; may be cut anywhere.
            grid: rows and columns of the feature grid that the header's image size stands for.
            max_scales: scales that were sent: the header's rate point + 1.
            header: the container's header.

        Returns:
            token grids (h_k, w_k) int64, coarse to fine; at least one, at most `max_scales`.

        Raises:
            BitstreamError: damaged, of another bundle, too long, or not even the first scale is whole.
        """
        if not 1 <= max_scales <= self.prior.scales:
            raise BitstreamError(f"packet has {max_scales} scales, the model {self.prior.scales}")
        if len(payload) > self.max_bytes(grid, max_scales):
            raise BitstreamError(f"payload of {len(payload)} bytes is longer than any of this size can be")
        coder, check = RangeDecoder(payload), self._check(header)
        whole: list[Tokens] = []
        for number, scale in zip(range(max_scales), self.prior.decoding(*grid)):
            for frequencies in scale:
                symbols = coder.decode(cumulative(frequencies))
                if symbols is None:
                    return self._cut(whole, len(payload))
                scale.put(symbols)
            expected, table = self._check_symbol(check, number, scale.tokens)
            found = coder.decode(table[None])
            if found is None:
                return self._cut(whole, len(payload))
            if int(found[0]) != expected:
                raise BitstreamError(f"damaged packet: check of scale {number} fails")
            whole.append(scale.tokens)
        if coder.shortest() != payload:
            raise BitstreamError("damaged packet: the payload does not end where its tokens do")
        return whole

    @staticmethod
    def _cut(whole: list[Tokens], size: int) -> list[Tokens]:
        if not whole:
            raise BitstreamError(f"packet cut too short: {size} bytes of payload do not hold the coarsest scale")
        return whole

    def _check(self, header: bytes) -> hashlib._Hash:
        # Without the rate point, so that all rate points share one stream.
        return hashlib.sha256(self.fingerprint + bytes([header[0] & 0xF0]) + header[1:])

    @staticmethod
    def _check_symbol(check: hashlib._Hash, number: int, tokens: Tokens) -> tuple[int, Tokens]:
        """The check symbol behind scale `number`, and the cumulative probabilities (2^bits + 1,) of such symbols."""
        check.update(tokens.astype(">u2").tobytes())
        bits = CHECK_BITS_NEXT if number else CHECK_BITS_FIRST
        return check.digest()[0] >> (8 - bits), uniform(bits)
