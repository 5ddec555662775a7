"""The folder of a report: strict JSON, Markdown, plots, sheets, and a page that needs nothing else."""

import copy
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdic_ros.evaluation.plots import curves
from mdic_ros.evaluation.report import markdown, write
from mdic_ros.evaluation.run import Evaluation, Options
from mdic_ros.evaluation.tables import tables

Evaluated = tuple[Evaluation, Path, Options]


@pytest.fixture(scope="module")
def folder(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report")
    evaluation = copy.deepcopy(evaluated[0])  # others see it, too
    evaluation.report["results"][0]["figures"]["KID"] = math.nan
    write(evaluation, path)
    return path


def test_json_is_strict_and_whole(folder: Path, evaluated: Evaluated) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    report = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert report["results"][0]["figures"]["KID"] is None
    assert report["rows"] == json.loads(json.dumps(evaluated[0].report["rows"]))


def test_markdown_has_all_tables(folder: Path, evaluated: Evaluated) -> None:
    text = (folder / "report.md").read_text()
    assert text == markdown(evaluated[0].report)
    found = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert found == [
        "Results",
        "What each part is worth",
        "At equal bytes, and at twice ours",
        "Conventional codecs",
        "Against conventional codecs, over the curve",
        "What the figures mean",
        "Not computed",
        "To repeat it",
    ]
    first = evaluated[0].report["results"][0]
    assert f"| 1 | 0 | {first['bytes']:.0f} ({first['max_bytes']}) | {first['bpp']:.4f} |" in text
    assert f"| 1 | 0 | ours | {first['bytes']:.0f} | {first['figures']['PSNR']:.2f} |" in text
    assert "- open mask, foreign side image:" in text and "mdic eval ..." in text
    for table in tables(evaluated[0].report):
        assert all(len(row) == len(table.head) for row in table.rows)


def test_published_curves_are_marked(evaluated: Evaluated) -> None:
    from mdic_ros.evaluation.published import published

    report = {**evaluated[0].report, "published": published("kitti")}
    kinds = {curve.name: curve.kind for curve in curves(report, "PSNR")}
    assert kinds["MDIC, published, not measured"] == "published"
    assert "published" not in {curve.kind for curve in curves(report, "FID")}
    assert kinds[f"{report['bundle']['model_id']}, 2 steps"] == "ours" and kinds["JPEG"] == "anchor"
    assert "## Published, not measured\n\nPublished, not measured: digitised" in markdown(report)


def test_plots_and_sheets_are_pictures(folder: Path) -> None:
    plots = {path.name for path in (folder / "plots").iterdir()}
    assert {"PSNR.png", "MS-SSIM_dB.png", "SWD_x_1000.png"} <= plots
    for path in [*(folder / "plots").iterdir(), *(folder / "sheets").iterdir()]:
        with Image.open(path) as image:
            assert image.width > 600 and len(np.unique(np.asarray(image.convert("L").resize((64, 64))))) > 5
    assert len(list((folder / "sheets").iterdir())) == 3


def test_a_crop_of_less_than_half_is_said(evaluated: Evaluated) -> None:
    assert "crops" not in markdown(evaluated[0].report)
    assert "only 30 % is evaluated" in markdown({**evaluated[0].report, "least_seen": 0.297})


class Links(HTMLParser):
    """Collects what a page refers to, its ids and how its tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href", "srcset"):
                self.links.append(value or "")
            if name == "id":
                self.ids.add(value or "")
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(folder: Path, evaluated: Evaluated) -> None:
    text = (folder / "index.html").read_text()
    page = Links()
    page.feed(text)
    assert page.open == []
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert "url(" not in text and "@import" not in text and "<script" not in text
    order = [
        "verdict",
        "pictures",
        "results",
        "plots",
        "ablations",
        "at_equal_bytes",
        "anchors",
        "bd",
        "metrics",
        "not_computed",
        "repeat",
    ]
    assert [text.index(f'id="{name}"') for name in order] == sorted(text.index(f'id="{name}"') for name in order)
    assert len(re.findall("data:image/webp", text)) == sum(
        tile.image is not None for sheet in evaluated[0].sheets for row in [sheet.pair, *sheet.rows] for tile in row
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_chromium_shows_the_page(folder: Path, tmp_path: Path, width: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium here")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    options += f"--disable-component-update --disable-sync --hide-scrollbars --window-size={width},1600"
    command = [chromium, *options.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--screenshot={tmp_path / 'page.png'}", f"file://{folder / 'index.html'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(tmp_path / "page.png") as image:
        assert image.size == (width, 1600)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (pixels[:4] == 255).all()  # the paper, and nothing beyond its edge
    assert (pixels[:, -12:] == 255).all()  # nothing sticks out to the right
    blue = (pixels[:, :, 2] - pixels[:, :, 0] > 100).mean()
    assert blue > 0.0005  # the curves of the first plots
