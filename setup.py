"""What pyproject.toml cannot say: data files by folder, in share/mdic_ros as in a colcon install."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def data_files() -> list[tuple[str, list[str]]]:
    """Bundles, message definitions and configuration, as (folder, files) pairs relative to the prefix."""
    files = [
        p.relative_to(ROOT) for d in ("models", "msg", "config") for p in sorted((ROOT / d).rglob("*")) if p.is_file()
    ]
    folders = sorted({p.parent for p in files})
    return [(str(Path("share/mdic_ros") / d), [str(p) for p in files if p.parent == d]) for d in folders]


setup(data_files=data_files())
