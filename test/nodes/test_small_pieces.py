"""Meters, health, and the log of a session."""

import math
from types import SimpleNamespace

from mdic_ros.nodes.diagnostics import Health, Level, Meter, drop_values
from mdic_ros.nodes.session_log import SessionLog
from mdic_ros.stream.events import Event


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


def test_a_kind_of_event_is_logged_once_in_five_seconds_and_hides_no_other_kind():
    now, lines = [0.0], []
    methods = {name: lambda text, name=name: lines.append((name, text)) for name in ("info", "warning", "error")}
    log = SessionLog(SimpleNamespace(**methods), clock=lambda: now[0])
    for tenth in range(60):
        now[0] = tenth / 10
        log(Event("warning", f"packet {tenth} is damaged", "damaged", one_frame=True))
        log(Event("error" if tenth % 2 else "info", f"model {tenth}", "model"))
    assert lines == [
        ("warning", "packet 0 is damaged"),
        ("info", "model 0"),
        ("error", "model 1"),
        ("warning", "packet 50 is damaged"),
        ("info", "model 50"),
        ("error", "model 51"),
    ]
