"""The parts of the demo that need no ROS: collecting, pacing, table, pictures."""

from __future__ import annotations

import io
import math
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from rich.console import Console

from mdic_ros.cli.demo import table
from mdic_ros.cli.demo.frames import Collector, Frame, Row, medians
from mdic_ros.cli.demo.pacing import GIVE_UP_S, Pacer
from mdic_ros.cli.demo.pictures import Video, panels
from mdic_ros.cli.demo.rate_points import Point, Sample, summary, tiles
from mdic_ros.evaluation.contact_sheet import GAP, STRIP, Tile, contact_sheet, spread

SIZE = (64, 128)
MS = 1_000_000


def grey(value: int) -> np.ndarray:
    return np.full((*SIZE, 3), value, np.uint8)


def report(**changes: object) -> SimpleNamespace:
    fields = {
        "sequence": 7,
        "bytes": 100,
        "rate_point": 4,
        "bpp": 0.1,
        "decode_ms": 200.0,
        "queue_ms": 1.0,
        "age_ms": 300.0,
        "side_used": True,
        "caption": "a car",
    }
    return SimpleNamespace(**{**fields, **changes})


class TestCollector:
    @pytest.fixture
    def frames(self) -> list[Frame]:
        return []

    @pytest.fixture
    def collector(self, frames: list[Frame]) -> Collector:
        return Collector(3, frames.append)

    def decode(self, collector: Collector, stamp: int, order: str = "pmr") -> None:
        for part in order:
            if part == "p":
                collector.picture(stamp, grey(110))
            elif part == "m":
                collector.mask(stamp, grey(255)[:, :, 0])
            else:
                collector.report(stamp, report())

    @pytest.mark.parametrize("order", ["pmr", "rmp", "mrp"])
    def test_a_frame_is_whole_when_all_is_there_in_any_order(
        self, collector: Collector, frames: list[Frame], order: str
    ) -> None:
        stamp = 100 * MS
        collector.side(stamp + 5 * MS, grey(90))
        collector.side(stamp + 90 * MS, grey(0))
        collector.record(stamp, 1, "/bitstream", "T", b"x")
        collector.packet(stamp, 100, 1.5)
        self.decode(collector, stamp, order)
        assert not frames
        collector.original(stamp, grey(100), 1.25)
        assert len(frames) == 1 and collector.done == 1
        row = frames[0].row(10.0)
        assert (row.frame, row.bytes, row.kbps, row.encode_ms) == (0, 100, 8.0, 250.0)
        assert row.psnr_db == row.side_psnr_db == pytest.approx(10 * math.log10(255**2 / 100))
        assert frames[0].recorded == [(1, "/bitstream", "T", b"x")]

    def test_what_the_decoder_left_out_comes_in_its_place(self, collector: Collector, frames: list[Frame]) -> None:
        for index in range(3):
            collector.original(index * 100 * MS, grey(index), float(index))
        collector.packet(0, 55, 0.1)
        self.decode(collector, 100 * MS)
        assert [(f.index, f.complete) for f in frames] == [(0, False), (1, True)]
        row = frames[0].row(10.0)
        assert not row.decoded and row.bytes == 55 and math.isnan(row.psnr_db)
        self.decode(collector, 0)  # late: it had been given up
        assert len(frames) == 2
        collector.finish()
        assert [f.index for f in frames] == [0, 1, 2] and collector.done == 3

    def test_images_beyond_the_limit_do_not_count(self, collector: Collector, frames: list[Frame]) -> None:
        for index in range(5):
            collector.original(index, grey(index), 0.0)
            self.decode(collector, index)
        assert len(frames) == collector.played == 3

    def test_a_packet_that_only_the_monitor_missed(self, collector: Collector, frames: list[Frame]) -> None:
        collector.original(0, grey(0), 0.0)
        self.decode(collector, 0)
        row = frames[0].row(10.0)
        assert row.decoded and row.bytes == 100 and math.isnan(row.encode_ms)
        assert row.as_json()["encode_ms"] is None


class TestPacer:
    def test_one_at_a_time_until_the_first_is_out(self) -> None:
        pacer = Pacer(0.1, 0.0)
        assert not pacer.hold(0.0)
        pacer.progress(1, 0, 0.0)
        assert pacer.hold(0.0)
        pacer.took(400.0)
        pacer.progress(1, 1, 1.0)
        assert not pacer.hold(1.0)
        pacer.progress(2, 1, 1.0)
        assert not pacer.hold(1.0)  # one waits while one is being decoded: nothing is overtaken
        pacer.progress(3, 1, 1.1)
        assert pacer.hold(1.1)

    def test_speed_follows_the_typical_frame(self) -> None:
        pacer = Pacer(0.1, 0.0)
        for milliseconds in (200.0, 200.0, 2000.0, 200.0, math.nan):
            pacer.took(milliseconds)
        assert pacer.rate == pytest.approx(0.1 / (1.15 * 0.2))
        for _ in range(5):
            pacer.took(20.0)
        assert pacer.rate == 1.0

    def test_a_lost_frame_does_not_stop_the_show(self) -> None:
        pacer = Pacer(0.1, 0.0)
        pacer.progress(1, 0, 0.0)
        pacer.progress(1, 0, GIVE_UP_S - 1)
        assert pacer.hold(GIVE_UP_S - 1)
        assert not pacer.hold(GIVE_UP_S + 1)
        pacer.progress(2, 2, GIVE_UP_S + 2)
        pacer.progress(4, 2, GIVE_UP_S + 2)
        assert pacer.hold(GIVE_UP_S + 2)


def row(frame: int, **changes: object) -> Row:
    fields: dict = {
        "decoded": True,
        "bytes": 100 + frame,
        "bpp": 0.0244,
        "kbps": 8.0,
        "encode_ms": 20.0,
        "decode_ms": 200.0,
        "age_ms": 250.0,
        "psnr_db": 21.0 + frame,
        "caption": "a red car [bold]",
    }
    return Row(frame, frame, **{**fields, **changes})


def test_medians_leave_out_what_is_not_known() -> None:
    rows = [row(0), row(2, encode_ms=math.nan), row(4), Row(5, 5)]
    result = medians(rows)
    assert (result["bytes"], result["psnr_db"], result["encode_ms"]) == (102.0, 23.0, 20.0)
    assert math.isnan(result["side_psnr_db"]) and math.isnan(medians([Row(0, 0)])["bytes"])


class TestTable:
    def test_lines_are_aligned_under_their_heads(self) -> None:
        width = len(table.heading())
        assert len(table.line(row(3))) == width
        assert table.line(row(3)).split() == ["3", "103", "0.0244", "8.0", "20", "200", "250", "24.00"]
        assert table.line(Row(9, 0)).split()[:3] == ["9", "-", "-"] and "not decoded" in table.line(Row(9, 0))

    def test_live(self) -> None:
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with table.Display(console, 30) as display:
            display.add(Row(0, 0), 1.0)
            for index in range(1, 20):
                display.add(row(index), 0.31)
        drawn = console.file.getvalue()  # type: ignore[attr-defined]
        last = drawn[drawn.rindex("encode ms") :]
        assert "frame 20 of 30" in last and "0.31 of its speed" in last and "a red car [bold]" in last
        assert "median" in last and "31.00" in last and "27.00" not in last  # the twelve last ones

    def test_plain(self) -> None:
        console = Console(file=io.StringIO(), force_terminal=False, width=20)
        with table.Display(console, 2) as display:
            display.say("a line that is much longer than the width of this console")
            display.add(row(0), 1.0)
            display.add(row(1), 1.0)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert lines[1:] == [table.heading(), table.line(row(0)), table.line(row(1))]


class TestPictures:
    def test_panels_have_even_sides_and_hold_the_pictures(self) -> None:
        picture = panels([Tile(grey(40), "one"), Tile(None, "none"), Tile(grey(200), "x" * 500)], SIZE, 2, "below")
        assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
        middle = picture[picture.shape[0] // 2]
        width = picture.shape[1]
        assert [int(middle[at, 0]) for at in (width // 6, width // 2, 5 * width // 6)] == [40, 255, 200]

    def test_panels_without_a_line_below_end_with_the_pictures(self) -> None:
        low, high = (panels([Tile(grey(40), "one")], SIZE, 1, footer) for footer in (None, ""))
        for picture, below in ((low, GAP), (high, GAP + STRIP)):
            rows = np.flatnonzero((picture[:, GAP : GAP + SIZE[1]] == 40).all((1, 2)))
            assert len(rows) == SIZE[0] and picture.shape[0] - 1 - rows[-1] - below in (0, 1)  # one to be even

    def test_video_shows_what_went_in(self, tmp_path: Path) -> None:
        with Video(tmp_path / "v.mp4", 9.6794) as video:
            for value in (30, 130, 230):
                video.add(panels([Tile(grey(value), "")], SIZE, 1))
        with av.open(str(tmp_path / "v.mp4")) as file:
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert [round(float(frame[50, 60].mean()), -1) for frame in frames] == [30, 130, 230]
        assert list(tmp_path.iterdir()) == [tmp_path / "v.mp4"]

    def test_no_video_after_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError), Video(tmp_path / "v.mp4", 10) as video:
            video.add(panels([Tile(grey(0), "")], SIZE, 1))
            raise RuntimeError
        with Video(tmp_path / "empty.mp4", 10):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_sheet(self) -> None:
        sample = Sample(12, grey(50), grey(60), 20.0, [Point(15, 18.0, grey(70)), Point(48, 19.5, grey(80))])
        blocks = tiles([sample, sample])
        assert [[tile.label for tile in line] for line in blocks[0]] == [
            [
                "frame 12: original",
                "side image: 0 bytes, 20.0 dB",
                "rate point 0: 15 bytes, 18.0 dB",
                "rate point 1: 48 bytes, 19.5 dB",
            ]
        ]
        sheet = contact_sheet(blocks, SIZE, ["title", "second line"])
        assert sheet.dtype == np.uint8
        assert sheet.shape[1] >= 4 * 2 * SIZE[1] and sheet.shape[0] >= 2 * 2 * SIZE[0]  # enlarged for the labels
        pixels = 2 * (2 * SIZE[0]) * (2 * SIZE[1])  # of two pictures
        for value in (50, 60, 70, 80):
            assert 0 <= (sheet == value).all(2).sum() - pixels < 500  # some of the letters' edges have this grey, too
        assert 4 * pixels > 0.6 * sheet.shape[0] * sheet.shape[1]  # hardly any of it is empty
        assert summary([sample, sample], SIZE)[1] == {"rate_point": 1, "bytes": 48.0, "bpp": 0.04688, "psnr_db": 19.5}

    @pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (40, [6, 20, 33])])
    def test_spread(self, count: int, expected: list[int]) -> None:
        assert spread(count) == expected
