"""What came of a climb."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class History:
    """One entry per evaluation of the leader's value.

    ``value`` is v, ``pessimism`` the part of v that was given up for what the log does
    not say, ``follower_objective`` F, ``bellman_error`` E_K, ``leader_gradient_norm``
    the norm of the derivative that the leader followed (NaN for a mirror step, which
    computes none), all in units of the scaled rewards; ``seconds`` since the start.
    """

    entries: dict[str, list[float]] = field(
        default_factory=lambda: {
            "value": [],
            "pessimism": [],
            "follower_objective": [],
            "bellman_error": [],
            "leader_gradient_norm": [],
            "seconds": [],
        }
    )
    _start: float = field(default_factory=time.perf_counter)

    def add(self, **entry: float) -> None:
        """Append one evaluation."""
        for name, value in entry.items():
            self.entries[name].append(float(value))
        self.entries["seconds"].append(time.perf_counter() - self._start)

    def rescaled(self, anchor: float, unit: float) -> dict[str, list[float]]:
        """The entries, with ``value`` and ``pessimism`` in units of discounted return.

        Parameters
        ----------
        anchor : float
            Value that a v of zero stands for.
        unit : float
            Discounted return that a v of one adds to it.

        Returns
        -------
        dict of str to list
        """
        return self.entries | {
            "value": [anchor + unit * value for value in self.entries["value"]],
            "pessimism": [unit * value for value in self.entries["pessimism"]],
        }


@dataclass
class SolverResult:
    """The best point that a solver saw.

    Parameters
    ----------
    theta : Tensor of shape (m, n_actions)
        The leader's weights.
    w : Tensor of shape (m, n_actions)
        The follower's best response to them.
    value : float
        v(w*(θ), θ).
    pessimism : float
        bᵀ(2λn MᵀM + βI)⁻¹b, what v lies below the ridge estimate of the value.
    history : History
    n_iter : int
        Steps that the leader took.
    shortfall : str
        What was left undone when the iterations ran out, empty if nothing.
    """

    theta: Tensor
    w: Tensor
    value: float
    pessimism: float
    history: History
    n_iter: int
    shortfall: str = ""
