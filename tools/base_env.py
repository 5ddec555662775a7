#!/usr/bin/env python3
"""Makes build/base/: an environment with the base install alone, as on a robot, and pytest.

    python3 tools/base_env.py [REQUIREMENT ...]

Without arguments with the pinned packages; what is named replaces its pin, e.g. "numpy==1.26.4" "onnxruntime==1.23.2".
A second call with the same Python, arguments and pins does nothing. Any Python from 3.11 on will do.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys

from setup_env import BUILD, CONSTRAINTS, LOG, ROOT, SetupError, clean_environment, digest, run

BASE = BUILD / "base"
STAMP = BASE / "stamp"
TOOLS = ("pytest", "pytest-timeout")


def constraints(replaced: list[str]) -> str:
    """The pinned versions, less those of the packages in these requirements."""
    names = {re.split(r"[^\w.-]", text)[0].lower().replace("_", "-") for text in replaced}
    lines = CONSTRAINTS.read_text().splitlines()
    return "\n".join(line for line in lines if line.split("==")[0] not in names) + "\n"


def make(replaced: list[str]) -> None:
    """A fresh build/base/, unless what is there is what is asked for. Raises SetupError."""
    wanted = digest(sys.version, sys.base_prefix, ROOT / "pyproject.toml", CONSTRAINTS, *replaced)
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    print(f"Making {BASE.relative_to(ROOT)}/, the base install (log: {LOG.relative_to(ROOT)}) ...", flush=True)
    shutil.rmtree(BASE, ignore_errors=True)
    environment = clean_environment()
    run([sys.executable, "-m", "venv", str(BASE)], "Python could not make a virtual environment.", environment)
    pins = BASE / "constraints.txt"
    pins.write_text(constraints(replaced))
    pip = [str(BASE / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    pip += ["install", "--progress-bar", "off", "--only-binary", ":all:", "-c", str(pins)]
    run([*pip, "setuptools", "wheel"], "pip could not install setuptools.", environment)
    run(
        [*pip, "--no-build-isolation", "-e", str(ROOT), *TOOLS, *replaced],
        "pip could not install the base packages.",
        environment,
    )
    STAMP.write_text(wanted)


def main() -> int:
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            make(sys.argv[1:])
        except SetupError as error:
            if error.tail:
                print(f"--- end of {LOG.relative_to(ROOT)} ---\n{error.tail}\n---", file=sys.stderr)
            print(f"base environment: {error}", file=sys.stderr)
            return 1
    code = "import numpy, onnxruntime, sys; print(sys.version.split()[0], numpy.__version__, onnxruntime.__version__)"
    found = subprocess.check_output([BASE / "bin" / "python", "-c", code], text=True).split()
    print("Base environment: Python {}, numpy {}, onnxruntime {}; no PyTorch.".format(*found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
