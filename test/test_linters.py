"""ROS's linters, with this project's conventions. Each runs where it is installed; ruff and mypy check more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [str(ROOT / name) for name in ("mdic_ros", "launch", "tools", "test")]

#: Those of pep257's rules for Google's docstrings that this project does not follow: not everything public has a
#: docstring (D1), summaries may take two lines (D205) and begin with a name as it is written (D402, D403), arguments
#: that speak for themselves are not described (D417), and examples stand apart from their heading (D412).
IGNORED = ["D100", "D101", "D102", "D103", "D104", "D105", "D106", "D107", "D205", "D402", "D403", "D412", "D417"]


def test_flake8() -> None:
    main = pytest.importorskip("ament_flake8.main", reason="ament_flake8 is not installed")
    pytest.importorskip("flake8", reason="flake8 is not installed")
    code, errors = main.main_with_errors(argv=["--config", str(ROOT / "tools" / "ament_flake8.ini"), *SOURCES])
    assert code == 0, "\n".join(errors)


def test_pep257() -> None:
    main = pytest.importorskip("ament_pep257.main", reason="ament_pep257 is not installed")
    assert main.main(argv=["--convention", "google", "--add-ignore", *IGNORED, "--", *SOURCES]) == 0


def test_xmllint(capfd: pytest.CaptureFixture[str]) -> None:
    main = pytest.importorskip("ament_xmllint.main", reason="ament_xmllint is not installed")
    if not shutil.which("xmllint"):
        pytest.skip("xmllint is not installed (libxml2-utils)")
    code = main.main(argv=[str(ROOT / "package.xml")])
    said = capfd.readouterr().err
    if "failed to load" in said and "package_format3.xsd" in said:
        pytest.skip("the schema that package.xml names cannot be fetched from the net")
    assert code == 0, said


def test_lint_cmake() -> None:
    main = pytest.importorskip("ament_lint_cmake.main", reason="ament_lint_cmake is not installed")
    assert main.main(argv=["--linelength", "140", str(ROOT / "CMakeLists.txt")]) == 0
