"""One HTML page with all of a report in it: no other file, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from mdic_ros.evaluation.contact_sheet import Tile
from mdic_ros.evaluation.sheets import Sheet
from mdic_ros.evaluation.tables import Table

#: Wider pictures are scaled down to this width, to keep the page small.
WIDEST = 640


def page(
    title: str,
    summary: str,
    verdict: Sequence[str],
    report: Mapping[str, Any],
    tables: Sequence[Table],
    plots: Mapping[str, tuple[bytes, bytes]],
    sheets: Sequence[Sheet],
) -> str:
    """The page.

    Args:
        title: what was evaluated.
        summary: on what.
        verdict: the conclusions, one sentence each.
        report: for its provenance.
        tables: by name: results, ablations, at_equal_bytes, anchors, bd, published, metrics, not_computed. Any may be
            missing.
        plots: metric -> PNG file for light and for dark pages.
        sheets: contact sheets.
    """
    environment = Environment(
        loader=PackageLoader("mdic_ros.evaluation", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        title=title,
        summary=summary,
        verdict=verdict,
        provenance=report["provenance"],
        bundle=report["bundle"],
        drives=report["drives"],
        tables={table.name: table for table in tables},
        plots={name: [_url(data, "png") for data in pair] for name, pair in plots.items()},
        sheets=[{"image": s.image, "pair": _tiles(s.pair), "rows": [_tiles(row) for row in s.rows]} for s in sheets],
    )


def _tiles(tiles: Sequence[Tile]) -> list[dict[str, str]]:
    return [{"label": tile.label, "url": "" if tile.image is None else _picture(tile.image)} for tile in tiles]


def _picture(image: Any) -> str:
    """An image, H x W x 3 uint8, as WebP of a quality at which nobody sees a difference."""
    picture = Image.fromarray(image)
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=95)
    return _url(buffer.getvalue(), "webp")


def _url(data: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"
