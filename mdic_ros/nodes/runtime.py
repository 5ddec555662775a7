"""Start and stop of a node process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger

from mdic_ros import __version__
from mdic_ros.errors import MdicError

#: How long a node waits, on its way out, for the frame that is being worked on.
STOP_TIMEOUT_S = 1.5

# SIGHUP comes when the terminal or the ssh connection goes.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SPIN_S = 0.5


class StartError(MdicError):
    """The node cannot start; the text says why and what to do."""


def bug(error: BaseException) -> str:
    """What a node says about an error in our own code."""
    trace = "".join(traceback.format_exception(error))
    return f"this is a bug of mdic_ros {__version__}; a report of it needs this, and the node's parameters:\n{trace}"


class StoppableNode(Protocol):
    """A node whose thread can be stopped. An attribute `exit_code`, if there is one, becomes the process's."""

    def stop(self, timeout: float) -> bool:
        """Stop working; False when work still runs after `timeout` seconds."""

    def destroy_node(self) -> None: ...


class _StopSignals:
    """Handler of the signals that stop a node: the first one raises KeyboardInterrupt, further ones are ignored.

    SIGINT often comes twice, from the terminal and from `ros2 launch`.
    """

    def __init__(self) -> None:
        """Takes over from the handlers that there are; to be called before rclpy.init, whose handlers call this one."""
        self.received = False
        for number in _STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` has it ignored
                signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        if not self.received:
            self.received = True
            raise KeyboardInterrupt


def run(name: str, factory: Callable[[], Any], args: Sequence[str] | None = None) -> NoReturn:
    """Make a node, spin it until SIGINT, SIGTERM, SIGHUP or a shutdown of ROS, and end the process.

    The exit code is 0, or the node's `exit_code`; 1 when it could not start or an error in our own code ended it.
    """
    code = 0
    node: StoppableNode | None = None
    initialised = False
    stop = _StopSignals()
    try:
        rclpy.init(args=args)
        initialised = True
        executor = SingleThreadedExecutor()
        node = factory()
        executor.add_node(node)
        while rclpy.ok() and not stop.received:
            executor.spin_once(timeout_sec=_SPIN_S)  # Python acts on SIGHUP when this returns
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except MdicError as error:
        get_logger(name).fatal(str(error))
        code = 1
    except Exception as error:
        if not initialised:
            get_logger(name).fatal(f"ROS does not start; are the arguments after --ros-args right? {error}")
            code = 1
        elif rclpy.ok():
            get_logger(name).fatal(bug(error))
            code = 1
        # Otherwise a signal came while the node was being made, and its next call found ROS shut down.
    stop.received = True  # from here on, signals change nothing
    if node is not None:
        node.stop(STOP_TIMEOUT_S)
        code = code or getattr(node, "exit_code", 0)
        with contextlib.suppress(Exception):  # ROS may be half taken down already
            node.destroy_node()  # tells the others that its topics are gone
    with contextlib.suppress(Exception):
        rclpy.try_shutdown()
    # Skip the interpreter's own shutdown: with torch it takes seconds on a small machine, and a decode that still runs
    # in its thread would crash in it.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            stream.flush()
    os._exit(code)


Model = TypeVar("Model")


def load_model(load: Callable[..., Model], path: str, device: str, **options: Any) -> Model:
    """`load(path or None, device=device, **options)`.

    Raises:
        StartError: missing or damaged files, no such device, an extra that is not installed; the text names the
            parameters to look at.
    """
    try:
        return load(path or None, device=device, **options)
    except (MdicError, OSError) as error:
        raise StartError(
            f'cannot load the model bundle {path or "that ships with the package"} on device "{device}": '
            f"{error}. Check the parameters model and device."
        ) from error
