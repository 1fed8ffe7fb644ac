"""The scale on which actions are compared: doses over decades by their logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import skew
from torch import Tensor

from ._typing import Floats

# Quantiles 1 % and 99 % of doses over decades: one is so many times the other.
_DECADES, _TAIL = 100.0, 0.01


@dataclass(frozen=True, eq=False)
class ActionScale:
    """Which columns of continuous actions are compared by their logarithm.

    A column of doses that are all positive, the quantile 99 % of which is over 100
    times the quantile 1 %, and whose logarithms are less skewed than they are.

    Parameters
    ----------
    lowest : array of shape (p,)
        The smallest logged action of such a column; 0 of the others.

    Examples
    --------
    >>> doses = np.array([[0.1], [1.0], [10.0], [100.0]])
    >>> ActionScale.of(doses).transform(doses).round(1).ravel()
    array([-2.3,  0. ,  2.3,  4.6])
    """

    lowest: Floats

    @classmethod
    def of(cls, actions: Floats, span: float = _DECADES) -> ActionScale:
        """That of logged actions (n, p), by another span than 100 times."""
        columns = np.asarray(actions, dtype=np.float64).T
        lowest = [column.min() if _spans(column, span) else 0.0 for column in columns]
        return cls(np.array(lowest))

    @property
    def is_log(self) -> np.ndarray:
        """Which columns, (p,)."""
        return self.lowest > 0

    def transform(self, actions: Floats) -> Floats:
        """Actions (..., p) on the scale; below the smallest logged one as that."""
        if not self.is_log.any():
            return actions
        # Of the other columns the logarithm of 1, which is not used.
        safe = np.where(self.is_log, np.maximum(actions, self.lowest), 1.0)
        return np.where(self.is_log, np.log(safe), actions)

    def transform_tensor(self, actions: Tensor) -> Tensor:
        """`transform` of a tensor, differentiable."""
        if not self.is_log.any():
            return actions
        is_log = torch.from_numpy(self.is_log)
        lowest = torch.from_numpy(self.lowest).to(actions)
        safe = torch.where(is_log, torch.maximum(actions, lowest), 1.0)
        return torch.where(is_log, safe.log(), actions)

    def inverse_tensor(self, scaled: Tensor) -> Tensor:
        """Actions (..., p) of their places on the scale, differentiable."""
        if not self.is_log.any():
            return scaled
        is_log = torch.from_numpy(self.is_log)
        # The exponential of another column may be infinite, and its derivative no
        # number.
        return torch.where(is_log, torch.where(is_log, scaled, 0.0).exp(), scaled)


def _spans(column: Floats, span: float) -> bool:
    """Whether the larger doses of a column are so many times the smaller ones."""
    if not column.min() > 0:
        return False
    low, high = np.quantile(column, [_TAIL, 1 - _TAIL])
    return bool(high > span * low and abs(skew(np.log(column))) < abs(skew(column)))
