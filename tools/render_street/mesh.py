"""A small mesh builder: collects faces with a material and texture coordinates in metres."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import bpy
from mathutils import Matrix, Vector

Point = Sequence[float]


class MeshBuilder:
    """Collects polygons; `tf`, when set, moves points as they are added (texture coordinates stay local)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tf: Matrix | None = None
        self.vertices: list[tuple[float, float, float]] = []
        self.faces: list[tuple[int, ...]] = []
        self.face_materials: list[int] = []
        self.uvs: list[tuple[float, float]] = []
        self.materials: list[bpy.types.Material] = []
        self.smooth: list[bool] = []

    def _slot(self, material: bpy.types.Material) -> int:
        if material not in self.materials:
            self.materials.append(material)
        return self.materials.index(material)

    def face(
        self,
        points: Sequence[Point],
        material: bpy.types.Material,
        uv: Sequence[tuple[float, float]] | None = None,
        smooth: bool = False,
    ) -> None:
        """One polygon. Without `uv` the two axes most parallel to the face serve, in metres."""
        if uv is None:
            a, b, c = (Vector(p) for p in (points[0], points[1], points[2]))
            n = (b - a).cross(c - a)
            axis = max(range(3), key=lambda i: abs(n[i]))
            i, j = ((1, 2), (0, 2), (0, 1))[axis]
            uv = [(p[i], p[j]) for p in points]
        first = len(self.vertices)
        for p in points:
            q = self.tf @ Vector(p) if self.tf is not None else p
            self.vertices.append((q[0], q[1], q[2]))
        self.faces.append(tuple(range(first, first + len(points))))
        self.face_materials.append(self._slot(material))
        self.uvs.extend(uv)
        self.smooth.append(smooth)

    def box(self, lo: Point, hi: Point, material: bpy.types.Material) -> None:
        """An axis-aligned box from corner `lo` to corner `hi`."""
        (x0, y0, z0), (x1, y1, z1) = lo, hi
        for quad in (
            ((x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)),
            ((x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)),
            ((x0, y1, z0), (x0, y0, z0), (x0, y0, z1), (x0, y1, z1)),
            ((x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)),
            ((x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)),
            ((x0, y1, z0), (x1, y1, z0), (x1, y0, z0), (x0, y0, z0)),
        ):
            self.face(quad, material)

    def tube(
        self,
        line: Sequence[Point],
        radii: Sequence[float],
        material: bpy.types.Material,
        sides: int = 8,
        caps: bool = True,
    ) -> None:
        """A round tube along `line` with one radius per point."""
        points = [Vector(p) for p in line]
        rings: list[list[Vector]] = []
        for i, p in enumerate(points):
            direction = (points[min(i + 1, len(points) - 1)] - points[max(i - 1, 0)]).normalized()
            helper = Vector((1, 0, 0)) if abs(direction.x) < 0.8 else Vector((0, 1, 0))
            u = direction.cross(helper).normalized()
            v = direction.cross(u)
            angles = [2 * math.pi * k / sides for k in range(sides)]
            rings.append([p + radii[i] * (math.cos(t) * u + math.sin(t) * v) for t in angles])
        length = 0.0
        for i in range(len(rings) - 1):
            step = (points[i + 1] - points[i]).length
            around = 2 * math.pi * radii[i]
            for k in range(sides):
                n = (k + 1) % sides
                u0, u1 = around * k / sides, around * (k + 1) / sides
                self.face(
                    (rings[i][k], rings[i][n], rings[i + 1][n], rings[i + 1][k]),
                    material,
                    ((u0, length), (u1, length), (u1, length + step), (u0, length + step)),
                    smooth=True,
                )
            length += step
        if caps:
            self.face(rings[0][::-1], material)
            self.face(rings[-1], material)

    def ellipsoid(
        self, centre: Point, radii: Point, material: bpy.types.Material, sides: int = 14, rows: int = 9
    ) -> None:
        """An axis-aligned ellipsoid."""

        def at(i: int, k: int) -> tuple[float, float, float]:
            a, b = math.pi * i / rows, 2 * math.pi * k / sides
            return (
                centre[0] + radii[0] * math.sin(a) * math.cos(b),
                centre[1] + radii[1] * math.sin(a) * math.sin(b),
                centre[2] - radii[2] * math.cos(a),
            )

        for i in range(rows):
            for k in range(sides):
                quad = [at(i, k), at(i, k + 1), at(i + 1, k + 1), at(i + 1, k)]
                if i == 0:
                    quad = [quad[0], quad[2], quad[3]]
                elif i == rows - 1:
                    quad = quad[:3]
                self.face(quad, material, smooth=True)

    def lathe(
        self,
        profile: Sequence[tuple[float, float]],
        material: bpy.types.Material,
        axis: Matrix | None = None,
        sides: int = 24,
        smooth: bool = True,
    ) -> None:
        """Turns `profile`, pairs of (radius, height), around z; `axis` moves the result."""
        m = axis or Matrix()
        for (r0, h0), (r1, h1) in pairwise(profile):
            for k in range(sides):
                a, b = 2 * math.pi * k / sides, 2 * math.pi * (k + 1) / sides
                quad = [
                    m @ Vector((r0 * math.cos(a), r0 * math.sin(a), h0)),
                    m @ Vector((r0 * math.cos(b), r0 * math.sin(b), h0)),
                    m @ Vector((r1 * math.cos(b), r1 * math.sin(b), h1)),
                    m @ Vector((r1 * math.cos(a), r1 * math.sin(a), h1)),
                ]
                if r0 < 1e-6:
                    quad = quad[1:]
                elif r1 < 1e-6:
                    quad = quad[:3]
                self.face(quad, material, smooth=smooth)

    def mesh(self) -> bpy.types.Mesh:
        """The Blender mesh of what was collected."""
        mesh = bpy.data.meshes.new(self.name)
        mesh.from_pydata(self.vertices, [], self.faces)
        for material in self.materials:
            mesh.materials.append(material)
        mesh.polygons.foreach_set("material_index", self.face_materials)
        mesh.polygons.foreach_set("use_smooth", self.smooth)
        layer = mesh.uv_layers.new(name="metres")
        layer.data.foreach_set("uv", [c for pair in self.uvs for c in pair])
        mesh.update()
        return mesh

    def build(self, matrix: Matrix | None = None) -> bpy.types.Object:
        """Links an object with the mesh into the scene."""
        return place(self.mesh(), matrix)


def place(mesh: bpy.types.Mesh, matrix: Matrix | None = None, name: str | None = None) -> bpy.types.Object:
    """A new object showing `mesh` (shared with others, if it is) at `matrix`."""
    obj = bpy.data.objects.new(name or mesh.name, mesh)
    bpy.context.scene.collection.objects.link(obj)
    if matrix is not None:
        obj.matrix_world = matrix
    return obj


def with_modifiers(mesh: bpy.types.Mesh, modifiers: Iterable[tuple[str, dict[str, object]]]) -> bpy.types.Mesh:
    """A copy of `mesh` with modifiers (type, settings) applied."""
    obj = place(mesh)
    for kind, settings in modifiers:
        modifier = obj.modifiers.new(kind, kind)
        for key, value in settings.items():
            setattr(modifier, key, value)
    graph = bpy.context.evaluated_depsgraph_get()
    result = bpy.data.meshes.new_from_object(obj.evaluated_get(graph))
    bpy.data.objects.remove(obj)
    return result


def text(body: str, size: float, material: bpy.types.Material, matrix: Matrix, depth: float = 0.015) -> None:
    """Lettering centred on `matrix`, in its x-z plane, read from -y."""
    curve = bpy.data.curves.new(body, "FONT")
    curve.body, curve.size, curve.extrude = body, size, depth
    curve.align_x, curve.align_y = "CENTER", "CENTER"
    curve.materials.append(material)
    obj = bpy.data.objects.new(body, curve)
    bpy.context.scene.collection.objects.link(obj)
    obj.matrix_world = matrix @ Matrix.Rotation(math.pi / 2, 4, "X")
