"""The curves that MDIC's paper publishes, to set measured ones beside. Nothing here was measured by this project.

Xu et al., "Distributed Image Compression with Multimodal Side Information at Extremely Low Bitrates", CVPR 2026, arXiv
2605.22061. The paper gives its main results as figures only; these numbers were digitised from them (about 0.5 % of an
axis), those of other codecs as that paper shows them. Where a marker is hidden, or it is not
clear which rate it belongs to, a figure is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

BITS_PER_NAT = 1 / math.log(2)  #: 1.4427

CAVEAT = (
    "Published, not measured: digitised from the figures of arXiv 2605.22061 (about 0.5 % of an axis), at 128x256. "
    "They speak of the paper's data only: the 790 pairs of KITTI stereo 2012 and 2015 or Cityscapes' test pairs. "
    "Of other images no figure is comparable, nor is FID or KID of a set of another size. "
    "The paper resizes bilinearly: about 0.5 dB easier than bicubic as here. "
    "These rates are estimates of an entropy model, no bytes were written. MDIC's released code adds up natural "
    "logarithms and logs the sum as bits: if the paper's figures come from it, MDIC's true rates are "
    f"{BITS_PER_NAT:.4f} times what is shown. Its MDIC checkpoint was chosen on neighbouring frames of the test scenes."
)

Data = Literal["kitti", "cityscapes"]

_PIXELS = 128 * 256


@dataclass(frozen=True)
class Published:
    """One codec's curve on one data set.

    Attributes:
        codec: as the paper calls it; the number of denoising steps in brackets.
        data: KITTI stereo 2012 and 2015 or Cityscapes, each in the protocol of that name.
        points: bits per pixel as published, and the figures there.
    """

    codec: str
    data: Data
    points: tuple[tuple[float, dict[str, float]], ...]


def published(protocol: str) -> dict[str, Any]:
    """What a report shows of the paper.

    Returns:
        ``curves``: name and results (bpp, bytes, figures) of each codec, none when the paper has no such protocol;
        ``caveat``: the text that belongs under them, empty when there are no curves.
    """
    curves = [
        {
            "name": curve.codec,
            "results": [
                {"bpp": bpp, "bytes": bpp * _PIXELS / 8, "figures": dict(figures)} for bpp, figures in curve.points
            ],
        }
        for curve in CURVES
        if curve.data == protocol
    ]
    return {"curves": curves, "caveat": CAVEAT if curves else ""}


def _table(codec: str, data: Data, rates: tuple[float, ...], **columns: tuple[float | None, ...]) -> Published:
    """Columns of values, one for each rate; None = hidden in the figure."""
    points = []
    for number, bpp in enumerate(rates):
        figures = {_NAMES[name]: values[number] for name, values in columns.items()}
        points.append((bpp, {name: value for name, value in figures.items() if value is not None}))
    return Published(codec, data, tuple(points))


#: As the metrics of this package are called.
_NAMES = {
    "psnr": "PSNR",
    "ms_ssim": "MS-SSIM dB",
    "lpips": "LPIPS (VGG16)",
    "dists": "DISTS",
    "fid": "FID",
    "kid": "KID",
    "niqe": "NIQE",
    "miou": "mIoU",
}

CURVES: tuple[Published, ...] = (
    _table(
        "MDIC",
        "kitti",
        (0.0030, 0.0230, 0.0387, 0.0554, 0.0821),
        psnr=(19.52, 20.11, 20.85, 21.29, 22.73),
        ms_ssim=(8.00, 8.60, 9.38, 9.86, 10.86),
        lpips=(0.269, 0.238, 0.215, 0.198, 0.197),
        dists=(0.152, 0.140, 0.130, 0.122, 0.120),
        fid=(46.6, 32.3, 28.4, 24.0, 23.9),
        kid=(0.0210, 0.0092, 0.0053, 0.0028, 0.0012),
        niqe=(8.72, 8.54, 8.39, 8.27, 8.07),
        miou=(0.664, 0.680, 0.697, 0.716, 0.727),
    ),
    _table(
        "NDIC",
        "kitti",
        (0.0297, 0.083),
        psnr=(None, 21.97),
        lpips=(0.427, 0.347),
        dists=(0.312, 0.287),
        fid=(None, 125.7),
        kid=(0.423, 0.284),
        niqe=(13.9, 12.1),
        miou=(0.607, 0.627),
    ),
    _table(
        "SASIC",
        "kitti",
        (0.0396, 0.0692),
        ms_ssim=(7.37, 10.15),
        lpips=(0.482, 0.414),
        dists=(0.348, 0.303),
        fid=(198, 170),
        kid=(0.183, 0.083),
        niqe=(14.4, 10.7),
        miou=(0.681, 0.705),
    ),
    _table(
        "ECSIC",
        "kitti",
        (0.0462, 0.1009),
        psnr=(None, 24.8),
        ms_ssim=(7.67, 11.33),
        lpips=(0.451, 0.336),
        dists=(0.290, 0.251),
        fid=(141, 106),
        kid=(0.052, 0.031),
        niqe=(10.1, 9.27),
        miou=(0.651, 0.688),
    ),
    _table(
        "CAMSIC",
        "kitti",
        (0.0619, 0.0971),
        lpips=(0.450, 0.408),
        dists=(0.292, 0.269),
        fid=(149, 124),
        kid=(None, 0.053),
        niqe=(11.5, 10.4),
    ),
    _table(
        "LDMIC",
        "kitti",
        (0.0021, 0.0083, 0.0177, 0.0447),
        psnr=(18.93, None, None, None),
        ms_ssim=(6.12, 6.97, None, 9.72),
        lpips=(0.506, 0.479, 0.404, 0.381),
        dists=(0.347, 0.342, 0.332, 0.299),
        fid=(249, 234, 182, 171),
        kid=(0.290, 0.267, 0.153, None),
        niqe=(18.2, 17.6, 13.6, 11.8),
        miou=(0.580, 0.608, 0.671, 0.677),
    ),
    _table(
        "NDIC-CAM (ATN)",
        "kitti",
        (0.0078, 0.0421, 0.0909),
        lpips=(0.415, 0.393, 0.384),
        dists=(0.294, 0.291, 0.277),
        fid=(128, 122, 108),
        kid=(0.111, 0.109, 0.101),
        niqe=(11.4, 11.1, 10.7),
    ),
    _table(
        "BiSIC",
        "kitti",
        (0.0311, 0.0671, 0.0919),
        psnr=(None, None, 24.0),
        ms_ssim=(None, 9.88, None),
        lpips=(0.412, 0.365, 0.329),
        dists=(0.290, 0.261, 0.249),
        fid=(140, 101, 92.5),
        kid=(0.115, 0.069, None),
        niqe=(12.3, 11.4, 10.3),
    ),
    _table(
        "PerCo (20)",
        "kitti",
        (0.0098, 0.0507, 0.0937),
        lpips=(0.487, 0.430, 0.375),
        dists=(0.245, 0.231, 0.216),
        fid=(47.0, 44.4, 39.6),
        niqe=(8.87, 9.30, 8.91),
    ),
    _table(
        "RDEIC (5)",
        "kitti",
        (0.0136, 0.0408, 0.062, 0.0871),
        lpips=(0.539, 0.424, 0.388, 0.344),
        dists=(0.314, 0.260, 0.241, 0.222),
        fid=(89, 80, 78, 71),
        niqe=(13.7, 11.4, 10.1, 9.6),
    ),
    _table(
        "DiffEIC (50)",
        "kitti",
        (0.0134, 0.0426, 0.0668),
        lpips=(0.503, 0.452, 0.410),
        dists=(0.238, 0.224, 0.221),
        fid=(63.9, 57.0, 52.0),
        kid=(0.053, 0.040, 0.039),
        niqe=(9.41, 9.01, 8.87),
    ),
    _table(
        "MDIC",
        "cityscapes",
        (0.0051, 0.0170, 0.0315, 0.0479, 0.0751, 0.0924),
        psnr=(25.70, 25.96, 26.12, 27.07, 28.11, 29.19),
        ms_ssim=(10.71, 10.81, 11.05, 11.34, 12.43, 12.91),
        lpips=(0.200, 0.192, 0.182, 0.167, 0.150, 0.148),
        dists=(0.115, 0.1125, 0.109, 0.102, 0.087, 0.080),
        fid=(23.4, 20.1, 18.0, 15.3, 12.9, 11.9),
        kid=(0.0262, 0.0116, 0.0082, 0.0052, 0.0020, 0.0015),
        niqe=(11.55, 10.84, 10.23, 9.78, 9.10, 8.92),
        miou=(0.675, 0.677, 0.683, 0.689, 0.702, 0.722),
    ),
    _table(
        "NDIC",
        "cityscapes",
        (0.0162, 0.0428, 0.0821),
        psnr=(24.45, None, 29.19),
        ms_ssim=(10.06, 10.73, 11.9),
        lpips=(0.400, 0.356, 0.309),
        dists=(0.318, 0.288, 0.239),
        fid=(198, 172, 92),
        kid=(0.233, 0.211, 0.100),
        miou=(0.662, 0.673, 0.678),
    ),
    _table(
        "LDMIC",
        "cityscapes",
        (0.0239, 0.0435, 0.0728),
        psnr=(27.4, 28.6, 29.6),
        ms_ssim=(10.7, 12.4, 13.9),
        lpips=(0.361, 0.314, 0.289),
        dists=(0.281, 0.253, 0.239),
        fid=(130, 99, 78),
        miou=(None, 0.702, 0.714),
    ),
    _table(
        "NDIC-CAM (ATN)",
        "cityscapes",
        (0.0038, 0.024, 0.1011),
        lpips=(0.378, 0.287, 0.247),
        dists=(0.293, 0.244, 0.219),
        fid=(128, 90, 76),
        kid=(0.136, 0.090, 0.065),
        niqe=(13.3, 12.5, 12.0),
    ),
    _table(
        "BiSIC",
        "cityscapes",
        (0.0379, 0.0623, 0.0957),
        lpips=(0.314, 0.255, 0.209),
        dists=(None, 0.214, 0.184),
        fid=(95, 59, 40),
        kid=(0.086, 0.043, None),
        niqe=(12.1, None, 9.07),
    ),
    _table(
        "CAMSIC",
        "cityscapes",
        (0.0277, 0.074, 0.1076),
        lpips=(0.476, 0.386, 0.332),
        dists=(0.335, 0.274, 0.244),
        fid=(205, 131, 102),
        kid=(0.230, 0.113, 0.082),
    ),
    _table(
        "SASIC",
        "cityscapes",
        (0.0196, 0.0482, 0.0737, 0.0919),
        psnr=(25.4, None, 29.0, 29.9),
        lpips=(None, 0.395, 0.346, None),
        dists=(0.340, 0.302, None, 0.251),
        fid=(193, 157, 140, 105),
    ),
    _table(
        "ECSIC",
        "cityscapes",
        (0.0454, 0.0684),
        psnr=(28.1, 29.5),
        ms_ssim=(10.8, 12.5),
        lpips=(0.374, 0.320),
        dists=(0.290, 0.260),
        fid=(160, 117),
    ),
    _table(
        "PerCo (20)",
        "cityscapes",
        (0.0098, 0.0508, 0.0937),
        lpips=(None, 0.367, 0.306),
        dists=(None, 0.200, 0.179),
        fid=(66.9, 37.6, 28.5),
        kid=(0.052, 0.043, 0.026),
    ),
    _table(
        "RDEIC (5)",
        "cityscapes",
        (0.0177, 0.0378, 0.0568, 0.0796),
        lpips=(0.470, 0.385, 0.371, 0.350),
        dists=(0.288, 0.247, 0.222, 0.211),
        fid=(69, 59, 49, 47),
    ),
    _table(
        "DiffEIC (50)",
        "cityscapes",
        (0.0109, 0.0384, 0.0608, 0.0792),
        lpips=(0.494, 0.424, 0.381, 0.361),
        dists=(0.256, None, 0.236, 0.220),
        fid=(30.2, 29.0, 27.6, 25.1),
    ),
)
