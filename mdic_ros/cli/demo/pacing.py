"""How fast to play, so that the decoder can follow and no frame is overtaken by the next one."""

from __future__ import annotations

from collections import deque

#: With no news of a frame for so long it counts as lost, and playing goes on.
GIVE_UP_S = 30.0


class Pacer:
    """Chooses the replay's speed from the time that frames take, and holds it when frames pile up.

    The decoder drops what it cannot keep up with: right for driving, wrong for showing every frame. At the
    chosen speed it keeps up on average; when one frame takes longer (the captioner runs now and then) the
    replay waits, so that at most one frame stands behind the one that is being decoded.

    Args:
        period_s: time between two frames of the recording.
    """

    def __init__(self, period_s: float, now: float) -> None:
        self._period_s = period_s
        self._busy: deque[float] = deque(maxlen=5)
        self._last_news = now
        self.rate = 1.0
        self._outstanding = 0

    def progress(self, played: int, done: int, now: float) -> None:
        """Tell how many frames have been played and how many have come out or been left out."""
        if played - done < self._outstanding or self._outstanding == 0:
            self._last_news = now
        self._outstanding = played - done

    def took(self, milliseconds: float) -> None:
        """Tell how long encoder and decoder together worked on a frame."""
        if milliseconds > 0:  # not NaN
            self._busy.append(milliseconds / 1000)
            typical = sorted(self._busy)[len(self._busy) // 2]
            self.rate = min(1.0, max(0.01, self._period_s / (1.15 * typical)))

    def hold(self, now: float) -> bool:
        """Whether to publish nothing for now. Until the first frame is out, one at a time."""
        if now - self._last_news > GIVE_UP_S:
            return False
        return self._outstanding >= (2 if self._busy else 1)
