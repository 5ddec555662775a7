"""Health at 1 Hz on /diagnostics, and the meters that it reads.

diagnostic_updater is used where it is installed (every ROS 2 host), which adds what its users know: the
`diagnostic_updater.period` parameter, and names under the node's. Without it the same message is put together
here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

PERIOD_S = 1.0


class Level(IntEnum):
    """Levels of `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass
class Health:
    """What a node says about itself: the worst problem that it has, and figures."""

    level: Level = Level.OK
    message: str = "running"
    values: dict[str, str] = field(default_factory=dict)

    def worse(self, level: Level, message: str) -> None:
        """Report a problem; the first of the worst level is the one that is shown."""
        if level > self.level:
            self.level, self.message = level, message


class Meter:
    """Rate and mean of values over the last `window_s` seconds. One thread adds, another may read."""

    def __init__(self, window_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._entries: deque[tuple[float, float]] = deque(maxlen=10_000)

    def add(self, value: float = 0.0) -> None:
        self._entries.append((self._clock(), value))

    def _recent(self) -> list[tuple[float, float]]:
        since = self._clock() - self._window_s
        return [entry for entry in list(self._entries) if entry[0] > since]

    @property
    def rate_hz(self) -> float:
        """Entries per second."""
        return len(self._recent()) / self._window_s

    @property
    def per_second(self) -> float:
        """Sum of the values per second."""
        return sum(value for _, value in self._recent()) / self._window_s

    @property
    def mean(self) -> float:
        """Mean of the values, NaN when there are none."""
        values = [value for _, value in self._recent()]
        return sum(values) / len(values) if values else float("nan")

    @property
    def seconds_since_last(self) -> float:
        """Infinite before the first entry."""
        return self._clock() - self._entries[-1][0] if self._entries else float("inf")


def drop_values(drops: Mapping[str, int]) -> dict[str, str]:
    """Drop counts as diagnostic values, one per cause."""
    return {f"dropped: {cause.replace('_', ' ')}": str(count) for cause, count in drops.items()}


class Diagnostics:
    """Publishes `report()` once a second under the node's name; `hardware_id` is the model."""

    def __init__(self, node: Any, hardware_id: str, report: Callable[[], Health]) -> None:
        self._node = node
        self._report = report
        try:
            from diagnostic_updater import Updater
        except ImportError:
            self._by_hand(hardware_id)
            return
        # The updater's own parameter: two decoders in two namespaces must not report under one name.
        node.declare_parameter("diagnostic_updater.use_fqn", node.get_namespace() != "/")
        updater = Updater(node, period=PERIOD_S)
        updater.setHardwareID(hardware_id)
        updater.add("stream", self._fill)
        self._updater = updater

    def _fill(self, status: Any) -> Any:
        health = self._report()
        status.summary(bytes([health.level]), health.message)
        for key, value in health.values.items():
            status.add(key, value)
        return status

    def _by_hand(self, hardware_id: str) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.clock import Clock, ClockType

        self._hardware_id = hardware_id
        in_root = self._node.get_namespace() == "/"
        self._name = self._node.get_name() if in_root else self._node.get_fully_qualified_name()
        self._publisher = self._node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: health must be told even when /clock stands still.
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._node.create_timer(PERIOD_S, self._publish, clock=self._clock)

    def _publish(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

        health = self._report()
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status.append(
            DiagnosticStatus(
                level=bytes([health.level]),
                name=f"{self._name}: stream",
                message=health.message,
                hardware_id=self._hardware_id,
                values=[KeyValue(key=key, value=value) for key, value in health.values.items()],
            )
        )
        self._publisher.publish(message)
