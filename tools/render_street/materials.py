"""Procedural materials. Texture coordinates are metres, so that a brick is a brick everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import bpy

Colour = tuple[float, float, float]
# A painted box of a car body: |x| from, to, y from, to, z from, to, colour, glow.
Region = tuple[float, float, float, float, float, float, Colour, float]
Socket = Any  # bpy.types.NodeSocket; bpy ships no types to check against


class Shader:
    """Short hand to build a node tree: every call adds a node and returns its output socket."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.nodes = self.material.node_tree.nodes
        self.links = self.material.node_tree.links
        self.nodes.clear()
        self.material.cycles.emission_sampling = "NONE"  # lamps by day: seen, but not worth sampling

    def node(self, kind: str, inputs: dict[str | int, Any] | None = None, **properties: Any) -> Any:
        node = self.nodes.new("ShaderNode" + kind)
        for key, value in properties.items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.links.new(value, node.inputs[key])
            else:
                if isinstance(value, tuple) and len(value) == 3 and node.inputs[key].type == "RGBA":
                    value = (*value, 1.0)
                node.inputs[key].default_value = value
        return node

    def uv(self) -> Socket:
        return self.node("TexCoord").outputs["UV"]

    def local(self) -> Socket:
        return self.node("TexCoord").outputs["Object"]

    def world(self) -> Socket:
        return self.node("NewGeometry").outputs["Position"]

    def island(self) -> Socket:
        return self.node("NewGeometry").outputs["Random Per Island"]

    def scaled(self, vector: Socket, scale: Colour, offset: Colour = (0, 0, 0)) -> Socket:
        return self.node("Mapping", {"Vector": vector, "Scale": scale, "Location": offset}).outputs[0]

    def noise(self, vector: Socket, scale: float, detail: float = 4.0, rough: float = 0.55) -> Socket:
        inputs = {"Vector": vector, "Scale": scale, "Detail": detail, "Roughness": rough}
        return self.node("TexNoise", inputs).outputs[0]

    def math(self, operation: str, a: Any, b: Any = 0.0, c: Any = 0.0) -> Socket:
        return self.node("Math", {0: a, 1: b, 2: c}, operation=operation).outputs[0]

    def ramp(self, value: Any, low: float, high: float, to_low: float = 0.0, to_high: float = 1.0) -> Socket:
        inputs = {"Value": value, "From Min": low, "From Max": high, "To Min": to_low, "To Max": to_high}
        return self.node("MapRange", inputs).outputs[0]

    def mix(self, factor: Any, a: Any, b: Any, blend: str = "MIX") -> Socket:
        return self.node("Mix", {0: factor, 6: a, 7: b}, data_type="RGBA", blend_type=blend).outputs[2]

    def split(self, vector: Socket) -> list[Socket]:
        return list(self.node("SeparateXYZ", {0: vector}).outputs)

    def bump(self, height: Socket, distance: float, strength: float = 1.0) -> Socket:
        return self.node("Bump", {"Height": height, "Distance": distance, "Strength": strength}).outputs[0]

    def surface(self, **inputs: Any) -> bpy.types.Material:
        """Ends the tree with a principled BSDF; underscores in names stand for spaces."""
        named = {key.replace("_", " ").replace("IOR level", "IOR Level"): v for key, v in inputs.items()}
        return self.output(self.node("BsdfPrincipled", named).outputs[0])

    def output(self, shader: Socket) -> bpy.types.Material:
        self.node("OutputMaterial", {"Surface": shader})
        return self.material


def once(make: Callable[..., bpy.types.Material]) -> Callable[..., bpy.types.Material]:
    """One material per set of arguments."""
    return cache(make)


@once
def plain(colour: Colour, roughness: float = 0.6, metallic: float = 0.0) -> bpy.types.Material:
    s = Shader("plain")
    wear = s.ramp(s.noise(s.local(), 9.0), 0.3, 0.7, 0.88, 1.06)
    return s.surface(
        Base_Color=s.mix(1.0, colour, s.node("CombineXYZ", {0: wear, 1: wear, 2: wear}).outputs[0], "MULTIPLY"),
        Roughness=roughness,
        Metallic=metallic,
    )


@once
def flat(colour: Colour, roughness: float = 0.4, glow: float = 0.0) -> bpy.types.Material:
    """One colour, for signs, lettering and lamps."""
    return Shader("flat").surface(Base_Color=colour, Roughness=roughness, Emission_Color=colour, Emission_Strength=glow)


@once
def plaster(colour: Colour) -> bpy.types.Material:
    """Painted render: blotches, rain streaks below edges, a dirty foot."""
    s = Shader("plaster")
    p, uv = s.world(), s.uv()
    blotch = s.ramp(s.noise(p, 0.35, 6.0), 0.35, 0.7)
    streak = s.ramp(s.noise(s.scaled(uv, (2.6, 0.14, 1.0)), 1.0, 5.0, 0.7), 0.48, 0.80)
    grain = s.noise(p, 60.0, 3.0)
    foot = s.ramp(s.math("ADD", s.split(p)[2], s.ramp(s.noise(p, 1.5), 0, 1, -0.8, 0.8)), 0.0, 1.8, 0.55, 0.0)
    light = tuple(min(1.0, c * 1.06) for c in colour)
    dark = tuple(c * f for c, f in zip(colour, (0.74, 0.72, 0.69), strict=True))
    base = s.mix(blotch, dark, light)
    base = s.mix(s.math("MULTIPLY", streak, 0.20), base, tuple(c * 0.42 for c in colour))
    base = s.mix(foot, base, (0.16, 0.14, 0.12))
    return s.surface(Base_Color=base, Roughness=0.88, Normal=s.bump(grain, 0.006, 0.6))


def _blocks(
    name: str, a: Colour, b: Colour, mortar: Colour, width: float, height: float, joint: float, depth: float
) -> bpy.types.Material:
    s = Shader(name)
    uv, p = s.uv(), s.world()
    brick = s.node(
        "TexBrick",
        {
            "Vector": uv,
            "Color1": a,
            "Color2": b,
            "Mortar": mortar,
            "Scale": 1.0,
            "Mortar Size": joint,
            "Mortar Smooth": 0.2,
            "Bias": -0.1,
            "Brick Width": width,
            "Row Height": height,
        },
    )
    dirt = s.ramp(s.noise(p, 0.7, 6.0), 0.3, 0.75, 0.65, 1.12)
    grain = s.ramp(s.noise(p, 22.0, 4.0), 0.25, 0.75, 0.82, 1.14)
    k = s.math("MULTIPLY", dirt, grain)
    colour = s.mix(1.0, brick.outputs[0], s.node("CombineXYZ", {0: k, 1: k, 2: k}).outputs[0], "MULTIPLY")
    height_map = s.math("SUBTRACT", s.math("MULTIPLY", grain, 0.2), brick.outputs[1])
    return s.surface(Base_Color=colour, Roughness=0.9, Normal=s.bump(height_map, depth))


@once
def brick(a: Colour = (0.30, 0.11, 0.07), b: Colour = (0.20, 0.07, 0.05)) -> bpy.types.Material:
    return _blocks("brick", a, b, (0.42, 0.38, 0.33), 0.25, 0.085, 0.010, 0.012)


@once
def stone(a: Colour = (0.42, 0.29, 0.21), b: Colour = (0.34, 0.22, 0.16)) -> bpy.types.Material:
    return _blocks("stone", a, b, (0.20, 0.15, 0.12), 0.72, 0.36, 0.012, 0.02)


@once
def paving(a: Colour = (0.36, 0.34, 0.31), b: Colour = (0.29, 0.28, 0.26)) -> bpy.types.Material:
    return _blocks("paving", a, b, (0.13, 0.12, 0.10), 0.50, 0.50, 0.010, 0.006)


@once
def cobbles() -> bpy.types.Material:
    return _blocks("cobbles", (0.23, 0.22, 0.22), (0.16, 0.155, 0.155), (0.07, 0.065, 0.055), 0.2, 0.12, 0.014, 0.012)


@once
def tiles(a: Colour = (0.27, 0.09, 0.05), b: Colour = (0.19, 0.065, 0.04)) -> bpy.types.Material:
    """Roof tiles in rows."""
    return _blocks("tiles", a, b, (0.06, 0.03, 0.02), 0.24, 0.32, 0.022, 0.05)


@once
def asphalt(worn: bool = True) -> bpy.types.Material:
    """Road surface: aggregate, wheel tracks, tar patches and cracks. UV: d across, s along."""
    s = Shader("asphalt")
    uv = s.uv()
    aggregate = s.ramp(s.noise(uv, 55.0, 3.0, 0.7), 0.3, 0.7, 0.72, 1.28)
    broad = s.ramp(s.noise(s.scaled(uv, (1.0, 0.22, 1.0)), 0.55, 6.0, 0.6), 0.3, 0.72, 0.72, 1.25)
    across = s.split(uv)[0]
    track = s.math(
        "ABSOLUTE",
        s.math("SUBTRACT", s.math("ABSOLUTE", s.math("SUBTRACT", s.math("ABSOLUTE", across), 1.75)), 0.75),
    )
    track = s.ramp(track, 0.0, 0.45, 0.86, 1.0)
    k = s.math("MULTIPLY", s.math("MULTIPLY", aggregate, broad), track)
    base = s.mix(1.0, (0.140, 0.138, 0.136), s.node("CombineXYZ", {0: k, 1: k, 2: k}).outputs[0], "MULTIPLY")
    warped = s.node(
        "VectorMath",
        {0: uv, 1: s.node("TexNoise", {"Vector": uv, "Scale": 1.6, "Detail": 5.0}).outputs[1]},
        operation="ADD",
    ).outputs[0]
    crack = s.node("TexVoronoi", {"Vector": warped, "Scale": 0.33}, feature="DISTANCE_TO_EDGE").outputs[0]
    crack_at = s.ramp(s.noise(uv, 0.16, 2.0), 0.50, 0.60)
    crack = s.math("MULTIPLY", s.ramp(crack, 0.002, 0.008, 0.8, 0.0), crack_at)
    patch = s.node(
        "TexBrick",
        {
            "Vector": s.scaled(uv, (1, 1, 1), (0.7, 0.0, 0.0)),
            "Scale": 1.0,
            "Brick Width": 2.4,
            "Row Height": 5.3,
            "Mortar Size": 0.0,
            "Color1": (0, 0, 0),
            "Color2": (1, 1, 1),
        },
    )
    patch_on = s.ramp(patch.outputs[0], 0.86, 0.88)
    base = s.mix(s.math("MULTIPLY", patch_on, 0.55 if worn else 0.0), base, (0.075, 0.075, 0.078))
    base = s.mix(crack, base, (0.03, 0.03, 0.031))
    oil = s.ramp(s.noise(s.scaled(uv, (1.0, 0.4, 1.0)), 1.3, 3.0), 0.66, 0.8, 0.0, 0.5)
    base = s.mix(oil, base, (0.03, 0.03, 0.032))
    return s.surface(Base_Color=base, Roughness=0.82, Normal=s.bump(aggregate, 0.004, 0.7))


@once
def marking(colour: Colour = (0.72, 0.72, 0.70)) -> bpy.types.Material:
    """Road paint, worn through to the asphalt here and there."""
    s = Shader("marking")
    p = s.world()
    worn = s.ramp(s.noise(p, 14.0, 5.0, 0.75), 0.52, 0.66, 0.0, 0.85)
    dirt = s.ramp(s.noise(p, 1.1), 0.3, 0.7, 0.0, 0.35)
    base = s.mix(dirt, colour, (0.30, 0.29, 0.27))
    return s.surface(Base_Color=s.mix(worn, base, (0.10, 0.10, 0.10)), Roughness=0.6)


@once
def grass() -> bpy.types.Material:
    s = Shader("grass")
    p = s.world()
    blades = s.noise(p, 34.0, 4.0, 0.8)
    base = s.mix(s.ramp(blades, 0.3, 0.7), (0.035, 0.075, 0.012), (0.13, 0.20, 0.035))
    base = s.mix(s.ramp(s.noise(p, 0.8, 5.0), 0.5, 0.7, 0.0, 0.6), base, (0.20, 0.18, 0.07))
    return s.surface(Base_Color=base, Roughness=0.9, Normal=s.bump(blades, 0.06))


@once
def bark(colour: Colour = (0.13, 0.10, 0.075)) -> bpy.types.Material:
    s = Shader("bark")
    furrow = s.noise(s.scaled(s.uv(), (16.0, 3.0, 1.0)), 1.0, 5.0, 0.7)
    moss = s.ramp(s.noise(s.world(), 1.4), 0.55, 0.75, 0.0, 0.5)
    base = s.mix(s.ramp(furrow, 0.3, 0.7), tuple(c * 0.45 for c in colour), tuple(c * 1.4 for c in colour))
    return s.surface(Base_Color=s.mix(moss, base, (0.09, 0.11, 0.03)), Roughness=0.95, Normal=s.bump(furrow, 0.03))


@once
def leaf(dark: Colour, light: Colour) -> bpy.types.Material:
    """Leaves: each card its own shade, light shines through."""
    s = Shader("leaf")
    colour = s.mix(s.island(), dark, light)
    front = s.node("BsdfPrincipled", {"Base Color": colour, "Roughness": 0.5, "Specular IOR Level": 0.35})
    through = s.node("BsdfTranslucent", {"Color": s.mix(0.5, colour, (0.30, 0.40, 0.03))})
    return s.output(s.node("MixShader", {0: 0.35, 1: front.outputs[0], 2: through.outputs[0]}).outputs[0])


@once
def window_glass(tint: Colour = (0.02, 0.025, 0.03)) -> bpy.types.Material:
    """A window from outside: a dark room, curtains that differ per window, the sky in the pane. UV 0..1."""
    s = Shader("window glass")
    uv, chance = s.uv(), s.island()
    u, v = s.split(uv)[:2]
    side = s.math("ABSOLUTE", s.math("SUBTRACT", u, 0.5))
    opening = s.ramp(s.math("FRACT", s.math("MULTIPLY", chance, 7.31)), 0.0, 1.0, 0.02, 0.62)
    curtain = s.math("GREATER_THAN", side, opening)
    folds = s.ramp(s.node("TexWave", {"Vector": uv, "Scale": 9.0, "Distortion": 1.5}).outputs[1], 0, 1, 0.55, 1.0)
    cloth = s.mix(s.math("FRACT", s.math("MULTIPLY", chance, 3.7)), (0.50, 0.47, 0.41), (0.62, 0.63, 0.64))
    cloth = s.mix(1.0, cloth, s.node("CombineXYZ", {0: folds, 1: folds, 2: folds}).outputs[0], "MULTIPLY")
    room = s.mix(s.math("MULTIPLY", s.ramp(v, 0.0, 1.0, 0.0, 0.4), chance), tint, (0.16, 0.13, 0.09))
    blind = s.math(
        "MULTIPLY",
        s.math("GREATER_THAN", v, s.ramp(s.math("FRACT", s.math("MULTIPLY", chance, 13.7)), 0, 1, 0.35, 1.6)),
        1.0,
    )
    inside = s.mix(blind, s.mix(curtain, room, cloth), (0.55, 0.52, 0.46))
    diffuse = s.node("BsdfDiffuse", {"Color": s.mix(1.0, inside, (0.55, 0.57, 0.58), "MULTIPLY")})
    ripple = s.bump(s.noise(s.world(), 1.3, 1.0), 0.012)
    gloss = s.node("BsdfGlossy", {"Color": (0.9, 0.95, 1.0), "Roughness": 0.03, "Normal": ripple})
    fresnel = s.ramp(s.node("Fresnel", {"IOR": 1.5}).outputs[0], 0.0, 1.0, 0.16, 1.0)
    return s.output(s.node("MixShader", {0: fresnel, 1: diffuse.outputs[0], 2: gloss.outputs[0]}).outputs[0])


@once
def shop_glass(warmth: Colour = (1.0, 0.82, 0.55)) -> bpy.types.Material:
    """A shop window: goods on shelves as coloured patches, lit from within, reflections. UV in metres."""
    s = Shader("shop glass")
    uv = s.uv()
    goods = s.node(
        "TexVoronoi",
        {"Vector": s.scaled(uv, (4.2, 2.6, 1.0)), "Scale": 1.0, "Randomness": 0.75},
        feature="F1",
        distance="CHEBYCHEV",
    )
    height = s.split(uv)[1]
    shelf = s.ramp(height, 1.7, 2.1, 1.0, 0.12)
    colour = s.mix(0.68, goods.outputs[1], (0.20, 0.16, 0.12))
    edge = s.ramp(goods.outputs[0], 0.28, 0.42, 1.0, 0.12)
    k = s.math("MULTIPLY", edge, shelf)
    inside = s.mix(k, (0.035, 0.03, 0.028), colour)
    lit = s.node(
        "BsdfPrincipled",
        {
            "Base Color": s.mix(1.0, inside, (0.5, 0.5, 0.5), "MULTIPLY"),
            "Roughness": 0.9,
            "Emission Color": s.mix(1.0, inside, warmth, "MULTIPLY"),
            "Emission Strength": 0.35,
        },
    )
    gloss = s.node(
        "BsdfGlossy",
        {
            "Color": (0.95, 0.97, 1.0),
            "Roughness": 0.015,
            "Normal": s.bump(s.noise(s.world(), 0.9, 1.0), 0.008),
        },
    )
    fresnel = s.ramp(s.node("Fresnel", {"IOR": 1.5}).outputs[0], 0.0, 1.0, 0.12, 1.0)
    return s.output(s.node("MixShader", {0: fresnel, 1: lit.outputs[0], 2: gloss.outputs[0]}).outputs[0])


@once
def slats(colour: Colour, pitch: float = 0.06) -> bpy.types.Material:
    """Horizontal slats: roller shutters, louvres, garage doors. UV in metres."""
    s = Shader("slats")
    v = s.split(s.uv())[1]
    wave = s.math("PINGPONG", v, pitch / 2)
    shade = s.ramp(wave, 0.0, pitch / 5, 0.55, 1.0)
    base = s.mix(1.0, colour, s.node("CombineXYZ", {0: shade, 1: shade, 2: shade}).outputs[0], "MULTIPLY")
    return s.surface(Base_Color=base, Roughness=0.6, Normal=s.bump(wave, 0.05))


@once
def stripes(a: Colour, b: Colour, width: float = 0.25) -> bpy.types.Material:
    """Striped awning cloth. UV in metres."""
    s = Shader("stripes")
    u = s.split(s.uv())[0]
    k = s.math("GREATER_THAN", s.math("MODULO", s.math("ADD", u, 100.0), 2 * width), width)
    return s.surface(Base_Color=s.mix(k, a, b), Roughness=0.9)


@once
def car_paint(seams: tuple[float, ...], regions: tuple[Region, ...]) -> bpy.types.Material:
    """Clear-coated paint in the object's own colour, door gaps at lengths `seams`, lamps and trim on top."""
    s = Shader("car paint")
    colour = s.node("ObjectInfo").outputs["Color"]
    x, y, z = s.split(s.local())
    wide = s.math("ABSOLUTE", x)
    gap: Any = 0.0
    for seam in seams:
        gap = s.math("MAXIMUM", gap, s.math("COMPARE", y, seam, 0.009))
    door = s.math("MULTIPLY", s.math("GREATER_THAN", z, 0.30), s.math("GREATER_THAN", wide, 0.5))
    dust = s.ramp(z, 0.2, 0.75, 0.35, 0.0)
    base = s.mix(dust, colour, (0.14, 0.12, 0.10))
    base = s.mix(s.math("MULTIPLY", gap, door), base, (0.01, 0.01, 0.01))
    glow: Any = 0.0
    metallic: Any = 0.25
    for x0, x1, y0, y1, z0, z1, paint, light in regions:
        inside: Any = 1.0
        for value, low, high in ((wide, x0, x1), (y, y0, y1), (z, z0, z1)):
            inside = s.math("MULTIPLY", inside, s.math("COMPARE", value, (low + high) / 2, (high - low) / 2))
        base = s.mix(inside, base, paint)
        metallic = s.math("MULTIPLY", metallic, s.math("SUBTRACT", 1.0, inside))
        if light:
            glow = s.math("MAXIMUM", glow, s.math("MULTIPLY", inside, light))
    return s.surface(
        Base_Color=base,
        Roughness=0.38,
        Metallic=metallic,
        Coat_Weight=1.0,
        Coat_Roughness=0.04,
        Emission_Color=base,
        Emission_Strength=glow,
    )


@once
def car_glass() -> bpy.types.Material:
    return Shader("car glass").surface(
        Base_Color=(0.012, 0.015, 0.016), Roughness=0.02, IOR=1.6, Coat_Weight=1.0, Coat_Roughness=0.01
    )


@once
def cloth(colour: Colour, checked: bool = False) -> bpy.types.Material:
    s = Shader("cloth")
    p = s.local()
    k = s.ramp(s.noise(p, 7.0, 4.0), 0.3, 0.7, 0.7, 1.2)
    base = s.mix(1.0, colour, s.node("CombineXYZ", {0: k, 1: k, 2: k}).outputs[0], "MULTIPLY")
    if checked:
        chequer = s.node("TexChecker", {"Vector": p, "Scale": 16.0, "Color1": (1, 1, 1), "Color2": (0.5, 0.5, 0.55)})
        base = s.mix(1.0, base, chequer.outputs[0], "MULTIPLY")
    return s.surface(Base_Color=base, Roughness=0.95, Normal=s.bump(s.noise(p, 5.0, 3.0), 0.05))
