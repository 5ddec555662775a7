"""The player of a recording starts when the nodes are ready; exit code and last sentence say how it went."""

import itertools
import os
import re
import signal
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make test`")
pytest.importorskip("mdic_ros.msg", reason="needs the built messages: run through `make test`")

import rclpy
from mdic_ros.msg import DecodeReport
from ros_bench import PATIENCE_S, Bench
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mdic_ros.datasets.images import encode_image
from mdic_ros.nodes import play_when_ready
from mdic_ros.nodes.play_when_ready import PlayWhenReady, parse

pytestmark = pytest.mark.ros

FOREVER = "while True: time.sleep(1)"


class Player:
    """A player for the tests: Python code that runs in a process of its own and leaves its process number in a file."""

    def __init__(self, folder):
        self.folder = folder

    def command(self, code):
        script = self.folder / "player.py"
        started = f"pathlib.Path({str(self.folder / 'written')!r})"
        named = f"{started}.write_text(str(os.getpid())); {started}.rename({str(self.folder / 'number')!r})"
        script.write_text(f"import os, pathlib, signal, time\n{named}\n{code}\n")
        return ["--", sys.executable, str(script)]

    @property
    def number(self):
        """Its process number, None before it has started."""
        path = self.folder / "number"
        return int(path.read_text()) if path.exists() else None

    @property
    def runs(self):
        return os.path.exists(f"/proc/{self.number}")


@pytest.fixture
def player(tmp_path):
    return Player(tmp_path)


@pytest.fixture
def launch(bench: Bench):
    """Function: command line -> play_when_ready in a process of its own."""

    def launch(*arguments):
        return bench.python("-m", "mdic_ros.nodes.play_when_ready", *arguments)

    return launch


def start(bench: Bench, *arguments):
    """play_when_ready as a node in this process."""
    return bench.start(lambda **options: PlayWhenReady(parse(arguments), **options))


def ended(bench: Bench, node) -> int:
    bench.wait(lambda: not node._thread.is_alive(), "it does not end")
    return node.exit_code


def outcome(process) -> tuple[int, str]:
    """Exit code and output of a process that ends by itself."""
    code = process.wait(PATIENCE_S)
    return code, process.stdout.read()


def test_plays_when_the_node_listens_and_not_before(bench: Bench, launch, player):
    bench.node.create_subscription(Header, "something_else", lambda _: None, 10)
    process = launch("--wait-for", "/bench", *player.command(""))
    bench.wait(lambda: "player" in bench.node.get_node_names(), "it does not start")
    assert player.number is None
    bench.node.create_subscription(Image, "image", lambda _: None, 10)
    code, output = outcome(process)
    assert (code, player.number is None) == (0, False), output
    assert "/bench ready after" in output


def test_readiness_does_not_depend_on_what_is_logged(bench: Bench, launch, player):
    bench.node.create_subscription(Image, "image", lambda _: None, 10)
    process = launch("--log-level", "fatal", "--wait-for", "/bench", *player.command(""))
    assert outcome(process) == (0, "")
    assert player.number


def test_says_which_node_was_not_ready_in_time(launch, player):
    code, output = outcome(launch("--timeout", "0.5", "--wait-for", "/left/encoder", *player.command("")))
    assert code == 1
    assert "/left/encoder not ready after 0 s, so the recording is not played" in output
    assert player.number is None


def test_says_that_the_player_failed(launch, player):
    code, output = outcome(launch(*player.command("raise SystemExit(3)")))
    assert code == 1
    assert "the player ended with exit code 3" in output


def test_says_that_there_is_no_such_player(launch):
    code, output = outcome(launch("--", "/nowhere/player", "bag"))
    assert code == 1
    assert "the player does not start: [Errno 2] No such file or directory: '/nowhere/player'" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_player_too_and_quietly(bench: Bench, launch, player, number):
    quiet = "try:\n    " + FOREVER + "\nexcept KeyboardInterrupt: pass"
    process = launch(*player.command(quiet))
    bench.wait(lambda: player.number, "the player does not start")
    process.send_signal(number)
    code, output = outcome(process)
    assert code == 0
    assert [line for line in output.splitlines() if "starting" not in line] == []
    assert not player.runs


def test_a_player_that_does_not_obey_is_killed(bench: Bench, launch, player):
    process = launch(*player.command(f"signal.signal(signal.SIGINT, signal.SIG_IGN)\n{FOREVER}"))
    bench.wait(lambda: player.number, "the player does not start")
    process.send_signal(signal.SIGINT)
    assert outcome(process)[0] == 0
    assert not player.runs


def test_a_signal_while_it_waits_ends_it(bench: Bench, launch, player):
    process = launch("--wait-for", "/left/encoder", *player.command(""))
    bench.wait(lambda: "player" in bench.node.get_node_names(), "it does not start")
    process.send_signal(signal.SIGINT)
    assert outcome(process) == (0, "")
    assert player.number is None


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(play_when_ready, "_SHORTEST_DRAIN_S", 0.2)
    monkeypatch.setattr(play_when_ready, "_LONGEST_DRAIN_S", 1.0)
    monkeypatch.setattr(play_when_ready, "_DISCOVERY_S", 0.0)


def test_counts_the_pictures_and_waits_for_late_ones(bench: Bench, player, capfd):
    reports = bench.publisher(DecodeReport, "report")
    node = start(bench, "--reports", "/report", *player.command(""))
    bench.wait(lambda: reports.get_subscription_count(), "it does not listen")
    bench.wait(lambda: player.number and not player.runs, "the player does not end")
    for _ in range(3):  # after the end of the recording
        reports.publish(DecodeReport())
    assert ended(bench, node) == 0
    assert "3 pictures came out" in capfd.readouterr().err


def test_no_picture_is_an_error(bench: Bench, player, impatient, capfd):
    node = start(bench, "--reports", "/report", *player.command(""))
    assert ended(bench, node) == 1
    assert "the recording has ended and not one picture came out" in capfd.readouterr().err


def test_an_input_that_nobody_publishes_is_named(bench: Bench, player, impatient, capfd):
    bench.node.create_subscription(Image, "/left/image_raw", lambda _: None, 10)
    node = start(bench, "--wait-for", "/bench", *player.command(FOREVER))
    bench.wait(lambda: node._unfed, "it does not notice")
    bench.remove(node)
    assert "/bench listens to /left/image_raw, which nobody publishes. Are coded_namespace" in capfd.readouterr().err
    assert not player.runs


def test_nodes_of_an_earlier_launch_are_named(bench: Bench, player, capfd):
    twins = [rclpy.create_node("twin", context=bench.context) for _ in range(2)]
    twins[0].create_subscription(Image, "image", lambda _: None, 10)
    node = start(bench, "--wait-for", "/twin", *player.command(""))
    ended(bench, node)
    for twin in twins:
        twin.destroy_node()
    assert "2 nodes are called /twin: an earlier launch still runs" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)  # a busy machine takes minutes to load torch in every process
def test_a_recording_goes_through_the_real_nodes(bench: Bench, launch, tiny_bundle, tmp_path, textures):
    for index, views in enumerate(itertools.islice(textures(64, 128), 5)):
        for side, image in zip(("left", "right"), views):
            path = tmp_path / "drive" / side / f"{index:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(image, "png"))
    model = ("-p", f"model:={tiny_bundle}", "-r", "__ns:=/left")
    bench.launch("encoder_node", *model, "-r", "image:=image_raw")
    bench.launch("decoder_node", *model, "-r", "side/image:=/right/image_raw", "-r", "camera_info:=info")
    replay = [sys.executable, "-m", "mdic_ros.nodes.replay_node", "--ros-args", "-p", f"path:={tmp_path / 'drive'}"]
    nodes = ["--wait-for", "/left/encoder", "--wait-for", "/left/decoder", "--reports", "/left/report"]
    code, output = outcome(launch(*nodes, "--", *replay, "-p", "wait_for_subscribers:=true", "-p", "rate:=0.5"))
    assert code == 0, output
    assert "5 frames published" in output
    assert re.search(r"[1-5] pictures came out", output)


@pytest.mark.parametrize("arguments", [[], ["--wait-for", "/left/encoder"], ["--"], ["--bad", "--", "true"]])
def test_a_command_line_without_sense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert "usage: play_when_ready [options] -- COMMAND ..." in capsys.readouterr().err
