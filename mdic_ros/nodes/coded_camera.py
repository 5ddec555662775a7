"""Which camera of the pair the encoder codes, and what it says about that."""

from __future__ import annotations

from typing import Any

from mdic_ros.datasets.calibration import view_of
from mdic_ros.stream.events import Event

#: camera_info often comes later than the first images, from a driver that starts or over a discovery that takes time.
PATIENCE_S = 5.0


class CodedCamera:
    """Finds the camera from the parameter `view` or from camera_info. Events are told once, when they change.

    Attributes:
        view: the camera of the last image, left or right; empty before the first one.
        doubt: why that may be wrong; empty if there is no doubt, or if it is too early to speak of one.
    """

    def __init__(self) -> None:
        self.view = self.doubt = ""
        self._said = ""
        self._first: float | None = None  # time of the first image that nothing is known about

    def choose(self, parameter: str, camera_info: Any, now: float) -> Event | None:
        """Set `view` and `doubt` for an image; returns what is news.

        Args:
            parameter: left, right, or auto for what camera_info says.
            camera_info: the last `sensor_msgs/CameraInfo`; an empty one while there is none.
            now: seconds on a monotonic clock.
        """
        self.doubt = ""
        if parameter != "auto":
            self.view, text = parameter, f"coding the {parameter} camera of the pair (as the parameter view says)"
        else:
            found = view_of(camera_info)
            self.view, text = found.view, f"coding the {found.view} camera of the pair ({found.why})"
            if not found.has_p:
                text = self._unknown(now)
            elif not found.certain:
                self.doubt = text = f"taken for the {found.view} camera: {found.why}"
        if not text or text == self._said:
            return None
        self._said = text
        return Event("warning" if self.doubt else "info", text, "view")

    def _unknown(self, now: float) -> str:
        if self._first is None:
            self._first = now
        if now - self._first >= PATIENCE_S:
            self.doubt = (
                "which camera this is is unknown (no camera_info with a P so far): coding it as the left one; set "
                "`view` if it is the right one."
            )
        return self.doubt
