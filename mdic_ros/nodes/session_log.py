"""Messages of a session, in the node's log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mdic_ros.stream.events import Event

_PERIOD_S = 5.0


class SessionLog:
    """Logs events, of each kind and severity at most one in five seconds: every packet may bring one.

    rclpy's own throttling works by line of code: there one kind of event would hide the others.

    Args:
        logger: the node's.
        clock: seconds, monotonic.
    """

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._clock = logger, clock
        self._logged: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        key, now = (event.kind, event.severity), self._clock()
        if now - self._logged.get(key, float("-inf")) < _PERIOD_S:
            return
        self._logged[key] = now
        if event.severity == "error":  # a line for each: rclpy refuses another severity from the same line
            self._logger.error(event.text)
        elif event.severity == "warning":
            self._logger.warning(event.text)
        else:
            self._logger.info(event.text)
