"""Nodes stop on a signal: quickly, quietly, with exit code 0."""

import signal
import threading

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run through `make test`")
pytest.importorskip("mdic_ros.msg", reason="needs the built messages: run through `make test`")

from mdic_ros.msg import Bitstream
from ros_bench import BEST_EFFORT, PATIENCE_S, Bench, raw
from sensor_msgs.msg import Image

from mdic_ros.errors import MdicError
from mdic_ros.nodes.runtime import StartError, load_model

pytestmark = pytest.mark.ros

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def feed(bench: Bench, textures):
    """Images for /left/image and /right/image, again and again until the end of the test."""
    publishers = [bench.publisher(Image, f"/{side}/image") for side in ("left", "right")]
    over = threading.Event()

    def run():
        for index, views in enumerate(textures(64, 128)):
            for publisher, view in zip(publishers, views):
                publisher.publish(raw(view, 1000 + 20 * index))
            if over.wait(0.02):
                return

    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join(PATIENCE_S)


def remarks(process) -> list[str]:
    """What a process that has ended wrote beside what it has to say when all is well."""
    return [line for line in process.stdout if "[INFO]" not in line]


@pytest.mark.parametrize("number", SIGNALS)
def test_both_halves_stop_in_the_middle_of_their_work(bench: Bench, tiny_bundle, feed, number):
    packets = bench.listen(Bitstream, "/left/bitstream", BEST_EFFORT)
    pictures = bench.listen(Image, "/left/image_reconstructed")
    model = ("-p", f"model:={tiny_bundle}", "-r", "__ns:=/left")
    encoder = bench.launch("encoder_node", *model, "-p", "view:=left")
    decoder = bench.launch("decoder_node", *model, "-r", "side/image:=/right/image", "-r", "camera_info:=info")
    bench.wait(lambda: packets and pictures, "no pictures")
    for process in (encoder, decoder):
        process.send_signal(number)
    assert (encoder.wait(PATIENCE_S), decoder.wait(PATIENCE_S)) == (0, 0)
    assert (remarks(encoder), remarks(decoder)) == ([], [])


@pytest.fixture
def run_node(bench: Bench, tmp_path):
    """Function: body of a node's constructor, arguments -> a process that runs this node."""

    def run_node(body, *arguments):
        script = tmp_path / "node.py"
        script.write_text(
            "import sys, threading, time\n"
            "from rclpy.node import Node\n"
            "from mdic_ros.nodes.runtime import StartError, run\n"
            "class Some(Node):\n"
            "    def __init__(self):\n"
            "        super().__init__('some')\n"
            f"        {body}\n"
            "    def stop(self, timeout): return True\n"
            "run('some', Some, sys.argv)\n"
        )
        return bench.python(str(script), *arguments)

    return run_node


@pytest.mark.parametrize(
    ("body", "arguments", "code", "words"),
    [
        ("raise StartError('no camera: plug it in')", [], 1, "[some]: no camera: plug it in"),
        ("raise ValueError('oops')", [], 1, "this is a bug of mdic_ros"),
        ("pass", ["--ros-args", "--bad"], 1, "are the arguments after --ros-args right? ['--bad']"),
        ("self.exit_code = 3; self.context.shutdown()", [], 3, ""),
        ("self.context.shutdown()", [], 0, ""),
    ],
)
def test_the_exit_code_and_one_sentence_say_how_it_ended(run_node, body, arguments, code, words):
    process = run_node(body, *arguments)
    output = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == code
    assert words in output
    assert ("Traceback" in output) == ("bug" in words)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("ending", ["", "; time.sleep(1000)"])  # in the executor, in the constructor
def test_a_signal_is_obeyed_at_any_time_and_the_second_one_changes_nothing(bench: Bench, run_node, number, ending):
    process = run_node(f"self.create_publisher(__import__('std_msgs.msg').msg.Empty, '/up', 1){ending}")
    bench.wait(lambda: bench.node.count_publishers("/up"), "it does not start")
    process.send_signal(number)
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0
    assert process.stdout.read() == ""


def test_nohup_is_respected(bench: Bench, run_node):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which children inherit
    try:
        process = run_node("self.create_publisher(__import__('std_msgs.msg').msg.Empty, '/up', 1)")
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    bench.wait(lambda: bench.node.count_publishers("/up"), "it does not start")
    process.send_signal(signal.SIGHUP)
    infos = len(bench.node.get_publishers_info_by_topic("/up"))
    assert infos == 1 and process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def test_what_is_wrong_with_a_model_is_said_and_a_bug_shows_as_one():
    def load(path, *, device, error):
        assert (path, device) == (None, "cpu")
        raise error

    with pytest.raises(StartError, match=r"bundle that ships with the package .*: unlisted file x\. Check the param"):
        load_model(load, "", "cpu", error=MdicError("unlisted file x"))
    with pytest.raises(StartError, match="No space left"):
        load_model(load, "", "cpu", error=OSError(28, "No space left on device"))
    with pytest.raises(ValueError, match="a contract"):
        load_model(load, "", "cpu", error=ValueError("a contract"))
