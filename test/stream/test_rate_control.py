import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdic_ros.stream.rate_control import Choice, Limits, RateController, RateLimiter

SIZES = [15, 48, 125, 260, 400]


def run(limits: Limits, seconds: float, rate_hz: float = 10.0, seed: int = 0) -> list[tuple[float, int]]:
    """(time, bytes) of the frames sent; sizes and arrival times jitter."""
    jitter = random.Random(seed)
    controller = RateController()
    sent = []
    for index in range(int(seconds * rate_hz)):
        now = 100 + (index + jitter.uniform(-0.2, 0.2)) / rate_hz
        sizes = [round(size * jitter.uniform(0.9, 1.1)) for size in SIZES]
        choice = controller.choose(sizes, limits, now)
        if choice.rate_point is not None:
            sent.append((now, sizes[choice.rate_point]))
    return sent


def worst_window(sent: list[tuple[float, int]], window_s: float) -> int:
    return max(sum(size for time, size in sent if start - window_s < time <= start) for start, _ in sent)


def test_without_limits_the_finest_point_is_sent():
    assert RateController().choose(SIZES, Limits(), 0.0) == Choice(4)


@pytest.mark.parametrize("rate_point, expected", [(0, 0), (2, 2), (4, 4), (-1, 4), (9, 4)])
def test_rate_point_is_the_finest_one(rate_point, expected):
    assert RateController().choose(SIZES, Limits(rate_point=rate_point), 0.0) == Choice(expected)


@pytest.mark.parametrize("budget, expected", [(15, 0), (47, 0), (48, 1), (399, 3), (400, 4), (65536, 4)])
def test_max_bytes_takes_the_finest_that_fits(budget, expected):
    assert RateController().choose(SIZES, Limits(max_bytes_per_frame=budget), 0.0) == Choice(expected)


def test_a_frame_that_never_fits_is_left_out():
    choice = RateController().choose(SIZES, Limits(max_bytes_per_frame=14), 0.0)
    assert choice == Choice(None, "over_max_bytes")


def test_limits_hold_together():
    limits = Limits(rate_point=3, max_bytes_per_frame=130)
    assert RateController().choose(SIZES, limits, 0.0) == Choice(2)
    assert RateController().choose(SIZES, Limits(rate_point=1, max_bytes_per_frame=130), 0.0) == Choice(1)


@pytest.mark.parametrize("kbps", [0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 31.0])
def test_target_bitrate_holds_in_every_window_and_is_used(kbps):
    limits = Limits(target_bitrate_kbps=kbps, window_s=2.0)
    sent = run(limits, 60)
    assert worst_window(sent, limits.window_s) <= kbps * 1000 / 8 * limits.window_s
    used = sum(size for _, size in sent) / 60 * 8 / 1000
    assert used >= 0.8 * min(kbps, 400 * 10 * 8 / 1000)


def test_frames_get_coarser_before_any_is_left_out():
    sent = run(Limits(target_bitrate_kbps=5.0), 60)  # 62 bytes a frame
    assert len(sent) == 600


def test_frames_are_left_out_when_even_the_coarsest_is_too_much():
    sent = run(Limits(target_bitrate_kbps=0.6), 60)  # 7.5 bytes a frame, 15 needed
    assert 240 <= len(sent) <= 310
    gaps = [b - a for (a, _), (b, _) in pairwise(sent[5:])]
    assert max(gaps) < 0.5  # evenly, not in bursts


def test_no_burst_at_the_start_nor_after_a_pause():
    limits = Limits(target_bitrate_kbps=8.0)  # 100 bytes a frame at 10 Hz
    controller = RateController()
    first = [controller.choose(SIZES, limits, 0.1 * index).rate_point for index in range(5)]
    assert max(p for p in first if p is not None) <= 2
    for index in range(50):
        controller.choose(SIZES, limits, 0.5 + 0.1 * index)
    after = [controller.choose(SIZES, limits, 30 + 0.1 * index).rate_point for index in range(5)]
    assert sum(SIZES[p] for p in after if p is not None) <= 900  # five shares and a small credit


def test_a_window_too_short_for_one_frame_does_not_silence_the_stream():
    limits = Limits(target_bitrate_kbps=0.3, window_s=0.1)  # 3.75 bytes a window, 37.5 a second
    sent = run(limits, 60)
    assert 100 <= len(sent) <= 150
    assert sum(size for _, size in sent) / 60 <= 0.3 * 1000 / 8 * 1.02


def test_the_target_can_change_while_running():
    controller = RateController()
    now, spent = 0.0, []
    for kbps in (20.0, 2.0, 0.0, 5.0):
        total = 0
        for _ in range(300):
            now += 0.1
            choice = controller.choose(SIZES, Limits(target_bitrate_kbps=kbps), now)
            total += SIZES[choice.rate_point] if choice.rate_point is not None else 0
        spent.append(total * 8 / 1000 / 30)
    assert 16 <= spent[0] <= 20
    assert spent[1] <= 2.0
    assert spent[2] == pytest.approx(32.0)
    assert spent[3] <= 5.0


@settings(max_examples=60, deadline=None)
@given(
    kbps=st.floats(0.2, 60),
    window_s=st.floats(0.5, 10),
    rate_hz=st.floats(0.5, 60),
    seed=st.integers(0, 2**16),
)
def test_the_window_is_never_exceeded(kbps, window_s, rate_hz, seed):
    limits = Limits(target_bitrate_kbps=kbps, window_s=window_s)
    sent = run(limits, 20, rate_hz, seed)
    if sent:
        # A single frame may be more than a whole short window allows; then it stands alone in it.
        most_of_one = max(size for _, size in sent)
        assert worst_window(sent, window_s) <= max(kbps * 1000 / 8 * window_s, most_of_one)


@settings(max_examples=300, deadline=None)
@given(
    frames=st.lists(
        st.tuples(st.floats(0.0, 5.0), st.lists(st.integers(1, 3000), min_size=1, max_size=6)), min_size=1, max_size=80
    ),
    limits=st.builds(
        Limits,
        rate_point=st.integers(-1, 6),
        max_bytes_per_frame=st.one_of(st.just(0), st.integers(1, 3000)),
        target_bitrate_kbps=st.floats(0.05, 100),
        window_s=st.floats(0.1, 20),
    ),
)
def test_for_any_sizes_times_and_limits_the_budget_holds(frames, limits):
    controller, now, sent = RateController(), 50.0, []
    for gap, sizes in frames:
        now += gap
        sizes = sorted(sizes)
        finest = controller.finest(limits)
        coded = sizes if finest is None else sizes[: finest + 1]
        choice = controller.choose(coded, limits, now)
        if choice.rate_point is None:
            assert choice.reason in ("over_max_bytes", "over_bitrate")
            continue
        size = sizes[choice.rate_point]
        assert limits.rate_point < 0 or choice.rate_point <= limits.rate_point
        assert not limits.max_bytes_per_frame or size <= limits.max_bytes_per_frame
        sent.append((now, size))
        inside = [(t, s) for t, s in sent if now - limits.window_s < t]
        budget = limits.target_bitrate_kbps * 1000 / 8 * limits.window_s
        # Only a coarsest frame may be more than the whole window allows, and then it stands alone in it.
        assert sum(s for _, s in inside) <= budget or (len(inside) == 1 and choice.rate_point == 0)


def test_no_frame_of_a_finer_point_breaks_a_short_window():
    """0.1.0 let a fine frame through whenever the window was empty."""
    limits = Limits(target_bitrate_kbps=8.0, window_s=0.5)  # 500 bytes
    controller = RateController()
    sizes = [22, 86, 219, 450, 667]
    points = [controller.choose(sizes, limits, float(second)).rate_point for second in range(20)]
    assert max(sizes[point] for point in points if point is not None) <= 500
    assert points[-1] == 3


@pytest.mark.parametrize(
    "kbps, rate_hz, sizes",
    [
        (8.0, 3.0, [22, 86, 219, 450, 667]),
        (8.0, 10.0, SIZES),
        (20.0, 10.0, SIZES),
        (30.0, 30.0, SIZES),
        (2.0, 10.0, SIZES),
    ],
)
def test_at_a_steady_target_the_quality_is_steady(kbps, rate_hz, sizes):
    limits, controller = Limits(target_bitrate_kbps=kbps), RateController()
    points = [controller.choose(sizes, limits, index / rate_hz).rate_point for index in range(200)]
    settled = points[20:]
    assert None not in settled
    assert max(settled) - min(settled) <= 1
    used = sum(sizes[point] for point in settled) / len(settled) * rate_hz * 8 / 1000
    assert used > 0.7 * kbps


@pytest.mark.parametrize("rate_hz, limit, expected", [(30, 10, 100), (10, 10, 100), (30, 0, 300), (5, 10, 50)])
def test_rate_limiter_lets_through_evenly(rate_hz, limit, expected):
    jitter = random.Random(1)
    limiter = RateLimiter()
    times = [(index + jitter.uniform(-0.1, 0.1)) / rate_hz for index in range(10 * rate_hz)]
    passed = [time for time in times if limiter.admit(limit, time)]
    assert len(passed) == pytest.approx(expected, abs=2)


def test_rate_limiter_starts_anew_after_a_pause():
    limiter = RateLimiter()
    assert limiter.admit(1.0, 0.0)
    assert limiter.admit(1.0, 100.0)
    assert not limiter.admit(1.0, 100.1)  # no credit for the pause


def test_a_new_frame_rate_takes_effect_at_once():
    limiter = RateLimiter()
    assert limiter.admit(0.01, 0.0)
    assert not limiter.admit(0.01, 1.0)
    assert limiter.admit(10.0, 1.1)  # the next slot of 0.01 Hz would be at 100 s
    assert not limiter.admit(10.0, 1.15)
    assert not limiter.admit(1.0, 1.5)
    assert limiter.admit(1.0, 2.1)
    assert limiter.admit(0.0, 2.11)
