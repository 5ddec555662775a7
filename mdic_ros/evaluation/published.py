"""The curves that MDIC's paper publishes, for comparison with measured ones. This project measured none of them.

`published.json` has the figures and says where they come from: the curves of other codecs, too, are as that paper shows
them. Metrics have this package's names.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any

BITS_PER_NAT = 1 / math.log(2)  #: 1.4427

CAVEAT = (
    "Published, not measured: digitised from the figures of arXiv 2605.22061 (about 0.5 % of an axis), at 128x256. "
    "They hold for the paper's data only: the 790 pairs of KITTI stereo 2012 and 2015 or Cityscapes' test pairs. "
    "On other images no figure is comparable, nor is FID or KID on a set of another size. "
    "The paper resizes bilinearly: about 0.5 dB easier than bicubic as here. "
    "These rates are estimates of an entropy model, no bytes were written. MDIC's released code adds up natural "
    "logarithms and logs the sum as bits: if the paper's figures come from it, MDIC's true rates are "
    f"{BITS_PER_NAT:.4f} times what is shown. Its MDIC checkpoint was chosen on neighbouring frames of the test scenes."
)

_PIXELS = 128 * 256


def published(protocol: str) -> dict[str, Any]:
    """What a report shows of the paper.

    Returns:
        ``curves``: name and results (bpp, bytes, figures) of each codec, none when the paper has no such protocol;
        ``caveat``: the text that belongs under them, empty when there are no curves.
    """
    data = json.loads((files(__package__) / "published.json").read_text(encoding="utf-8"))
    curves = [{"name": curve["codec"], "results": _results(curve)} for curve in data["curves"].get(protocol, [])]
    return {"curves": curves, "caveat": CAVEAT if curves else ""}


def _results(curve: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry per rate, without the figures that are missing there."""
    return [
        {
            "bpp": bpp,
            "bytes": bpp * _PIXELS / 8,
            "figures": {
                name: values[number] for name, values in curve["figures"].items() if values[number] is not None
            },
        }
        for number, bpp in enumerate(curve["bpp"])
    ]
