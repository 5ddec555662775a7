"""Ablation: blocks replaced by ones that do nothing, to see what each is worth (paper, table of ablations)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class _NoClusterFusion(nn.Module):
    """In place of G1: x^ as it is."""

    def forward(self, x_hat: Tensor, y_hat: Tensor, mask: Tensor) -> Tensor:
        return x_hat


class _NoDetailFusion(nn.Module):
    """In place of G2: the aligned side latent without a gate."""

    def forward(self, z_y: Tensor, mask: Tensor) -> Tensor:
        return z_y


class _OpenMask(nn.Module):
    """In place of the mask generator: all of the side image counts as shared."""

    def forward(self, x_hat: Tensor, y_hat: Tensor) -> Tensor:
        return x_hat.new_ones(x_hat[:, :1].shape)


#: Name of an ablation -> the module of `MDIC` that is replaced, and what replaces it.
REPLACED: dict[str, tuple[str, type[nn.Module]]] = {
    "g1": ("side_fusion.g1", _NoClusterFusion),
    "g2": ("side_fusion.g2", _NoDetailFusion),
    "mask": ("mask_generator", _OpenMask),
}


@contextmanager
def without(mdic: nn.Module, *blocks: str) -> Iterator[None]:
    """Inside, the networks run without some of their blocks.

    Args:
        mdic: the networks, see `Decoder.mdic`.
        blocks: of `REPLACED`; none = nothing is replaced.
    """
    kept = {}
    try:
        for block in blocks:
            path, replacement = REPLACED[block]
            kept[path] = mdic.get_submodule(path)
            mdic.set_submodule(path, replacement())
        yield
    finally:
        for path, module in kept.items():
            mdic.set_submodule(path, module)
