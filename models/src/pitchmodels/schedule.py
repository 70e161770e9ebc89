"""How far a training has come, measured so that it survives being paused."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

LONGEST_STEP = 20.0
"""Seconds above which a step was interrupted by a pause, and does not count in full."""


@dataclass
class Progress:
    """Fraction of a training that is done, from the time it really ran and the deadline.

    A training that shares a machine may be stopped and continued at any time.
    Progress is `worked / (worked + left until the deadline)`: a pause makes the
    remaining schedule shorter instead of letting it overrun.
    """

    deadline: float
    worked: float = 0.0
    _last: float = field(default_factory=time.time)

    def advance(self) -> float:
        """Count the time since the last call; returns the fraction done, 0 to 1."""
        now = time.time()
        self.worked += min(now - self._last, LONGEST_STEP)
        self._last = now
        left = max(self.deadline - now, 0.0)
        return self.worked / max(self.worked + left, 1e-6)


def cosine(progress: float, peak: float, floor: float = 0.02, warm_up: float = 0.02) -> float:
    """Learning rate: a linear warm-up, then a cosine from `peak` to `floor * peak`."""
    if progress < warm_up:
        return peak * max(progress / warm_up, 0.01)
    phase = (progress - warm_up) / (1 - warm_up)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(phase, 1.0))))
