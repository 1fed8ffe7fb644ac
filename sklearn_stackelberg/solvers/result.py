"""What came of a climb."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Called with each new entry of the history and what gives the leader's and the
# follower's weights, or modules, as they are then; True stops the climb.
Observer = Callable[[dict[str, float], Callable[[], tuple[Any, Any]]], bool | None]


@dataclass
class History:
    """One entry per evaluation of the leader's value.

    ``value`` is v, ``pessimism`` the part of v that was given up for what the log does
    not say, ``follower_objective`` F, ``bellman_error`` E_K, ``leader_gradient_norm``
    the norm of the derivative that the leader followed, ``follower_gradient_norm`` that
    of ∂_w F, all in units of the scaled rewards; ``cg_residual`` the relative residual
    of (∂²F)⁻¹ ∂_w v by conjugate gradient; ``seconds`` since the start. NaN is what was
    not computed: a mirror step takes no derivative, a closed form no gradient steps.
    """

    entries: dict[str, list[float]] = field(
        default_factory=lambda: {
            "value": [],
            "pessimism": [],
            "follower_objective": [],
            "bellman_error": [],
            "leader_gradient_norm": [],
            "follower_gradient_norm": [],
            "cg_residual": [],
            "seconds": [],
        }
    )
    _start: float = field(default_factory=time.perf_counter)

    def add(self, **entry: float) -> None:
        """Append one evaluation; NaN stands for what it leaves out."""
        entry["seconds"] = time.perf_counter() - self._start
        for name, column in self.entries.items():
            given = entry.pop(name, float("nan"))
            column.append(float(given))
        if entry:
            raise KeyError(f"History has no column {next(iter(entry))!r}.")

    def last(self) -> dict[str, float]:
        """The newest entry."""
        return {name: column[-1] for name, column in self.entries.items()}

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
    stopped : bool
        Whether the observer stopped the climb.
    """

    theta: Tensor
    w: Tensor
    value: float
    pessimism: float
    history: History
    n_iter: int
    shortfall: str = ""
    stopped: bool = False
