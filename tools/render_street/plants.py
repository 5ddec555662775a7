"""Trees, hedges and grass: branches as tubes, foliage as many small bent cards."""

from __future__ import annotations

import math
import random
from functools import cache

import bpy
import numpy as np
from mathutils import Matrix, Vector

from . import materials as m
from .mesh import MeshBuilder, place

GREENS = (
    ((0.018, 0.045, 0.008), (0.075, 0.135, 0.022)),
    ((0.030, 0.060, 0.008), (0.130, 0.180, 0.025)),
    ((0.075, 0.055, 0.008), (0.240, 0.150, 0.020)),  # turning
)


def _cards(centres: np.ndarray, size: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Six-sided leaves, folded along the rib, in random attitudes: vertices (N*6, 3) and faces (N*2, 4)."""
    n = len(centres)
    rib = rng.normal(size=(n, 3)) + np.array([0, 0, -0.35])
    rib /= np.linalg.norm(rib, axis=1, keepdims=True)
    side = np.cross(rib, rng.normal(size=(n, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    fold = np.cross(rib, side) * 0.25
    scale = size * rng.uniform(0.65, 1.3, size=(n, 1))
    outline = ((0, 0), (0.42, 0.45), (0.62, 0.40), (1.0, 0.0), (0.62, -0.40), (0.42, -0.45))
    corners = [centres + scale * (rib * a + side * b + fold * abs(b)) for a, b in outline]
    vertices = np.stack(corners, axis=1).reshape(-1, 3)
    base = np.arange(n)[:, None] * 6
    faces = np.concatenate([base + np.array([[0, 1, 2, 3]]), base + np.array([[0, 3, 4, 5]])])
    return vertices, faces


def _foliage(name: str, centres: np.ndarray, size: float, green: int, rng: np.random.Generator) -> bpy.types.Mesh:
    vertices, faces = _cards(centres, size, rng)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    mesh.materials.append(m.leaf(*GREENS[green]))
    mesh.update()
    return mesh


@cache
def tree(seed: int, green: int, height: float = 8.5, leaves: int = 9000) -> tuple[bpy.types.Mesh, bpy.types.Mesh]:
    """Wood and foliage of one street tree, its stem free of branches to about 2.6 m."""
    rng = random.Random(seed)
    b = MeshBuilder("wood")
    wood = m.bark()
    tips: list[tuple[Vector, float]] = []

    def grow(start: Vector, direction: Vector, length: float, radius: float, level: int) -> None:
        points, radii = [start], [radius]
        p, d = start.copy(), direction.copy()
        steps = 4
        for i in range(steps):
            wobble = Vector((rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 0.6))) * (0.04 if level == 0 else 0.17)
            d = (d + wobble + Vector((0, 0, 0.05 * level))).normalized()
            p = p + d * (length / steps)
            points.append(p.copy())
            radii.append(radius * (1 - 0.42 * (i + 1) / steps))
            if level >= 2:
                tips.append((p.copy(), 0.20 + 0.10 * length))
        b.tube(points, radii, wood, sides=9 if level < 2 else 5, caps=False)
        if level == 3:
            return
        count = (5, 4, 3)[level]
        twist = rng.uniform(0, 6.28)
        for k in range(count):
            along = points[-1] if level == 0 else points[rng.choice((2, 3, 4))]
            if level == 0 and k < 3:
                along = points[-1] - Vector((0, 0, 0.35 * k))
            spread = rng.uniform(0.55, 0.95)
            around = twist + 2 * math.pi * k / count + rng.uniform(-0.4, 0.4)
            out = Vector((math.cos(around), math.sin(around), 0.0))
            child = (d * math.cos(spread) + out * math.sin(spread)).normalized()
            grow(
                along,
                child,
                length * rng.uniform(0.62, 0.82) if level else height * rng.uniform(0.24, 0.34),
                radii[-1] * (0.72 if level else 0.66),
                level + 1,
            )
        if level == 0:  # the leader goes on
            grow(points[-1], d, height * 0.33, radii[-1] * 0.8, 1)

    grow(Vector((0, 0, -0.1)), Vector((0, 0, 1)), height * 0.36, 0.15, 0)
    gen = np.random.default_rng(seed)
    chosen = gen.integers(len(tips), size=leaves)
    base = np.array([tuple(t[0]) for t in tips])[chosen]
    spread = np.array([t[1] for t in tips])[chosen][:, None]
    centres = base + gen.normal(size=(leaves, 3)) * spread
    centres = centres[centres[:, 2] > 2.4]
    return b.mesh(), _foliage("leaves", centres, 0.25, green, gen)


def plant_tree(matrix: Matrix, seed: int, green: int, height: float = 8.5) -> list[bpy.types.Object]:
    wood, leaves = tree(seed, green, height)
    return [place(wood, matrix, "tree"), place(leaves, matrix, "tree leaves")]


def hedge(matrix: Matrix, length: float, height: float = 1.15, width: float = 0.7, seed: int = 0) -> bpy.types.Object:
    """A clipped hedge along local y."""
    gen = np.random.default_rng(seed)
    n = int(900 * length)
    p = gen.uniform((-width / 2, 0, 0.05), (width / 2, length, height), size=(n, 3))
    face = gen.integers(0, 3, size=n)  # most leaves near a surface
    p[face == 0, 0] = np.sign(p[face == 0, 0]) * width / 2
    p[face == 1, 2] = height
    p += gen.normal(size=p.shape) * 0.045
    inner = MeshBuilder("hedge core")
    inner.box(
        (-width / 2 + 0.08, 0.05, 0),
        (width / 2 - 0.08, length - 0.05, height - 0.08),
        m.plain((0.012, 0.02, 0.006)),
    )
    inner.build(matrix)
    return place(_foliage("hedge", p, 0.11, seed % 2, gen), matrix)


def shrub(matrix: Matrix, radius: float, height: float, seed: int) -> bpy.types.Object:
    gen = np.random.default_rng(seed)
    n = int(2600 * radius)
    v = gen.normal(size=(n, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    v *= gen.uniform(0.55, 1.0, size=(n, 1)) ** 0.5 * (1 + 0.15 * np.sin(5 * v[:, :1] + seed))
    p = v * np.array([radius, radius, height / 2]) + np.array([0, 0, height / 2])
    return place(_foliage("shrub", p[p[:, 2] > 0.02], 0.13, seed % 3, gen), matrix)


def lawn(matrix: Matrix, size: tuple[float, float], seed: int, density: float = 50.0) -> bpy.types.Object:
    """Blades of grass over `size` = (x, y) metres."""
    gen = np.random.default_rng(seed)
    n = int(size[0] * size[1] * density)
    root = gen.uniform((0, 0, 0), (size[0], size[1], 1e-6), size=(n, 3))
    lean = gen.normal(size=(n, 3)) * 0.05
    lean[:, 2] = gen.uniform(0.05, 0.14, size=n)
    across = gen.normal(size=(n, 3)) * 0.018
    across[:, 2] = 0
    vertices = np.stack([root - across, root + across, root + lean], axis=1).reshape(-1, 3)
    faces = np.arange(n * 3).reshape(-1, 3)
    mesh = bpy.data.meshes.new("lawn")
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    mesh.materials.append(m.leaf((0.03, 0.075, 0.012), (0.13, 0.21, 0.04)))
    return place(mesh, matrix)
