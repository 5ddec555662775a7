"""How much disk this package and the libraries that it brings take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from mdic_ros.codec.bundle import ROBOT, Bundle, default_bundle

_PACKAGE = "mdic_ros"


def install_sizes() -> dict[str, dict[str, float]]:
    """Libraries of the base install and of each extra that is installed, and the bundle that ships.

    Returns:
        By name ("base", "workstation", ...): "packages", how many there are, and "MB" (10^6 bytes), without this
        package itself; "bundle": "MB" of the whole and "robot_MB" of what the robot reads. Without "base" and extras if
        the package is not installed by pip.
    """
    sizes: dict[str, dict[str, float]] = {}
    # colcon installs a description without requirements, which comes first on the path where ROS is.
    installed = next((one for one in metadata.distributions(name=_PACKAGE) if one.requires), None)
    if installed is not None:
        for name in ("base", *(installed.metadata.get_all("Provides-Extra") or [])):
            found = _closure(name)
            if found is not None:
                sizes[name] = {"packages": len(found), "MB": round(sum(map(_bytes, found)) / 1e6)}
    files = [file for file in default_bundle().rglob("*") if file.is_file()]
    robot = [default_bundle() / name for name in Bundle().listed(*ROBOT)]
    sizes["bundle"] = {
        "MB": round(sum(file.stat().st_size for file in files) / 1e6),
        "robot_MB": round(sum(file.stat().st_size for file in robot) / 1e6),
    }
    return sizes


def _closure(extra: str) -> set[str] | None:
    """Distributions that this package needs with an extra, "base" = none; None if one that it names is missing."""
    todo, found = list(_requirements(_PACKAGE, {extra})), set()
    named = {name for name, _ in todo}
    while todo:
        name, extras = todo.pop()
        if name == _canonical(_PACKAGE):
            todo += _requirements(_PACKAGE, extras)
            continue
        if name in found:
            continue
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in named and name != "backports-zstd":  # the standard library's from Python 3.14 on
                return None
            continue  # for another platform or Python
        found.add(name)
        todo += _requirements(name, extras)
    return found


def _requirements(distribution: str, extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    """Names, with extras, that a distribution requires. Only markers of extras count: absent ones are left out."""
    found = (one.requires for one in metadata.distributions(name=distribution) if one.requires)
    for text in next(found, []):
        requirement, _, marker = text.partition(";")
        wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if wanted and wanted[1] not in extras:
            continue
        match = re.match(r"\s*([\w.-]+)\s*(?:\[([^\]]*)\])?", requirement)
        if match:
            yield _canonical(match[1]), {part.strip() for part in (match[2] or "").split(",") if part.strip()}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _bytes(distribution: str) -> int:
    files = metadata.files(distribution) or []
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())
