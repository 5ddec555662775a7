"""Terraced town houses: a facade of real openings in front of a plain block, with a roof on top.

Local axes: x along the facade, y into the house, z up; the street is on the -y side.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from mathutils import Matrix

from . import materials as m
from .mesh import MeshBuilder, text

WALLS = {
    "cream": (0.66, 0.56, 0.38),
    "ochre": (0.60, 0.40, 0.17),
    "white": (0.70, 0.68, 0.63),
    "grey": (0.42, 0.42, 0.41),
    "rose": (0.56, 0.33, 0.27),
    "green": (0.40, 0.45, 0.33),
    "blue": (0.36, 0.44, 0.50),
    "terracotta": (0.50, 0.22, 0.12),
}
STONE = (0.50, 0.44, 0.35)
SHOPS = (
    ("BÄCKEREI", (0.45, 0.22, 0.05), (0.9, 0.86, 0.7)),
    ("CAFÉ MIRA", (0.04, 0.10, 0.06), (0.9, 0.8, 0.5)),
    ("OPTIK", (0.85, 0.85, 0.83), (0.02, 0.12, 0.35)),
    ("BLUMEN", (0.12, 0.30, 0.08), (0.95, 0.9, 0.9)),
    ("APOTHEKE", (0.80, 0.80, 0.78), (0.55, 0.02, 0.02)),
    ("BUCHLADEN", (0.07, 0.06, 0.14), (0.9, 0.9, 0.85)),
    ("PIZZERIA SOLE", (0.42, 0.03, 0.03), (0.95, 0.93, 0.85)),
    ("FAHRRAD", (0.03, 0.14, 0.34), (0.95, 0.95, 0.95)),
    ("KIOSK", (0.75, 0.45, 0.02), (0.04, 0.04, 0.05)),
    ("FRISEUR", (0.05, 0.05, 0.055), (0.85, 0.84, 0.8)),
)


@dataclass(frozen=True)
class House:
    """What tells one house from the next."""

    width: float
    depth: float = 11.0
    floors: int = 3  # above the ground floor
    wall: str = "cream"  # a key of WALLS, or "brick", or "stone"
    ground: str = "shop"  # "shop" or "flat"
    shop: int = 0
    roof: str = "pitched"  # "pitched", "mansard" or "parapet"
    balconies: bool = False
    shutters: bool = False
    side_windows: bool = False
    seed: int = 0


GROUND, STOREY = 3.9, 3.15


def build(house: House, matrix: Matrix) -> None:
    """Adds the house to the scene, the left front corner of its facade at `matrix`."""
    rng = random.Random(house.seed)
    b = MeshBuilder("house")
    wall = {"brick": m.brick(), "stone": m.stone()}.get(house.wall) or m.plaster(WALLS[house.wall])
    trim = m.plain(STONE if house.wall in ("brick", "stone", "ochre", "terracotta") else (0.68, 0.66, 0.61))
    frame = m.flat(rng.choice(((0.72, 0.72, 0.70), (0.72, 0.72, 0.70), (0.12, 0.07, 0.04), (0.55, 0.53, 0.48))), 0.35)
    top = GROUND + house.floors * STOREY
    w, depth = house.width, house.depth

    if house.ground == "shop":
        _shop_front(b, house, wall, matrix, rng)
    else:
        _flat_ground(b, house, wall, trim, frame, rng)

    columns = max(2, round(w / 2.7))
    pitch = w / columns
    size = (1.15 if house.wall != "grey" else 1.5, 1.85)
    balcony_columns = {columns // 2} if house.balconies else set()
    for floor in range(house.floors):
        z = GROUND + floor * STOREY
        openings = []
        for c in range(columns):
            x = (c + 0.5) * pitch
            door = c in balcony_columns
            openings.append((x - size[0] / 2, x + size[0] / 2, z + (0.12 if door else 0.85), z + 0.85 + size[1]))
        _wall_with_openings(b, w, z, z + STOREY, openings, wall)
        for c, opening in enumerate(openings):
            shutters = house.shutters and pitch > 2.2 and c not in balcony_columns
            _window(b, opening, trim, frame, rng, shutters=shutters)
            if c in balcony_columns:
                _balcony(b, opening, trim, rng)
    for z, out, high in ((GROUND - 0.12, 0.14, 0.24), (top - 0.05, 0.38, 0.20), (top - 0.30, 0.20, 0.25)):
        b.box((-0.02, -out, z), (w + 0.02, 0.02, z + high), trim)
    if house.wall in ("brick", "stone") or house.balconies:
        for floor in range(1, house.floors):
            z = GROUND + floor * STOREY
            b.box((0, -0.06, z - 0.05), (w, 0.02, z + 0.12), trim)
        for x in (0.0, w - 0.42):
            z = GROUND + 0.15
            while z < top - 0.6:  # quoins
                b.box((x, -0.05, z), (x + 0.42, 0.02, z + 0.36), trim)
                z += 0.72

    for x, nx in ((0.0, -1), (w, 1)):  # the gable walls, and windows where a side street shows them
        corner = ((x, 0, 0), (x, depth, 0), (x, depth, top), (x, 0, top))
        b.face(corner if nx > 0 else corner[::-1], wall)
    b.face(((w, depth, 0), (0, depth, 0), (0, depth, top), (w, depth, top)), wall)
    if house.side_windows:
        b.tf = Matrix.Translation((0, depth, 0)) @ Matrix.Rotation(-math.pi / 2, 4, "Z")
        _side_windows(b, house, trim, frame, rng)
        b.tf = Matrix.Translation((w, 0, 0)) @ Matrix.Rotation(math.pi / 2, 4, "Z")
        _side_windows(b, house, trim, frame, rng)
        b.tf = None

    _roof(b, house, top, wall, trim, frame, rng)
    pipe = m.plain((0.20, 0.20, 0.20), 0.4, 0.6)
    b.tube(
        ((w - 0.12, -0.11, 0.1), (w - 0.12, -0.11, top - 0.3), (w - 0.12, -0.36, top + 0.05)),
        (0.055,) * 3,
        pipe,
    )
    b.tube(((0, -0.46, top + 0.12), (w, -0.46, top + 0.12)), (0.08, 0.08), pipe, sides=6)
    b.build(matrix)


def _wall_with_openings(b, width, z0, z1, openings, wall) -> None:
    if not openings:
        b.face(((0, 0, z0), (width, 0, z0), (width, 0, z1), (0, 0, z1)), wall)
        return
    x = 0.0
    for x0, x1, za, zb in sorted(openings):
        b.face(((x, 0, z0), (x0, 0, z0), (x0, 0, z1), (x, 0, z1)), wall)
        if za > z0:
            b.face(((x0, 0, z0), (x1, 0, z0), (x1, 0, za), (x0, 0, za)), wall)
        if zb < z1:
            b.face(((x0, 0, zb), (x1, 0, zb), (x1, 0, z1), (x0, 0, z1)), wall)
        x = x1
    b.face(((x, 0, z0), (width, 0, z0), (width, 0, z1), (x, 0, z1)), wall)


def _reveal(b, opening, depth, material) -> None:
    x0, x1, za, zb = opening
    b.face(((x0, 0, za), (x1, 0, za), (x1, depth, za), (x0, depth, za)), material)
    b.face(((x0, 0, zb), (x0, depth, zb), (x1, depth, zb), (x1, 0, zb)), material)
    b.face(((x0, 0, za), (x0, depth, za), (x0, depth, zb), (x0, 0, zb)), material)
    b.face(((x1, 0, za), (x1, 0, zb), (x1, depth, zb), (x1, depth, za)), material)


def _window(b, opening, trim, frame, rng, shutters=False, surround=True) -> None:
    x0, x1, za, zb = opening
    _reveal(b, opening, 0.22, trim)
    glass = ((x0, 0.19, za), (x1, 0.19, za), (x1, 0.19, zb), (x0, 0.19, zb))
    b.face(glass, m.window_glass(), ((0, 0), (1, 0), (1, 1), (0, 1)))
    t, y0, y1 = 0.075, 0.13, 0.21
    b.box((x0, y0, za), (x0 + t, y1, zb), frame)
    b.box((x1 - t, y0, za), (x1, y1, zb), frame)
    b.box((x0, y0, za), (x1, y1, za + t), frame)
    b.box((x0, y0, zb - t), (x1, y1, zb), frame)
    middle, bar = (x0 + x1) / 2, za + 0.68 * (zb - za)
    b.box((middle - 0.045, y0 - 0.01, za), (middle + 0.045, y1, zb), frame)
    b.box((x0, y0, bar - 0.035), (x1, y1, bar + 0.035), frame)
    if surround:
        b.box((x0 - 0.14, -0.05, za - 0.02), (x0, 0.02, zb + 0.02), trim)
        b.box((x1, -0.05, za - 0.02), (x1 + 0.14, 0.02, zb + 0.02), trim)
        b.box((x0 - 0.18, -0.10, zb), (x1 + 0.18, 0.02, zb + 0.18), trim)
        b.box((x0 - 0.18, -0.17, za - 0.11), (x1 + 0.18, 0.05, za), trim)
    roll = rng.random()
    if shutters:
        colour = m.slats((0.10, 0.20, 0.13) if surround else (0.3, 0.2, 0.1))
        for a, c in ((x0 - 0.16 - 0.56, x0 - 0.16), (x1 + 0.16, x1 + 0.16 + 0.56)):
            b.box((a, -0.06, za), (c, -0.015, zb), colour)
    elif roll < 0.28:  # a roller shutter, part of the way down
        down = zb - (zb - za) * rng.choice((0.25, 0.4, 0.6, 1.0))
        blind = ((x0, 0.10, down), (x1, 0.10, down), (x1, 0.10, zb), (x0, 0.10, zb))
        b.face(blind, m.slats((0.60, 0.58, 0.53)))
    elif roll < 0.45:  # a flower box
        b.box((x0 + 0.05, -0.32, za - 0.02), (x1 - 0.05, -0.10, za + 0.16), m.plain((0.20, 0.10, 0.06)))
        flower = m.leaf((0.30, 0.01, 0.02), (0.75, 0.10, 0.12))
        green = m.leaf((0.03, 0.08, 0.01), (0.10, 0.20, 0.03))
        for _ in range(70):
            c = (rng.uniform(x0, x1), rng.uniform(-0.36, -0.08), za + rng.uniform(0.10, 0.38))
            a, q = rng.uniform(0, 6.28), 0.05
            dx, dz = q * math.cos(a), q * math.sin(a)
            quad = (
                (c[0] - dx, c[1] - q, c[2] - dz),
                (c[0] + dz, c[1], c[2] - dx),
                (c[0] + dx, c[1] + q, c[2] + dz),
                (c[0] - dz, c[1], c[2] + dx),
            )
            b.face(quad, flower if rng.random() < 0.4 else green)


def _balcony(b, opening, trim, rng) -> None:
    x0, x1, za, _ = opening
    lo, hi, out = x0 - 0.55, x1 + 0.55, -1.05
    b.box((lo, out, za - 0.18), (hi, 0, za), trim)
    for x in (lo + 0.2, hi - 0.4):  # brackets
        b.box((x, out + 0.25, za - 0.42), (x + 0.2, 0, za - 0.18), trim)
    iron = m.plain((0.02, 0.02, 0.022), 0.5)
    for z in (za + 0.12, za + 1.0):
        b.box((lo, out, z), (hi, out + 0.04, z + 0.04), iron)
        b.box((lo, out, z), (lo + 0.04, 0, z + 0.04), iron)
        b.box((hi - 0.04, out, z), (hi, 0, z + 0.04), iron)
    x = lo
    while x < hi:
        b.box((x, out + 0.01, za), (x + 0.022, out + 0.03, za + 1.0), iron)
        x += 0.12
    y = out
    while y < 0:
        b.box((lo, y, za), (lo + 0.02, y + 0.02, za + 1.0), iron)
        b.box((hi - 0.02, y, za), (hi, y + 0.02, za + 1.0), iron)
        y += 0.12
    green = m.leaf((0.03, 0.08, 0.01), (0.12, 0.22, 0.03))
    for _ in range(120):
        c = (rng.uniform(lo, hi), out + rng.gauss(0, 0.12), za + 0.95 + rng.gauss(0, 0.12))
        q = 0.06
        quad = (
            (c[0] - q, c[1], c[2] - q),
            (c[0] + q, c[1] - q, c[2]),
            (c[0] + q, c[1], c[2] + q),
            (c[0], c[1] + q, c[2]),
        )
        b.face(quad, green)


def _shop_front(b, house, wall, matrix, rng) -> None:
    w = house.width
    name, board, letters = SHOPS[house.shop % len(SHOPS)]
    base, head = 0.45, 2.85
    pier = 0.45
    door = rng.choice((0.0, 1.0))
    bays = max(2, round((w - 1.6) / 2.6))
    inner0, inner1 = (pier + 1.5, w - pier) if door == 0 else (pier, w - pier - 1.5)
    door0 = pier if door == 0 else w - pier - 1.25
    pitch = (inner1 - inner0) / bays
    openings = [(door0, door0 + 1.25, 0.12, head)]
    for i in range(bays):
        x = inner0 + i * pitch
        openings.append((x + 0.14, x + pitch - 0.14, base, head))
    front = m.plain(board, 0.5) if rng.random() < 0.5 else wall
    _wall_with_openings(b, w, 0, GROUND, openings, front)
    metal = m.plain((0.03, 0.03, 0.033), 0.35, 0.5) if rng.random() < 0.6 else m.flat((0.6, 0.6, 0.58))
    for i, (x0, x1, za, zb) in enumerate(openings):
        _reveal(b, (x0, x1, za, zb), 0.35, front)
        y = 0.28
        pane = ((x0, y, za), (x1, y, za), (x1, y, zb), (x0, y, zb))
        b.face(pane, m.shop_glass())
        t = 0.06
        b.box((x0, y - 0.05, za), (x0 + t, y + 0.03, zb), metal)
        b.box((x1 - t, y - 0.05, za), (x1, y + 0.03, zb), metal)
        b.box((x0, y - 0.05, zb - t), (x1, y + 0.03, zb), metal)
        b.box((x0, y - 0.05, za), (x1, y + 0.03, za + t), metal)
        b.box((x0, y - 0.05, 2.25), (x1, y + 0.03, 2.31), metal)
        if i == 0:  # the door's panel and handle
            b.box((x0, y - 0.05, za), (x1, y + 0.03, za + 0.4), metal)
            b.tube(
                ((x0 + 0.2, y - 0.12, 0.9), (x0 + 0.2, y - 0.12, 1.5)),
                (0.02, 0.02),
                m.plain((0.7, 0.7, 0.7), 0.2, 1.0),
            )
    b.box((0.15, -0.10, head + 0.12), (w - 0.15, 0.02, head + 0.82), m.plain(board, 0.45))
    b.box((0.10, -0.16, head + 0.80), (w - 0.10, 0.02, head + 0.88), m.plain(STONE))
    text(name, 0.52, m.flat(letters, 0.4, 0.05), matrix @ Matrix.Translation((w / 2, -0.13, head + 0.45)), 0.02)
    if house.shop % 3 != 2:  # an awning, and its scalloped front edge
        pair = (
            ((0.62, 0.05, 0.04), (0.72, 0.70, 0.64)),
            ((0.05, 0.22, 0.12), (0.70, 0.68, 0.60)),
            ((0.70, 0.42, 0.06), (0.72, 0.70, 0.62)),
        )
        cloth = m.stripes(*pair[house.shop % len(pair)])
        x0, x1, out = inner0, inner1, -1.25
        b.face(
            (
                (x0, -0.02, head + 0.02),
                (x0, out, head - 0.42),
                (x1, out, head - 0.42),
                (x1, -0.02, head + 0.02),
            ),
            cloth,
        )
        b.face(
            ((x0, out, head - 0.42), (x0, out, head - 0.62), (x1, out, head - 0.62), (x1, out, head - 0.42)),
            cloth,
        )
    else:  # a sign that stands out over the pavement
        b.box((w * 0.3, -0.85, head + 0.9), (w * 0.3 + 0.12, -0.10, head + 1.6), m.plain(board, 0.4))


def _flat_ground(b, house, wall, trim, frame, rng) -> None:
    w = house.width
    base = m.stone((0.33, 0.30, 0.27), (0.28, 0.26, 0.23)) if house.wall != "stone" else m.stone()
    columns = max(3, round(w / 2.5))
    door_at = rng.randrange(columns)
    pitch = w / columns
    openings = []
    for c in range(columns):
        x = (c + 0.5) * pitch
        half = 0.62 if c == door_at else 0.58
        openings.append((x - half, x + half, 0.1 if c == door_at else 1.15, 2.9 if c == door_at else 3.0))
    _wall_with_openings(b, w, 0, GROUND, openings, wall if rng.random() < 0.4 else base)
    b.box((0, -0.06, 0), (w, 0.01, 0.62), base)
    for c, opening in enumerate(openings):
        if c != door_at:
            _window(b, opening, trim, frame, rng)
            continue
        x0, x1, za, zb = opening
        _reveal(b, opening, 0.4, trim)
        wood = m.plain(
            rng.choice(((0.11, 0.05, 0.025), (0.04, 0.10, 0.06), (0.10, 0.03, 0.03), (0.05, 0.07, 0.12))),
            0.45,
        )
        b.box((x0, 0.30, za), (x1, 0.38, zb), wood)
        for k in (0, 1):
            a = x0 + 0.14 + k * (x1 - x0 - 0.14) / 2
            b.box((a, 0.27, za + 0.2), (a + 0.40, 0.31, za + 0.95), m.plain((0.07, 0.04, 0.03), 0.5))
            pane = (
                (a, 0.27, za + 1.1),
                (a + 0.4, 0.27, za + 1.1),
                (a + 0.4, 0.27, zb - 0.5),
                (a, 0.27, zb - 0.5),
            )
            b.face(pane, m.window_glass(), ((0, 0), (1, 0), (1, 1), (0, 1)))
        b.box((x0 - 0.22, -0.10, zb), (x1 + 0.22, 0.02, zb + 0.25), trim)
        b.box((x0 - 0.20, -0.06, 0), (x0, 0.02, zb), trim)
        b.box((x1, -0.06, 0), (x1 + 0.20, 0.02, zb), trim)
        b.box((x0 - 0.2, -0.45, 0), (x1 + 0.2, 0.35, 0.12), trim)


def _side_windows(b, house, trim, frame, rng) -> None:
    count = 3
    for floor in range(house.floors):
        z = GROUND + floor * STOREY + 0.85
        for c in range(count):
            x = house.depth * (c + 0.5) / count
            x0, x1, za, zb = x - 0.55, x + 0.55, z, z + 1.8
            b.box((x0 - 0.12, -0.04, za - 0.12), (x1 + 0.12, -0.005, zb + 0.12), trim)
            b.box((x0, -0.06, za), (x1, -0.041, zb), frame)
            for a, e in ((x0 + 0.07, x - 0.04), (x + 0.04, x1 - 0.07)):
                pane = (
                    (a, -0.063, za + 0.07),
                    (e, -0.063, za + 0.07),
                    (e, -0.063, zb - 0.07),
                    (a, -0.063, zb - 0.07),
                )
                b.face(pane, m.window_glass(), ((0, 0), (1, 0), (1, 1), (0, 1)))


def _roof(b, house, top, wall, trim, frame, rng) -> None:
    w, depth = house.width, house.depth
    if house.roof == "parapet":
        b.box((-0.02, -0.02, top), (w + 0.02, 0.3, top + 0.85), wall)
        b.box((-0.05, -0.10, top + 0.80), (w + 0.05, 0.36, top + 0.95), trim)
        b.face(
            ((0, 0, top + 0.1), (w, 0, top + 0.1), (w, depth, top + 0.1), (0, depth, top + 0.1)),
            m.plain((0.2, 0.2, 0.2)),
        )
        for _ in range(2):
            x = rng.uniform(1, w - 2)
            b.box((x, 2, top), (x + 1.3, 3.4, top + 1.9), m.plain((0.35, 0.35, 0.36)))
        return
    slate = rng.random() < 0.4
    cover = m.tiles((0.085, 0.09, 0.10), (0.06, 0.063, 0.07)) if slate else m.tiles()
    z0 = top + 0.12
    if house.roof == "mansard":
        knee_y, knee_z = 1.35, z0 + 2.7
        front = [((0, -0.4, z0), (w, -0.4, z0), (w, knee_y, knee_z), (0, knee_y, knee_z))]
        ridge = knee_z + 1.2
        front.append(((0, knee_y, knee_z), (w, knee_y, knee_z), (w, depth / 2, ridge), (0, depth / 2, ridge)))
        profile = [(-0.4, z0), (knee_y, knee_z), (depth / 2, ridge), (depth, z0)]
    else:
        ridge = z0 + 4.0
        front = [((0, -0.45, z0), (w, -0.45, z0), (w, depth / 2, ridge), (0, depth / 2, ridge))]
        profile = [(-0.45, z0), (depth / 2, ridge), (depth, z0)]
    for quad in front:
        lengths = math.dist(quad[1], quad[2])
        b.face(quad, cover, ((0, 0), (w, 0), (w, lengths), (0, lengths)))
    b.face(((0, depth, z0), (0, depth / 2, ridge), (w, depth / 2, ridge), (w, depth, z0)), cover)
    for x in (0.0, w):
        b.face([(x, y, z) for y, z in profile], wall)
    dormers = max(1, round(w / 4.2))
    for i in range(dormers):
        x = (i + 0.5) * w / dormers
        y, zf = (0.35, z0 + 0.55) if house.roof == "mansard" else (0.75, z0 + 0.85)
        b.box((x - 0.72, y, zf), (x + 0.72, y + 2.6, zf + 1.65), trim if rng.random() < 0.5 else cover)
        b.face(
            (
                (x - 0.92, y - 0.2, zf + 1.6),
                (x, y - 0.2, zf + 2.2),
                (x, y + 3.0, zf + 2.2),
                (x - 0.92, y + 3.0, zf + 1.6),
            ),
            cover,
        )
        b.face(
            (
                (x + 0.92, y - 0.2, zf + 1.6),
                (x + 0.92, y + 3.0, zf + 1.6),
                (x, y + 3.0, zf + 2.2),
                (x, y - 0.2, zf + 2.2),
            ),
            cover,
        )
        b.face(((x - 0.72, y, zf + 1.65), (x + 0.72, y, zf + 1.65), (x, y, zf + 2.15)), trim)
        b.box((x - 0.58, y - 0.05, zf + 0.12), (x + 0.58, y + 0.01, zf + 1.5), frame)
        for a, e in ((x - 0.5, x - 0.04), (x + 0.04, x + 0.5)):
            pane = (
                (a, y - 0.06, zf + 0.2),
                (e, y - 0.06, zf + 0.2),
                (e, y - 0.06, zf + 1.42),
                (a, y - 0.06, zf + 1.42),
            )
            b.face(pane, m.window_glass(), ((0, 0), (1, 0), (1, 1), (0, 1)))
    x = rng.choice((0.5, w - 1.3))
    b.box((x, depth / 2 - 0.6, ridge - 1.2), (x + 0.8, depth / 2 + 0.4, ridge + 1.1), m.brick())
    for k in range(2):
        b.tube(
            (
                (x + 0.22 + 0.36 * k, depth / 2 - 0.1, ridge + 1.1),
                (x + 0.22 + 0.36 * k, depth / 2 - 0.1, ridge + 1.5),
            ),
            (0.1, 0.1),
            m.plain((0.3, 0.12, 0.07)),
        )
