"""What the values that follow the rows of a log weigh, and the units this makes.

A row of duration d goes on with γ^d of the next value, and one that is terminated with
nothing. With γ = 1 all that is to come counts alike, which is finite where every
episode ends.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Written out, as `_typing` has it: this module imports none of ours, so that metrics
# and problems can read it from low down.
Floats = NDArray[np.floating]


class TimedRows(Protocol):
    """What is read of a log."""

    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    duration: NDArray[np.float64] | None
    weight: NDArray[np.float64] | None
    step: NDArray[np.int64] | None
    is_initial: NDArray[np.bool_]

    def __len__(self) -> int: ...


# No unit of return is longer than so many average episodes: 1 - γ has no limit as γ
# goes to 1. A hundred is what it is for episodes of one step at the default discount,
# so that no log with a discount up to that has another unit than 1 / (1 - γ).
_MOST_EPISODES = 100.0
# Fewer episodes may have ended at the same step by chance.
_BY_DESIGN = 5


def powers(discount: float, duration: Floats) -> Floats:
    """γ^d, (n,)."""
    # To the last bit γ where a duration is 1: not every processor's power is.
    return np.where(duration == 1.0, discount, np.power(discount, duration))


def carried(log: TimedRows, discount: float) -> Floats:
    """γ^d (1 − terminated), what a row's next value weighs, (n,)."""
    not_done = 1.0 - log.terminated
    if log.duration is None:
        return discount * not_done
    return powers(discount, log.duration) * not_done


def row_discount(log: TimedRows, discount: float) -> float:
    """γ̄, by which returns have the unit 1 / (1 − γ̄): the mean γ^d, below 1.

    It is no nearer to 1 than makes the unit a hundred of the log's average episodes,
    and 0 where nothing follows any row.
    """
    if not carried(log, discount).any():
        return 0.0
    mean = discount
    if log.duration is not None:
        # Nothing follows the end of an episode, whenever that is.
        rows = np.flatnonzero(~log.terminated)
        rows = rows if len(rows) else np.arange(len(log))
        weight = None if log.weight is None else log.weight[rows]
        if weight is not None and not weight.any():
            weight = None
        # As a difference, so that it is γ to the last bit where all durations are 1.
        found = powers(discount, log.duration[rows]) - discount
        mean = discount + float(np.average(found, weights=weight))
    return min(mean, 1.0 - _least_rate(log))


def _least_rate(log: TimedRows) -> float:
    """Of 1 − γ̄: one over a hundred average episodes, 0 where none ends."""
    return float(np.average(log.terminated, weights=log.weight)) / _MOST_EPISODES


def return_range(log: TimedRows, discount: float) -> tuple[float, float]:
    """Where returns must lie if rewards are no others than those of a log."""
    low, high = float(log.reward.min()), float(log.reward.max())
    rate = 1.0 - row_discount(log, discount)
    if (n_steps := _steps_to_the_end(log)) is not None:
        # Of a trial of six visits no return is more than six rewards.
        rate = max(rate, 1.0 / float((discount ** np.arange(n_steps)).sum()))
    # The same row for ever: the largest return, or the least.
    far = low / rate, high / rate
    if log.duration is not None:
        decay = np.maximum(1.0 - powers(discount, log.duration), _least_rate(log))
        paid = log.reward / np.where(log.terminated, rate, decay)
        far = float(paid.min()), float(paid.max())
    if not log.terminated.any():
        return far
    # An episode may also end at its first step, with that reward alone.
    return min(low, far[0]), max(high, far[1])


def _steps_to_the_end(log: TimedRows) -> int | None:
    """Steps of the longest episode, where the last step ends all and no other any."""
    n_ended = int(log.terminated.sum())
    if log.step is None or log.duration is not None or n_ended < _BY_DESIGN:
        return None
    last = int(log.step.max())
    # Of episodes that were cut before nobody knows how long they would have been.
    if n_ended != log.is_initial.sum() or (log.terminated != (log.step == last)).any():
        return None
    return last - int(log.step.min()) + 1


def spread_rewards(log: TimedRows, discount: float) -> NDArray[np.float64]:
    """r (1 − γ^d) / (d (1 − γ)): rewards that come in evenly over the duration, (n,).

    So much are d rewards of r / d at times 0, 1, ..., d − 1 worth, for whole d.
    """
    if log.duration is None or discount == 1.0:
        return log.reward
    share = (1.0 - powers(discount, log.duration)) / (log.duration * (1.0 - discount))
    return log.reward * np.where(log.duration == 1.0, 1.0, share)
