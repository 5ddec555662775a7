"""The README and the pages in docs/: their examples run, their links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "sample" / "README.md", ROOT / "CHANGELOG.rst"]


def blocks(language: str) -> list[str]:
    """The code blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(command: list[str], folder: Path) -> None:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the sample in it."""
    (tmp_path / "sample").symlink_to(ROOT / "sample")
    (tmp_path / "models").symlink_to(ROOT / "models")
    return tmp_path


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 170


@pytest.mark.slow
def test_python(folder: Path) -> None:
    (code,) = blocks("python")
    check = "\nassert picture.shape == left.shape and picture.dtype == left.dtype and len(data) <= 150\n"
    run([sys.executable, "-c", code + check], folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_commands(folder: Path) -> None:
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [line.split() for line in lines if line.startswith("mdic ")]
    assert len(commands) >= 4
    for command in commands:
        run([sys.executable, "-m", "mdic_ros.cli", *(word.strip("'") for word in command[1:])], folder)
    with Image.open(folder / "decoded.png") as picture, Image.open(folder / "sample" / "left.png") as original:
        assert picture.size == original.size


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        if name.startswith(("http://", "https://")):
            continue
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, target


def test_the_moving_picture_moves_and_is_small() -> None:
    path = ROOT / "docs" / "images" / "street.webp"
    assert path.stat().st_size < 600_000
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) == 40
