"""Who may import whom, read from the sources, and that every other import is a declared dependency."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mdic_ros"

# Sub-package (or module) -> our own that it may import besides itself. What is not listed here may not exist.
ALLOWED = {
    "": set(),
    "resources": set(),
    "backbones": set(),
    "models": set(),
    "codec": {"models", "resources"},
    "datasets": {"resources"},
    "offline": {"codec", "datasets", "resources"},
    "nodes": {"codec", "datasets", "resources", "msg"},
    "training": {"models", "codec", "datasets", "resources", "backbones"},
    "evaluation": {"codec", "datasets", "offline", "resources", "backbones"},
    "demo": {"codec", "datasets", "nodes", "evaluation", "offline", "resources", "msg"},
    "describe": {"codec", "datasets"},
    "cli": {
        "codec",
        "datasets",
        "nodes",
        "training",
        "evaluation",
        "offline",
        "describe",
        "demo",
        "resources",
    },
    "__main__": {"cli"},
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
    "captioner.py": {"os", "pathlib"}
}  # chooses the class by what is in a folder of transformers' own
DISTRIBUTION = {
    "PIL": "pillow",
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
        elif top in ROS and part not in ("nodes", "demo"):
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
    names = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements)
    return {name[0].lower().replace("_", "-") for name in names if name}


#: The extras that a part is used with: what it imports must be in each of them.
EXTRAS = {"training": ("train",), "evaluation": ("eval",), "backbones": ("train", "eval")}


def test_third_party_imports_are_declared() -> None:
    problems = []
    for path in FILES:
        extras = EXTRAS.get(part_of(path))
        allowed = set.intersection(*(declared(extra) for extra in extras)) if extras else declared()
        for module, line in imports(path):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top in ROS or top == "mdic_ros":
                continue
            if DISTRIBUTION.get(top, top).lower().replace("_", "-") not in allowed:
                problems.append(f"{path.relative_to(ROOT)}:{line}: {top} is not among the dependencies")
    assert not problems, "\n".join(problems)


def test_ros_packages_are_in_package_xml() -> None:
    manifest = (ROOT / "package.xml").read_text()
    used = {module.split(".")[0] for path in FILES for module, _ in imports(path)} & ROS
    missing = {name for name in used if f"depend>{name}</" not in manifest}
    assert not missing


@pytest.mark.parametrize("module", ["mdic_ros", "mdic_ros.cli", "mdic_ros.datasets", "mdic_ros.resources"])
def test_light_modules_leave_torch_and_ros_alone(module: str) -> None:
    if not any((PACKAGE / p).exists() for p in (f"{module[9:]}.py", f"{module[9:] or '.'}/__init__.py")):
        pytest.skip(f"{module} is not there")
    heavy = "{'torch', 'transformers', 'diffusers', 'rclpy'}"
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
