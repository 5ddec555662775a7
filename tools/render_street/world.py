"""Sky, sun, camera exposure and haze."""

from __future__ import annotations

import math

import bpy
from mathutils import Vector

SUN_ELEVATION = math.radians(46.0)
SUN_AZIMUTH = math.radians(146.0)  # where the sun stands, counter-clockwise from +y: behind and to the left
HAZE = (0.62, 0.70, 0.80)
HAZE_AT_200M = 0.30


def sun_direction() -> Vector:
    """Unit vector towards the sun."""
    c = math.cos(SUN_ELEVATION)
    return Vector((-c * math.sin(SUN_AZIMUTH), c * math.cos(SUN_AZIMUTH), math.sin(SUN_ELEVATION)))


def make_world(scene: bpy.types.Scene) -> None:
    """A physical sky with thin clouds, and the sun as a lamp of its own so that its strength can be set."""
    world = bpy.data.worlds.new("sky")
    scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    sky = nodes.new("ShaderNodeTexSky")
    sky.sky_type = "NISHITA"
    sky.sun_disc = False
    sky.sun_elevation = SUN_ELEVATION
    sky.sun_rotation = -SUN_AZIMUTH
    sky.altitude, sky.air_density, sky.dust_density, sky.ozone_density = 100.0, 1.0, 1.6, 1.2

    direction = nodes.new("ShaderNodeTexCoord").outputs["Generated"]
    parts = nodes.new("ShaderNodeSeparateXYZ")
    links.new(direction, parts.inputs[0])
    height = nodes.new("ShaderNodeMath")
    height.operation = "MAXIMUM"
    height.inputs[1].default_value = 0.06
    links.new(parts.outputs[2], height.inputs[0])
    plane = nodes.new("ShaderNodeVectorMath")
    plane.operation = "DIVIDE"
    links.new(direction, plane.inputs[0])
    links.new(height.outputs[0], plane.inputs[1])
    noise = nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value = 0.55
    noise.inputs["Detail"].default_value = 7.0
    noise.inputs["Roughness"].default_value = 0.58
    noise.inputs["Distortion"].default_value = 0.4
    links.new(plane.outputs[0], noise.inputs["Vector"])
    cover = nodes.new("ShaderNodeMapRange")
    cover.interpolation_type = "SMOOTHSTEP"
    cover.inputs["From Min"].default_value, cover.inputs["From Max"].default_value = 0.47, 0.72
    cover.inputs["To Max"].default_value = 0.85
    links.new(noise.outputs[0], cover.inputs["Value"])
    mix = nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    mix.inputs[7].default_value = (9.5, 9.6, 9.8, 1.0)
    links.new(cover.outputs[0], mix.inputs[0])
    links.new(sky.outputs[0], mix.inputs[6])
    background = nodes.new("ShaderNodeBackground")
    background.inputs["Strength"].default_value = 0.115
    links.new(mix.outputs[2], background.inputs["Color"])
    output = nodes.new("ShaderNodeOutputWorld")
    links.new(background.outputs[0], output.inputs["Surface"])

    lamp = bpy.data.lights.new("sun", "SUN")
    lamp.energy, lamp.angle, lamp.color = 6.5, math.radians(0.6), (1.0, 0.92, 0.80)
    sun = bpy.data.objects.new("sun", lamp)
    sun.rotation_euler = sun_direction().to_track_quat("Z", "Y").to_euler()
    scene.collection.objects.link(sun)

    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - High Contrast"
    scene.view_settings.exposure = 0.2


def make_haze(scene: bpy.types.Scene) -> None:
    """Air light that grows with distance, mixed in after rendering; the sky keeps its own colours."""
    scene.view_layers[0].use_pass_mist = True
    mist = scene.world.mist_settings
    mist.start, mist.depth, mist.falloff = 8.0, 192.0, "LINEAR"
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers = tree.nodes.new("CompositorNodeRLayers")
    is_far = tree.nodes.new("CompositorNodeMath")
    is_far.operation = "LESS_THAN"
    is_far.inputs[1].default_value = 0.995
    amount = tree.nodes.new("CompositorNodeMath")
    amount.operation = "MULTIPLY"
    scaled = tree.nodes.new("CompositorNodeMath")
    scaled.operation = "MULTIPLY"
    scaled.inputs[1].default_value = HAZE_AT_200M
    mix = tree.nodes.new("CompositorNodeMixRGB")
    mix.inputs[2].default_value = (*HAZE, 1.0)
    output = tree.nodes.new("CompositorNodeComposite")
    link = tree.links.new
    link(layers.outputs["Mist"], is_far.inputs[0])
    link(layers.outputs["Mist"], amount.inputs[0])
    link(is_far.outputs[0], amount.inputs[1])
    link(amount.outputs[0], scaled.inputs[0])
    link(scaled.outputs[0], mix.inputs[0])
    link(layers.outputs["Image"], mix.inputs[1])
    link(mix.outputs[0], output.inputs[0])
