"""People: limbs as capsules that are fused by a voxel remesh, so that clothes look sewn and not stacked.

Local axes: x to the right, y ahead, z up, soles on z = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import bpy
from mathutils import Matrix, Vector

from . import materials as m
from .mesh import MeshBuilder, place, with_modifiers
from .vehicles import bicycle, pedal_at

PHASES = 12
STRIDE = {"walk": 1.32, "cycle": 5.2, "stand": 1.0}  # metres gone in one cycle of movement
SKIN = (0.50, 0.29, 0.19)


@dataclass(frozen=True)
class Look:
    """How somebody is dressed and built."""

    jacket: m.Colour
    trousers: m.Colour
    hair: m.Colour = (0.05, 0.03, 0.02)
    height: float = 1.76
    girth: float = 1.0
    skin: m.Colour = SKIN
    long_hair: bool = False
    bag: bool = False
    coat: bool = False
    checked: bool = False


def _capsule(b: MeshBuilder, a, c, ra, rc, material) -> None:
    a, c = Vector(a), Vector(c)
    b.ellipsoid(a, (ra, ra, ra), material, 12, 8)
    b.ellipsoid(c, (rc, rc, rc), material, 12, 8)
    b.tube((a, c), (ra, rc), material, 12)


def _knee(hip: Vector, foot: Vector, upper: float, lower: float, forward: float) -> Vector:
    """The joint between two limbs of given lengths, bent towards +y (`forward` > 0) or -y."""
    line = foot - hip
    length = min(line.length, upper + lower - 1e-4)
    along = (upper**2 - lower**2 + length**2) / (2 * length)
    off = math.sqrt(max(upper**2 - along**2, 0.0))
    direction = line.normalized()
    side = Vector((0, -direction.z, direction.y)) * (1 if forward > 0 else -1)
    return hip + direction * along + side * off


def _figure(look: Look, pose: dict[str, Vector], lean: float) -> list[bpy.types.Mesh]:
    """Meshes of one pose. `pose` holds hip, neck, and per side foot, hand (R/L)."""
    g = look.girth
    hip, neck = pose["hip"], pose["neck"]
    spine = (neck - hip).normalized()
    across = Vector((1, 0, 0))

    legs = MeshBuilder("legs")
    cloth = m.cloth(look.trousers)
    for key, side in (("R", 1), ("L", -1)):
        top = hip + across * side * 0.095 * g + Vector((0, 0, -0.02))
        foot = pose["foot" + key] + Vector((0, -0.03, 0.085))
        knee = _knee(top, foot, 0.44, 0.43, 1.0)
        _capsule(legs, top, knee, 0.092 * g, 0.062 * g, cloth)
        _capsule(legs, knee, foot, 0.060 * g, 0.047 * g, cloth)
    _capsule(legs, hip + across * 0.07, hip - across * 0.07, 0.115 * g, 0.115 * g, cloth)

    upper = MeshBuilder("upper")
    jacket = m.cloth(look.jacket, look.checked)
    chest = neck - spine * 0.20
    for t, rx, ry in (
        (0.06, 0.165, 0.115),
        (0.16, 0.158, 0.112),
        (0.27, 0.175, 0.122),
        (0.38, 0.188, 0.122),
        (0.45, 0.165, 0.10),
    ):
        c = hip + spine * t * ((neck - hip).length / 0.52)
        upper.ellipsoid(c, (rx * g, ry * g, 0.11), jacket, 16, 10)
    if look.coat:
        for t in (-0.05, -0.18, -0.30):
            upper.ellipsoid(hip + spine * t, (0.175 * g, 0.14 * g, 0.12), jacket, 16, 10)
    for key, side in (("R", 1), ("L", -1)):
        shoulder = chest + spine * 0.13 + across * side * 0.185 * g
        hand = pose["hand" + key]
        elbow = _knee(shoulder, hand, 0.29, 0.27, -1.0)
        _capsule(upper, shoulder, elbow, 0.062 * g, 0.048 * g, jacket)
        _capsule(upper, elbow, hand, 0.047 * g, 0.036 * g, jacket)
    _capsule(
        upper,
        chest + spine * 0.15 - across * 0.12 * g,
        chest + spine * 0.15 + across * 0.12 * g,
        0.068,
        0.068,
        jacket,
    )

    fuse = [
        ("REMESH", {"mode": "VOXEL", "voxel_size": 0.022, "use_smooth_shade": True}),
        ("SMOOTH", {"factor": 0.6, "iterations": 3}),
    ]
    meshes = []
    for builder, material in ((legs, cloth), (upper, jacket)):
        mesh = with_modifiers(builder.mesh(), fuse)
        mesh.materials.clear()
        mesh.materials.append(material)
        meshes.append(mesh)

    rest = MeshBuilder("head and hands")
    skin, hair = m.plain(look.skin, 0.55), m.plain(look.hair, 0.6)
    head = neck + Vector((0, 0.03 + 0.3 * lean, 0.175))
    _capsule(rest, neck - spine * 0.04, head - Vector((0, 0.015, 0.07)), 0.055, 0.052, skin)
    rest.ellipsoid(head, (0.074, 0.093, 0.118), skin)
    rest.ellipsoid(head + Vector((0, 0.095, -0.01)), (0.013, 0.018, 0.02), skin, 8, 5)
    rest.ellipsoid(head + Vector((0, -0.022, 0.030)), (0.083, 0.094, 0.102), hair)
    if look.long_hair:
        rest.ellipsoid(head + Vector((0, -0.055, -0.10)), (0.085, 0.055, 0.16), hair)
    shoe = m.plain((0.03, 0.025, 0.02), 0.5)
    for key in ("R", "L"):
        hand = pose["hand" + key]
        rest.ellipsoid(hand + Vector((0, 0.01, -0.05)), (0.028, 0.038, 0.06), skin, 10, 7)
        foot = pose["foot" + key]
        rest.ellipsoid(foot + Vector((0, 0.055, 0.045)), (0.047, 0.135, 0.048), shoe, 12, 7)
    if look.bag:
        leather = m.plain((0.22, 0.10, 0.05), 0.6)
        rest.ellipsoid(hip + Vector((0.25, -0.02, -0.02)), (0.055, 0.15, 0.14), leather)
        rest.tube(
            (
                hip + Vector((0.25, 0, 0.1)),
                chest + Vector((0.02, 0.14, 0.14)),
                chest + Vector((-0.15, 0.04, 0.20)),
            ),
            (0.013,) * 3,
            leather,
            6,
        )
    meshes.append(rest.mesh())
    return meshes


def _walking(look: Look, phase: float) -> dict[str, Vector]:
    """Joints at `phase` (0..1) of a stride."""
    pose: dict[str, Vector] = {}
    lift = 0.018 * math.cos(4 * math.pi * phase)
    pose["hip"] = Vector((0, 0, 0.90 - 0.02 + lift))
    pose["neck"] = Vector((0, 0.03, 1.42 + lift))
    for key, shift, side in (("R", 0.0, 1), ("L", 0.5, -1)):
        t = (phase + shift) % 1.0
        stride = 0.33
        if t < 0.6:  # on the ground, moving back under the body
            y, z = stride * (1 - 2 * t / 0.6), 0.0
        else:  # swinging forward
            u = (t - 0.6) / 0.4
            y, z = stride * (2 * u - 1), 0.13 * math.sin(math.pi * u)
        pose["foot" + key] = Vector((side * 0.085, y, z))
        swing = -0.26 * math.cos(2 * math.pi * t - 0.3)
        pose["hand" + key] = Vector((side * 0.245, 0.07 + swing, 0.80 + 0.25 * abs(swing)))
    return pose


def _standing(look: Look) -> dict[str, Vector]:
    return {
        "hip": Vector((0, 0, 0.90)),
        "neck": Vector((0, 0.01, 1.43)),
        "footR": Vector((0.11, 0.05, 0)),
        "footL": Vector((-0.11, -0.03, 0)),
        "handR": Vector((0.16, 0.24, 1.02)),
        "handL": Vector((-0.24, 0.05, 0.80)),
    }


def _riding(crank: float) -> dict[str, Vector]:
    pose = {"hip": Vector((0, -0.23, 1.02)), "neck": Vector((0, 0.06, 1.50))}
    for key, side in (("R", 1), ("L", -1)):
        pose["foot" + key] = Vector(pedal_at(crank, side)) + Vector((0, 0, 0.02))
        pose["hand" + key] = Vector((side * 0.27, 0.15, 1.09))
    return pose


@cache
def _posed(look: Look, kind: str, phase: int) -> tuple[bpy.types.Mesh, ...]:
    """Meshes of somebody at one of `PHASES` steps; made when first needed."""
    if kind == "stand":
        return tuple(_figure(look, _standing(look), 0.0))
    if kind == "walk":
        return tuple(_figure(look, _walking(look, phase / PHASES), 0.0))
    crank = 2 * math.pi * phase / PHASES
    bike = MeshBuilder("bicycle")
    bicycle(bike, crank)
    return (*_figure(look, _riding(crank), 0.08), bike.mesh())


class Person:
    """A walker, somebody standing, or a cyclist. `move` also picks the pose for the distance gone."""

    def __init__(self, look: Look, kind: str, label: str, offset: float = 0.0) -> None:
        self.look, self.kind, self.label, self.offset = look, kind, label, offset
        self.scale = 1.0 if kind == "cycle" else look.height / 1.76
        self.parts = [place(mesh, name=f"{label} part") for mesh in _posed(look, kind, 0)]

    def move(self, matrix: Matrix, travelled: float = 0.0) -> None:
        phase = (travelled / STRIDE[self.kind] + self.offset) % 1.0
        step = 0 if self.kind == "stand" else int(phase * PHASES) % PHASES
        for part, mesh in zip(self.parts, _posed(self.look, self.kind, step), strict=True):
            part.data = mesh
            part.matrix_world = matrix @ Matrix.Scale(self.scale, 4)
