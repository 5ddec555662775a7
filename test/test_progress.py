"""Progress: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io

from mdic_ros.progress import Progress


class Clock:
    """Seconds that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_where_there_is_no_terminal() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress("encoding street", stream=stream, clock=clock) as progress:
        for done in range(41):
            clock.now = done
            progress(done, 40)
    assert stream.getvalue().splitlines() == [
        "encoding street: 10 of 40 frames, about 30 s left",
        "encoding street: 20 of 40 frames, about 20 s left",
        "encoding street: 30 of 40 frames, about 10 s left",
        "encoding street: 40 of 40 frames",
    ]


def test_time_left_counts_what_this_run_has_done() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress("measuring", "pictures", stream=stream, clock=clock) as progress:
        progress(500, 1000)  # done before this run
        clock.now = 60.0
        progress(510, 1000)
    assert stream.getvalue() == "measuring: 510 of 1000 pictures, about 49 min left\n"


def test_unknown_totals_and_shares() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress("reading", "pairs", stream=stream, every_s=0, clock=clock) as progress:
        progress(3)
    with Progress("codec", "%", stream=stream, every_s=0, clock=clock) as progress:
        progress(40, 100)
    assert stream.getvalue().splitlines() == ["reading: 3 pairs", "codec: 40 %"]


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with Progress("encoding [street]", stream=stream, every_s=0) as progress:
        progress(12, 40)
        progress.say("left out: [frame 3]")
    drawn = stream.getvalue()
    assert "encoding [street]" in drawn and "12/40" in drawn and "left out: [frame 3]" in drawn


def test_hidden() -> None:
    stream = Terminal()
    with Progress("encoding", stream=stream, hidden=True, every_s=0) as progress:
        progress(12, 40)
        progress.say("nothing")
    assert stream.getvalue() == ""
