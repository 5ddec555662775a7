"""Cars as subdivided lofts, and a bicycle. Local axes: x to the right, y forward, z up, wheels on z = 0."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache

import bpy
from mathutils import Matrix, Vector

from . import materials as m
from .mesh import MeshBuilder, place, with_modifiers

# One station per row: y, half width, underside, waist line, top, half width of the top.
Station = tuple[float, float, float, float, float, float]

HATCHBACK: tuple[Station, ...] = (
    (2.07, 0.62, 0.30, 0.48, 0.56, 0.50),
    (2.00, 0.80, 0.20, 0.56, 0.66, 0.62),
    (1.70, 0.875, 0.17, 0.70, 0.79, 0.70),
    (1.05, 0.885, 0.17, 0.84, 0.93, 0.74),
    (0.92, 0.885, 0.17, 0.87, 0.97, 0.74),
    (0.12, 0.89, 0.17, 0.91, 1.43, 0.62),
    (-0.28, 0.89, 0.17, 0.92, 1.48, 0.63),
    (-0.38, 0.89, 0.17, 0.92, 1.48, 0.63),
    (-1.18, 0.89, 0.17, 0.95, 1.46, 0.62),
    (-1.34, 0.885, 0.19, 0.96, 1.44, 0.61),
    (-1.62, 0.88, 0.21, 0.96, 1.38, 0.60),
    (-1.96, 0.86, 0.24, 0.93, 1.02, 0.64),
    (-2.05, 0.84, 0.26, 0.78, 0.88, 0.66),
    (-2.10, 0.76, 0.30, 0.56, 0.64, 0.60),
)
SALOON: tuple[Station, ...] = (
    (2.36, 0.60, 0.30, 0.48, 0.56, 0.50),
    (2.28, 0.82, 0.20, 0.57, 0.66, 0.64),
    (1.95, 0.885, 0.17, 0.70, 0.78, 0.72),
    (1.10, 0.90, 0.17, 0.83, 0.91, 0.76),
    (0.96, 0.90, 0.17, 0.86, 0.95, 0.76),
    (0.15, 0.905, 0.17, 0.90, 1.38, 0.62),
    (-0.28, 0.905, 0.17, 0.91, 1.43, 0.63),
    (-0.38, 0.905, 0.17, 0.91, 1.43, 0.63),
    (-1.05, 0.905, 0.17, 0.93, 1.39, 0.61),
    (-1.22, 0.90, 0.19, 0.94, 1.35, 0.60),
    (-1.80, 0.89, 0.21, 0.94, 1.03, 0.68),
    (-2.22, 0.86, 0.24, 0.92, 1.00, 0.70),
    (-2.32, 0.83, 0.26, 0.76, 0.86, 0.70),
    (-2.36, 0.74, 0.30, 0.54, 0.62, 0.62),
)
ESTATE: tuple[Station, ...] = (
    (2.26, 0.60, 0.32, 0.50, 0.58, 0.50),
    (2.18, 0.82, 0.24, 0.62, 0.72, 0.64),
    (1.86, 0.895, 0.20, 0.78, 0.88, 0.72),
    (1.10, 0.91, 0.20, 0.93, 1.02, 0.76),
    (0.98, 0.91, 0.20, 0.96, 1.06, 0.76),
    (0.22, 0.915, 0.20, 1.00, 1.54, 0.64),
    (-0.22, 0.915, 0.20, 1.01, 1.60, 0.65),
    (-0.32, 0.915, 0.20, 1.01, 1.60, 0.65),
    (-1.20, 0.915, 0.20, 1.03, 1.59, 0.65),
    (-1.30, 0.91, 0.21, 1.03, 1.58, 0.65),
    (-1.92, 0.90, 0.23, 1.03, 1.52, 0.63),
    (-2.16, 0.88, 0.26, 0.98, 1.06, 0.68),
    (-2.24, 0.86, 0.28, 0.80, 0.92, 0.68),
    (-2.28, 0.78, 0.32, 0.58, 0.66, 0.62),
)
VAN: tuple[Station, ...] = (
    (2.42, 0.66, 0.32, 0.56, 0.66, 0.58),
    (2.36, 0.86, 0.24, 0.70, 0.82, 0.72),
    (2.12, 0.92, 0.20, 0.90, 1.02, 0.78),
    (1.78, 0.93, 0.20, 1.02, 1.12, 0.82),
    (1.68, 0.93, 0.20, 1.05, 1.16, 0.82),
    (1.08, 0.935, 0.20, 1.08, 1.86, 0.74),
    (0.58, 0.935, 0.20, 1.09, 1.94, 0.75),
    (0.46, 0.935, 0.20, 1.09, 1.94, 0.75),
    (-0.70, 0.935, 0.20, 1.09, 1.95, 0.75),
    (-0.82, 0.935, 0.20, 1.09, 1.95, 0.75),
    (-2.14, 0.93, 0.22, 1.09, 1.92, 0.74),
    (-2.34, 0.91, 0.26, 1.06, 1.30, 0.78),
    (-2.40, 0.88, 0.28, 0.84, 1.02, 0.78),
    (-2.43, 0.80, 0.34, 0.60, 0.72, 0.70),
)


@dataclass(frozen=True)
class CarType:
    stations: tuple[Station, ...]
    axles: tuple[float, float]
    wheel: float  # radius
    seams: tuple[float, ...]
    blind_sides: bool = False  # a panel van has no rear side windows


TYPES = {
    "hatchback": CarType(HATCHBACK, (1.32, -1.28), 0.315, (0.78, -0.33, -1.12)),
    "saloon": CarType(SALOON, (1.42, -1.36), 0.325, (0.80, -0.33, -1.16)),
    "estate": CarType(ESTATE, (1.38, -1.38), 0.345, (0.84, -0.27, -1.20)),
    "van": CarType(VAN, (1.48, -1.42), 0.335, (1.40, 0.42, -0.90), blind_sides=True),
}
PAINTS = {
    "silver": (0.40, 0.41, 0.42),
    "white": (0.64, 0.64, 0.62),
    "black": (0.012, 0.012, 0.014),
    "grey": (0.13, 0.135, 0.14),
    "blue": (0.02, 0.06, 0.22),
    "red": (0.38, 0.015, 0.015),
    "green": (0.02, 0.09, 0.06),
    "beige": (0.48, 0.40, 0.27),
    "yellow": (0.70, 0.42, 0.02),
}


def _section(station: Station) -> list[tuple[float, float, float]]:
    """One closed ring of a station: right half from the underside's middle to the roof's, then back."""
    y, hw, under, waist, top, tw = station
    glass_top = 0.84
    waist_x = hw * 0.965
    half = [
        (hw * 0.80, under),
        (hw * 0.985, under + 0.13),
        (hw, under + 0.13 + 0.55 * (waist - under - 0.13)),
        (waist_x, waist),
        (waist_x + glass_top * (tw - waist_x), waist + glass_top * (top - waist)),
        (tw * 0.86, top),
    ]
    ring = [(0.0, y, under)]
    ring += [(x, y, z) for x, z in half]
    ring += [(0.0, y, top + 0.025)]
    ring += [(-x, y, z) for x, z in half[::-1]]
    return ring


def _loft(kind: CarType) -> bpy.types.Mesh:
    paint, glass, black = (
        m.car_paint(kind.seams, _regions(kind)),
        m.car_glass(),
        m.flat((0.012, 0.012, 0.012), 0.5),
    )
    rings = [_section(s) for s in kind.stations]
    n = len(rings[0])
    vertices = [p for ring in rings for p in ring]
    faces, slots = [], []
    for i in range(len(rings) - 1):
        for j in range(n):
            k = (j + 1) % n
            faces.append((i * n + j, i * n + k, (i + 1) * n + k, (i + 1) * n + j))
            strip = min(j, n - 1 - j)  # 0 underside .. 4 side window, 5 roof rail, 6 top
            slot = 0
            if strip == 4 and 4 <= i <= 9 and not (kind.blind_sides and i >= 7):
                slot = 2 if i == 6 else 1
                if i in (8, 9) and kind is not TYPES["estate"]:
                    slot = 0
            if strip == 6 and i in (4, 10):
                slot = 1
            if strip == 6 and i == 9 and kind.stations is SALOON:
                slot = 1
            if strip == 0:
                slot = 2
            slots.append(slot)
    faces.append(tuple(range(n - 1, -1, -1)))
    faces.append(tuple((len(rings) - 1) * n + j for j in range(n)))
    slots += [0, 0]
    mesh = bpy.data.meshes.new("body")
    mesh.from_pydata(vertices, [], faces)
    for material in (paint, glass, black):
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", slots)
    crease = mesh.attributes.new("crease_edge", "FLOAT", "EDGE")
    waist = {4, n - 4}
    for e in mesh.edges:
        a, c = e.vertices
        along = a // n != c // n
        if along and a % n == c % n and a % n in waist:
            crease.data[e.index].value = 0.55
        elif not along and a // n in (4, 5, 10, 11) and {a % n, c % n} <= set(range(4, n - 3)):
            crease.data[e.index].value = 0.45
    mesh.update()
    return mesh


def _regions(kind: CarType) -> tuple[m.Region, ...]:
    """Lamps, grille, bumpers and plates: where on the body they are painted, and in what colour."""
    front, rear = kind.stations[0], kind.stations[-1]
    tall = kind.blind_sides
    nose, tail = front[0] - 0.42, rear[0] + 0.26
    lamp = front[4] + (0.17 if tall else 0.045)
    low = rear[4] + (0.04 if tall else 0.05)
    high = 1.28 if tall else low + 0.19
    black, plate = (0.012, 0.012, 0.013), (0.74, 0.74, 0.72)
    lens, amber, red = (0.62, 0.66, 0.70), (0.62, 0.20, 0.01), (0.32, 0.006, 0.006)
    return (  # |x| from, to; y from, to; z from, to; colour; glow
        (0.0, 2.0, nose + 0.15, 9.0, 0.0, front[2] + 0.10, black, 0.0),
        (0.0, 2.0, -9.0, tail, 0.0, rear[2] + 0.12, black, 0.0),
        (0.0, 2.0, -9.0, 9.0, 0.0, kind.stations[6][2] + 0.09, black, 0.0),
        (0.0, 0.40, nose + 0.26, 9.0, lamp - 0.05, lamp + 0.045, black, 0.0),
        (0.0, 0.36, nose + 0.26, 9.0, lamp - 0.005, lamp + 0.008, (0.5, 0.5, 0.5), 0.0),
        (0.26, 0.62, nose + 0.2, 9.0, front[2] + 0.02, front[2] + 0.09, (0.03, 0.03, 0.03), 0.0),
        (0.43, 0.90, nose, 9.0, lamp - 0.068, lamp + 0.068, (0.03, 0.03, 0.035), 0.0),
        (0.46, 0.72, nose, 9.0, lamp - 0.052, lamp + 0.052, lens, 0.25),
        (0.74, 0.90, nose + 0.12, 9.0, lamp - 0.052, lamp + 0.03, amber, 0.0),
        (0.72 if tall else 0.55, 2.0, -9.0, tail, low, high, red, 0.12),
        (0.72 if tall else 0.55, 2.0, -9.0, tail, low + 0.06, low + 0.11, (0.60, 0.55, 0.52), 0.0),
        (
            0.0,
            0.27,
            -9.0,
            tail,
            low - 0.09 if tall else low + 0.02,
            low + 0.03 if tall else low + 0.14,
            plate,
            0.0,
        ),
        (0.0, 0.25, nose + 0.2, 9.0, front[2] + 0.07, front[2] + 0.17, plate, 0.0),
        *(((0.0, 0.012, -9.0, tail, 0.4, 1.9, black, 0.0),) if tall else ()),
    )


@cache
def _wheel(radius: float) -> bpy.types.Mesh:
    """A wheel whose axle is local x, the outer face to +x."""
    b = MeshBuilder("wheel")
    tyre, rim = m.plain((0.018, 0.018, 0.019), 0.85), m.plain((0.50, 0.51, 0.52), 0.28, 0.9)
    r = radius
    turn = Matrix.Rotation(math.pi / 2, 4, "Y")
    b.lathe(
        [(r * 0.64, -0.10), (r * 0.95, -0.10), (r, -0.06), (r, 0.06), (r * 0.95, 0.095), (r * 0.66, 0.10)],
        tyre,
        turn,
        28,
    )
    b.lathe([(r * 0.67, 0.098), (r * 0.62, 0.085), (r * 0.60, 0.03)], rim, turn, 28)
    b.lathe([(r * 0.62, 0.02), (0.0, 0.02)], m.flat((0.01, 0.01, 0.01)), turn, 20)
    b.lathe([(r * 0.17, 0.085), (0.0, 0.095)], rim, turn, 12)
    for k in range(5):
        a = 2 * math.pi * k / 5
        u, v = Vector((0, math.cos(a), math.sin(a))), Vector((0, -math.sin(a), math.cos(a)))
        inner, outer = u * r * 0.12, u * r * 0.63
        x0, x1 = Vector((0.075, 0, 0)), Vector((0.085, 0, 0))
        b.face(
            [inner + x0 - v * 0.045, outer + x1 - v * 0.035, outer + x1 + v * 0.035, inner + x0 + v * 0.045],
            rim,
        )
    return b.mesh()


@cache
def _body(name: str) -> bpy.types.Mesh:
    kind = TYPES[name]
    mesh = with_modifiers(_loft(kind), [("SUBSURF", {"levels": 3, "render_levels": 3})])
    arches = MeshBuilder("arches")
    black = m.flat((0.012, 0.012, 0.012), 0.5)
    for y in kind.axles:
        for side in (-1, 1):
            axis = Matrix.Translation((side * 0.82, y, kind.wheel)) @ Matrix.Rotation(math.pi / 2, 4, "Y")
            r = kind.wheel + 0.055
            arches.lathe([(0, -0.22), (r, -0.22), (r, 0.22), (0, 0.22)], black, axis, 32, smooth=False)
    cutter = arches.mesh()
    merged = with_modifiers(cutter, [("WELD", {"merge_threshold": 1e-4})])
    tool = place(merged)
    mesh = with_modifiers(
        mesh,
        [
            (
                "BOOLEAN",
                {"operation": "DIFFERENCE", "object": tool, "solver": "EXACT", "material_mode": "TRANSFER"},
            )
        ],
    )
    bpy.data.objects.remove(tool)
    mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
    mesh.update()
    return mesh


@cache
def _fittings(name: str) -> bpy.types.Mesh:
    """Mirrors, handles, wipers, exhaust: what sits on the body."""
    kind = TYPES[name]
    b = MeshBuilder("fittings")
    black, chrome = m.flat((0.015, 0.015, 0.016), 0.4), m.plain((0.6, 0.6, 0.6), 0.2, 1.0)
    wind = kind.stations[4]
    for side in (-1, 1):
        b.ellipsoid((side * (wind[1] + 0.10), wind[0] - 0.12, wind[3] + 0.09), (0.11, 0.06, 0.075), black)
        b.tube(
            (
                (side * (wind[1] - 0.08), wind[0] - 0.08, wind[3] + 0.02),
                (side * (wind[1] + 0.05), wind[0] - 0.12, wind[3] + 0.07),
            ),
            (0.025, 0.025),
            black,
            6,
        )
        for seam in kind.seams[1:]:
            b.box(
                (side * (kind.stations[6][1] - 0.02), seam + 0.06, 0.80),
                (side * (kind.stations[6][1] + 0.012), seam + 0.24, 0.835),
                chrome if name == "saloon" else black,
            )
    for k in (-0.30, 0.22):
        b.tube(
            ((k + 0.4, wind[0] + 0.03, wind[4] + 0.035), (k - 0.15, wind[0] - 0.16, wind[4] + 0.155)),
            (0.012, 0.012),
            black,
            5,
        )
    b.tube(
        ((0.45, kind.stations[-1][0] + 0.2, 0.27), (0.45, kind.stations[-1][0] - 0.02, 0.27)),
        (0.035, 0.035),
        chrome,
    )
    if name == "estate":
        for side in (-1, 1):
            b.tube(
                (
                    (side * 0.58, 0.0, 1.62),
                    (side * 0.60, -0.2, 1.67),
                    (side * 0.60, -1.6, 1.65),
                    (side * 0.58, -1.8, 1.58),
                ),
                (0.018,) * 4,
                black,
                6,
            )
    return b.mesh()


class Car:
    """One car in the scene; `move` puts it somewhere, its wheels turned as far as it has gone."""

    def __init__(self, kind: str, paint: str, label: str) -> None:
        self.kind, self.paint, self.label = kind, paint, label
        self.root = bpy.data.objects.new(label, None)
        bpy.context.scene.collection.objects.link(self.root)
        self.parts = [
            place(_body(kind), name=f"{label} body"),
            place(_fittings(kind), name=f"{label} fittings"),
        ]
        self.parts[0].color = (*PAINTS[paint], 1.0)
        self.wheels: list[tuple[bpy.types.Object, Matrix]] = []
        spec = TYPES[kind]
        for y in spec.axles:
            for side in (-1, 1):
                wheel = place(_wheel(spec.wheel), name=f"{label} wheel")
                at = Matrix.Translation((side * (spec.stations[6][1] - 0.115), y, spec.wheel))
                if side < 0:
                    at = at @ Matrix.Rotation(math.pi, 4, "Z")
                self.wheels.append((wheel, at))
                self.parts.append(wheel)
        for part in self.parts:
            part.parent = self.root

    def move(self, matrix: Matrix, travelled: float = 0.0) -> None:
        self.root.matrix_world = matrix
        angle = -travelled / TYPES[self.kind].wheel
        for i, (wheel, at) in enumerate(self.wheels):
            wheel.matrix_basis = at @ Matrix.Rotation(angle if i % 2 else -angle, 4, "X")


def bicycle(b: MeshBuilder, crank: float = 0.0, colour: m.Colour = (0.05, 0.20, 0.35)) -> None:
    """A city bicycle into `b`: wheels at y = 0.53 and -0.53, saddle at 0.98, cranks turned by `crank`."""
    paint, black = m.plain(colour, 0.35), m.plain((0.02, 0.02, 0.02), 0.7)
    steel = m.plain((0.55, 0.55, 0.55), 0.3, 0.9)
    for y in (0.53, -0.53):
        centre = Vector((0, y, 0.345))
        ring = [
            centre + 0.33 * Vector((0, math.cos(t), math.sin(t))) for t in (2 * math.pi * k / 28 for k in range(29))
        ]
        b.tube(ring, [0.019] * 29, black, 6, caps=False)
        inner = [
            centre + 0.305 * Vector((0, math.cos(t), math.sin(t))) for t in (2 * math.pi * k / 28 for k in range(29))
        ]
        b.tube(inner, [0.010] * 29, steel, 5, caps=False)
        for k in range(14):
            t = 2 * math.pi * k / 14 + crank * 0.7
            b.tube(
                (centre, centre + 0.31 * Vector((0, math.cos(t), math.sin(t)))),
                (0.003, 0.003),
                steel,
                3,
                caps=False,
            )
        guard = [
            centre + 0.365 * Vector((0, math.cos(t), math.sin(t)))
            for t in (math.radians(20 + 14 * k) for k in range(11))
        ]
        b.tube(guard, [0.018] * 11, paint, 5)
    bracket, seat, head = (0, -0.05, 0.30), (0, -0.20, 0.86), (0, 0.33, 0.88)
    for a, c, r in (
        (bracket, seat, 0.017),
        (seat, head, 0.016),
        (bracket, (0, 0.36, 0.80), 0.019),
        (bracket, (0.03, -0.53, 0.345), 0.010),
        (bracket, (-0.03, -0.53, 0.345), 0.010),
        (seat, (0.03, -0.53, 0.345), 0.009),
        (seat, (-0.03, -0.53, 0.345), 0.009),
        (head, (0, 0.53, 0.345), 0.015),
        (seat, (0, -0.235, 0.97), 0.014),
        (head, (0, 0.29, 1.04), 0.014),
    ):
        b.tube((a, c), (r, r), paint if r > 0.0145 else steel, 7)
    b.tube(
        ((-0.28, 0.12, 1.03), (-0.18, 0.28, 1.06), (0.18, 0.28, 1.06), (0.28, 0.12, 1.03)),
        (0.013,) * 4,
        black,
        6,
    )
    b.ellipsoid((0, -0.25, 0.985), (0.085, 0.14, 0.035), black, 10, 6)
    b.box((-0.07, -0.78, 0.72), (0.07, -0.28, 0.735), black)
    b.ellipsoid((0, -0.86, 0.62), (0.03, 0.02, 0.04), m.flat((0.4, 0.01, 0.01), 0.2), 8, 5)
    b.ellipsoid((0, 0.42, 0.82), (0.04, 0.05, 0.04), m.flat((0.8, 0.8, 0.8), 0.1), 8, 5)
    for side in (-1, 1):
        pedal = pedal_at(crank, side)
        b.tube(((side * 0.06, -0.05, 0.30), (side * 0.09, pedal[1], pedal[2])), (0.011, 0.011), steel, 6)
        b.box(
            (side * 0.09, pedal[1] - 0.05, pedal[2] - 0.01),
            (side * 0.19, pedal[1] + 0.05, pedal[2] + 0.01),
            black,
        )


def pedal_at(crank: float, side: int) -> tuple[float, float, float]:
    """Where a pedal is with the cranks at `crank` radians; `side` is 1 for the right one."""
    t = -crank + (0.0 if side > 0 else math.pi)
    return (side * 0.13, -0.05 + 0.17 * math.cos(t), 0.30 + 0.17 * math.sin(t))


def parked_bicycle(matrix: Matrix, seed: int) -> None:
    rng = random.Random(seed)
    b = MeshBuilder("parked bicycle")
    bicycle(
        b,
        rng.uniform(0, 6),
        rng.choice(((0.3, 0.02, 0.02), (0.02, 0.02, 0.02), (0.05, 0.15, 0.08), (0.4, 0.4, 0.4))),
    )
    b.build(matrix @ Matrix.Rotation(0.1, 4, "Y"))
