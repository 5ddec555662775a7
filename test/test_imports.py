"""Who may import whom, read from the sources, and that every other import is a declared dependency."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdic_ros import extras

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mdic_ros"

# Sub-package (or module) -> our own that it may import besides itself. What is not listed here may not exist.
# From the ground up; errors, extras, resources, progress and stamps may be used by all above them.
GROUND = {"errors", "extras", "resources", "progress", "stamps"}
ALLOWED = {
    "": set(),
    "errors": set(),
    "resources": {"errors"},
    "progress": {"errors"},
    "stamps": set(),
    "extras": {"errors"},
    "backbones": {"errors"},
    "models": {"errors"},
    "codec": GROUND | {"models"},
    "stream": GROUND | {"codec", "models"},
    "datasets": GROUND,
    "nodes": GROUND | {"stream", "codec", "datasets", "msg"},
    "training": GROUND | {"models", "codec", "datasets", "backbones"},
    "evaluation": GROUND | {"stream", "codec", "models", "datasets", "backbones"},
    "cli": GROUND | {"codec", "stream", "datasets", "nodes", "training", "evaluation"},
}
ROS = {
    "rclpy", "launch", "launch_ros", "ament_index_python", "cv_bridge", "diagnostic_updater",
    "sensor_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "builtin_interfaces", "rcl_interfaces",
    "rosgraph_msgs",
    "stereo_msgs", "geometry_msgs",
}  # fmt: skip
# The blocks of the network: tensors in, tensors out.
FORBIDDEN_IN_MODELS = {
    "os",
    "io",
    "pathlib",
    "struct",
    "json",
    "yaml",
    "PIL",
    "rosbags",
    "av",
    "constriction",
    "safetensors",
}
EXCEPTIONS = {
    "captioner.py": {"os", "pathlib"},  # chooses the class by what is in a folder of transformers' own
}
DISTRIBUTION = {
    "PIL": "pillow",
    "backports": "backports-zstd",
    "compression": "backports-zstd",  # the standard library's from Python 3.14 on
    "cv2": "opencv-python-headless",
    "vector_quantize_pytorch": "vector-quantize-pytorch",
    "yaml": "pyyaml",
}


def part_of(path: Path) -> str:
    """The top-level part of the package that a file belongs to: "codec", "cli", or "" for mdic_ros itself."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if name == "__init__" else name


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(absolute module, line) of every import in a file, those in functions included."""
    package = ("mdic_ros", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            if module == "mdic_ros" or (node.level and not node.module):
                for alias in node.names:  # from mdic_ros import codec; from . import codec
                    yield f"{module}.{alias.name}", node.lineno
            else:
                yield module, node.lineno


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_import_rules(path: Path) -> None:
    part = part_of(path)
    assert part in ALLOWED, f"{part}: say in ALLOWED who this part may import"
    problems = []
    for module, line in imports(path):
        top, *rest = module.split(".")
        if top == "mdic_ros" and rest:
            if rest[0] not in ALLOWED[part] | {part, "__version__"}:
                problems.append(f"line {line}: {part or 'mdic_ros'} imports mdic_ros.{rest[0]}")
        elif top in ROS and part != "nodes" and not (top == "cv_bridge" and path.name == "cv_bridge.py"):
            problems.append(f"line {line}: {top} outside nodes/")
        elif part == "models" and top in FORBIDDEN_IN_MODELS - EXCEPTIONS.get(path.name, set()):
            problems.append(f"line {line}: {top} in models/")
        elif top in ("pickle", "torchvision"):
            problems.append(f"line {line}: {top}")
    assert not problems, "\n".join(problems)


def declared(*extras: str) -> set[str]:
    """Names of the distributions in pyproject's dependencies and in these extras, normalised."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    found = set()
    for text in requirements:
        if inner := re.match(r"mdic_ros\[([\w,]+)\]$", text):
            found |= declared(*inner[1].split(","))
        elif name := re.match(r"[A-Za-z0-9._-]+", text):
            found.add(re.sub(r"[-_.]+", "-", name[0]).lower())
    return found


#: The extras that files are used with, by the beginning of their names: what they import must be in each of these. All
#: other files are the robot's, too, and get along with the base install.
EXTRAS = {
    "backbones.py": ("train", "eval"),
    "cli/demo/": ("eval",),
    "codec/components.py": ("workstation",),
    "codec/decoder.py": ("workstation",),
    "codec/onnx_export.py": ("train",),
    "datasets/rectify.py": ("rectify",),
    "evaluation/": ("eval",),
    "models/": ("workstation",),
    "models/entropy/exact.py": (),
    "models/entropy/schedule.py": (),
    "models/row_offset.py": (),
    "models/token_grid.py": (),
    "training/": ("train",),
}


def extras_of(path: Path) -> tuple[str, ...]:
    name = path.relative_to(PACKAGE).as_posix()
    starts = [start for start in EXTRAS if name.startswith(start)]
    return EXTRAS[max(starts, key=len)] if starts else ()


def test_third_party_imports_are_declared() -> None:
    problems = []
    for path in FILES:
        used_with = extras_of(path)
        allowed = set.intersection(*map(declared, used_with)) if used_with else declared()
        for module, line in imports(path):
            top = module.split(".")[0]
            if top in ROS or top == "mdic_ros" or (top in sys.stdlib_module_names and top not in DISTRIBUTION):
                continue
            if re.sub(r"[-_.]+", "-", DISTRIBUTION.get(top, top)).lower() not in allowed:
                needed = " ".join(used_with) or "the robot's"
                problems.append(f"{path.relative_to(ROOT)}:{line}: {top} is not among the dependencies ({needed})")
    assert not problems, "\n".join(problems)


def test_what_a_missing_library_is_said_to_need_is_what_brings_it() -> None:
    for extra, (_, modules) in extras.EXTRAS.items():
        names = {DISTRIBUTION.get(module, module).replace("_", "-") for module in modules}
        assert names <= declared(extra) - declared(), extra


def test_ros_packages_are_in_package_xml() -> None:
    manifest = (ROOT / "package.xml").read_text()
    used = {module.split(".")[0] for path in FILES for module, _ in imports(path)} & ROS
    missing = {name for name in used if f"depend>{name}</" not in manifest}
    assert not missing


def loaded(code: str) -> list[str]:
    """Which of the workstation's libraries and of ROS a fresh process has loaded after this code."""
    heavy = "{'torch', 'transformers', 'diffusers', 'tokenizers', 'accelerate', 'av', 'cv2', 'constriction', 'rclpy'}"
    code = f"import sys\n{code}\nprint(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    ["mdic_ros", "mdic_ros.cli", "mdic_ros.codec", "mdic_ros.codec.encoder", "mdic_ros.datasets", "mdic_ros.resources",
     "mdic_ros.stream", "mdic_ros.stream.encode_session"],
)  # fmt: skip
def test_what_the_robot_imports_leaves_pytorch_and_ros_alone(module: str) -> None:
    assert loaded(f"import {module}") == []


@pytest.mark.parametrize("module", ["mdic_ros.datasets", "mdic_ros.datasets.images", "mdic_ros.codec.encoder"])
def test_the_library_for_bags_is_loaded_only_when_it_is_used(module: str) -> None:
    code = f"import sys, {module}; assert 'rosbags' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.ros
def test_the_encoder_node_leaves_pytorch_alone() -> None:
    pytest.importorskip("mdic_ros.msg", reason="mdic_ros.msg is not built (make ros-build)")
    late = "from mdic_ros.codec import Encoder\nfrom mdic_ros.stream import EncodeSession"
    assert loaded(f"import mdic_ros.nodes.encoder_node\n{late}") == ["rclpy"]


def test_lazy_names_are_all_there() -> None:
    from mdic_ros import codec

    assert all(getattr(codec, name).__name__ == name for name in codec.__all__ if name != "View")
    assert set(codec.__all__) <= set(dir(codec))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = codec.Nothing


def test_idle_threads_of_openmp_sleep() -> None:
    code = "import os, mdic_ros; print(os.environ['OMP_WAIT_POLICY'])"
    for given, found in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": given} if given else {}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout.split() == [found]
