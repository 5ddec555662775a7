"""Start and stop of a node process, and what all nodes do with stamps and models."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger

from mdic_ros.nodes.parameters import ParameterError

#: How long a node waits, on its way out, for the frame that is being worked on.
STOP_TIMEOUT_S = 1.5



class StartError(RuntimeError):
    """The node cannot start; the text says why and what to do."""


class StoppableNode(Protocol):
    """A node whose thread can be stopped."""

    def stop(self, timeout: float) -> bool:
        """Stop working; False when work still runs after `timeout` seconds."""

    def destroy_node(self) -> None: ...


def run(name: str, factory: Callable[[], Any], args: Sequence[str] | None = None) -> NoReturn:
    """Make a node, spin it until Ctrl-C or SIGTERM, leave with exit code 0; 1 when it could not start.

    SIGINT often comes twice (from the terminal and from `ros2 launch`), so the second one is ignored.
    """
    code = 0
    node: StoppableNode | None = None
    rclpy.init(args=args)
    try:
        node = factory()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ParameterError, StartError) as error:
        get_logger(name).fatal(str(error))
        code = 1
    except Exception:
        if rclpy.ok():
            raise
        # SIGTERM while the node was being made: whatever it tried next had no context any more.
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.stop(STOP_TIMEOUT_S)
            node.destroy_node()  # tells the others that its topics are gone
        rclpy.try_shutdown()
    # Without the interpreter's own teardown: it takes torch seconds to be taken apart on a small machine, and a long
    # decode that is still in the network must not have the interpreter taken down around its thread.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


Model = TypeVar("Model")


def load_model(load: Callable[..., Model], path: str, **options: Any) -> Model:
    """`load(path or None, **options)`.

    Raises:
        StartError: whatever goes wrong with it; the text names the parameters to look at.
    """
    try:
        return load(path or None, **options)
    except Exception as error:  # missing files, damaged weights, no such device ...: all of them are fatal
        raise StartError(
            f'cannot load the model bundle {path or "that ships with the package"} on device "{options["device"]}": '
            f"{type(error).__name__}: {error}. Check the parameters model and device."
        ) from error
