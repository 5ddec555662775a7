"""Messages of a session for its owner: a node logs them, `mdic` collects them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Event:
    """One sentence about a stream.

    Attributes:
        severity: how bad it is.
        text: a sentence for people.
        kind: a short word for what it is about; for a dropped frame the name of its counter. An owner that limits how
            often it repeats itself does so for each kind.
        one_frame: whether it is about one packet or image; otherwise it is about the stream as a whole.
    """

    severity: Severity
    text: str
    kind: str
    one_frame: bool = False


Tell = Callable[[Event], None]


def ignore(_: Event) -> None:
    """For owners that only look at the counters."""


class DropCounter:
    """Counts dropped frames by cause. Thread safe."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, cause: str, number: int = 1) -> None:
        """Add `number` drops for `cause`, a short word that goes into the diagnostics as it is."""
        with self._lock:
            self._counts[cause] += number

    @property
    def total(self) -> int:
        """All causes together."""
        with self._lock:
            return self._counts.total()

    def by_cause(self) -> dict[str, int]:
        """A copy of the counts, sorted by cause."""
        with self._lock:
            return dict(sorted(self._counts.items()))
