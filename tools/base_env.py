#!/usr/bin/env python3
"""Makes build/base/: an environment with the base install alone, as on a robot, and pytest.

    python3 tools/base_env.py [REQUIREMENT ...]
    python3 tools/base_env.py --ros

Without arguments with the pinned packages; what is named replaces its pin, e.g. "numpy==1.26.4" "onnxruntime==1.23.2".
A second call with the same Python, arguments and pins does nothing. Any Python from 3.11 on will do.

--ros makes build/base-ros/ instead: the base install and what a node needs of ROS 2 Jazzy, still without PyTorch. It
takes the messages that `make setup` has built, so it needs the same Python, and writes build/base-ros/env.sh to source.
"""

from __future__ import annotations

import argparse
import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setup_env import (
    BUILD,
    CONSTRAINTS,
    INSTALL,
    LOG,
    ROOT,
    SetupError,
    check_indexes,
    clean_environment,
    digest,
    run,
    write_env_file,
)

TOOLS = ("pytest", "pytest-timeout")
#: What encoder_node imports of ROS, and its DDS.
ROS_WHEELS = tuple(
    f"ros-jazzy-{name}" for name in ("rclpy", "rmw-fastrtps-cpp", "sensor-msgs", "std-srvs", "diagnostic-msgs")
)
#: ROS's wheels need it, and it has none; pure Python.
SOURCE_ONLY = "empy"


def constraints(replaced: list[str]) -> str:
    """The pinned versions, less those of the packages in these requirements."""
    names = {re.split(r"[^\w.-]", text)[0].lower().replace("_", "-") for text in replaced}
    lines = CONSTRAINTS.read_text().splitlines()
    return "\n".join(line for line in lines if line.split("==")[0] not in names) + "\n"


def make(folder: Path, replaced: list[str], more: tuple[str, ...] = ()) -> None:
    """A fresh environment in a folder, unless what is there is what is asked for. Raises SetupError.

    Args:
        folder: where it goes.
        replaced: requirements in place of the pins of these packages.
        more: further packages, at their pins.
    """
    stamp, wanted = (
        folder / "stamp",
        digest(sys.version, sys.base_prefix, ROOT / "pyproject.toml", CONSTRAINTS, *replaced),
    )
    if stamp.exists() and stamp.read_text() == wanted:
        return
    check_indexes()
    print(f"Making {folder.relative_to(ROOT)}/, the base install (log: {LOG.relative_to(ROOT)}) ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    environment = clean_environment()
    run([sys.executable, "-m", "venv", str(folder)], "Python could not make a virtual environment.", environment)
    pins = folder / "constraints.txt"
    pins.write_text(constraints(replaced))
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    pip += ["install", "--progress-bar", "off", "--only-binary", ":all:", "--no-binary", SOURCE_ONLY, "-c", str(pins)]
    run([*pip, "setuptools", "wheel"], "pip could not install setuptools.", environment)
    run(
        [*pip, "--no-build-isolation", "-e", str(ROOT), *TOOLS, *replaced, *more],
        "pip could not install the base packages.",
        environment,
    )
    stamp.write_text(wanted)


def make_ros(folder: Path) -> None:
    """`make` with ROS, and its env.sh. Raises SetupError."""
    version = "python{}.{}".format(*sys.version_info[:2])
    if not (INSTALL / "lib" / version).is_dir():
        raise SetupError(f"There are no messages built for {version}: `make setup PYTHON={version}` first.")
    make(folder, [], ROS_WHEELS)
    write_env_file(folder, folder / "env.sh")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ros", action="store_true", help="with ROS, in build/base-ros/")
    parser.add_argument("requirements", nargs="*", metavar="REQUIREMENT", help="in place of the pins of these packages")
    options = parser.parse_args()
    if options.ros and options.requirements:
        parser.error("--ros takes the pinned packages")
    folder = BUILD / ("base-ros" if options.ros else "base")
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if options.ros:
                make_ros(folder)
            else:
                make(folder, options.requirements)
        except SetupError as error:
            if error.tail:
                print(f"--- end of {LOG.relative_to(ROOT)} ---\n{error.tail}\n---", file=sys.stderr)
            print(f"base environment: {error}", file=sys.stderr)
            return 1
    code = "import numpy, onnxruntime, sys; print(sys.version.split()[0], numpy.__version__, onnxruntime.__version__)"
    found = subprocess.check_output([folder / "bin" / "python", "-c", code], text=True).split()
    print("Base environment: Python {}, numpy {}, onnxruntime {}; no PyTorch.".format(*found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
