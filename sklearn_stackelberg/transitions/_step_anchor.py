"""What a log returns from each step on, where the step says when episodes end.

A trial of six visits ends after the sixth, whatever the state. A model of states takes
such an end for chance, and what all rewards have in common, times the visits that are
left, is then the largest part of what it has to explain. It is gone where values are
measured from what the log returns from the step on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import Floats, Index
from ._discounting import carried, row_discount
from ._linking import encode
from ._tables import Log

# Steps say when episodes end if they explain more than this share of the variance of
# ``terminated``. It is 1 where all end at the same step; on logs of CartPole, Acrobot,
# FrozenLake and MountainCar, of sepsis and of a recommender it is -0.15 to 0.00, and
# 0.21 where half of the patients die before the sixth month, which is the last.
_DECISIVE = 0.5


@dataclass(frozen=True, eq=False)
class StepAnchor:
    """q₀(t), the mean return of a log from step t on.

    Any function of states and time may be taken off a process's values (potential-based
    shaping): r − q₀(t) + γ^d (1 − terminated) q₀(t + 1) are the rewards of what Q adds
    to it, and the differences between policies stay.
    """

    first: int  # step that ``values`` begin with
    values: Floats  # (T + 1,), the last of what follows the last step of the log

    @classmethod
    def of(cls, log: Log, discount: float) -> StepAnchor | None:
        """Of a log; None where something else than steps says when episodes end."""
        if log.episode is None or log.step is None:
            return None
        first = int(log.step.min())
        # Steps that are dates would make a table without end.
        if log.terminated.all() or int(log.step.max()) - first >= len(log):
            return None
        step = (log.step - first).astype(np.intp)
        weight: Floats = np.ones(len(log)) if log.weight is None else log.weight
        rows: Floats = np.bincount(step, weight).astype(float)
        terminated = log.terminated.astype(float)
        if not (rows.all() and _explain(terminated, step, weight, rows)):
            return None
        if not _are_counted(log):
            return None

        def mean(values: Floats) -> Floats:
            return np.bincount(step, weight * values) / rows

        reward, going_on = mean(log.reward), mean(carried(log, discount))
        # Eq. (76) of docs/game.md. What is cut off at the last step goes on as it was.
        left = 1.0 - min(going_on[-1], row_discount(log, discount))
        values = np.append(np.zeros(len(rows)), reward[-1] / left)
        for t in range(len(rows))[::-1]:
            values[t] = reward[t] + going_on[t] * values[t + 1]
        return cls(first, values)

    def of_rows(self, log: Log) -> Floats:
        """q₀ of the steps of rows, (n,)."""
        return self.values[self._place(log)]

    def after_rows(self, log: Log) -> Floats:
        """q₀ of the steps after rows, (n,)."""
        return self.values[np.minimum(self._place(log) + 1, len(self.values) - 1)]

    def reward(self, log: Log, discount: float) -> Floats:
        """The rewards of what Q adds to q₀, (n,)."""
        # Eq. (77).
        after = carried(log, discount) * self.after_rows(log)
        return log.reward - self.of_rows(log) + after

    def _place(self, log: Log) -> Index:
        if log.step is None:
            raise ValueError(
                "Steps say when the episodes of the training log end, and values are "
                "measured from what it returns from each step on; this log has no "
                "steps. Give it episode and step."
            )
        return np.clip(log.step - self.first, 0, len(self.values) - 1).astype(np.intp)


def _explain(terminated: Floats, step: Index, weight: Floats, rows: Floats) -> bool:
    """Whether steps explain most of the variance of ends, adjusted for their number."""
    total = float(rows.sum())
    freedom = total - len(rows)
    mean = float(weight @ terminated) / total
    if freedom <= 0.0 or not 0.0 < mean < 1.0:
        return False
    share = np.bincount(step, weight * terminated) / rows
    rest = float(weight @ (terminated - share[step]) ** 2) / freedom
    return rest < (1.0 - _DECISIVE) * mean * (1.0 - mean) * total / (total - 1.0)


def _are_counted(log: Log) -> bool:
    """Whether each row of an episode has the step after that of the row before it."""
    assert log.episode is not None
    assert log.step is not None
    codes = encode(log.episode)
    order = np.lexsort((log.step, codes))
    same = codes[order][1:] == codes[order][:-1]
    return bool((np.diff(log.step[order])[same] == 1).all())
