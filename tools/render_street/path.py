"""The line the street follows: straight at first, then a gentle bend to the left.

Everything is placed in road coordinates: `s` metres along the centre line, `d` metres to the right of it.
World axes are metres too, z up; at s = 0 the road runs along +y and +x is to the right.
"""

from __future__ import annotations

import math

import numpy as np
from mathutils import Matrix, Vector

STEP = 0.25
S_MIN, S_MAX = -40.0, 260.0
BEND_START, BEND_END, RADIUS = 18.0, 55.0, 150.0


def _curvature(s: np.ndarray) -> np.ndarray:
    t = np.clip((s - BEND_START) / (BEND_END - BEND_START), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t) / RADIUS


_S = np.arange(S_MIN, S_MAX + STEP, STEP)
_HEADING = np.cumsum(_curvature(_S)) * STEP  # radians to the left of +y
_X = np.cumsum(-np.sin(_HEADING)) * STEP
_Y = np.cumsum(np.cos(_HEADING)) * STEP
_X -= np.interp(0.0, _S, _X)
_Y -= np.interp(0.0, _S, _Y)


def heading(s: float) -> float:
    """Direction of the road at `s`, radians counter-clockwise from +y."""
    return float(np.interp(s, _S, _HEADING))


def point(s: float, d: float = 0.0, z: float = 0.0) -> Vector:
    """World position of road coordinates (`s`, `d`) at height `z`."""
    h = heading(s)
    x, y = float(np.interp(s, _S, _X)), float(np.interp(s, _S, _Y))
    return Vector((x + d * math.cos(h), y + d * math.sin(h), z))


def frame(s: float, d: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Matrix:
    """A local frame at (`s`, `d`): +y along the road turned left by `yaw` radians, +x to the right."""
    return Matrix.Translation(point(s, d, z)) @ Matrix.Rotation(heading(s) + yaw, 4, "Z")
