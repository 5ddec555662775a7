"""A bench for node tests over real DDS: an isolated domain, an executor, topics to listen to and to feed."""

from __future__ import annotations

import array
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mdic_ros.nodes.fast_dds import profile_environment
from mdic_ros.nodes.qos import AdaptiveSubscription

ROOT = Path(__file__).parents[2]
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PATIENCE_S = 100.0  # a limit for what should take well under a second; the machine may be busy


@contextlib.contextmanager
def reserved_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine has at the same time."""
    for domain in random.sample(range(1, 101), 100):  # up to 101 the ports are free on every system
        with socket.socket() as lock:
            try:
                lock.bind(("127.0.0.1", 23200 + domain))
            except OSError:
                continue
            yield domain
            return
    raise RuntimeError("all domains are taken")


def environment(domain: int) -> dict[str, str]:
    """What isolates the nodes of a test from all others, and gives them room for large images."""
    return {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        **profile_environment({"ROS_DISTRO": os.environ.get("ROS_DISTRO", "")}),
    }


def header(stamp_ms: float, frame_id: str = "left_optical") -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(round(stamp_ms * 1_000_000), 1_000_000_000)
    return message


def raw(image: np.ndarray, stamp_ms: float, encoding: str = "rgb8") -> Image:
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).data)
    height, width = image.shape[:2]
    return Image(
        header=header(stamp_ms),
        height=height,
        width=width,
        encoding=encoding,
        step=len(data) // height,
        data=data,
    )


def compressed(image: np.ndarray, stamp_ms: float, form: str) -> CompressedImage:
    from mdic_ros.datasets.images import encode_image

    data = array.array("B", encode_image(image, form))  # type: ignore[arg-type]
    return CompressedImage(header=header(stamp_ms), format=f"rgb8; {form} compressed bgr8", data=data)


def pixels(message: Image) -> np.ndarray:
    array_ = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)
    return array_[..., 0] if message.encoding == "mono8" else array_


class Bench:
    """One process's part in a domain: nodes under test, and topics of the test's own."""

    def __init__(self, domain: int) -> None:
        self.domain = domain
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("bench", context=self.context)
        self.nodes: list[Any] = [self.node]
        self.error: Exception | None = None  # of a callback
        self.processes: list[subprocess.Popen[str]] = []
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except rclpy.executors.ExternalShutdownException:
            pass
        except Exception as error:
            self.error = error

    def start(self, factory: Callable[..., Any], *remaps: str, **parameters: Any) -> Any:
        """Run a node in this process."""
        node = factory(
            context=self.context,
            cli_args=["--ros-args", *(word for remap in remaps for word in ("-r", remap))],
            parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()],
        )
        self.nodes.append(node)
        self._executor.add_node(node)
        return node

    def remove(self, node: Any) -> None:
        self._executor.remove_node(node)
        self.nodes.remove(node)
        assert node.stop(PATIENCE_S)
        node.destroy_node()

    def launch(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Run a node in a process of its own; its output goes to `process.stdout`."""
        return self.python("-m", f"mdic_ros.nodes.{module}", "--ros-args", *arguments)

    def python(self, *arguments: str) -> subprocess.Popen[str]:
        """Run Python in the domain of this bench; its output goes to `process.stdout`."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **environment(self.domain)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def listen(self, message_type: Any, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """A list that grows with every message."""
        messages: list[Any] = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def publisher(self, message_type: Any, topic: str, qos: QoSProfile = RELIABLE) -> Any:
        return self.node.create_publisher(message_type, topic, qos)

    def settle(self) -> None:
        """Wait until both ends of all topics between this bench and its nodes know of each other.

        What is published before that is lost, and a subscription that follows its publishers' reliability is made
        anew when it meets them.
        """
        self.wait(self._settled, "publishers and subscribers do not find each other")

    def _settled(self) -> bool:
        nodes = self.nodes[1:]
        listened = {sub.topic_name for sub in self.node.subscriptions}
        fed = {pub.topic_name: pub for pub in self.node.publishers}
        published = {pub.topic_name for node in nodes for pub in node.publishers}
        ends = [sub.get_publisher_count() for sub in self.node.subscriptions if sub.topic_name in published]
        for node in nodes:
            ends += [pub.get_subscription_count() for pub in node.publishers if pub.topic_name in listened]
            ends += [sub.get_publisher_count() for sub in node.subscriptions if sub.topic_name in fed]
            for attribute in vars(node).values():
                if isinstance(attribute, AdaptiveSubscription) and attribute.topic in fed:
                    ends.append(fed[attribute.topic].get_subscription_count())
                    wanted = fed[attribute.topic].qos_profile.reliability
                    ends.append(attribute.fixed or attribute.reliability == wanted)
        return all(ends)

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if self.error is not None:
                raise self.error
            assert time.monotonic() < deadline, what
            time.sleep(0.01)

    def set_parameters(self, node: Any, **parameters: Any) -> list[str]:
        """Set through the node's service, as `ros2 param set` does; returns the reasons of refusals."""
        from rcl_interfaces.srv import SetParameters

        name = node if isinstance(node, str) else node.get_fully_qualified_name()
        client = self.node.create_client(SetParameters, f"{name}/set_parameters")
        assert client.wait_for_service(PATIENCE_S)
        request = SetParameters.Request(
            parameters=[Parameter(key, value=value).to_parameter_msg() for key, value in parameters.items()]
        )
        future = client.call_async(request)
        self.wait(future.done, "set_parameters does not answer")
        self.node.destroy_client(client)
        return [result.reason for result in future.result().results if not result.successful]

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()
        for node in self.nodes[1:]:
            node.stop(PATIENCE_S)
        self._executor.shutdown()
        for node in self.nodes:
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        self._thread.join(PATIENCE_S)


@contextlib.contextmanager
def isolated_bench() -> Iterator[Bench]:
    """A bench in a domain of its own; the environment of this process names it as long as it lasts."""
    with reserved_domain() as domain, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(domain).items():
            patch.setenv(name, value)
        bench = Bench(domain)
        yield bench
        bench.close()
