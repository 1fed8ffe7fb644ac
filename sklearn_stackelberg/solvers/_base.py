"""What a solver is, what it is given, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
from torch import Tensor, nn

from .._numpy_state import NumpyState
from .._sampling import Minibatches
from .._validation import integer, non_negative, one_of
from ._optimizers import MakeOptimizer

Weights = Tensor | nn.Module

# "individual" is the ablation: ∂_θ v at fixed w instead of D_θ v.
LeaderGradient = Literal["total", "individual"]

# What the parameters that both solvers have must be.
SEARCH_RULES = {
    "leader_gradient": one_of("total", "individual"),
    "mirror_steps": integer(0),
    "max_iter": integer(0, None),
    "tol": non_negative(),
}

# Each mirror step is this much longer than the one before: short ones while q still
# changes a lot with the policy, long ones once it is nearly decided.
STEP_GROWTH = 1.1

# Called with each new entry of the history and what gives the policy and the Q-function
# as they are then, weights or modules; True stops the solver.
Observer = Callable[
    [dict[str, float], Callable[[], tuple[Weights, Weights]]], bool | None
]


@dataclass(frozen=True)
class ProblemSpec:
    """What a solver may ask of a problem before anything is built.

    Parameters
    ----------
    action_type : {"discrete", "continuous"}
    linear_q, linear_policy, network_policy : bool
        Whether Q is linear in its weights; whether the policy is linear in the features
        of Q, or a Gaussian whose mean is linear in its own; whether it is a network.
    device : {"auto", "cpu", "cuda"}
    q_function, policy : str
        How messages name the two: what the estimator's parameters were set to.
    """

    action_type: Literal["discrete", "continuous"]
    linear_q: bool
    linear_policy: bool
    network_policy: bool
    device: str = "auto"
    q_function: str = "'kernel'"
    policy: str = "'kernel'"


class Solver(Protocol):
    """Finds a policy and the Q-function that is its best response.

    ``needs`` says what `solve` is given as the problem: ``"linear"``, an `LSTDSystem`,
    M(θ), b(θ) and c of a Q-function and a policy that are linear in their weights, both
    tensors; ``"samples"``, a `MinibatchGame`, for which both are modules.
    """

    needs: ClassVar[Literal["linear", "samples"]]

    def resolve(self, spec: ProblemSpec) -> Self:
        """A copy whose parameters that are None are replaced by what suits the problem.

        Raises ValueError, before anything is built, where it cannot solve the problem.
        """

    def solve(
        self,
        problem: Any,  # what `needs` names
        start: SolverState,
        *,
        lam: float,
        beta: float,
        observe: Observer | None = None,
    ) -> SolverResult:
        """Maximise v(w*(θ), θ) from a policy and, if it has one, a Q-function.

        ``observe`` is to be called with every entry of the history, and to be obeyed.
        """


class Point(NamedTuple):
    """Weights of policy and Q-function, and what their next solves begin with."""

    theta: Tensor
    w: Tensor
    damping: float
    adjoint: Tensor | None


class BestPoint(NamedTuple):
    """The largest v that was measured, and where it was measured."""

    value: float
    at: Point


@dataclass
class SolverState(NumpyState):
    """Where a solver stands: all that it needs to go on as if it had never stopped.

    It can be copied and pickled, and lies on the CPU. All but the first two entries are
    the stochastic solver's.

    Parameters
    ----------
    policy : Tensor or Module
        Weights θ of a linear problem, or the module itself.
    q_function : Tensor or Module, default=None
        None where the solver finds it from the policy.
    rng : numpy Generator, default=None
        Draws the minibatches; None begins one of seed 0.
    iteration : int
        Iterations done.
    optimizers, batches : dict
        State of both players' optimisers; where the minibatches' epochs stand.
    adjoint : Tensor of shape (p,) or None
        (∂²F)⁻¹ ∂_w v of the last iteration, from where the next one is solved.
    damping : float
        Of the next Gauss-Newton step.
    best : BestPoint or None
    log : int
        Checksum of the rows, which differs between logs.
    """

    policy: Weights
    q_function: Weights | None = None
    rng: np.random.Generator | None = None
    iteration: int = 0
    optimizers: dict[str, dict[str, object]] = field(default_factory=dict)
    batches: dict[str, Minibatches] = field(default_factory=dict)
    adjoint: Tensor | None = None
    damping: float = 1.0
    best: BestPoint | None = None
    log: int = 0


@dataclass
class SolverResult:
    """The best policy that a solver found.

    Parameters
    ----------
    policy, q_function : Tensor or Module
        As in the state that was started from, and its best response.
    value : float
        v of the two, over all initial states.
    pessimism : float
        (∂_w v)ᵀ (∂²F)⁻¹ ∂_w v: where Q is linear, what v lies below the ridge estimate.
    shrinkage : float
        What the ridge estimate lies below the one with hardly any β, where Q is linear.
    history : History
    n_iter : int
        Iterations, those before the state that was started from included.
    state : SolverState
        To go on from.
    shortfall : str
        What was left undone, in a sentence; empty if nothing.
    diverged : str
        Why the solver gave up, empty if it did not. All the rest is then of the last
        point whose values were finite.
    stopped : bool
        Whether the observer stopped it.
    interrupted : str
        What is to be said of an interrupt (Ctrl-C) that ended it; empty if none did.
    """

    policy: Weights
    q_function: Weights
    value: float
    pessimism: float
    shrinkage: float
    history: History
    n_iter: int
    state: SolverState
    shortfall: str = ""
    diverged: str = ""
    stopped: bool = False
    interrupted: str = ""


INTERRUPTED = (
    "The fit was interrupted. The best policy so far is kept: the estimator can "
    "predict, and goes on from there by warm_start=True."
)

_COLUMNS = (
    *("value", "pessimism", "follower_objective", "bellman_error"),
    *("leader_gradient_norm", "follower_gradient_norm", "cg_residual", "seconds"),
)


@dataclass
class History:
    """One entry per evaluation of the policy's value.

    ``value`` is v, ``pessimism`` the part of v that was given up for what the log does
    not say, ``follower_objective`` F, ``bellman_error`` E_K, ``leader_gradient_norm``
    the norm of the derivative that the policy follows, ``follower_gradient_norm`` that
    of ∂_w F, all in units of the scaled rewards; ``cg_residual`` the relative
    residual of (∂²F)⁻¹ ∂_w v by conjugate gradient; ``seconds`` since the start. NaN is
    what was not computed: a mirror step takes no derivative, a closed form no gradient
    steps.
    """

    entries: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in _COLUMNS}
    )
    _start: float = field(default_factory=time.perf_counter)

    def add(self, **entry: float | Tensor) -> None:
        """Append one evaluation; NaN stands for what it leaves out."""
        # Every column gets a number each time, so that they stay a table.
        entry["seconds"] = time.perf_counter() - self._start
        for name, column in self.entries.items():
            column.append(float(entry.pop(name, float("nan"))))
        if entry:
            raise KeyError(f"History has no column {next(iter(entry))!r}.")

    def last(self) -> dict[str, float]:
        return {name: column[-1] for name, column in self.entries.items()}

    def rescaled(self, anchor: float, unit: float) -> dict[str, list[float]]:
        """The entries, with ``value`` and ``pessimism`` in units of discounted return.

        A v of zero stands for ``anchor``, and a v of one for ``unit`` more.
        """
        return self.entries | {
            "value": [anchor + unit * value for value in self.entries["value"]],
            "pessimism": [unit * value for value in self.entries["pessimism"]],
        }


class StochasticSettings(Protocol):
    """The parameters of `Stochastic`, as numbers."""

    leader_gradient: LeaderGradient
    mirror_steps: int
    tol: float
    batch_size: int | None
    learning_rate: float
    leader_learning_rate: float | None
    follower_steps: int
    leader_steps: int
    optimizer: str | MakeOptimizer
    _cg_steps: int
    _measure_every: int
