"""Convolutions and linear layers in bfloat16, inside networks that stay in float32.

Nearly all arithmetic is in these layers, and bfloat16 is enough for their products; sums over many of them, norms,
residual streams, offsets and pixels stay in float32. Elementwise work is no faster in bfloat16 on a CPU.

On a CPU the weights are kept in the order that oneDNN computes in. PyTorch's own layers bring them into that order at
every call, which costs as much as the product where the grid is small.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ONEDNN: Any = torch.ops.mkldnn


def use_bfloat16(network: nn.Module, keep: Collection[str] = ()) -> None:
    """Replaces the convolutions and linear layers of a network, in place. For inference only.

    Args:
        network: in float32, on the device where it runs.
        keep: names of layers that stay as they are, without what they are part of.
    """
    for name, child in network.named_children():
        if name in keep:
            continue
        if isinstance(child, nn.Conv2d):
            setattr(network, name, _Conv2d(child))
        elif isinstance(child, nn.Linear):
            setattr(network, name, _Linear(child))
        else:
            use_bfloat16(child, keep)


class _Layer(nn.Module):
    """What both kinds share: weights in bfloat16, and whether they are brought into oneDNN's order."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().to(torch.bfloat16), persistent=False)
        bias = None if layer.bias is None else layer.bias.detach().to(torch.bfloat16)
        self.register_buffer("bias", bias, persistent=False)
        self.packs = self.weight.device.type == "cpu" and _can_pack()


def _can_pack() -> bool:
    """Whether PyTorch has the functions that its own compiler uses for this. They are not public.

    Without them everything works, more slowly.
    """
    names = ("_reorder_convolution_weight", "_convolution_pointwise", "_reorder_linear_weight", "_linear_pointwise")
    if not all(hasattr(_ONEDNN, name) for name in (*names, "_is_mkldnn_bf16_supported")):
        return False
    return bool(_ONEDNN._is_mkldnn_bf16_supported())


class _Conv2d(_Layer):
    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(f"only convolutions padded by numbers of zeros, not {layer}")
        self.geometry = list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups
        self._packed: tuple[torch.Size, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h', w'), float32."""
        x = x.to(torch.bfloat16, memory_format=torch.channels_last)
        if not self.packs:
            padding, stride, dilation, groups = self.geometry
            return F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups).float()
        if self._packed is None or self._packed[0] != x.shape:  # the order depends on the size
            packed = _ONEDNN._reorder_convolution_weight(self.weight, *self.geometry, list(x.shape))
            self._packed = x.shape, packed
        y: Tensor = _ONEDNN._convolution_pointwise(x, self._packed[1], self.bias, *self.geometry, "none", [], "")
        return y.float()


class _Linear(_Layer):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        if self.packs:
            self._packed = _ONEDNN._reorder_linear_weight(self.weight, None)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C'), float32."""
        x = x.to(torch.bfloat16)
        if not self.packs:
            return F.linear(x, self.weight, self.bias).float()
        y: Tensor = _ONEDNN._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return y.float()
