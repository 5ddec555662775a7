"""Writes the encoder's networks as one ONNX graph: the `encoder` component of a bundle, which the robot runs.

The graph takes float pixels to token grids. Height and width are free at run time, in whole multiples of 64. It is made
from the same modules that training runs; only the search for the nearest code and the pooling to token grids are
written anew, as products of matrices, since the training library's form of them does not export.

Needs PyTorch, onnx and onnxscript (the extra `train`).
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from typing import Any, cast

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from onnx import helper, numpy_helper
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from mdic_ros.codec.bitstream import MAX_SIDE, MULTIPLE
from mdic_ros.codec.bundle import CLASSES, ENCODER_SOURCES, Bundle, folder_digests, write_index
from mdic_ros.codec.components import load
from mdic_ros.models.autoencoder import encode_latent
from mdic_ros.models.hyper_align import HyperAlign
from mdic_ros.models.quantizer import MultiScaleQuantizer

OPSET = 18  # ONNX Runtime 1.14 and later


class TokenGraph(nn.Module):
    """Image to token grids: autoencoder, HyperAlign, quantizer.

    Chooses the codes that `MultiScaleQuantizer` chooses, but for ties and rounding.
    """

    def __init__(self, vae: AutoencoderKL, hyper_align: HyperAlign, quantizer: MultiScaleQuantizer) -> None:
        super().__init__()
        self.vae, self.hyper_align, self.quantizer = vae, hyper_align, quantizer
        for scale in range(len(quantizer.fractions)):
            codes = cast(VectorQuantize, quantizer.quantizers[scale]).codebook.detach().float()
            self.register_buffer(f"codes{scale}", codes.clone())
            # |t - c|^2 = |t|^2 - 2 (t c - |c|^2 / 2): the nearest code has the largest t c - |c|^2 / 2.
            self.register_buffer(f"half_squares{scale}", codes.square().sum(1) / 2)
            # Adaptive average pooling of four positions to one, two or three, as a matrix (4, n).
            self.register_buffer(f"pool{scale}", F.adaptive_avg_pool1d(torch.eye(4), quantizer.grid(scale, 4, 4)[0]))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W) float32 in [-1, 1], H and W multiples of 64, to token grids (h_k, w_k) int64, coarse to fine."""
        left_over = self.quantizer.project_in(self.hyper_align(encode_latent(self.vae, pixels)))
        size = left_over.shape[-2:]
        grids = []
        for scale in range(len(self.quantizer.quantizers)):
            pooled = self._pool(left_over, getattr(self, f"pool{scale}"))
            _, dim, height, width = pooled.shape
            codes: Tensor = getattr(self, f"codes{scale}")
            likeness = pooled.reshape(dim, -1).t() @ codes.t() - getattr(self, f"half_squares{scale}")
            index = likeness.argmax(dim=1)
            grids.append(index.reshape(height, width))
            if scale + 1 < len(self.quantizer.quantizers):
                code = codes[index].t().reshape(1, dim, height, width)
                if self.quantizer.fractions[scale] != 1:
                    code = F.interpolate(code, size=size, mode="bilinear", align_corners=False)
                left_over = left_over - (code + self.quantizer.phi[scale](code))
        return tuple(grids)

    @staticmethod
    def _pool(x: Tensor, matrix: Tensor) -> Tensor:
        """(1, d, h, w) to (1, d, n h / 4, n w / 4) by a matrix (4, n)."""
        if matrix.shape[1] == 4:
            return x
        _, dim, height, width = x.shape
        x = (x.reshape(-1, 4) @ matrix).reshape(dim, height, -1).transpose(1, 2)
        x = (x.reshape(-1, 4) @ matrix).reshape(dim, matrix.shape[1] * width // 4, -1).transpose(1, 2)
        return x[None]


def export_encoder(bundle: Bundle) -> str:
    """Writes the `encoder` component of a whole bundle, anew if it has one, and lists it in the index.

    `config.json` in it has the digests of the files that the graph was made of, so that a graph of other weights than
    the bundle's is noticed.

    If this is interrupted the bundle has its old encoder or its new one, or, for a moment between two renames, none
    that `Bundle.check` accepts: then `Encoder` says that an export mends it. The other components stay whole.

    Returns:
        The fingerprint, 64 hex digits. It does not change, since it does not cover the graph.

    Raises:
        BundleError: a file is missing or not the one that the index lists.
    """
    for component in bundle.components:  # a damaged bundle is to be noticed here, not on the robot
        if component != "encoder":
            bundle.check(component)
    model = _export(TokenGraph(**{name: load(bundle, name) for name in ENCODER_SOURCES}).eval())
    config = {"_class_name": "TokenGraph", "made_of": bundle.listed(*ENCODER_SOURCES)}
    # A name that begins with a dot is no part of a bundle: what lies there does no harm if this is interrupted.
    work, folder = bundle.path / ".encoder.partial", bundle.path / "encoder"
    shutil.rmtree(work, ignore_errors=True)
    new, old = work / "encoder", work / "old"
    new.mkdir(parents=True)
    (new / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (new / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    made = folder_digests(work)
    listed = [made if component == "encoder" else bundle.listed(component) for component in CLASSES]
    digests = {name: digest for files in listed for name, digest in files.items()}
    if folder.exists():
        folder.rename(old)
    # The index before the folder: a folder with files that are not listed would make all of the bundle invalid.
    identity = write_index(bundle.path, bundle.model_id, guidance_scale=bundle.guidance, digests=digests)
    new.rename(folder)
    shutil.rmtree(work)
    return identity


def _export(graph: TokenGraph) -> onnx.ModelProto:
    # An example of any size works, as long as its windows of attention need padding: the exporter must see that, too.
    pixels = torch.zeros(1, 3, 3 * MULTIPLE, 5 * MULTIPLE)
    rows, columns = (torch.export.Dim(name, min=low, max=MAX_SIDE // MULTIPLE) for name, low in (("r", 1), ("c", 2)))
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that torchvision is missing, which is not needed
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                (pixels,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=[f"tokens{scale}" for scale in range(len(graph.quantizer.quantizers))],
                dynamic_shapes=({2: MULTIPLE * rows, 3: MULTIPLE * columns},),
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    _store_in_half(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drops the exporter's notes, which hold paths of the training machine."""
    everything: list[Any] = [model, model.graph, *model.graph.node, *model.graph.initializer]
    everything += [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for part in everything:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    del model.graph.value_info[:]  # sizes of intermediate results, which ONNX Runtime finds out again
    del model.functions[:]


def _store_in_half(graph: onnx.GraphProto) -> None:
    """Stores weights in float16 where that loses nothing, half the size; ONNX Runtime widens them when it loads."""
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < 256:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
