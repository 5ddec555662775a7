"""Who moves, and how: the camera rig and everybody else on the road."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mathutils import Matrix

from . import path
from .people import Look, Person
from .street import PAVEMENT_Z
from .vehicles import Car

FRAMES = 40
SPEED = 8.0  # m/s
CAMERA_HEIGHT = 1.65


def rig_pose(t: float) -> Matrix:
    """The left camera's body frame at `t` seconds: x right, y ahead, z up. It passes the cyclist."""
    s = SPEED * t
    swing = 1.75 - 0.75 * 0.5 * (1 - math.cos(math.pi * min(max((t - 0.4) / 2.6, 0.0), 1.0)))
    d = swing + 0.05 * math.sin(2.1 * t)
    ahead = path.point(s + 9.0, swing - 0.25)
    here = path.point(s, d)
    yaw = math.atan2(-(ahead.x - here.x), ahead.y - here.y) + 0.006 * math.sin(3.0 * t + 0.5)
    pitch = 0.006 * math.sin(4.4 * t) + 0.003 * math.sin(9.1 * t + 1.0)
    roll = 0.005 * math.sin(2.7 * t + 0.8)
    z = CAMERA_HEIGHT + 0.012 * math.sin(7.3 * t)
    turn = Matrix.Rotation(yaw, 4, "Z") @ Matrix.Rotation(pitch, 4, "X") @ Matrix.Rotation(roll, 4, "Y")
    return Matrix.Translation((here.x, here.y, z)) @ turn


@dataclass
class Mover:
    """Somebody going along the street at constant speed from `s`, `d` at t = 0."""

    actor: Car | Person
    s: float
    d: float
    speed: float  # m/s along +s, negative towards the camera
    across: float = 0.0  # m/s along +d
    ground: float = 0.0

    def move(self, t: float) -> None:
        s, d = self.s + self.speed * t, self.d + self.across * t
        yaw = math.atan2(-self.across, self.speed) if (self.speed or self.across) else 0.0
        gone = math.hypot(self.speed, self.across) * t
        self.actor.move(path.frame(s, d, self.ground, yaw), gone)


@dataclass
class Bystander:
    """Somebody who stands at `s`, `d`, turned by `yaw`."""

    actor: Person
    s: float
    d: float
    yaw: float

    def move(self, t: float) -> None:
        self.actor.move(path.frame(self.s, self.d, PAVEMENT_Z, self.yaw))


def cast() -> list[Mover | Bystander]:
    """Everybody who moves or stands about."""
    looks = {
        "red": Look((0.42, 0.03, 0.03), (0.03, 0.04, 0.08), long_hair=True, height=1.68, girth=0.94, bag=True),
        "blue": Look((0.05, 0.10, 0.24), (0.12, 0.11, 0.10), height=1.80),
        "white": Look(
            (0.62, 0.60, 0.56),
            (0.05, 0.07, 0.14),
            hair=(0.20, 0.12, 0.05),
            long_hair=True,
            height=1.70,
            girth=0.92,
        ),
        "dark": Look((0.03, 0.03, 0.035), (0.05, 0.05, 0.055), height=1.83, coat=True),
        "green": Look((0.08, 0.13, 0.06), (0.22, 0.18, 0.12), hair=(0.4, 0.4, 0.4), height=1.74, girth=1.1),
        "yellow": Look(
            (0.62, 0.42, 0.05),
            (0.04, 0.05, 0.09),
            hair=(0.30, 0.18, 0.06),
            long_hair=True,
            height=1.66,
            girth=0.92,
        ),
        "check": Look((0.36, 0.30, 0.24), (0.42, 0.38, 0.30), hair=(0.30, 0.28, 0.26), checked=True, girth=1.05),
        "rider": Look((0.50, 0.16, 0.03), (0.05, 0.07, 0.13), hair=(0.10, 0.06, 0.03), height=1.80),
    }
    z = PAVEMENT_Z
    walkers = [
        ("red", 14.0, 7.6, -1.35),
        ("blue", 20.5, 7.1, 1.4),
        ("dark", 33.0, 7.9, -1.3),
        ("yellow", 33.4, 7.3, -1.3),
        ("white", 45.0, 7.5, 1.2),
        ("green", 60.0, 8.3, -1.0),
        ("dark", 26.0, -7.4, 1.3),
        ("red", 41.0, -7.6, -1.3),
        ("white", 52.0, -8.0, 1.1),
        ("blue", 70.0, 7.4, -1.4),
    ]
    people: list[Mover | Bystander] = [
        Mover(Person(looks[who], "walk", f"person {i}", offset=0.37 * i), s, d, v, ground=z)
        for i, (who, s, d, v) in enumerate(walkers)
    ]
    people.append(Mover(Person(looks["green"], "walk", "person crossing"), 57.0, -3.4, 0.0, across=1.35))
    people.append(Mover(Person(looks["yellow"], "walk", "person crossing 2", 0.3), 57.9, -4.5, 0.0, across=1.30))
    people.append(Bystander(Person(looks["check"], "stand", "person waiting"), 36.5, 7.0, 1.3))
    people.append(Bystander(Person(looks["blue"], "stand", "person at shop"), 12.5, 9.0, -1.5))
    people.append(Bystander(Person(looks["white"], "stand", "person left"), 21.5, -8.8, 1.2))
    people.append(Mover(Person(looks["rider"], "cycle", "cyclist"), 12.5, 2.75, 4.6))
    return [
        *people,
        Mover(Car("estate", "silver", "lead car"), 21.0, 1.65, 8.6),
        Mover(Car("saloon", "blue", "oncoming car"), 52.0, -1.75, -9.5),
        Mover(Car("van", "white", "oncoming van"), 96.0, -1.75, -8.5),
        Mover(Car("hatchback", "red", "far car"), 88.0, 1.7, 7.0),
    ]
