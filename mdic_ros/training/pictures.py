"""Contact sheets of held-out pictures, to look at while a run is on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

_TITLE = 14  #: rows of pixels above a column


def picture_columns(columns: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """One column per entry, one row per picture, titles above.

    Args:
        columns: title -> (B, 3, H, W) float in [-1, 1], all of one shape; values beyond are clipped.

    Returns:
        (B * H + title, columns * W, 3) uint8 RGB.
    """
    views = [v.detach().float().clamp(-1, 1).add(1).mul(127.5).round().byte().cpu() for v in columns.values()]
    body = np.concatenate([v.permute(0, 2, 3, 1).flatten(0, 1).numpy() for v in views], axis=1)
    sheet = Image.new("RGB", (body.shape[1], body.shape[0] + _TITLE), "white")
    sheet.paste(Image.fromarray(body), (0, _TITLE))
    draw = ImageDraw.Draw(sheet)
    for number, title in enumerate(columns):
        draw.text((number * views[0].shape[-1] + 3, 1), title, "black")
    return np.asarray(sheet)
