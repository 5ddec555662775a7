"""What holds the package together: versions, manifests, messages, executables, the set-up script, the Makefile."""

from __future__ import annotations

import http.server
import importlib.util
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mdic_ros
from mdic_ros.resources import resource

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MESSAGES = sorted(path.stem for path in (ROOT / "msg").glob("*.msg"))


# ---- manifests


def test_one_version() -> None:
    manifest = ET.parse(ROOT / "package.xml").getroot()
    assert mdic_ros.__version__ == PROJECT["version"] == manifest.findtext("version")


def test_every_dependency_has_one_pin_that_fits() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pins) == len(lines)
    wanted = [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]
    for text in wanted:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == canonicalize_name(PROJECT["name"]):
            assert requirement.extras <= set(PROJECT["optional-dependencies"])
            continue
        assert name in pins, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{text} and the pin {pins[name]}"


def test_package_xml_is_a_ros_package_with_messages() -> None:
    manifest = ET.parse(ROOT / "package.xml").getroot()
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_cmake"
    assert manifest.findtext("member_of_group") == "rosidl_interface_packages"
    assert "rosidl_default_generators" in [e.text for e in manifest.findall("buildtool_depend")]
    assert "rosidl_default_runtime" in [e.text for e in manifest.findall("exec_depend")]


def test_cmake_generates_every_message_before_it_installs_the_sources() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    assert sorted(re.findall(r"msg/(\w+)\.msg", text)) == MESSAGES
    # The other way round, the generator's empty __init__.py ends up over ours.
    assert text.index("rosidl_generate_interfaces(") < text.index("install(DIRECTORY ${PROJECT_NAME}/")


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "scripts").iterdir()))
def test_executable_is_installed_and_starts_what_exists(name: str) -> None:
    script = ROOT / "scripts" / name
    assert script.stat().st_mode & stat.S_IXUSR
    assert f"scripts/{name}\n" in (ROOT / "CMakeLists.txt").read_text()
    found = re.search(r"^from mdic_ros\.([\w.]+) import main$", script.read_text(), re.MULTILINE)
    assert found
    source = ROOT / "mdic_ros" / (found[1].replace(".", "/") + ".py")
    assert re.search(r"^def main\(", source.read_text(), re.MULTILINE)


# ---- messages


def fields(name: str) -> list[tuple[str, str, bool]]:
    """Of each field of a message: type, name, and whether it, or the block of fields that it is in, has a comment."""
    found, commented = [], False
    for line in (ROOT / "msg" / f"{name}.msg").read_text().splitlines():
        if line.startswith("#"):
            commented = True
        elif not line.strip():
            commented = False
        else:
            kind, field = line.split()
            found.append((kind, field, commented))
    return found


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_field_says_what_it_means(name: str) -> None:
    assert fields(name)[0][:2] == ("std_msgs/Header", "header")
    assert [field for _, field, commented in fields(name) if not commented] == []


@pytest.mark.ros
@pytest.mark.parametrize("name", MESSAGES)
def test_built_messages_are_those_of_the_sources(name: str) -> None:
    messages = pytest.importorskip("mdic_ros.msg", reason="mdic_ros.msg is not built (make ros-build)")
    built = getattr(messages, name).get_fields_and_field_types()
    rosidl = {"uint8[]": "sequence<uint8>", "bool": "boolean", "float32": "float"}
    assert built == {field: rosidl.get(kind, kind) for kind, field, _ in fields(name)}


@pytest.mark.ros
def test_installed_tree_stands_alone() -> None:
    """Without the checkout on the path: our __init__.py has won over the generator's, and the files are there."""
    messages = pytest.importorskip("mdic_ros.msg", reason="mdic_ros.msg is not built (make ros-build)")
    site = Path(messages.__file__).parents[2]
    code = (
        "import mdic_ros, mdic_ros.msg; from mdic_ros.resources import resource;"
        "print(mdic_ros.__version__, *map(resource, ('msg', 'launch', 'config/fastdds.xml')), sep='\\n')"
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, cwd="/", capture_output=True, text=True, check=True
    )
    version, *paths = done.stdout.split()
    assert version == mdic_ros.__version__
    assert all(Path(path).is_relative_to(site.parents[2]) and Path(path).exists() for path in paths)


# ---- resources


def test_resource_in_a_checkout_and_what_it_says_when_missing() -> None:
    assert resource("msg/Bitstream.msg") == ROOT / "msg" / "Bitstream.msg"
    with pytest.raises(FileNotFoundError, match=r"models/none is not part of this installation; looked at /"):
        resource("models/none")


def test_fast_dds_profile_has_room_for_images() -> None:
    profile = ET.parse(resource("config/fastdds.xml")).getroot()
    space = {"dds": profile.tag.removesuffix("profiles").strip("{}")}
    kinds = {
        t.findtext("dds:type", namespaces=space): t for t in profile.iterfind(".//dds:transport_descriptor", space)
    }
    assert set(kinds) == {"SHM", "UDPv4"}
    assert int(kinds["SHM"].findtext("dds:segment_size", namespaces=space) or 0) == 16 * 2**20


# ---- set-up script


@pytest.fixture(scope="module")
def setup_env() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "tools" / "setup_env.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_set_up_parses_under_an_old_python() -> None:
    """A Python that is too old must get as far as the sentence that says so."""
    import ast

    ast.parse((ROOT / "tools" / "setup_env.py").read_text(), feature_version=(3, 7))


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"CXX": "no-such-compiler"},
            r"No C\+\+ compiler \(no-such-compiler is not there\): apt install g\+\+",
        ),
        ({"CXX": "false"}, r"does not compile a two-line program"),
        ({"PATH": ""}, "make is missing: apt install make"),
    ],
)
def test_a_missing_compiler_is_one_sentence(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(setup_env.SetupError, match=sentence):
        setup_env.check_compiler()


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a web server that has nothing but the page /there."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/there": 200, "/gateway": 503}.get(self.path, 404))
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"])
def test_a_package_index_that_does_not_answer_is_one_sentence(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str, variable: str
) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    setup_env.check_indexes()
    with socket.socket() as taken:  # nobody listens here
        taken.bind(("127.0.0.1", 0))
        silent = f"127.0.0.1:{taken.getsockname()[1]}"
        # A "not found" is an answer, as many indexes have no page at this address.
        there = f"http://{server}/there http://someone:secret@{server}/simple {tmp_path} file://{tmp_path}"
        monkeypatch.setenv(variable, there)
        setup_env.check_indexes()
        for bad, shown in (
            (f"http://{silent}/whl/cpu", f"http://{silent}/whl/cpu"),
            (f"http://someone:secret@{silent}/simple", f"http://{silent}/simple"),
            (f"http://{server}/gateway", f"http://{server}/gateway"),
        ):
            monkeypatch.setenv(variable, f"{there} {bad}")
            with pytest.raises(setup_env.SetupError) as caught:
                setup_env.check_indexes()
            assert str(caught.value) == f"{shown} cannot be reached: check the network or unset {variable}"


def test_an_unsupported_python_or_a_full_disk_is_one_sentence(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_env, "SUPPORTED", ((3, 1),))
    with pytest.raises(setup_env.SetupError, match=r"^Python 3\.\S+ \(.*\) is not supported: install Python"):
        setup_env.check_python()
    monkeypatch.setattr(setup_env, "FREE_DISK_CUDA_GB", 1e9)
    monkeypatch.setattr(setup_env, "FREE_DISK_GB", 1e8)
    for name in ("EXTRA_INDEX_URL", "INDEX_URL", "FIND_LINKS", "CONFIG_FILE"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    with pytest.raises(setup_env.SetupError, match=r"^\d+\.\d GB .* needs 1000000000 GB, or 100000000 GB with PIP_"):
        setup_env.check_disk()
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://download.pytorch.org/whl/cpu")
    with pytest.raises(setup_env.SetupError, match=r"^\d+\.\d GB of disk are free at .* needs 100000000 GB\.$"):
        setup_env.check_disk()


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "NewConnectionError('<...>: Failed to establish a new connection: [Errno -3] Temporary failure')",
            "network",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "no fitting version"),
        ("ssl.SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "PIP_CERT"),
        ("Segmentation fault", "otherwise"),
    ],
)
def test_failures_are_explained(setup_env: ModuleType, output: str, word: str) -> None:
    assert word in setup_env.explain(output, "otherwise")


def test_cmake_repair_names_this_environment_and_is_idempotent(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setup_env, "VENV", Path(sys.prefix))
    file = tmp_path / "std_msgs" / "cmake" / "export.cmake"
    file.parent.mkdir(parents=True)
    file.write_text(
        'A "/opt/python/cp311-cp311/include/python3.11;/usr/include"\n'
        'B "/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include"\n'
        'C "/opt/python/cp39-cp39/lib/python3.9/site-packages/numpy/core/include;/opt/python/x"\n'
    )
    assert setup_env.repair_cmake_files(tmp_path) == 1
    a, b, c = file.read_text().splitlines()
    for text in (a.split('"')[1].split(";")[0], b.split('"')[1], c.split('"')[1].split(";")[0]):
        assert Path(text).is_dir()
    assert a.endswith(';/usr/include"') and c.endswith(';/opt/python/x"')
    assert setup_env.repair_cmake_files(tmp_path) == 0


def test_stages_run_again_when_what_they_depend_on_changes(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = "pyproject.toml constraints.txt CMakeLists.txt package.xml msg/A.msg tools/setup_env.py"
    for name in names.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    monkeypatch.setattr(setup_env, "CONSTRAINTS", tmp_path / "constraints.txt")
    before = setup_env.keys()
    assert setup_env.keys() == before

    def changed_by(name: str) -> set[str]:
        (tmp_path / name).write_text("2")
        after = setup_env.keys()
        (tmp_path / name).write_text("1")
        return {stage for stage in before if before[stage] != after[stage]}

    assert changed_by("msg/A.msg") == changed_by("CMakeLists.txt") == {"build"}
    assert changed_by("constraints.txt") == changed_by("pyproject.toml") == {"packages", "cmake", "build"}
    monkeypatch.setattr(sys, "version", "another Python")
    assert {stage for stage in before if before[stage] != setup_env.keys()[stage]} == set(before)


def test_another_distribution_has_an_environment_and_pins_of_its_own(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {extra for extra, _ in setup_env.DISTRIBUTIONS.values()} <= set(PROJECT["optional-dependencies"])
    assert setup_env.constraints() == ROOT / "constraints.txt"
    for name in ("ROS", "VENV", "BUILD", "INSTALL", "LOG", "STAMPS"):
        monkeypatch.setattr(setup_env, name, getattr(setup_env, name))  # back to Jazzy afterwards
    setup_env.choose("kilted")
    assert setup_env.VENV == ROOT / ".venv-kilted" and setup_env.BUILD == ROOT / "build" / "kilted"
    monkeypatch.setattr(setup_env, "BUILD", tmp_path)
    pins = setup_env.constraints().read_text().splitlines()
    assert {line.partition("-")[2].partition("-")[0] for line in pins if line.startswith("ros-")} == {"kilted"}
    assert any(line.startswith("numpy==") for line in pins)
    setup_env.write_env_file()
    lines = (tmp_path / "env.sh").read_text()
    assert "ROS_DISTRO=kilted" in lines and "FASTDDS_DEFAULT_PROFILES_FILE=" in lines and "FASTRTPS" not in lines


# ---- Makefile


def make(*arguments: str) -> str:
    return subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_make_alone_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(re.findall(r"^  make ([\w-]+) ", make(), re.MULTILINE)) >= set(phony[1].split())


def test_make_demo_passes_its_variables_on() -> None:
    command = make("-n", "demo", "BAG=a drive", "STEPS=4", "RATE=2", "OUT=/tmp/o", "ARGS=--loop").split("\n", 2)[2]
    assert " ".join(command.replace("\\", "").split()).endswith(
        "python -m mdic_ros.cli.demo --bag 'a drive' --steps '4' --rate '2' --out '/tmp/o' --loop"
    )
