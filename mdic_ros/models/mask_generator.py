"""Mask generator: m_v, what the two views share (paper, section 3.3)."""

from __future__ import annotations

from typing import cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class MaskGenerator(ModelMixin, ConfigMixin):
    """Three convolutions over x^, y^, their difference and their product, then a sigmoid.

    In training the sigmoid is a Gumbel-sigmoid (binary concrete), which drives the mask towards 0 and 1. At inference
    there is no noise, so the same bytes give the same picture.
    """

    @register_to_config
    def __init__(self, features: int = 192, channels: int = 96, temperature: float = 1.0) -> None:
        super().__init__()
        last = nn.Conv2d(channels, 1, 3, padding=1)
        torch.nn.init.constant_(cast(Tensor, last.bias), 2.0)  # begin open: most of the two views is shared
        self.body = nn.Sequential(
            nn.Conv2d(4 * features, channels, 1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            last,
        )

    def forward(self, x_hat: Tensor, y_hat: Tensor) -> Tensor:
        """x^ and the aligned y^, (B, M, h, w) each, to m_v (B, 1, h, w) in [0, 1]."""
        logits = self.body(torch.cat([x_hat, y_hat, x_hat - y_hat, x_hat * y_hat], dim=1))
        if self.training:
            u = torch.rand_like(logits, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
            logits = logits + torch.log(u) - torch.log1p(-u)
        return torch.sigmoid(logits / self.config.temperature)
