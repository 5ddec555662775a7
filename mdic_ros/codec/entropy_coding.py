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

import constriction
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdic_ros.codec.bitstream import MAX_SCALES, BitstreamError
from mdic_ros.models.entropy_model import EntropyModel, ExactPrior

CHECK_BITS_FIRST, CHECK_BITS_NEXT = 8, 2
# constriction's `Categorical` turns frequencies into 24-bit probabilities of at least 1 / 2^24.
_MAX_BITS_PER_SYMBOL = 24.01  # and the coder's own rounding costs less than 2^-8 of a symbol's interval

_Family = constriction.stream.model.Categorical(perfect=False)
_RangeEncoder = constriction.stream.queue.RangeEncoder
_RangeDecoder = constriction.stream.queue.RangeDecoder


class EntropyCoder:
    """Codes token grids with a prior, exactly the same on every machine.

    Args:
        prior: the prior; a float64 copy of its weights is taken now. It runs where the prior lives.
        fingerprint: SHA-256 of the bundle, 32 bytes. A stream of another bundle fails its check.
    """

    def __init__(self, prior: EntropyModel, fingerprint: bytes):
        if len(fingerprint) != 32:
            raise ValueError("a fingerprint has 32 bytes")
        if prior.scales > MAX_SCALES:
            raise ValueError(f"the container has room for {MAX_SCALES} scales, not {prior.scales}")
        if prior.config.codebook_size > 2**16:
            raise ValueError("the container has room for 2^16 codes")
        self.prior = prior
        self.fingerprint = fingerprint
        self._exact = ExactPrior(prior)

    def max_bytes(self, grid: tuple[int, int], scales: int) -> int:
        """No payload of this many scales of a feature grid (h, w) is longer than this."""
        tokens = sum(h * w for h, w in self.prior.grid_shapes(*grid)[:scales])
        checks = CHECK_BITS_FIRST + CHECK_BITS_NEXT * (scales - 1)
        return math.ceil((tokens * _MAX_BITS_PER_SYMBOL + checks) / 8) + 1

    def encode(self, indices: Sequence[Tensor], header: bytes, max_bytes: int | None = None) -> list[bytes]:
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
        codes = self.prior.config.codebook_size
        for number, tokens in enumerate(indices):
            if not 0 <= int(tokens.min()) <= int(tokens.max()) < codes:
                raise ValueError(f"scale {number} has a token outside 0..{codes - 1}")
        on_device = [tokens[None].to(self.prior.device) for tokens in indices]
        coder, check, payloads = _RangeEncoder(), self._check(header), []
        # The frequencies come lazily, so that only one scale's are held, and none are made that are not needed.
        for number, groups in enumerate(self._exact.frequencies(on_device)):
            tokens = on_device[number].flatten().cpu()
            for frequencies, positions in groups:
                symbols = tokens[positions.cpu()].numpy().astype(np.int32)
                coder.encode(symbols, _Family, _table(frequencies[0]))
            symbol, model = self._check_symbol(check, number, tokens)
            coder.encode(symbol, model)
            payloads.append(_shortest(coder))
            if max_bytes is not None and len(payloads[-1]) > max_bytes:
                break
        return payloads

    def decode(self, payload: bytes, grid: tuple[int, int], max_scales: int, header: bytes) -> list[Tensor]:
        """Decodes as many scales as the payload has whole.

        Args:
            payload: bytes behind the header; may be cut anywhere.
            grid: rows and columns of the feature grid that the header's image size stands for.
            max_scales: scales that were sent: the header's rate point + 1.
            header: the container's header.
        Returns:
            token grids (h_k, w_k) int64 on the prior's device, coarse to fine; at least one, at most
            `max_scales`.
        Raises:
            BitstreamError: damaged, of another bundle, too long, or not even the first scale is whole.
        """
        if not 1 <= max_scales <= self.prior.scales:
            raise BitstreamError(f"packet has {max_scales} scales, the model {self.prior.scales}")
        if len(payload) > self.max_bytes(grid, max_scales):
            raise BitstreamError(f"payload of {len(payload)} bytes is longer than any of this size can be")
        low, high = _decoder(payload, 0x00), _decoder(payload, 0xFF)
        coder, check = _RangeEncoder(), self._check(header)
        whole: list[Tensor] = []
        for number, scale in zip(range(max_scales), self._exact.decoding(*grid), strict=False):
            for frequencies in scale:
                table = _table(frequencies)
                symbols = _agreed(low, high, _Family, table)
                if symbols is None:
                    return self._cut(whole, len(payload))
                coder.encode(symbols, _Family, table)
                scale.put(torch.from_numpy(symbols))
            expected, model = self._check_symbol(check, number, scale.tokens.flatten().cpu())
            found = _agreed(low, high, model, 1)
            if found is None:
                return self._cut(whole, len(payload))
            if int(found[0]) != expected:
                raise BitstreamError(f"damaged packet: check of scale {number} fails")
            coder.encode(expected, model)
            whole.append(scale.tokens[0])
        if _shortest(coder) != payload:
            raise BitstreamError("damaged packet: the payload does not end where its tokens do")
        return whole

    @staticmethod
    def _cut(whole: list[Tensor], size: int) -> list[Tensor]:
        if not whole:
            raise BitstreamError(f"packet cut too short: {size} bytes of payload do not hold the coarsest scale")
        return whole

    def _check(self, header: bytes) -> hashlib._Hash:
        # Without the rate point, so that all rate points share one stream.
        return hashlib.sha256(self.fingerprint + bytes([header[0] & 0xF0]) + header[1:])

    @staticmethod
    def _check_symbol(
        check: hashlib._Hash, number: int, tokens: Tensor
    ) -> tuple[int, constriction.stream.model.Uniform]:
        check.update(tokens.numpy().astype(">u2").tobytes())
        bits = CHECK_BITS_NEXT if number else CHECK_BITS_FIRST
        return check.digest()[0] >> (8 - bits), constriction.stream.model.Uniform(1 << bits)


def _table(frequencies: Tensor) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(frequencies.cpu().numpy())


def _shortest(coder: constriction.stream.queue.RangeEncoder) -> bytes:
    """Shortest bytes that decode to what was encoded so far whatever bytes follow, of these the smallest."""
    words, (lower, width) = coder.pos()
    bits = 32 * words + 64
    # The coder stands for the interval [low, low + width) / 2^bits. Its 64-bit `lower` has lost what was
    # shifted out, and held-back words may yet carry. But sealing writes the words of low + 2^32 - 1, less its
    # last 32 bits.
    sealed = coder.get_compressed()[: words + 1]
    point = int.from_bytes(sealed.astype(">u4").tobytes(), "big") << 32
    low = point - (-lower & 0xFFFFFFFF)
    size = max(0, (bits - width.bit_length()) // 8)
    while True:
        unit = bits - 8 * size  # bits left of `size` bytes; 8 * size <= bits, as width >= 2^32
        first = -(-low >> unit)
        if (first + 1) << unit <= low + width:
            return first.to_bytes(size, "big")
        size += 1


def _decoder(payload: bytes, padding: int) -> constriction.stream.queue.RangeDecoder:
    # As long as both paddings decode to the same, the coder has shifted out no more words than the payload
    # has, and looks at two words more. So four words of padding are as good as endless padding.
    padded = payload + bytes([padding]) * (-len(payload) % 4 + 16)
    return _RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))


def _agreed(
    low: constriction.stream.queue.RangeDecoder,
    high: constriction.stream.queue.RangeDecoder,
    model: constriction.stream.model.Model,
    parameters: npt.NDArray[np.float64] | int,
) -> npt.NDArray[np.int32] | None:
    """The next symbols if both decoders find the same; else None, as the bytes there are leave them open."""
    try:
        first, second = low.decode(model, parameters), high.decode(model, parameters)
    except AssertionError:  # constriction: no symbol stands for these bits, which no encoder writes
        return None
    return first if np.array_equal(first, second) else None
