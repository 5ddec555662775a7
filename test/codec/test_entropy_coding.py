"""The range-coded payload: the bytes of the format, no longer than they must be, cut and damaged at will."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from mdic_ros.codec.bitstream import BitstreamError, feature_grid, inspect, pack_header, split
from mdic_ros.codec.bundle import Bundle
from mdic_ros.codec.entropy_coding import CHECK_BITS_FIRST, CHECK_BITS_NEXT, EntropyCoder
from mdic_ros.codec.prior import load_prior
from mdic_ros.models.entropy import exact
from mdic_ros.models.entropy.exact import ExactPrior, PriorError
from mdic_ros.resources import resource

FINGERPRINT = bytes(range(7, 39))
HEADER = pack_header(3, FINGERPRINT, 128, 256)
GRID = (8, 16)
Tokens = npt.NDArray[np.int64]
Draw = Callable[[ExactPrior, tuple[int, int], int], list[Tokens]]


@contextlib.contextmanager
def odd_settings() -> Iterator[None]:
    """What a host program may have set before it calls us, and must get back."""
    with np.errstate(all="raise"), np.printoptions(precision=1):
        yield


def checks(scales: int) -> int:
    return CHECK_BITS_FIRST + CHECK_BITS_NEXT * (scales - 1)


def same(found: list[Tokens], sent: list[Tokens]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, sent, strict=False))


def test_a_thousand_frames(small_prior: ExactPrior, draw: Draw) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    grids = itertools.cycle([(4, 8), (4, 12), (8, 8)])
    worst = 0.0
    for seed, grid in zip(range(1002), grids):
        sent = draw(small_prior, grid, seed)
        with odd_settings():
            packets = coder.encode(sent, HEADER)
            found = coder.decode(packets[-1], grid, 4, HEADER)
        assert len(found) == 4 and same(found, sent)
        bits = small_prior.bits(sent).cumsum()
        excess = np.array([8 * len(packet) - checks(scales) for scales, packet in enumerate(packets, 1)]) - bits
        assert (excess <= 0.02 * bits + 16).all()
        worst = max(worst, excess.max())
    assert worst < 10  # the last byte is begun, and one bit to tell the interval: hardly ever more


def test_full_size(full_prior: ExactPrior, draw: Draw) -> None:
    coder = EntropyCoder(full_prior, FINGERPRINT)
    header = pack_header(4, FINGERPRINT, 128, 256)
    for seed in range(6):
        sent = draw(full_prior, GRID, seed)
        payloads = coder.encode(sent, header)
        for rate_point in (seed % 4, 4):
            found = coder.decode(payloads[rate_point], GRID, rate_point + 1, header)
            assert len(found) == rate_point + 1 and same(found, sent)
        bits = full_prior.bits(sent).cumsum()
        for rate_point, payload in enumerate(payloads):
            assert 8 * len(payload) - checks(rate_point + 1) <= 1.02 * bits[rate_point] + 16


def test_no_finer_scale_is_coded_than_the_limit_of_bytes_asks_for(small_prior: ExactPrior, draw: Draw) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, 0)
    payloads = coder.encode(sent, HEADER)
    assert len(payloads) == 4
    for limit in (0, len(payloads[1]) - 1, len(payloads[1]), 10**6):
        found = coder.encode(sent, HEADER, limit)
        assert found == payloads[: len(found)]
        assert len(found) == min(4, 1 + sum(len(payload) <= limit for payload in payloads))


def golden(small_prior: ExactPrior, full_prior: ExactPrior, draw: Draw) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, prior, height, width in (
        ("full", full_prior, 128, 256),
        ("full", full_prior, 64, 128),
        ("full", full_prior, 370, 740),
        ("small", small_prior, 128, 256),
        ("small", small_prior, 200, 333),
        ("small", small_prior, 1080, 1920),
    ):
        grid = feature_grid(height, width)
        header = pack_header(0, FINGERPRINT, height, width)
        coder = EntropyCoder(prior, FINGERPRINT)
        payloads = [coder.encode(draw(prior, grid, seed), header) for seed in (1, 3)]
        result[f"{name} {height}x{width}"] = {
            "header": header.hex(),
            "coarsest": [packet[0].hex() for packet in payloads] if height < 1000 else [],
            "bytes": [[len(payload) for payload in packet] for packet in payloads],
            "sha256": [hashlib.sha256(b"".join(packet)).hexdigest() for packet in payloads],
        }
    return result


def test_golden_streams(small_prior: ExactPrior, full_prior: ExactPrior, draw: Draw) -> None:
    """These bytes are the format, and 0.1.0's. If this fails, streams can no longer be read: a new version is due."""
    expected = json.loads((Path(__file__).parent / "golden_streams.json").read_text())
    assert golden(small_prior, full_prior, draw) == expected


def test_golden_streams_decode(small_prior: ExactPrior, draw: Draw) -> None:
    grid, header = feature_grid(200, 333), pack_header(3, FINGERPRINT, 200, 333)
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, grid, 3)
    for rate_point, payload in enumerate(coder.encode(sent, header)):
        found = coder.decode(payload, grid, rate_point + 1, header)
        assert len(found) == rate_point + 1 and same(found, sent)


def test_decoding_in_parts_for_large_images(
    small_prior: ExactPrior, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, 1)
    payload = coder.encode(sent, HEADER)[-1]
    monkeypatch.setattr(exact, "TOKENS_AT_ONCE", 5)
    found = coder.decode(payload, GRID, 4, HEADER)
    assert len(found) == 4 and same(found, sent)


@pytest.mark.parametrize("seed", range(6))
def test_every_cut_gives_what_is_whole(small_prior: ExactPrior, draw: Draw, seed: int) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, seed)
    payloads = coder.encode(sent, HEADER)
    ends = intervals(small_prior, sent)
    for size in range(len(payloads[-1]) + 1):
        cut = payloads[-1][:size]
        # What may follow is an interval as well; a grid is whole if that lies inside the coder's.
        start = int.from_bytes(cut, "big")
        whole = sum(inside(start, size, *end) for end in ends)
        assert whole <= sum(len(payload) <= size for payload in payloads)
        if whole:
            found = coder.decode(cut, GRID, 4, HEADER)
            assert len(found) == whole and same(found, sent)
        else:
            with pytest.raises(BitstreamError, match="cut too short"):
                coder.decode(cut, GRID, 4, HEADER)
    assert whole == 4


def test_rate_points_stand_alone(small_prior: ExactPrior, draw: Draw) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, 3)
    for rate_point, payload in enumerate(coder.encode(sent, HEADER)):
        found = coder.decode(payload, GRID, 4, HEADER)  # as if it had been sent with all scales, and cut
        assert len(found) == rate_point + 1 and same(found, sent)
        for tail in (b"\0", b"\xff" * 9):
            with pytest.raises(BitstreamError, match="damaged"):
                coder.decode(payload + tail, GRID, rate_point + 1, HEADER)


def test_other_bundle_header_or_weights_fail_the_check(
    small_prior: ExactPrior, weights_of: Callable[..., dict], draw: Draw
) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    payload = coder.encode(draw(small_prior, GRID, 1), HEADER)[-1]
    with pytest.raises(BitstreamError, match="damaged"):
        EntropyCoder(small_prior, FINGERPRINT[:-1] + b"\0").decode(payload, GRID, 4, HEADER)
    with pytest.raises(BitstreamError, match="damaged"):
        coder.decode(payload, GRID, 4, HEADER[:2] + b"\1\1")
    other = ExactPrior(small_prior.sizes, weights_of(small_prior.sizes, seed=1))
    with pytest.raises(BitstreamError):
        EntropyCoder(other, FINGERPRINT).decode(payload, GRID, 4, HEADER)


def test_bit_flips_are_found(small_prior: ExactPrior, draw: Draw) -> None:
    """A flip is an error, or changes nothing that is delivered; the short checks let few others through."""
    coder = EntropyCoder(small_prior, FINGERPRINT)
    missed = total = 0
    for seed in (0, 1):
        sent = draw(small_prior, (4, 8), seed)
        payload = coder.encode(sent, HEADER)[-1]
        for bit in range(seed, 8 * len(payload), 3):
            flipped = bytearray(payload)
            flipped[bit // 8] ^= 1 << bit % 8
            total += 1
            with contextlib.suppress(BitstreamError):
                missed += not same(coder.decode(bytes(flipped), (4, 8), 4, HEADER), sent)
    assert missed / total < 0.15


def test_arguments_are_checked(small_prior: ExactPrior, draw: Draw) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, 0)
    for bad in (-1, 64):
        wrong = [tokens.copy() for tokens in sent]
        wrong[2][1, 1] = bad
        with pytest.raises(ValueError, match="token"):
            coder.encode(wrong, HEADER)
    with pytest.raises(ValueError):
        coder.encode([], HEADER)
    with pytest.raises(ValueError):
        EntropyCoder(small_prior, b"short")
    with pytest.raises(BitstreamError, match="longer"):
        coder.decode(bytes(coder.max_bytes(GRID, 4) + 1), GRID, 4, HEADER)
    with pytest.raises(BitstreamError, match="scales"):
        coder.decode(b"", GRID, 5, HEADER)
    with pytest.raises(BitstreamError, match="cut too short"):
        coder.decode(b"", GRID, 4, HEADER)


def test_priors_that_the_container_has_no_room_for(small_prior: ExactPrior, weights_of: Callable[..., dict]) -> None:
    for change in ({"grids": (1.0,) * 17, "groups": (1,) * 17}, {"codebook_size": 2**16 + 1}):
        sizes = dataclasses.replace(small_prior.sizes, num_layers=1, **change)
        with pytest.raises(PriorError, match="room for"):
            EntropyCoder(ExactPrior(sizes, weights_of(sizes)), FINGERPRINT)


def test_least_likely_tokens_keep_the_limit(small_prior: ExactPrior) -> None:
    sent = []
    for scale in small_prior.decoding(*GRID):
        for frequencies in scale:
            scale.put(frequencies.argmin(-1))
        sent.append(scale.tokens)
    coder = EntropyCoder(small_prior, FINGERPRINT)
    for scales, payload in enumerate(coder.encode(sent, HEADER), 1):
        assert len(payload) <= coder.max_bytes(GRID, scales)
    assert same(coder.decode(payload, GRID, 4, HEADER), sent)


def test_coding_takes_one_thread_of_blas_and_leaves_the_callers_number_alone(
    small_prior: ExactPrior, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> set[int]:
        # NumPy's own: libraries that other tests load bring further ones.
        return {
            pool["num_threads"]
            for pool in threadpool_info()
            if pool["user_api"] == "blas" and "numpy" in Path(pool["filepath"]).parent.name
        }

    seen: set[int] = set()
    run = ExactPrior._run

    def watched(self: ExactPrior, *arguments: object) -> None:
        seen.update(threads())
        run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ExactPrior, "_run", watched)
    with threadpool_limits(2, "blas"):
        before = threads()
        coder = EntropyCoder(small_prior, FINGERPRINT)
        coder.decode(coder.encode(draw(small_prior, GRID, 1), HEADER)[-1], GRID, 4, HEADER)
        assert threads() == before and seen == {1}


# ------------------------------------------------------------------------------------------ packets of 0.1.0
class Recorder(EntropyCoder):
    """Keeps the check symbols, and codes others in their place if it has them."""

    def __init__(self, prior: ExactPrior, fingerprint: bytes, others: list[int] | None = None) -> None:
        super().__init__(prior, fingerprint)
        self.checks: list[int] = []
        self.others = others

    def _check_symbol(self, check, number, tokens):  # type: ignore[no-untyped-def]
        symbol, table = super()._check_symbol(check, number, tokens)
        self.checks.append(symbol)
        return self.others[number] if self.others else symbol, table


def test_packets_differ_from_those_of_0_1_0_in_the_check_symbols_alone() -> None:
    """The fingerprint covers other files since, and the check symbols depend on it. Nothing else has changed.

    `packets_0_1_0.json` has packets that 0.1.0 made of pictures of the sample, and its fingerprint of the same bundle.
    """
    old = json.loads((Path(__file__).parent / "packets_0_1_0.json").read_text())
    before, now = bytes.fromhex(old["fingerprint"]), bytes.fromhex(Bundle().fingerprint)
    prior = load_prior(resource("models/mdic_tiny/entropy_model"))
    assert before != now and len(old["packets"]) == 18
    for packet in map(bytes.fromhex, old["packets"]):
        info = inspect(packet)
        header, payload = split(packet, info, before, prior.scales)
        grid = feature_grid(info.height, info.width)
        coder = Recorder(prior, before)
        tokens = coder.decode(payload, grid, info.rate_point + 1, header)
        assert len(tokens) == info.rate_point + 1
        assert EntropyCoder(prior, before).encode(tokens, header)[-1] == payload
        # With today's fingerprint: another header, other check symbols, the same tokens.
        new_header = pack_header(info.rate_point, now, info.height, info.width, info.view)
        new_payload = EntropyCoder(prior, now).encode(tokens, new_header)[-1]
        assert new_header[:1] + new_header[2:] == header[:1] + header[2:] and new_header[1] == now[0]
        assert new_payload != payload and abs(len(new_payload) - len(payload)) <= 1
        found = EntropyCoder(prior, now).decode(new_payload, grid, info.rate_point + 1, new_header)
        assert len(found) == len(tokens) and same(found, tokens)
        # And with 0.1.0's check symbols in place of today's, every byte is 0.1.0's.
        assert Recorder(prior, now, coder.checks).encode(tokens, new_header)[-1] == payload


# ---------------------------------------------------------------------------------------- the coder's interval
def interval(symbols: list[int], tables: list[list[int]]) -> tuple[int, int, int]:
    """(low, width, bits) of a 64-bit range coder with 32-bit words and 24-bit probabilities, in plain integers."""
    low, width, bits = 0, 2**64 - 1, 64
    for symbol, table in zip(symbols, tables, strict=True):
        unit = width >> 24
        low, width = low + unit * sum(table[:symbol]), unit * table[symbol]
        if width < 2**32:
            low, width, bits = low << 32, width << 32, bits + 32
    return low, width, bits


def inside(start: int, size: int, low: int, width: int, bits: int) -> bool:
    """Whether all that begins with these `size` bytes lies in the coder's interval."""
    unit = bits - 8 * size
    scale = max(0, -unit)  # bytes finer than the coder's state
    low, width, unit = low << scale, width << scale, max(0, unit)
    return low <= start << unit and (start + 1) << unit <= low + width


def intervals(prior: ExactPrior, sent: list[Tokens]) -> list[tuple[int, int, int]]:
    """The coder's interval at the end of each scale, by docs/bitstream.md, in plain integers."""
    symbols: list[int] = []
    tables: list[list[int]] = []
    ends = []
    check = hashlib.sha256(FINGERPRINT + b"\x10" + HEADER[1:])
    for number, groups in enumerate(prior.frequencies(sent)):
        for frequencies, positions in groups:
            codes = frequencies.shape[1]
            below = np.concatenate([np.zeros((len(frequencies), 1)), frequencies.cumsum(1)], 1)
            scaled = np.floor(below * ((2**24 - codes) / frequencies.sum(1, keepdims=True))) + np.arange(codes + 1)
            scaled[:, -1] = 2**24
            tables += np.diff(scaled).astype(int).tolist()
            symbols += sent[number].ravel()[positions].tolist()
        check.update(b"".join(token.to_bytes(2, "big") for token in sent[number].ravel().tolist()))
        bits = 2 if number else 8
        symbols.append(check.digest()[0] >> (8 - bits))
        tables.append([2 ** (24 - bits)] * 2**bits)
        ends.append(interval(symbols, tables))
    return ends


# ---------------------------------------------------------------------------------------- hostile bytes
def decode_packet(coder: EntropyCoder, data: bytes) -> list[Tokens] | None:
    try:
        info = inspect(data)
        header, payload = split(data, info, FINGERPRINT, 4)
        found = coder.decode(payload, feature_grid(info.height, info.width), info.rate_point + 1, header)
    except BitstreamError as error:
        assert str(error)
        return None
    assert 1 <= len(found) <= info.rate_point + 1
    shapes = coder.prior.grid_shapes(*feature_grid(info.height, info.width))
    for tokens, shape in zip(found, shapes, strict=False):
        assert tokens.shape == shape and int(tokens.min()) >= 0 and int(tokens.max()) < 64
    return found


@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_random_bytes(small_prior: ExactPrior, data: bytes) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    decode_packet(coder, data)
    decode_packet(coder, HEADER + data)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_mutated_packets(small_prior: ExactPrior, draw: Draw, data: st.DataObject) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    packet = bytearray(HEADER + coder.encode(draw(small_prior, GRID, data.draw(st.integers(0, 20))), HEADER)[-1])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(packet) - 1))
        kind = data.draw(st.sampled_from(["flip", "insert", "delete", "cut", "repeat"]))
        if kind == "flip":
            packet[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "insert":
            packet.insert(place, data.draw(st.integers(0, 255)))
        elif kind == "delete" and len(packet) > 1:
            del packet[place]
        elif kind == "cut":
            packet = packet[: place + 1]
        else:
            packet += packet[place:]
    decode_packet(coder, bytes(packet))
