"""Meters and health."""

import math

from mdic_ros.nodes.diagnostics import Health, Level, Meter, drop_values


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
