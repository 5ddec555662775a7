#!/usr/bin/env python3
"""Makes the environment that `make demo` and `make test` run in: .venv/ and build/ of this checkout.

    python3 tools/setup_env.py [--rebuild] [--ros kilted]

Stages: a virtual environment; the pinned packages (ROS 2 Jazzy among them, as PyPI wheels); a repair of CMake
files in those wheels; `colcon build` of this package, which generates the messages; build/env.sh, which a
shell sources to use all that. A stage runs only when something it depends on has changed, so a second call
takes a fraction of a second. Kilted gets an environment of its own: .venv-kilted/ and build/kilted/.
Set PIP_EXTRA_INDEX_URL, PIP_INDEX_URL and the like as for pip; they are passed on.

Standard library only, and old syntax, so that an old Python gets a sentence and not a syntax error.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parent.parent
ROS = "jazzy"
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
INSTALL = BUILD / "install" / "mdic_ros"
LOG = BUILD / "setup.log"
STAMPS = VENV / "setup_stamps.json"
CONSTRAINTS = ROOT / "constraints.txt"
SUPPORTED = ((3, 11), (3, 12))
CPU_TORCH = "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
PACKAGE_FILES = (
    "CMakeLists.txt", "package.xml", "msg", "mdic_ros", "scripts", "launch", "config", "models", "sample",
)  # fmt: skip
# The environment takes 1.8 GB with a CPU build of torch and 5.5 GB with PyPI's, and pip unpacks beside it.
FREE_DISK_GB = 4.0
FREE_DISK_CUDA_GB = 9.0
INDEX_PATIENCE_S = 5.0

# Per distribution of ROS: the extra of pyproject.toml that has its wheels, and the variable in which its Fast DDS looks
# for a profile.
DISTRIBUTIONS = {
    "jazzy": ("ros", "FASTRTPS_DEFAULT_PROFILES_FILE"),
    "kilted": ("ros-kilted", "FASTDDS_DEFAULT_PROFILES_FILE"),
}

# What another ROS installation, or the virtual environment that called us, would mix into ours.
FOREIGN = (
    "PYTHONPATH", "PYTHONHOME", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "RMW_IMPLEMENTATION", "ROS_DISTRO", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL",
)  # fmt: skip


class SetupError(Exception):
    """What is missing and what to do, in one sentence; `tail` is the end of the log where that helps."""

    def __init__(self, sentence: str, tail: str = "") -> None:
        super().__init__(sentence)
        self.tail = tail


def choose(distribution: str) -> None:
    """Work in the environment of this distribution; without this call it is Jazzy's."""
    global ROS, VENV, BUILD, INSTALL, LOG, STAMPS
    if distribution == ROS:
        return
    ROS = distribution
    VENV, BUILD = ROOT / f".venv-{distribution}", ROOT / "build" / distribution
    INSTALL, LOG, STAMPS = BUILD / "install" / "mdic_ros", BUILD / "setup.log", VENV / "setup_stamps.json"


# ------------------------------------------------------------------------------------------- prerequisites


def check_python() -> None:
    """Raise SetupError unless the pinned wheels exist for this interpreter and it can make environments."""
    version = platform.python_version()
    if sys.version_info[:2] not in SUPPORTED:
        raise SetupError(
            f"Python {version} ({sys.executable}) is not supported: install Python 3.11 or 3.12 and, if it "
            "is not the default, name it as in `make setup PYTHON=python3.12`."
        )
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise SetupError(
            "The ROS 2 wheels exist for Linux on x86-64 only and this is "
            f"{platform.system()} on {platform.machine()}: use a ROS 2 installation and colcon (README)."
        )
    package = "python{}.{}".format(*sys.version_info[:2])
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(f"Python's venv module is missing: apt install {package}-venv") from None
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        raise SetupError(f"Python's C headers (Python.h) are missing: apt install {package}-dev")


def check_compiler() -> None:
    """Raise SetupError unless a C and a C++ compiler and make are there and the compiler makes a program."""
    if not shutil.which("make"):
        raise SetupError("make is missing: apt install make")
    cc = os.environ.get("CC") or "cc"
    cxx = os.environ.get("CXX") or "c++"
    for compiler in (cc, cxx):
        if not shutil.which(compiler.split()[0]):
            raise SetupError(f"No C++ compiler ({compiler} is not there): apt install g++")
    program = "#include <string>\nint main() { return static_cast<int>(std::string().size()); }\n"
    done = subprocess.run(
        [*cxx.split(), "-x", "c++", "-", "-o", "/dev/null"],
        input=program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SetupError(f"The C++ compiler ({cxx}) does not compile a two-line program: apt install g++", done.stdout)


def check_disk() -> None:
    """Raise SetupError when the file system of the checkout has too little room for the environment."""
    free = shutil.disk_usage(ROOT).free / 1e9
    needed = FREE_DISK_GB if torch_source_chosen() else FREE_DISK_CUDA_GB
    if free < needed:
        less = "" if torch_source_chosen() else f", or {FREE_DISK_GB:.0f} GB with {CPU_TORCH} set"
        raise SetupError(f"{free:.1f} GB of disk are free at {ROOT} and the set-up needs {needed:.0f} GB{less}.")


def check_indexes() -> None:
    """Raise SetupError when a package index that the user named gives no answer within 5 seconds.

    pip would try it again and again for every package, which takes very long and shows nothing. What answers with an
    error, such as "not found" or "log in", is there: the rest is pip's business, and so are certificates.
    """
    proxy = os.environ.get("PIP_PROXY")
    handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []
    opener = urllib.request.build_opener(*handlers)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        for url in os.environ.get(name, "").split():
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https"):
                continue  # a folder
            shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # without a password
            try:
                opener.open(shown, timeout=INDEX_PATIENCE_S).close()
            except urllib.error.HTTPError as error:
                if error.code not in (502, 503, 504):  # a proxy that does not reach it
                    continue
            except OSError as error:
                if isinstance(getattr(error, "reason", error), ssl.SSLError):
                    continue
            else:
                continue
            raise SetupError(f"{shown} cannot be reached: check the network or unset {name}")


# ------------------------------------------------------------------------------------------------- running

# What pip's and colcon's output says, in words for someone who has not read it.
EXPLANATIONS = (
    (r"No space left on device|Errno 28",
     "The disk is full. PyPI's torch brings several GB of CUDA; without a GPU use "
     f"`{CPU_TORCH} make setup`."),
    (r"NewConnectionError|Temporary failure in name resolution|Failed to establish a new connection|"
     r"ConnectTimeout|ReadTimeout|ProxyError|Network is unreachable|Connection refused|Connection reset",
     "The package index cannot be reached: check the network, the proxy (HTTPS_PROXY) or PIP_INDEX_URL."),
    (r"SSLError|CERTIFICATE_VERIFY_FAILED",
     "The package index's certificate is not trusted here: set PIP_CERT to your network's bundle."),
    (r"No matching distribution found|Could not find a version that satisfies",
     "The package index has no fitting version of a pinned package (see the lines below)."),
)  # fmt: skip


def explain(output: str, otherwise: str) -> str:
    """The sentence for what went wrong in `output`, or `otherwise`."""
    for pattern, sentence in EXPLANATIONS:
        if re.search(pattern, output):
            return sentence
    return otherwise


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment less other ROS installations and environments, with ours in front."""
    env = {k: v for k, v in os.environ.items() if k not in FOREIGN}
    env["VIRTUAL_ENV"] = str(VENV)
    env["PATH"] = str(VENV / "bin") + os.pathsep + env.get("PATH", os.defpath)
    env.update(more)
    return env


def run(command: list[str], failure: str, env: dict[str, str] | None = None) -> None:
    """Run a command, its output in the log; show the seconds on a terminal. Raise SetupError if it fails."""
    start = LOG.stat().st_size if LOG.exists() else 0
    with LOG.open("ab") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env or clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        began = time.monotonic()
        try:
            while process.poll() is None:
                if sys.stdout.isatty():
                    print(f"\033[s  {time.monotonic() - began:4.0f} s\033[u", end="", flush=True)
                try:
                    process.wait(1.0 if sys.stdout.isatty() else None)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        with LOG.open(encoding="utf-8", errors="replace") as log_read:
            log_read.seek(start)
            output = log_read.read()
        raise SetupError(explain(output, failure), "\n".join(output.splitlines()[-25:]))


def torch_source_chosen() -> bool:
    """Whether the user told pip where to take packages from, as for a CPU build of torch."""
    names = ("EXTRA_INDEX_URL", "INDEX_URL", "FIND_LINKS", "CONFIG_FILE")
    return any(os.environ.get(f"PIP_{name}") for name in names)


def torch_hint() -> str:
    """For users about to download CUDA without a GPU; empty if they have one or chose a source for torch."""
    if torch_source_chosen() or Path("/dev/nvidia0").exists():
        return ""
    return (
        "  No GPU here: PyPI's torch brings 3 GB of CUDA along. To do without, stop this (Ctrl-C) and run\n"
        f"    {CPU_TORCH} make setup"
    )


# -------------------------------------------------------------------------------------------------- stages


def make_venv() -> None:
    """A fresh .venv/. An environment that this script did not make is left alone (SetupError)."""
    if VENV.exists() and not STAMPS.exists():
        raise SetupError(f"{VENV} exists and was not made by this set-up: move it away first.")
    check_disk()
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    STAMPS.write_text("{}")
    run(
        [sys.executable, "-m", "venv", str(VENV)],
        "Python could not make a virtual environment.",
        dict(os.environ),
    )


def install_packages() -> None:
    """The pinned packages and this one, editable."""
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    pip += ["install", "--progress-bar", "off", "-c", str(constraints())]
    run([*pip, "setuptools"], "pip could not install setuptools.")
    run(
        [*pip, "--no-build-isolation", "-e", f"{ROOT}[{DISTRIBUTIONS[ROS][0]},train,eval,dev]"],
        "pip could not install the pinned packages.",
    )


def constraints() -> Path:
    """The pins. Those of ROS's own packages are Jazzy's; of another distribution only the meta-packages are pinned."""
    if ROS == "jazzy":
        return CONSTRAINTS
    lines = CONSTRAINTS.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("ros-") or line.startswith(f"ros-{ROS}-")]
    path = BUILD / "constraints.txt"
    path.write_text("\n".join(kept) + "\n")
    return path


def repair_cmake_files(share: Path | None = None) -> int:
    """Replace include folders of the wheels' build machine by this environment's; returns how many files.

    The message wheels' exported CMake targets name /opt/python/cp3xx-.../include (Python's headers) and
    numpy's .../numpy/_core/include there.
    """
    python = str(VENV / "bin" / "python")
    numpy_include = subprocess.check_output(
        [python, "-c", "import numpy; print(numpy.get_include())"],
        env=clean_environment(),
        universal_newlines=True,
    ).strip()
    python_include = sysconfig.get_paths()["include"]
    changed = 0
    for path in sorted((share or VENV / "share").glob("*/cmake/*.cmake")):
        text = path.read_text()
        new = re.sub(r'/opt/python/[^/;"]+/lib/python[\d.]+t?/site-packages/numpy/\w+/include', numpy_include, text)
        new = re.sub(r'/opt/python/[^/;"]+/include/python[\d.]+t?', python_include, new)
        if new != text:
            path.write_text(new)
            changed += 1
    return changed


def build_package() -> None:
    """`colcon build` from scratch (seconds), then import what it made."""
    check_compiler()
    for folder in ("src", "colcon", "install", "log"):
        shutil.rmtree(BUILD / folder, ignore_errors=True)
    # CMake refuses to export include folders that lie in the source tree, as numpy's in .venv/ does. So the
    # source tree that it sees is a folder of links.
    source = BUILD / "src" / "mdic_ros"
    source.mkdir(parents=True)
    for name in PACKAGE_FILES:
        if (ROOT / name).exists():
            (source / name).symlink_to(ROOT / name)
    prefix = {"AMENT_PREFIX_PATH": str(VENV), "CMAKE_PREFIX_PATH": str(VENV)}
    run(
        [
            str(VENV / "bin" / "colcon"), "--log-base", str(BUILD / "log"), "build", "--paths", str(source),
            "--build-base", str(BUILD / "colcon"),
            "--install-base", str(BUILD / "install"), "--symlink-install",
            "--event-handlers", "console_cohesion+", "--cmake-args", "-DBUILD_TESTING=OFF",
            f"-DPython3_EXECUTABLE={VENV / 'bin' / 'python'}",
        ],
        "colcon could not build this package.",
        clean_environment(**prefix),
    )  # fmt: skip
    write_env_file()
    run(
        ["sh", "-c", f". '{BUILD / 'env.sh'}' && python -c 'import rclpy, mdic_ros.msg'"],
        "The built messages do not import.",
    )


def write_env_file(venv: Path | None = None, file: Path | None = None) -> None:
    """build/env.sh: what a shell sources to run the nodes, tests and tools of this checkout.

    Args:
        venv: another environment than .venv/, with its own ROS.
        file: where the file for that goes.
    """
    venv = venv or VENV
    site = "lib/python{}.{}/site-packages".format(*sys.version_info[:2])
    profile = DISTRIBUTIONS[ROS][1]
    lines = f"""\
        # Written by tools/setup_env.py. Source it (sh, bash, zsh) to use this checkout with its own ROS 2
        # ({ROS}). Live sources first, the generated messages behind them; nothing of a ROS installation that
        # was sourced before.
        if [ -n "${{AMENT_PREFIX_PATH:-}}" ]; then unset LD_LIBRARY_PATH; fi
        unset PYTHONHOME CMAKE_PREFIX_PATH COLCON_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
        . '{venv}/bin/activate'
        export AMENT_PREFIX_PATH='{INSTALL}:{venv}'
        export PYTHONPATH='{ROOT}:{INSTALL}/{site}'
        export LD_LIBRARY_PATH='{INSTALL}/lib'"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
        export ROS_DISTRO={ROS} ROS_VERSION=2 ROS_PYTHON_VERSION=3 RMW_IMPLEMENTATION=rmw_fastrtps_cpp
        export OMP_WAIT_POLICY="${{OMP_WAIT_POLICY:-PASSIVE}}"
        export {profile}="${{{profile}:-{ROOT}/config/fastdds.xml}}"
        """
    (file or BUILD / "env.sh").write_text(re.sub(r"(?m)^ {8}", "", lines))


# ---------------------------------------------------------------------------------------------- what to do


def digest(*parts: str | Path) -> str:
    """SHA-256 over texts and the contents (with names) of files and folders."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if path.is_file():
                    sha.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        else:
            sha.update(f"{part}\0".encode())
    return sha.hexdigest()


def keys() -> dict[str, str]:
    """Per stage a digest of all that it depends on; a stage's key contains those of the stages before."""
    script = ROOT / "tools" / "setup_env.py"
    installed = [
        str(p.relative_to(ROOT)) for d in ("launch", "config", "scripts") for p in sorted((ROOT / d).glob("*"))
    ]
    out = {}
    out["venv"] = digest(sys.version, sys.base_prefix, str(ROOT))
    out["packages"] = digest(out["venv"], ROOT / "pyproject.toml", CONSTRAINTS)
    out["cmake"] = digest(out["packages"], script)
    out["build"] = digest(out["cmake"], ROOT / "CMakeLists.txt", ROOT / "package.xml", ROOT / "msg", *installed)
    return out


STAGES = (
    ("venv", "virtual environment", make_venv),
    ("packages", "pinned packages with ROS 2; a few minutes the first time", install_packages),
    ("cmake", "CMake files of the ROS wheels", repair_cmake_files),
    ("build", "messages and nodes (colcon build)", build_package),
)


def set_up(rebuild: bool = False) -> None:
    """Bring the environment up to date. Raises SetupError."""
    check_python()
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make demo` beside `make test`
        wanted = keys()
        done = json.loads(STAMPS.read_text()) if STAMPS.exists() else {}
        if not (BUILD / "env.sh").exists() or rebuild:
            done.pop("build", None)
        todo = [stage for stage in STAGES if done.get(stage[0]) != wanted[stage[0]]]
        if not todo:
            return
        if any(stage[0] == "build" for stage in todo):
            check_compiler()  # now, not after minutes of downloads
        if any(stage[0] == "packages" for stage in todo):
            check_indexes()
        LOG.write_text(f"{time.strftime('%Y-%m-%d %H:%M:%S')} Python {sys.version}\n")
        print(f"Setting up in {VENV.name}/ and {BUILD.relative_to(ROOT)}/ (log: {LOG.relative_to(ROOT)})")
        if any(stage[0] == "packages" for stage in todo) and torch_hint():
            print(torch_hint())
        for number, (name, text, action) in enumerate(todo, 1):
            print(f"  [{number}/{len(todo)}] {text} ...", end="", flush=True)
            began = time.monotonic()
            try:
                action()
            except SetupError:
                print(" failed", flush=True)
                raise
            print(f" done ({time.monotonic() - began:.0f} s)", flush=True)
            done[name] = wanted[name]
            STAMPS.write_text(json.dumps(done, indent=1))


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up .venv/ and build/ of this checkout.")
    parser.add_argument("--rebuild", action="store_true", help="build messages and nodes again even if nothing changed")
    parser.add_argument("--ros", default=ROS, choices=list(DISTRIBUTIONS), help="distribution of ROS (default: jazzy)")
    args = parser.parse_args()
    choose(args.ros)
    try:
        set_up(rebuild=args.rebuild)
    except SetupError as error:
        if error.tail:
            print(f"--- end of {LOG.relative_to(ROOT)} ---\n{error.tail}\n---", file=sys.stderr)
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; the next call goes on where this one stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
