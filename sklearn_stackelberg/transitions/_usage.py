"""How much of a table became transitions, and whether that is said or refused."""

from __future__ import annotations

from collections import deque
from heapq import nsmallest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._checks import Column, numbers_or_nan
from ._tables import Log

# Rows, or rewards, that may be left out without a word: a long episode's last row.
_LITTLE = 0.05

# Hashes that stand for the rows left out of a table. Those of a fold are in good part
# the table's own; and as many tables are remembered.
_SKETCH, _TABLES = 64, 16


class Lost(NamedTuple):
    """The rewards of rows with an action that linking could not use."""

    total: float  # of absolute values
    low: float
    high: float
    sketch: frozenset[int] = frozenset()  # of the rows, the same in whichever fold

    def share_beside(self, used: NDArray[np.float64]) -> float:
        """Their share of all rewards, beside those that are used."""
        total = self.total + float(np.abs(used).sum())
        return self.total / total if total else 0.0


def lost_rows(
    rewards: Column, rows: NDArray[np.intp], *names: NDArray[Any]
) -> Lost | None:
    """Those of the rows left out, which `names`, of all rows, distinguish."""
    if not rows.size:
        return None
    # A last row's reward may be unknown, as its next state is.
    reward = rewards.read(numbers_or_nan, rows)
    fields = (*(name[rows] for name in names), reward)
    hashes = map(hash, zip(*(field.tolist() for field in fields), strict=True))
    known = reward[np.isfinite(reward)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    sketch = frozenset(nsmallest(_SKETCH, hashes))
    return Lost(float(np.abs(known).sum()), float(low), float(high), sketch)


def join_lost(parts: list[Lost | None]) -> Lost | None:
    """What was left out of logs put together."""
    some = [part for part in parts if part is not None]
    if not some:
        return None
    total, low, high, _ = zip(*some, strict=True)
    return Lost(sum(total), min(low), max(high))


def use_of_rows(log: Log, lost: Lost | None) -> str:
    """What to say of a log's rows that are not used; refused if no reward is left."""
    if lost is None:
        return ""
    reward, n_lost = log.reward, sum(log.left_out.values())
    n, share = len(log) + n_lost, lost.share_beside(reward)
    reasons = "; ".join(f"{count:,} {why}" for why, count in log.left_out.items())
    advice = (
        "If the rows left out ended their episodes for good, say so in a column "
        "'terminated' (terminated=...); if episodes were cut there, add a row without "
        "an action behind each, to hold the state in which it was cut."
    )
    if _nothing_left(reward, log.terminated, lost):
        raise ValueError(
            f"No reward is left to learn from: of {n:,} rows with an action {reasons}, "
            f"and with them goes every reward that differs from {reward[0]:g}. {advice}"
        )
    if n_lost <= _LITTLE * n and share <= _LITTLE:
        return ""
    return (
        f"Of {n:,} rows with an action {len(log):,} ({100 * len(log) / n:.0f} %) are "
        f"used, with {100 * (1.0 - share):.0f} % of the rewards (of the sum of their "
        f"absolute values): {reasons}. {advice} (Reported once for each log.)"
    )


def _nothing_left(
    reward: NDArray[np.float64], terminated: NDArray[np.bool_], lost: Lost
) -> bool:
    if not reward.any():
        return lost.total > 0.0
    # All alike, rewards tell actions apart by when they end, if anything does.
    alike = reward.min() == reward.max() and not terminated.any()
    return bool(alike and (lost.low < reward[0] or lost.high > reward[0]))


_reported: deque[frozenset[int]] = deque(maxlen=_TABLES)


def was_reported(lost: Lost | None) -> bool:
    """Whether these rows were reported of a table: it is read anew for each fold."""
    if lost is None or not lost.sketch:
        return False
    enough = len(lost.sketch) / 2
    return any(len(lost.sketch & other) > enough for other in _reported)


def remember(lost: Lost | None) -> None:
    """Note that these rows were reported."""
    if lost is not None and lost.sketch:
        _reported.append(lost.sketch)
