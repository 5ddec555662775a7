"""Where the files that ship beside the code lie: bundles, messages, configuration, the sample."""

from pathlib import Path

# Not resolved: in a symlinked install the link's place counts, not its target.
_PACKAGE = Path(__file__).parent


def resource(name: str) -> Path:
    """Path of a file or folder that ships with the package, e.g. "models/mdic_tiny", "config/encoder.yaml".

    Looks in the source checkout that this module belongs to, else in share/mdic_ros of the prefix that it is
    installed under (`pip install`, `colcon build`). Raises FileNotFoundError naming the places.
    """
    checkout = _PACKAGE.parent
    if (checkout / "package.xml").is_file():
        candidates = [checkout / name]
    else:
        candidates = [prefix / "share" / "mdic_ros" / name for prefix in list(_PACKAGE.parents)[:6]]
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{name} is not part of this installation; looked at " + ", ".join(map(str, candidates))
    )
