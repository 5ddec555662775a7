"""What stands on the pavement: lamps, signs, signals, bins, bollards, cafe tables, cabinets."""

from __future__ import annotations

import math
from itertools import pairwise

from mathutils import Matrix

from . import materials as m
from .mesh import MeshBuilder, text

GALVANISED = ((0.32, 0.33, 0.34), 0.45, 0.7)
WHITE, RED, BLUE = (0.78, 0.78, 0.76), (0.50, 0.012, 0.015), (0.012, 0.09, 0.40)
YELLOW, BLACK = (0.80, 0.50, 0.02), (0.012, 0.012, 0.012)
FACING = Matrix.Rotation(math.pi / 2, 4, "X")  # lays a disc's axis along -y


def lamp(matrix: Matrix, reach: float = 1.9) -> None:
    """A mast with a curved arm that reaches along -x."""
    b = MeshBuilder("lamp")
    steel = m.plain((0.09, 0.11, 0.10), 0.5, 0.4)
    line = [(0, 0, 0), (0, 0, 1.2), (0, 0, 6.2)]
    line += [(-reach * (1 - math.cos(t)) * 0.9, 0, 6.2 + 0.9 * math.sin(t)) for t in (0.3, 0.6, 0.9, 1.2, 1.5)]
    b.tube(line, [0.10, 0.075, 0.055, 0.05, 0.045, 0.045, 0.04, 0.04], steel, 10)
    b.tube(((0, 0, 0), (0, 0, 0.9)), (0.115, 0.105), steel, 10)
    x = line[-1][0]
    b.ellipsoid((x - 0.30, 0, line[-1][2] - 0.01), (0.42, 0.14, 0.075), steel)
    b.ellipsoid((x - 0.32, 0, line[-1][2] - 0.045), (0.32, 0.11, 0.06), m.flat((0.8, 0.8, 0.75), 0.1))
    b.build(matrix)


def _disc(b: MeshBuilder, radius: float, z: float, y: float, material) -> None:
    b.lathe(
        [(0, 0.0), (radius, 0.0), (radius, -0.012)],
        material,
        Matrix.Translation((0, y, z)) @ FACING,
        28,
        smooth=False,
    )


def _plate(b: MeshBuilder, w: float, h: float, z: float, y: float, material) -> None:
    b.box((-w / 2, y, z - h / 2), (w / 2, y + 0.012, z + h / 2), material)


def _triangle(b: MeshBuilder, size: float, z: float, y: float, material, up: bool = True) -> None:
    s = 1 if up else -1
    points = [(math.sin(a) * size, y, z + s * math.cos(a) * size) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    b.face(points if not up else points[::-1], material)


def sign(kind: str, matrix: Matrix, height: float = 2.45) -> None:
    """A traffic sign that faces -y."""
    b = MeshBuilder(f"sign {kind}")
    b.tube(((0, 0.05, 0), (0, 0.05, height + 0.35)), (0.03, 0.03), m.plain(*GALVANISED), 8)
    z, f = height, m.flat
    b.lathe(
        [(0, 0.012), (0.31, 0.012)],
        m.plain(*GALVANISED),
        Matrix.Translation((0, 0.02, z)) @ FACING.inverted(),
        20,
    )
    if kind == "no stopping":
        for r, y, c in ((0.32, 0.0, RED), (0.26, -0.004, BLUE)):
            _disc(b, r, z, y, f(c))
        for a in (math.pi / 4, -math.pi / 4):
            b.tf = Matrix.Translation((0, 0, z)) @ Matrix.Rotation(a, 4, "Y")
            _plate(b, 0.52, 0.06, 0, -0.010, f(RED))
            b.tf = None
    elif kind == "speed":
        for r, y, c in ((0.32, 0.0, RED), (0.25, -0.004, WHITE)):
            _disc(b, r, z, y, f(c))
        text("30", 0.30, f(BLACK), matrix @ Matrix.Translation((0, -0.012, z)), 0.004)
    elif kind == "parking":
        _plate(b, 0.60, 0.60, z, 0.0, f(WHITE))
        _plate(b, 0.56, 0.56, z, -0.004, f(BLUE))
        text("P", 0.52, f(WHITE), matrix @ Matrix.Translation((0, -0.012, z)), 0.004)
    elif kind == "yield":
        _triangle(b, 0.46, z - 0.1, -0.004, f(RED), up=False)
        _triangle(b, 0.30, z - 0.1, -0.008, f(WHITE), up=False)
    elif kind == "priority":
        for s, y, c in ((0.62, 0.0, WHITE), (0.44, -0.004, YELLOW)):
            b.tf = Matrix.Translation((0, 0, z)) @ Matrix.Rotation(math.pi / 4, 4, "Y")
            _plate(b, s, s, 0, y, f(c))
            b.tf = None
    elif kind == "crossing":
        _plate(b, 0.62, 0.62, z, 0.0, f(WHITE))
        _plate(b, 0.58, 0.58, z, -0.004, f(BLUE))
        _triangle(b, 0.27, z - 0.05, -0.020, f(WHITE))
        b.ellipsoid((0.0, -0.026, z + 0.04), (0.03, 0.004, 0.03), f(BLACK), 8, 5)
        b.box((-0.02, -0.028, z - 0.13), (0.02, -0.024, z + 0.02), f(BLACK))
    b.build(matrix)


def street_name(name: str, matrix: Matrix) -> None:
    b = MeshBuilder("street name")
    b.tube(((0, 0.04, 0), (0, 0.04, 2.9)), (0.03, 0.03), m.plain(*GALVANISED), 8)
    _plate(b, 1.25, 0.26, 2.75, 0.0, m.flat(BLUE))
    text(name, 0.19, m.flat(WHITE), matrix @ Matrix.Translation((0, -0.01, 2.75)), 0.004)
    b.build(matrix)


def signal(matrix: Matrix, lit: str = "green") -> None:
    """A traffic light that faces -y."""
    b = MeshBuilder("signal")
    b.tube(((0, 0.14, 0), (0, 0.14, 3.4)), (0.06, 0.055), m.plain((0.25, 0.26, 0.26), 0.5, 0.4), 10)
    b.box((-0.15, -0.05, 2.4), (0.15, 0.12, 3.35), m.plain((0.02, 0.025, 0.02), 0.5))
    for i, (name, c) in enumerate(
        (("green", (0.02, 0.75, 0.25)), ("amber", (0.9, 0.5, 0.02)), ("red", (0.9, 0.03, 0.02)))
    ):
        z, on = 2.57 + 0.30 * i, name == lit
        colour = c if on else tuple(0.06 * v + 0.01 for v in c)
        b.ellipsoid((0, -0.05, z), (0.10, 0.03, 0.10), m.flat(colour, 0.15, 6.0 if on else 0.0))
        b.lathe(
            [(0.12, 0.0), (0.12, 0.16)],
            m.plain((0.02, 0.025, 0.02), 0.5),
            Matrix.Translation((0, -0.05, z)) @ FACING,
            14,
        )
    b.build(matrix)


def bin_(matrix: Matrix) -> None:
    b = MeshBuilder("bin")
    b.lathe(
        [(0.0, 0.02), (0.20, 0.02), (0.24, 0.85), (0.25, 0.87), (0.25, 0.95), (0.12, 1.05), (0, 1.06)],
        m.plain((0.10, 0.11, 0.11), 0.5),
        sides=18,
    )
    b.box((-0.14, -0.255, 0.72), (0.14, -0.2, 0.84), m.flat(BLACK))
    b.build(matrix)


def wheelie_bin(matrix: Matrix, colour: m.Colour = (0.03, 0.10, 0.04)) -> None:
    b = MeshBuilder("wheelie bin")
    body = m.plain(colour, 0.5)
    b.box((-0.26, -0.28, 0.10), (0.26, 0.28, 0.95), body)
    b.box((-0.29, -0.33, 0.95), (0.29, 0.33, 1.04), body)
    for x in (-0.27, 0.21):
        b.tube(((x, 0.28, 0.1), (x + 0.06, 0.28, 0.1)), (0.1, 0.1), m.flat(BLACK), 14)
    b.build(matrix)


def bollard(matrix: Matrix) -> None:
    b = MeshBuilder("bollard")
    b.lathe([(0.065, 0), (0.065, 0.85), (0.05, 0.9), (0, 0.93)], m.plain((0.05, 0.05, 0.055), 0.5), sides=14)
    b.lathe([(0.067, 0.66), (0.067, 0.78)], m.flat(WHITE), sides=14)
    b.build(matrix)


def cafe(matrix: Matrix, colour: m.Colour = (0.62, 0.10, 0.05)) -> None:
    """A round table with two chairs under a parasol."""
    b = MeshBuilder("cafe")
    metal, wood = m.plain((0.35, 0.35, 0.36), 0.35, 0.8), m.plain((0.22, 0.11, 0.05), 0.5)
    b.lathe([(0.36, 0.72), (0.36, 0.75), (0, 0.75)], metal)
    b.tube(((0, 0, 0), (0, 0, 2.55)), (0.025, 0.02), metal)
    b.lathe([(0.28, 0.0), (0.26, 0.06), (0, 0.08)], metal)
    cloth = m.plain(colour, 0.9)
    b.lathe([(1.45, 2.02), (1.42, 2.16), (0.75, 2.40), (0, 2.58)], cloth, sides=8, smooth=False)
    for side in (-1, 1):
        x = side * 0.62
        for dx in (-0.19, 0.19):
            for dy in (-0.19, 0.19):
                b.tube(((x + dx, dy, 0), (x + dx, dy, 0.45)), (0.014, 0.014), metal, 6)
            b.tube(((x + side * 0.19, dx, 0.45), (x + side * 0.24, dx, 0.88)), (0.014, 0.014), metal, 6)
        b.box((x - 0.21, -0.21, 0.44), (x + 0.21, 0.21, 0.47), wood)
        for z in (0.60, 0.74):
            y = x + side * 0.22
            b.box((min(y, y + side * 0.02), -0.2, z), (max(y, y + side * 0.02), 0.2, z + 0.09), wood)
    b.build(matrix)


def cabinet(matrix: Matrix, colour: m.Colour = (0.36, 0.37, 0.34)) -> None:
    """A distribution box."""
    b = MeshBuilder("cabinet")
    b.box((-0.55, -0.2, 0), (0.55, 0.2, 0.12), m.plain((0.3, 0.29, 0.27)))
    b.box((-0.5, -0.17, 0.12), (0.5, 0.17, 1.15), m.plain(colour, 0.6))
    b.box((-0.53, -0.2, 1.15), (0.53, 0.2, 1.2), m.plain(colour, 0.6))
    b.box((-0.004, -0.172, 0.14), (0.004, -0.168, 1.12), m.flat(BLACK))
    b.build(matrix)


def post_box(matrix: Matrix) -> None:
    b = MeshBuilder("post box")
    yellow = m.plain((0.78, 0.46, 0.01), 0.4)
    b.tube(((0, 0, 0), (0, 0, 0.8)), (0.05, 0.05), m.plain((0.2, 0.2, 0.2)))
    b.box((-0.24, -0.19, 0.75), (0.24, 0.19, 1.35), yellow)
    b.tube(((0, -0.19, 1.35), (0, 0.19, 1.35)), (0.24, 0.24), yellow, 20)
    b.box((-0.17, -0.20, 1.25), (0.17, -0.19, 1.31), m.flat(BLACK))
    b.build(matrix)


def planter(matrix: Matrix) -> None:
    b = MeshBuilder("planter")
    b.lathe(
        [(0.0, 0), (0.36, 0), (0.45, 0.5), (0.40, 0.5), (0.38, 0.42), (0, 0.42)],
        m.plain((0.36, 0.33, 0.29), 0.9),
        sides=22,
    )
    b.build(matrix)


def column(matrix: Matrix) -> None:
    """An advertising column."""
    b = MeshBuilder("column")
    b.lathe([(0.62, 0), (0.62, 0.4)], m.plain((0.25, 0.26, 0.25)), sides=28)
    b.lathe([(0.58, 0.4), (0.58, 2.7)], m.plain((0.55, 0.53, 0.48)), sides=28)
    b.lathe([(0.72, 2.7), (0.72, 2.85), (0.45, 3.1), (0, 3.25)], m.plain((0.10, 0.16, 0.13)), sides=28)
    posters = (
        ((0.60, 0.10, 0.05), 0.2),
        ((0.05, 0.22, 0.45), 1.3),
        ((0.75, 0.62, 0.12), 2.4),
        ((0.12, 0.36, 0.20), 3.5),
        ((0.7, 0.7, 0.68), 4.6),
    )
    for colour, a in posters:
        ring = [a + 0.16 * k for k in range(6)]
        for z0, z1, c in ((0.6, 1.45, colour), (1.6, 2.5, tuple(1 - 0.8 * v for v in colour))):
            for t, u in pairwise(ring):
                quad = [(0.585 * math.cos(q), 0.585 * math.sin(q), z) for q, z in ((t, z0), (u, z0), (u, z1), (t, z1))]
                b.face(quad, m.flat(c, 0.5))
    b.build(matrix)
