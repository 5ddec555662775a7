"""The street itself: road, pavements, houses, trees, furniture and parked cars, all that stands still."""

from __future__ import annotations

import random

from mathutils import Matrix

from . import buildings, furniture, path, plants
from . import materials as m
from .buildings import House
from .mesh import MeshBuilder
from .vehicles import Car, parked_bicycle

LANE_EDGE, KERB, FACADE = 3.5, 5.7, 9.9
PAVEMENT_Z = 0.13
SIDE_STREET = (30.0, 38.0)  # on the left
PARK = (62.0, 84.0)  # on the right
LENGTH = (-24.0, 215.0)


def _strip(b: MeshBuilder, s0: float, s1: float, d0: float, d1: float, z: float, material, step: float = 1.5) -> None:
    """A band of ground between `d0` and `d1`; texture coordinates are (d, s)."""
    count = max(1, round((s1 - s0) / step))
    for i in range(count):
        a, c = s0 + (s1 - s0) * i / count, s0 + (s1 - s0) * (i + 1) / count
        points = [path.point(a, d0, z), path.point(a, d1, z), path.point(c, d1, z), path.point(c, d0, z)]
        b.face(points, material, ((d0, a), (d1, a), (d1, c), (d0, c)))


def _kerb(b: MeshBuilder, s0: float, s1: float, d: float, side: int) -> None:
    inner, outer = d, d + side * 0.16
    stone = m.stone((0.40, 0.39, 0.37), (0.34, 0.33, 0.32))
    count = max(1, round((s1 - s0) / 1.0))
    for i in range(count):
        a, c = s0 + (s1 - s0) * i / count, s0 + (s1 - s0) * (i + 1) / count
        face = [
            path.point(a, inner, 0),
            path.point(c, inner, 0),
            path.point(c, inner, PAVEMENT_Z + 0.005),
            path.point(a, inner, PAVEMENT_Z + 0.005),
        ]
        b.face(face, stone, ((a, 0), (c, 0), (c, 0.13), (a, 0.13)))
        top = [
            path.point(a, inner, PAVEMENT_Z + 0.005),
            path.point(c, inner, PAVEMENT_Z + 0.005),
            path.point(c, outer, PAVEMENT_Z + 0.005),
            path.point(a, outer, PAVEMENT_Z + 0.005),
        ]
        b.face(top, stone, ((a, 0), (c, 0), (c, 0.16), (a, 0.16)))


def _ground() -> None:
    s0, s1 = LENGTH
    road = MeshBuilder("road")
    _strip(road, s0, s1, -LANE_EDGE, LANE_EDGE, 0.0, m.asphalt())
    _strip(road, s0, s1, LANE_EDGE, KERB, 0.0, m.cobbles())
    _strip(road, s0, SIDE_STREET[0] - 1.5, -KERB, -LANE_EDGE, 0.0, m.cobbles())
    _strip(road, *(SIDE_STREET[0] - 1.5, SIDE_STREET[1] + 1.5), -KERB, -LANE_EDGE, 0.0, m.asphalt(False))
    _strip(road, SIDE_STREET[1] + 1.5, s1, -KERB, -LANE_EDGE, 0.0, m.cobbles())
    road.build()

    side = MeshBuilder("pavement")
    for a, c in ((s0, SIDE_STREET[0]), (SIDE_STREET[1], s1)):
        _strip(side, a, c, -FACADE - 0.5, -KERB - 0.15, PAVEMENT_Z, m.paving())
        _kerb(side, a, c, -KERB, -1)
    _strip(side, s0, s1, KERB + 0.15, FACADE + 0.5, PAVEMENT_Z, m.paving())
    _kerb(side, s0, s1, KERB, 1)
    stone = m.stone((0.40, 0.39, 0.37), (0.34, 0.33, 0.32))
    a, c = SIDE_STREET
    _strip(side, a + 2.0, c - 2.0, -75, -KERB, 0.0, m.asphalt(False))
    for lo, hi in ((a, a + 2.0), (c - 2.0, c)):  # the side street's own pavements
        _strip(side, lo, hi, -75, -KERB - 1.2, PAVEMENT_Z, m.paving())
        _strip(side, lo, hi, -KERB - 1.2, -KERB, 0.004, m.asphalt(False))
        edge = hi if lo == a else lo
        side.face(
            [
                path.point(edge, -75, 0),
                path.point(edge, -KERB - 1.2, 0),
                path.point(edge, -KERB - 1.2, PAVEMENT_Z),
                path.point(edge, -75, PAVEMENT_Z),
            ],
            stone,
        )
        side.face(
            [
                path.point(lo, -KERB - 1.2, 0),
                path.point(hi, -KERB - 1.2, 0),
                path.point(hi, -KERB - 1.2, PAVEMENT_Z),
                path.point(lo, -KERB - 1.2, PAVEMENT_Z),
            ],
            stone,
        )
    side.build()

    earth = MeshBuilder("earth")
    earth.face([(-250, -120, -0.06), (250, -120, -0.06), (250, 320, -0.06), (-250, 320, -0.06)], m.grass())
    _strip(earth, *PARK, FACADE - 0.3, 48.0, PAVEMENT_Z + 0.012, m.grass())
    earth.build()

    paint = MeshBuilder("markings")
    white = m.marking()
    s = s0
    while s < s1:  # centre line, broken
        if not 54.0 < s < 61.0:
            _strip(paint, s, s + 3.0, -0.06, 0.06, 0.004, white)
        s += 6.0
    for d in (-LANE_EDGE, LANE_EDGE):
        s = s0
        while s < s1:
            if d > 0 or not SIDE_STREET[0] - 2 < s < SIDE_STREET[1] + 1:
                _strip(paint, s, s + 0.9, d - 0.05, d + 0.05, 0.004, white)
                if int((s - s0) / 1.5) % 4 == 0:  # parking bays
                    sign = 1 if d > 0 else -1
                    _strip(paint, s, s + 0.1, *sorted((d, d + sign * 2.1)), 0.004, white)
            s += 1.5
    d = -LANE_EDGE + 0.3
    while d < LANE_EDGE - 0.4:  # a zebra crossing
        _strip(paint, 55.5, 59.0, d, d + 0.5, 0.0045, white)
        d += 1.0
    d = -LANE_EDGE - 0.1
    s = SIDE_STREET[0] + 2.2
    while s < SIDE_STREET[1] - 2.2:  # give way line of the side street
        _strip(paint, s, s + 0.5, -KERB - 0.6, -KERB - 0.25, 0.006, white)
        s += 0.8
    paint.build()

    covers = MeshBuilder("manholes")
    iron = m.stone((0.07, 0.065, 0.06), (0.05, 0.048, 0.045))
    for s, d in ((7.0, 0.9), (19.0, -1.6), (27.0, 1.3), (44.0, -0.8), (66.0, 1.2)):
        covers.lathe([(0.0, 0.006), (0.33, 0.006)], iron, path.frame(s, d), 24)
        covers.lathe([(0.33, 0.006), (0.40, 0.005)], m.plain((0.10, 0.10, 0.10)), path.frame(s, d), 24)
    for s in range(-4, 120, 16):
        for side_ in (-1, 1):
            at = path.frame(s, side_ * (KERB - 0.25), 0.005)
            covers.tf = at
            covers.box((-0.22, -0.25, -0.05), (0.22, 0.25, 0.0), iron)
            covers.tf = None
    covers.build()


def _house_row(side: int, s: float, s_end: float, rng: random.Random, first: int, corners: set[str]) -> None:
    walls = [
        "cream",
        "stone",
        "white",
        "brick",
        "ochre",
        "grey",
        "rose",
        "terracotta",
        "green",
        "brick",
        "cream",
        "blue",
    ]
    i = first
    while s < s_end - 4.0:
        width = rng.choice((9.5, 10.5, 11.5, 12.5, 14.0))
        if s + width > s_end - 6.0:
            width = s_end - s
        a, c = path.point(s, side * FACADE), path.point(s + width, side * FACADE)
        if side > 0:
            a, c = c, a  # seen from the street, left comes first
        x_axis = (c - a).normalized()
        matrix = Matrix.Identity(4)
        matrix.col[0][:3] = x_axis
        matrix.col[1][:3] = (-x_axis.y, x_axis.x, 0)
        matrix.translation = (a.x, a.y, PAVEMENT_Z - 0.02)
        wall = walls[(i * 5 + (2 if side > 0 else 0)) % len(walls)]
        first_of_row, last_of_row = i == first, s + width >= s_end - 0.1
        buildings.build(
            House(
                width=(c - a).length + 0.02,
                floors=rng.choice((2, 3, 3, 3, 4)),
                wall=wall,
                ground="shop" if (i + (side > 0)) % 3 != 1 else "flat",
                shop=i * 3 + (5 if side > 0 else 0),
                roof=rng.choice(
                    ("pitched", "pitched", "mansard", "parapet" if wall in ("grey", "white") else "mansard")
                ),
                balconies=rng.random() < 0.5,
                shutters=wall in ("cream", "rose", "green") and rng.random() < 0.7,
                side_windows=(first_of_row and "first" in corners) or (last_of_row and "last" in corners),
                seed=i * 7 + (100 if side > 0 else 0),
            ),
            matrix,
        )
        s += width
        i += 1


def _houses(seed: int) -> None:
    rng = random.Random(seed)
    _house_row(-1, LENGTH[0], SIDE_STREET[0], rng, 0, {"last"})
    _house_row(-1, SIDE_STREET[1], 200.0, rng, 6, {"first"})
    _house_row(1, LENGTH[0], PARK[0], rng, 0, {"last"})
    _house_row(1, PARK[1], 212.0, rng, 9, {"first"})
    middle = sum(SIDE_STREET) / 2
    for k, (s, yaw, d) in enumerate(((SIDE_STREET[0], 1, -22.5), (SIDE_STREET[1], -1, -34.5))):
        for j in range(3):  # along the side street
            matrix = path.frame(s, d - 12.0 * j * 1.0, PAVEMENT_Z - 0.02)
            turn = Matrix.Rotation(3.14159265 if yaw > 0 else 0.0, 4, "Z")
            if yaw > 0:
                matrix = path.frame(s, d - 12.0 * j + 0.0, PAVEMENT_Z - 0.02) @ turn
            house = House(
                12.0,
                floors=2 + (j + k) % 2,
                wall=("rose", "cream", "brick", "white", "ochre", "grey")[j + 3 * k],
                ground="flat",
                seed=50 + j + 5 * k,
            )
            buildings.build(house, matrix)
    end = path.frame(middle, -76.0, PAVEMENT_Z - 0.02, yaw=1.5707963) @ Matrix.Translation((-12.0, 0, 0))
    buildings.build(House(24.0, floors=3, wall="ochre", ground="flat", roof="mansard", seed=77), end)


def _plants(seed: int) -> None:
    rng = random.Random(seed)
    for side in (-1, 1):
        s = -12.0 if side > 0 else -8.0
        while s < 190.0:
            blocked = side < 0 and SIDE_STREET[0] - 4 < s < SIDE_STREET[1] + 4
            if not blocked and not 52.0 < s < 62.0 and rng.random() < 0.86:
                yaw = rng.uniform(0, 6.28)
                height = rng.uniform(7.2, 9.2) if s < 120 else 8.5
                green = rng.choice((0, 1, 1, 2)) if side > 0 else rng.choice((0, 0, 1))
                plants.plant_tree(
                    path.frame(s, side * (KERB + 0.75), PAVEMENT_Z, yaw) @ Matrix.Scale(height / 8.5, 4),
                    rng.choice((11, 12, 13)),
                    green,
                )
                pit = MeshBuilder("tree pit")
                pit.tf = path.frame(s, side * (KERB + 0.75), PAVEMENT_Z)
                pit.box(
                    (-0.55, -0.7, -0.05),
                    (0.55, 0.7, 0.008),
                    m.grass() if rng.random() < 0.5 else m.bark((0.10, 0.07, 0.05)),
                )
                pit.build()
            s += rng.choice((9.0, 10.5, 12.0))
    plants.hedge(path.frame(PARK[0] + 0.6, FACADE + 0.5, PAVEMENT_Z), 9.0, seed=1)
    plants.hedge(path.frame(PARK[0] + 12.0, FACADE + 0.4, PAVEMENT_Z, 0.05), 9.5, seed=2)
    plants.lawn(path.frame(PARK[0] + 0.5, FACADE + 0.9, PAVEMENT_Z), (9.0, 20.0), 5)
    for k, (s, d, g) in enumerate(
        (
            (66, 14, 1),
            (73, 19, 0),
            (79, 14.5, 2),
            (69, 25, 0),
            (77, 29, 1),
            (64, 33, 1),
            (82, 23, 0),
            (72, 38, 0),
        )
    ):
        plants.plant_tree(
            path.frame(s, d, PAVEMENT_Z, k) @ Matrix.Scale(1.0 + 0.08 * (k % 4), 4), (11, 12, 13)[k % 3], g
        )
    for k, (s, d) in enumerate(((64.5, 12.0), (75.0, 12.5), (81.0, 11.5), (70.0, 16.0))):
        plants.shrub(path.frame(s, d, PAVEMENT_Z), 0.9 + 0.2 * (k % 2), 1.5, k)
    for k, (s, d) in enumerate(((3.2, 9.2), (13.0, 9.3), (23.6, -9.2), (43.0, 9.3), (47.5, -9.3))):
        furniture.planter(path.frame(s, d, PAVEMENT_Z))
        plants.shrub(path.frame(s, d, PAVEMENT_Z + 0.4), 0.48, 0.9, 10 + k)


def _furniture() -> None:
    def at(s: float, d: float, yaw: float = 0.0) -> Matrix:
        return path.frame(s, d, PAVEMENT_Z, yaw)

    for s in (5.0, 33.0, 61.0, 92.0, 122.0):
        furniture.lamp(at(s, KERB + 0.35))
    for s in (-9.0, 19.0, 47.0, 76.0, 106.0):
        furniture.lamp(at(s, -KERB - 0.35, 3.14159265))
    for kind, s, d in (
        ("no stopping", 16.5, KERB + 0.4),
        ("parking", 29.0, KERB + 0.4),
        ("crossing", 54.0, KERB + 0.4),
        ("crossing", 54.6, -KERB - 0.4),
        ("speed", 40.5, KERB + 0.4),
        ("priority", 24.5, KERB + 0.4),
        ("parking", 70.0, KERB + 0.4),
        ("no stopping", 88.0, -KERB - 0.4),
    ):
        furniture.sign(kind, at(s, d, -0.06))
    furniture.sign("yield", at(SIDE_STREET[0] + 1.4, -KERB - 1.6, 1.4))
    furniture.sign("parking", at(12.0, -KERB - 0.4, 3.0))
    furniture.street_name("Lindenstr.", at(SIDE_STREET[1] + 0.6, -KERB - 1.0, -0.3))
    furniture.signal(at(101.0, KERB + 0.4))
    furniture.signal(at(101.0, -KERB - 0.4))
    for s, d in ((9.5, 6.3), (36.0, 6.3), (52.0, -6.3), (26.0, -6.3)):
        furniture.bin_(at(s, d))
    for k in range(5):
        furniture.bollard(at(SIDE_STREET[0] - 1.0 - 1.5 * k, -KERB - 0.35))
        furniture.bollard(at(50.5 - 1.5 * k, KERB + 0.35))
    for s, d, c in (
        (20.3, 8.3, (0.62, 0.10, 0.05)),
        (23.2, 8.2, (0.62, 0.10, 0.05)),
        (26.0, 8.3, (0.70, 0.62, 0.45)),
        (48.0, -8.2, (0.05, 0.22, 0.12)),
        (51.0, -8.3, (0.05, 0.22, 0.12)),
    ):
        furniture.cafe(at(s, d), c)
    furniture.cabinet(at(31.0, 9.4, -1.57))
    furniture.cabinet(at(17.0, -9.4, 1.57))
    furniture.post_box(at(38.0, 6.6, -1.57))
    furniture.column(at(58.0, 8.2))
    for s in (11.0, 11.8, 44.5):
        furniture.wheelie_bin(at(s, -9.3, 1.57), (0.03, 0.10, 0.04) if s != 11.8 else (0.05, 0.05, 0.06))
    for k in range(4):
        parked_bicycle(at(33.5 + 0.75 * k, 8.9, 1.45 + 0.06 * k), k)
    for k in range(3):
        parked_bicycle(at(14.5 + 0.8 * k, -9.0, 1.6), 10 + k)


def _parked(seed: int) -> list[Car]:
    rng = random.Random(seed)
    cars = []
    bays = {
        1: (-3.0, 3.4, 9.8, 15.6, 27.2, 33.2, 39.0, 44.8, 65.0, 71.2, 77.0, 83.5, 95.0, 108.0, 120.0, 134.0),
        -1: (-2.0, 4.2, 10.4, 16.2, 22.0, 42.6, 48.8, 64.6, 71.0, 84.0, 90.0, 103.0, 116.0, 130.0),
    }
    kinds = ["hatchback", "estate", "saloon", "hatchback", "van", "saloon", "estate"]
    paints = ["silver", "black", "blue", "grey", "red", "white", "green", "silver", "beige", "black"]
    n = 0
    for side, places in bays.items():
        for s in places:
            kind, paint = kinds[n % len(kinds)], paints[(n * 3 + (side > 0)) % len(paints)]
            if kind == "van":
                paint = "white"
            car = Car(kind, paint, f"parked {n}")
            yaw = rng.gauss(0, 0.015) + (3.14159265 if side < 0 else 0.0)
            car.move(path.frame(s, side * (KERB - 1.15 + rng.gauss(0, 0.04)), 0.0, yaw), rng.uniform(0, 2))
            cars.append(car)
            n += 1
    return cars


def build(seed: int) -> list[Car]:
    """Builds everything that does not move; returns the parked cars (captions name them)."""
    _ground()
    _houses(seed)
    _plants(seed + 1)
    _furniture()
    return _parked(seed + 2)
