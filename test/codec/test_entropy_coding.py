"""The range-coded payload: exact under every setting, no longer than it must be, cut and damaged at will."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdic_ros.codec.bitstream import BitstreamError, pack_header, split
from mdic_ros.codec.entropy_coding import CHECK_BITS_FIRST, CHECK_BITS_NEXT, EntropyCoder, _shortest
from mdic_ros.models import entropy_model
from mdic_ros.models.entropy_model import EntropyModel, ExactPrior

FINGERPRINT = bytes(range(7, 39))
HEADER = pack_header(3, FINGERPRINT, 128, 256)
GRID = (8, 16)
Draw = Callable[[EntropyModel, tuple[int, int], int], list[torch.Tensor]]


@contextlib.contextmanager
def setting(
    threads: int = 1,
    precision: str = "highest",
    autocast: bool = False,
    dtype: torch.dtype = torch.float32,
    mkldnn: bool = True,
    inference: bool = False,
) -> Iterator[None]:
    """Whatever a host program may have set before it calls us."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_default_dtype()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.set_default_dtype(dtype)
    try:
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
            torch.backends.mkldnn.flags(enabled=mkldnn),
            torch.inference_mode(inference),
        ):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.set_default_dtype(before[2])


SETTINGS = [
    {},
    {"precision": "medium"},
    {"autocast": True, "inference": True},
    {"dtype": torch.float16},
    {"dtype": torch.float64, "mkldnn": False},
    {"precision": "high", "autocast": True, "dtype": torch.bfloat16, "mkldnn": False},
]


def checks(scales: int) -> int:
    return CHECK_BITS_FIRST + CHECK_BITS_NEXT * (scales - 1)


def same(found: list[torch.Tensor], sent: list[torch.Tensor]) -> bool:
    return all(torch.equal(a.cpu(), b) for a, b in zip(found, sent, strict=False))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_a_thousand_frames_under_every_pair_of_settings(small_prior: EntropyModel, draw: Draw) -> None:
    frames, block = 1008, 28
    coder = EntropyCoder(small_prior, FINGERPRINT)
    pairs = itertools.cycle(itertools.product(SETTINGS, SETTINGS))
    grids = itertools.cycle([(4, 8), (4, 12), (8, 8)])
    worst = 0.0
    for start in range(0, frames, block):
        grid = next(grids)
        sent = [draw(small_prior, grid, seed) for seed in range(start, start + block)]
        sender, receiver = next(pairs)
        if start == block:  # once: on grids this small two threads mostly wait for each other
            receiver = {**receiver, "threads": 2}
        with setting(**sender):
            packets = [coder.encode(tokens, HEADER) for tokens in sent]
        with setting(**receiver):
            found = [coder.decode(packet[-1], grid, 4, HEADER) for packet in packets]
        assert all(len(a) == 4 and same(a, b) for a, b in zip(found, sent, strict=True))
        batch = [torch.stack(scale) for scale in zip(*sent, strict=True)]
        bits = small_prior.bits(batch).cumsum(1)
        for rate_point in range(4):
            own = [8 * len(packet[rate_point]) - checks(rate_point + 1) for packet in packets]
            excess = torch.tensor(own) - bits[:, rate_point]
            assert (excess <= 0.02 * bits[:, rate_point] + 16).all()
            worst = max(worst, float(excess.max()))
    assert worst < 10  # the last byte is begun, and one bit to tell the interval: hardly ever more


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_full_size_under_settings(full_prior: EntropyModel, draw: Draw) -> None:
    coder = EntropyCoder(full_prior, FINGERPRINT)
    header = pack_header(4, FINGERPRINT, 128, 256)
    threads = itertools.cycle([1, 2, 1, 3])
    for seed, (sender, receiver) in enumerate(zip(SETTINGS, SETTINGS[1:] + SETTINGS[:1], strict=True)):
        sender, receiver = {**sender, "threads": next(threads)}, {**receiver, "threads": next(threads)}
        sent = draw(full_prior, GRID, seed)
        with setting(**sender):
            payloads = coder.encode(sent, header)
        with setting(**receiver):
            for rate_point in (seed % 4, 4):
                found = coder.decode(payloads[rate_point], GRID, rate_point + 1, header)
                assert len(found) == rate_point + 1 and same(found, sent)
        bits = full_prior.bits([tokens[None] for tokens in sent])[0].cumsum(0)
        for rate_point, payload in enumerate(payloads):
            assert 8 * len(payload) - checks(rate_point + 1) <= 1.02 * bits[rate_point] + 16


def test_frequencies_do_not_depend_on_the_batch(full_prior: EntropyModel, draw: Draw) -> None:
    prior = ExactPrior(full_prior)
    frames = [draw(full_prior, GRID, seed) for seed in range(3)]
    batch = [torch.stack(scale) for scale in zip(*frames, strict=True)]
    together = list(prior.frequencies(batch))
    for number, frame in enumerate(frames):
        alone = prior.frequencies([tokens[None] for tokens in frame])
        for one, all_ in zip(alone, together, strict=True):
            assert all(torch.equal(a[0], b[number]) for (a, _), (b, _) in zip(one, all_, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_and_cpu_give_the_same_bytes(full_prior: EntropyModel, draw: Draw) -> None:
    on_cuda = EntropyModel.from_config(full_prior.config).to("cuda")
    on_cuda.load_state_dict(full_prior.state_dict())
    here, there = EntropyCoder(full_prior, FINGERPRINT), EntropyCoder(on_cuda, FINGERPRINT)
    for seed in range(6):
        sent = draw(full_prior, GRID, seed)
        payloads = here.encode(sent, HEADER)
        assert there.encode(sent, HEADER) == payloads
        assert same(there.decode(payloads[-1], GRID, 5, HEADER), sent)


def golden(small_prior: EntropyModel, full_prior: EntropyModel, draw: Draw) -> dict[str, object]:
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


def feature_grid(height: int, width: int) -> tuple[int, int]:
    return -(-height // 64) * 4, -(-width // 64) * 4


def test_golden_streams(small_prior: EntropyModel, full_prior: EntropyModel, draw: Draw) -> None:
    """These bytes are the format. If this fails, streams that exist can no longer be read: a new version is due."""
    expected = json.loads((Path(__file__).parent / "golden_streams.json").read_text())
    assert golden(small_prior, full_prior, draw) == expected


def test_golden_streams_decode(small_prior: EntropyModel, draw: Draw) -> None:
    grid, header = feature_grid(200, 333), pack_header(3, FINGERPRINT, 200, 333)
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, grid, 3)
    for rate_point, payload in enumerate(coder.encode(sent, header)):
        found = coder.decode(payload, grid, rate_point + 1, header)
        assert len(found) == rate_point + 1 and same(found, sent)


def test_decoding_in_parts_for_large_images(
    small_prior: EntropyModel, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, 1)
    payload = coder.encode(sent, HEADER)[-1]
    monkeypatch.setattr(entropy_model, "TOKENS_AT_ONCE", 5)
    found = coder.decode(payload, GRID, 4, HEADER)
    assert len(found) == 4 and same(found, sent)


@pytest.mark.parametrize("seed", range(6))
def test_every_cut_gives_what_is_whole(small_prior: EntropyModel, draw: Draw, seed: int) -> None:
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


def test_rate_points_stand_alone(small_prior: EntropyModel, draw: Draw) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, 3)
    for rate_point, payload in enumerate(coder.encode(sent, HEADER)):
        found = coder.decode(payload, GRID, 4, HEADER)  # as if it had been sent with all scales, and cut
        assert len(found) == rate_point + 1 and same(found, sent)
        for tail in (b"\0", b"\xff" * 9):
            with pytest.raises(BitstreamError, match="damaged"):
                coder.decode(payload + tail, GRID, rate_point + 1, HEADER)


def test_other_bundle_header_or_weights_fail_the_check(small_prior: EntropyModel, draw: Draw) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    payload = coder.encode(draw(small_prior, GRID, 1), HEADER)[-1]
    with pytest.raises(BitstreamError, match="damaged"):
        EntropyCoder(small_prior, FINGERPRINT[:-1] + b"\0").decode(payload, GRID, 4, HEADER)
    with pytest.raises(BitstreamError, match="damaged"):
        coder.decode(payload, GRID, 4, HEADER[:2] + b"\1\1")
    other = EntropyModel.from_config(small_prior.config)
    with pytest.raises(BitstreamError):
        EntropyCoder(other, FINGERPRINT).decode(payload, GRID, 4, HEADER)


def test_bit_flips_are_found(small_prior: EntropyModel, draw: Draw) -> None:
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


def test_arguments_are_checked(small_prior: EntropyModel, draw: Draw) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    sent = draw(small_prior, GRID, 0)
    for bad in (-1, 64):
        wrong = [tokens.clone() for tokens in sent]
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


def test_least_likely_tokens_keep_the_limit(small_prior: EntropyModel) -> None:
    prior, sent = ExactPrior(small_prior), []
    for scale in prior.decoding(*GRID):
        for frequencies in scale:
            scale.put(frequencies.argmin(-1))
        sent.append(scale.tokens[0].clone())
    coder = EntropyCoder(small_prior, FINGERPRINT)
    for scales, payload in enumerate(coder.encode(sent, HEADER), 1):
        assert len(payload) <= coder.max_bytes(GRID, scales)
    assert same(coder.decode(payload, GRID, 4, HEADER), sent)


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


def intervals(prior: EntropyModel, sent: list[torch.Tensor]) -> list[tuple[int, int, int]]:
    """The coder's interval at the end of each scale, by docs/bitstream.md, without constriction."""
    symbols: list[int] = []
    tables: list[list[int]] = []
    ends = []
    check = hashlib.sha256(FINGERPRINT + b"\x10" + HEADER[1:])
    for number, groups in enumerate(ExactPrior(prior).frequencies([tokens[None] for tokens in sent])):
        for frequencies, positions in groups:
            table = frequencies[0].numpy()
            codes = table.shape[1]
            below = np.concatenate([np.zeros((len(table), 1)), table.cumsum(1)], 1)
            cumulative = np.floor(below * ((2**24 - codes) / table.sum(1, keepdims=True))) + np.arange(codes + 1)
            cumulative[:, -1] = 2**24
            tables += np.diff(cumulative).astype(int).tolist()
            symbols += sent[number].flatten()[positions].tolist()
        check.update(b"".join(token.to_bytes(2, "big") for token in sent[number].flatten().tolist()))
        bits = 2 if number else 8
        symbols.append(check.digest()[0] >> (8 - bits))
        tables.append([2 ** (24 - bits)] * 2**bits)
        ends.append(interval(symbols, tables))
    return ends


@given(
    st.lists(st.tuples(st.integers(1, 2**23), st.integers(0, 2**23 - 1), st.integers(0, 2)), min_size=1, max_size=60),
    st.sampled_from(["any", "middle"]),
)
@settings(max_examples=200, deadline=None)
def test_shortest_bytes_of_any_interval(draws: list[tuple[int, int, int]], which: str) -> None:
    """Also around a carry that stays open for long: "middle" keeps narrowing down on one half."""
    encoder, model = constriction.stream.queue.RangeEncoder(), constriction.stream.model.Categorical
    symbols, tables = [], []
    for left, middle, symbol in draws:
        if which == "middle":
            left, middle, symbol = 2**23 - 1 - left % 50, 3 + middle % 99, 1
        table = [left, middle + 1, 2**24 - left - middle - 1]
        # constriction gives each symbol 1 and shares out the rest: such weights come back as they are.
        weights = np.array(table, np.float64) - 1
        encoder.encode(symbol, model(weights, perfect=False))
        symbols.append(symbol)
        tables.append(table)
    found = _shortest(encoder)
    low, width, bits = interval(symbols, tables)
    start, unit = int.from_bytes(found, "big"), bits - 8 * len(found)
    assert inside(start, len(found), low, width, bits)
    if found:
        longer = unit + 8
        assert (-(-low >> longer) + 1) << longer > low + width  # nothing shorter lies inside


# ---------------------------------------------------------------------------------------- hostile bytes
def decode_packet(coder: EntropyCoder, data: bytes) -> list[torch.Tensor] | None:
    try:
        info, header, payload = split(data, FINGERPRINT, 4)
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
def test_random_bytes(small_prior: EntropyModel, data: bytes) -> None:
    coder = EntropyCoder(small_prior, FINGERPRINT)
    decode_packet(coder, data)
    decode_packet(coder, HEADER + data)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_mutated_packets(small_prior: EntropyModel, draw: Draw, data: st.DataObject) -> None:
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
