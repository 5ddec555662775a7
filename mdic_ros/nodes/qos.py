"""Quality of service: subscriptions that follow what the publishers offer, and our own topics' profiles.

A subscription that asks for reliable delivery gets nothing at all from a best-effort publisher; one that asks
for best effort loses 60 to 90 % of the images above 0.5 MB with stock Fast DDS. So reliability is taken from
the publishers' offers, and taken again whenever one comes or goes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def profile(reliability: ReliabilityPolicy, depth: int, latched: bool = False) -> QoSProfile:
    """Keep-last profile; `latched` is transient local: a late subscriber gets the last message."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


#: Every frame stands alone: sending a lost one again would cost the link twice for a picture that comes late.
BITSTREAM = profile(ReliabilityPolicy.BEST_EFFORT, 5)
STREAM_INFO = profile(ReliabilityPolicy.RELIABLE, 1, latched=True)
#: Results are published reliable, which serves subscribers of both kinds (RViz and rqt ask for reliable).
IMAGE = profile(ReliabilityPolicy.RELIABLE, 2)
REPORT = profile(ReliabilityPolicy.RELIABLE, 10)


def overridable() -> QoSOverridingOptions:
    """Users may change history, depth and reliability by ROS's own `qos_overrides` parameters."""
    return QoSOverridingOptions.with_default_policies()


def reliability_of(offers: Iterable[ReliabilityPolicy]) -> ReliabilityPolicy:
    """Reliable if there are publishers and all are reliable; otherwise best effort, which matches anyone."""
    offered = set(offers)
    return ReliabilityPolicy.RELIABLE if offered == {ReliabilityPolicy.RELIABLE} else ReliabilityPolicy.BEST_EFFORT


def transport_topic(node: Node, base: str, transport: str) -> str:
    """Name of the topic that carries `base` in the given transport (`raw`, or a suffix such as `compressed`).

    A remapping of the base name holds for the suffixed name as well, unless that is remapped itself. (ROS 2
    remaps whole names only, so that `image:=/camera/image_raw` alone would leave `image/compressed` where it
    was.)
    """
    if transport == "raw":
        return node.resolve_topic_name(base)
    name = f"{base}/{transport}"
    remapped = node.resolve_topic_name(name)
    if remapped != node.resolve_topic_name(name, only_expand=True):
        return remapped
    return f"{node.resolve_topic_name(base)}/{transport}"


class AdaptiveSubscription:
    """A subscription whose reliability follows its publishers (`auto`) or is fixed.

    Checks again on matched and incompatible-QoS events, and once a second for changes that bring no event.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        callback: Callable[[Any], None],
        *,
        depth: int,
        reliability: str = "auto",
    ) -> None:
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._message_type = message_type
        self._callback = callback
        self._depth = depth
        self.fixed = None if reliability == "auto" else ReliabilityPolicy[reliability.upper()]
        self._warned = False
        # An event handler must not destroy the subscription that it belongs to: the guard runs after it.
        self._guard = node.create_guard_condition(self.recheck)
        if self.fixed is None:
            node.create_timer(1.0, self.recheck, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.reliability = self.fixed or reliability_of(self._offers())
        self._subscription = self._create()

    def recheck(self) -> None:
        """Subscribe anew if the publishers' offers ask for another reliability. Executor thread only."""
        offers = self._offers()
        wanted = reliability_of(offers)
        if self.fixed is not None or not offers or wanted == self.reliability:
            return
        self._node.get_logger().info(f"{self.topic}: subscribing as {wanted.name.lower()}, like its publishers")
        self.reliability = wanted
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._create()

    def _offers(self) -> list[ReliabilityPolicy]:
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        return [publisher.qos_profile.reliability for publisher in publishers]

    def _create(self) -> Any:
        events: dict[str, Any] = {"incompatible_qos": self._incompatible}
        if "matched" in inspect.signature(SubscriptionEventCallbacks).parameters:  # Jazzy and later
            events["matched"] = lambda _: self._guard.trigger()
        return self._node.create_subscription(
            self._message_type,
            self.topic,
            self._callback,
            profile(self.reliability, self._depth),
            event_callbacks=SubscriptionEventCallbacks(**events),
        )

    def _incompatible(self, event: Any) -> None:
        self._guard.trigger()
        if self.fixed is not None and not self._warned:
            self._warned = True
            self._node.get_logger().warning(
                f"{self.topic}: a publisher offers best effort only, and this node asks for reliable "
                "delivery, so nothing will arrive from it. Set the parameter reliability to auto or "
                "best_effort, or make the publisher reliable."
            )
