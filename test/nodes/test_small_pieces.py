"""Captions, model guard, meters, playback and stamps."""

import math

import pytest

from mdic_ros.codec.bitstream import VERSION
from mdic_ros.nodes.captions import CaptionKeeper
from mdic_ros.nodes.diagnostics import Health, Level, Meter, drop_values
from mdic_ros.nodes.model_guard import STREAM_VERSION, ModelGuard
from mdic_ros.nodes.playback import Playhead, offsets

MINE, OTHER = "aa" + "0" * 62, "bb" + "0" * 62


class Captioner:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, side: object) -> str:
        self.calls += 1
        return f"{side} {self.calls}"


def test_captions_are_refreshed_every_n_frames():
    captioner = Captioner()
    keeper = CaptionKeeper(captioner)
    captions = [keeper.caption("street", fixed="", every=3) for _ in range(7)]
    assert captions == ["street 1"] * 3 + ["street 2"] * 3 + ["street 3"]


def test_a_fixed_caption_wins_and_is_given_back_at_once():
    captioner = Captioner()
    keeper = CaptionKeeper(captioner)
    assert keeper.caption("street", fixed="", every=10) == "street 1"
    assert keeper.caption("street", fixed="a red car", every=10) == "a red car"
    assert captioner.calls == 1
    assert keeper.caption("street", fixed="", every=10) == "street 2"


def test_without_a_side_image_there_is_nothing_to_describe():
    captioner = Captioner()
    keeper = CaptionKeeper(captioner)
    assert keeper.caption(None, fixed="", every=1) == ""
    assert keeper.caption(None, fixed="fog", every=1) == "fog"
    assert captioner.calls == 0


def test_the_right_model_is_not_news():
    guard = ModelGuard("tiny", MINE)
    assert guard.announced("tiny", MINE) is None
    assert STREAM_VERSION == VERSION
    assert guard.packet(0xAA) == (True, None)


def test_a_wrong_model_is_refused_told_once_and_forgiven():
    guard = ModelGuard("tiny", MINE)
    good, text = guard.announced("big", OTHER)
    assert not good
    assert "big bb000000" in text and "tiny aa000000" in text
    assert guard.packet(0xBB)[0] is False
    assert guard.packet(0xAA) == (False, None)  # even if the first byte agrees
    assert guard.problem == text
    assert guard.announced("big", OTHER) is None
    assert guard.announced("tiny", MINE) == (True, "the stream is of tiny aa000000 now: decoding")
    assert guard.packet(0xAA) == (True, None)
    assert guard.problem is None


def test_a_wrong_packet_is_refused_without_any_stream_info():
    guard = ModelGuard("tiny", MINE)
    allowed, news = guard.packet(0xBB)
    assert not allowed
    assert news is not None and "begins with bb" in news[1]
    assert guard.packet(0xBB) == (False, None)
    allowed, news = guard.packet(0xAA)
    assert allowed and news is not None and news[0]


def test_meter_forgets():
    now = [0.0]
    meter = Meter(window_s=5.0, clock=lambda: now[0])
    assert meter.seconds_since_last == math.inf
    assert math.isnan(meter.mean)
    for second in range(10):
        now[0] = float(second)
        meter.add(second)
    assert meter.rate_hz == 1.0
    assert meter.mean == 7.0
    assert meter.per_second == 7.0
    now[0] = 20.0
    assert meter.rate_hz == 0.0
    assert meter.seconds_since_last == 11.0


def test_health_keeps_the_first_of_the_worst():
    health = Health()
    health.worse(Level.WARN, "a")
    health.worse(Level.WARN, "b")
    assert (health.level, health.message) == (Level.WARN, "a")
    health.worse(Level.ERROR, "c")
    health.worse(Level.WARN, "d")
    assert (health.level, health.message) == (Level.ERROR, "c")
    assert drop_values({"wrong_model": 3}) == {"dropped: wrong model": "3"}


def test_playhead_runs_pauses_and_never_passes_the_next_frame():
    head = Playhead(1_000, now=10.0)
    assert head.move(10.5, 1.0, 10**12) == 500_001_000
    assert head.move(11.5, 2.0, 10**12) == 2_500_001_000
    assert head.move(20.0, 0.0, 10**12) == 2_500_001_000
    assert head.move(21.0, 1.0, 2_600_000_000) == 2_600_000_000
    assert head.move(22.0, 1.0, 2_600_000_000) == 2_600_000_000
    assert head.move(22.1, 1.0, 10**12) == 2_700_000_000


def test_playhead_goes_on_from_where_it_was_after_a_late_frame():
    head = Playhead(0, now=0.0)
    head.move(5.0, 1.0, 100_000_000)  # the frame at 0.1 s was waited for until 5 s
    assert head.move(5.1, 1.0, 10**12) == pytest.approx(200_000_000, abs=1)


def test_loop_offsets_keep_the_mean_period():
    stamps = [0, 100, 200, 300]
    rounds = offsets(stamps)
    assert [next(rounds) for _ in range(3)] == [0, 400, 800]
    single = offsets([5])
    assert [next(single), next(single)] == [0, 100_000_000]
