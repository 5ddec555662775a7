"""Messages of a session, in the node's log."""

from __future__ import annotations

from typing import Any

from mdic_ros.stream.events import Event

_THROTTLE_S = 5.0


def log(node: Any, event: Event) -> None:
    """Log an event; what may come with every frame at most every five seconds."""
    logger = node.get_logger()
    if event.cause:  # one line for each severity: rclpy keeps severity and throttling by line
        if event.severity == "error":
            logger.error(event.text, throttle_duration_sec=_THROTTLE_S)
        else:
            logger.warning(event.text, throttle_duration_sec=_THROTTLE_S)
    elif event.severity == "error":
        logger.error(event.text)
    elif event.severity == "warning":
        logger.warning(event.text)
    else:
        logger.info(event.text)
