"""The stereo rig, the render settings, and the passes that tell what is seen where."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

WIDTH, HEIGHT = 512, 256
FX = 297.0  # pixels; 0.58 of the width, as KITTI's colour cameras
BASELINE = 0.54  # metres
RATE_HZ = 10.0


def make_scene(samples: int, scale: int, threads: int) -> bpy.types.Scene:
    """An empty scene with Cycles set up for short, clean renders."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    scene.render.resolution_percentage = scale
    scene.render.use_persistent_data = True
    if threads:
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = True
    cycles.denoiser = "OPENIMAGEDENOISE"
    cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 2, 1, 2
    cycles.denoising_prefilter = "FAST"
    cycles.transmission_bounces, cycles.transparent_max_bounces = 2, 4
    cycles.sample_clamp_indirect = 4.0
    cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.image_settings.compression = 50
    layer = scene.view_layers[0]
    layer.use_pass_z = True
    layer.use_pass_object_index = True
    return scene


class Rig:
    """Two parallel cameras, the right one `BASELINE` to the right of the left one."""

    def __init__(self, scene: bpy.types.Scene, out: Path) -> None:
        self.scene, self.out = scene, out
        self.cameras: dict[str, bpy.types.Object] = {}
        for side in ("left", "right"):
            data = bpy.data.cameras.new(side)
            data.sensor_fit, data.sensor_width = "HORIZONTAL", 36.0
            data.lens = FX / WIDTH * 36.0
            data.clip_start, data.clip_end = 0.1, 1000.0
            self.cameras[side] = bpy.data.objects.new(side, data)
            scene.collection.objects.link(self.cameras[side])
            (out / side).mkdir(parents=True, exist_ok=True)
        self._passes = tempfile.TemporaryDirectory()
        tree = scene.node_tree
        layers = next(n for n in tree.nodes if n.type == "R_LAYERS")
        node = tree.nodes.new("CompositorNodeOutputFile")
        node.base_path = self._passes.name
        node.format.file_format, node.format.color_mode, node.format.color_depth = "OPEN_EXR", "RGB", "32"
        node.file_slots.clear()
        for name in ("Depth", "IndexOB"):
            node.file_slots.new(name)
            tree.links.new(layers.outputs[name], node.inputs[name])

    def move(self, body: Matrix) -> None:
        """Puts the left camera at `body` (x right, y ahead, z up)."""
        view = Matrix.Rotation(math.pi / 2, 4, "X")  # Blender's cameras look along -z
        self.cameras["left"].matrix_world = body @ view
        self.cameras["right"].matrix_world = body @ Matrix.Translation((BASELINE, 0, 0)) @ view

    def _pass(self, name: str, index: int) -> np.ndarray:
        image = bpy.data.images.load(str(Path(self._passes.name) / f"{name}{index:04d}.exr"))
        width, height = image.size
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
        return pixels.reshape(height, width, 4)[::-1, :, 0]

    def render(self, side: str, index: int, disparity: bool) -> dict[int, int]:
        """Writes `side`/INDEX.png; returns the pixels that each labelled object covers, by pass index."""
        self.scene.camera = self.cameras[side]
        self.scene.frame_set(index)
        self.scene.cycles.seed = 2 * index + (side == "right")
        self.scene.render.filepath = str(self.out / side / f"{index:06d}.png")
        bpy.ops.render.render(write_still=True)
        if disparity:
            folder = self.out / f"disparity_{side}"
            folder.mkdir(exist_ok=True)
            depth = self._pass("Depth", index)
            scale = depth.shape[1] / WIDTH
            values = np.where(depth < 900, scale * FX * BASELINE / np.maximum(depth, 0.1), 0.0)
            np.savez_compressed(folder / f"{index:06d}.npz", disparity=values.astype(np.float16))
        labels, counts = np.unique(np.rint(self._pass("IndexOB", index)).astype(int), return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))

    def calibration(self) -> dict[str, Any]:
        """Pinhole parameters in pixels; the centre of the top left pixel is (0, 0), as in ROS."""
        scale = self.scene.render.resolution_percentage / 100
        width, height = round(WIDTH * scale), round(HEIGHT * scale)
        return {
            "width": width,
            "height": height,
            "fx": FX * scale,
            "fy": FX * scale,
            "cx": width / 2 - 0.5,
            "cy": height / 2 - 0.5,
            "baseline": BASELINE,
            "rate_hz": RATE_HZ,
        }
