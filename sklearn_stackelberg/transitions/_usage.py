"""How much of a table became transitions, and whether that is said or refused."""

from __future__ import annotations

import warnings
from collections import deque
from heapq import nsmallest
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ._chains import IDLE
from ._episodes import Origin
from ._tables import Log

# Shares of rows and of rewards that may be left out without a word: a long episode's
# last row, even if its reward is a large one.
_FEW_ROWS, _LITTLE_REWARD = 0.05, 0.1

# Hashes that stand for the rows left out of a table. Those of a fold are in good part
# the table's own; and as many tables are remembered.
_SKETCH, _TABLES = 64, 16


class Lost(NamedTuple):
    """The rewards of rows with an action that linking could not use."""

    total: float  # of absolute values
    low: float
    high: float
    gaps: str = ""  # what to say where most rows are lost to gaps in the steps

    def share_beside(self, used: NDArray[np.float64]) -> float:
        """Their share of all rewards, beside those that are used."""
        total = self.total + float(np.abs(used).sum())
        return self.total / total if total else 0.0


def lost_of(reward: NDArray[np.float64], gaps: str = "") -> Lost:
    """Of the rewards, NaN where one is unknown, as the row's next state is."""
    known = reward[np.isfinite(reward)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    return Lost(float(np.abs(known).sum()), float(low), float(high), gaps)


def sketch_of(*fields: NDArray[Any]) -> frozenset[int]:
    """What differs between tables by their rows left out, and little between folds."""
    hashes = map(hash, zip(*(field.tolist() for field in fields), strict=True))
    return frozenset(nsmallest(_SKETCH, hashes))


def join_lost(parts: list[Lost | None]) -> Lost | None:
    """What was left out of logs put together."""
    some = [part for part in parts if part is not None]
    if not some:
        return None
    total, low, high, gaps = zip(*some, strict=True)
    return Lost(sum(total), min(low), max(high), max(gaps))


def use_of_rows(log: Log, lost: Lost | None) -> str:
    """What to say of a log's rows that are not used, unless the log is refused."""
    if lost is None:
        return ""
    if lost.gaps:
        raise ValueError(lost.gaps)
    reward, n_lost = log.reward, sum(log.left_out.values())
    n, share = len(log) + n_lost, lost.share_beside(reward)
    reasons = "; ".join(f"{count:,} {why}" for why, count in log.left_out.items())
    advice = (
        "If the rows left out ended their episodes for good, say so in a column "
        "'terminated' (terminated=...); if episodes were cut there, add a row without "
        "an action behind each, to hold the state in which it was cut."
    )
    if IDLE in log.left_out:
        advice = (
            "If to do nothing is one of the actions, give it a name in their column; "
            "if it is not known what was done, estimates are of the other rows alone."
        )
    rows = f"{n:,} rows" + " with an action" * (IDLE not in log.left_out)
    if _nothing_left(reward, log.terminated, lost):
        raise ValueError(
            f"No reward is left to learn from: of {rows} {reasons}, "
            f"and with them goes every reward that differs from {reward[0]:g}. {advice}"
        )
    if n_lost <= _FEW_ROWS * n and share <= _LITTLE_REWARD:
        return ""
    return (
        f"Of {rows} {len(log):,} ({100 * len(log) / n:.0f} %) are "
        f"used, with {100 * (1.0 - share):.0f} % of the rewards (of the sum of their "
        f"absolute values): {reasons}. {advice} (Reported once for each log.) "
        "[pitfalls: rows-left-out]"
    )


def _nothing_left(
    reward: NDArray[np.float64], terminated: NDArray[np.bool_], lost: Lost
) -> bool:
    if not reward.any():
        return lost.total > 0.0
    # All alike, rewards tell actions apart by when they end, if anything does.
    alike = reward.min() == reward.max() and not terminated.any()
    return bool(alike and (lost.low < reward[0] or lost.high > reward[0]))


class ReadLog(Log, Protocol):
    """What a log knows of how it was read."""

    _lost: Lost | None
    _single_steps: bool
    _origin: Origin


def remember_use(log: ReadLog) -> None:
    """Keep what there is to say of a table's log with what its folds share."""
    origin = log._origin
    if not log.left_out or origin.left_out:
        return
    origin.left_out = log.left_out
    try:
        origin.use = use_of_rows(log, log._lost)
    except ValueError as refusal:
        origin.use = refusal


def say_what_is_used(log: ReadLog, discount: float, stacklevel: int) -> None:
    """Warn of what is lost to a fit of this discount, once for each log."""
    if log._single_steps and discount:
        warnings.warn(
            "There is no column 'episode', so each row is taken as an episode of one "
            f"step, after which nothing follows, and discount={discount:g} has no "
            "effect: what an action brings later is not learned. If rows follow one "
            "another, add the columns 'episode' and 'step'. If they do not, set "
            "discount=0, or add a column 'terminated' of True. [pitfalls: no-episodes]",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    origin = log._origin
    text = use_of_rows(log, log._lost) or origin.use
    if isinstance(text, ValueError):
        raise ValueError(str(text))
    if text and not origin.use_reported and not _was_reported(origin.sketch):
        warnings.warn(text, UserWarning, stacklevel=stacklevel + 1)
        origin.use_reported = True
        if origin.sketch:
            _reported.append(origin.sketch)


_reported: deque[frozenset[int]] = deque(maxlen=_TABLES)


def _was_reported(sketch: frozenset[int]) -> bool:
    """Whether these rows were reported of a table: it is read anew for each fold."""
    return any(2 * len(sketch & other) > len(sketch) for other in _reported)
