"""The paper's own algorithm: steps of both players on minibatches, in alternation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import ClassVar, Literal, Self

import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from .._validation import Rule, check_rules, integer, positive
from ._base import (
    LeaderGradient,
    Observer,
    ProblemSpec,
    SolverResult,
    SolverState,
)
from ._closed_form import SEARCH_RULES
from ._minibatch_game import MinibatchGame
from ._stochastic_run import StochasticRun

Optimizer = str | Callable[[Iterable[Tensor], float], torch.optim.Optimizer]

GAUSS_NEWTON = "gauss-newton"

RULES = SEARCH_RULES | {
    "batch_size": integer(1, None),
    "learning_rate": positive(),
    "leader_learning_rate": positive(None),
    "follower_steps": integer(1),
    "leader_steps": integer(1),
}


class Stochastic(BaseEstimator):
    """Solve by steps on minibatches, of the Q-function and of the policy in turn.

    For any Q-function and any policy, networks included, on the CPU or a GPU, as in
    [1]_. In an iteration the Q-function takes steps of its own on

        F(w, θ) = v(w, θ) + λ n E_K(w, θ) + (β/2) |w|²,

    and then the policy follows the total derivative of v, which foresees how the
    Q-function will respond. (∂²F)⁻¹ ∂_w v is solved by conjugate gradient on
    Gauss-Newton products, from where the iteration before left it; no Hessian is
    formed. ``docs/networks.md`` says more.

    F is badly conditioned: a bias of q that lasts changes the residuals by 1 − γ of
    itself only. Plain gradient steps take very long to see it, so that the Q-function's
    steps are damped Gauss-Newton steps unless an optimiser is named. And D_θ v weights
    a state by how often the policy gets there, which on a long horizon hides what could
    be better, so that a fit begins with mirror steps.

    Parameters
    ----------
    leader_gradient : {"total", "individual"}, default="total"
        The derivative that the policy follows after its mirror steps. ``"individual"``
        holds w fixed while the policy steps: an ablation.
    mirror_steps : int, default=40
        In so many of the first iterations the policy takes a mirror step, which
        improves it in all logged states at once, visited or not.
    max_iter : int or None, default=None
        Iterations, those with mirror steps included. None is 20 more than
        `mirror_steps`.
    tol : float, default=1e-2
        Relative change of the value under which a fit ends. Zero takes all iterations.
    batch_size : int or None, default=None
        Rows, and initial states, of a minibatch; all of them where there are fewer.
        Larger is steadier and slower. The estimates of F's gradient have no bias;
        Gauss-Newton steps take the batch for the log (they need an objective that has a
        minimum), so give them many rows. None is 5,000.
    learning_rate : float, default=1e-3
        Step size of the Q-function, falling as (1 + iteration / 100) ** -0.5. Larger is
        faster until it diverges. Gauss-Newton steps have none.
    leader_learning_rate : float or None, default=None
        Step size of the policy, falling likewise, with which mirror steps are fitted
        too. None is 3e-3 for networks, 0.1 for others.
    follower_steps, leader_steps : int, default=1
        Steps of the Q-function and of the policy in an iteration. More steps of the
        Q-function bring it nearer to its best response before the policy moves.
    optimizer : str or callable, default="gauss-newton"
        How the Q-function steps: ``"gauss-newton"``, damped and solved by conjugate
        gradient, beside which the policy takes Adam's steps; or, for both, a name of
        `torch.optim`, such as ``"adam"`` or ``"sgd"``, or a callable that takes
        parameters and a step size and returns an optimiser.

    See Also
    --------
    ClosedForm : Exact and faster, where Q and the policy are linear in their weights.

    References
    ----------
    .. [1] *Stackelberg Batch Policy Learning*, arXiv:2309.16188.

    Examples
    --------
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator
    >>> from sklearn_stackelberg.solvers import Stochastic
    >>> policy = StackelbergPolicyEstimator(
    ...     q_function="mlp", policy="mlp", solver=Stochastic(batch_size=1000)
    ... )
    >>> policy.get_params()["solver__batch_size"]
    1000
    """

    needs: ClassVar[Literal["linear", "samples"]] = "samples"

    # Products that a solution may take, where Q is linear in its weights and where it
    # is not. A linear Q has few weights, and is to have the closed form's solution; for
    # a network fewer are faster, and blur what the policy foresees.
    _LINEAR_CG_STEPS, _CG_STEPS = 100, 20

    # Iterations from one entry of the history to the next.
    measure_every = 5

    def __init__(
        self,
        *,
        leader_gradient: LeaderGradient = "total",
        mirror_steps: int = 40,
        max_iter: int | None = None,
        tol: float = 1e-2,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        leader_learning_rate: float | None = None,
        follower_steps: int = 1,
        leader_steps: int = 1,
        optimizer: Optimizer = GAUSS_NEWTON,
    ) -> None:
        self.leader_gradient = leader_gradient
        self.mirror_steps = mirror_steps
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.leader_learning_rate = leader_learning_rate
        self.follower_steps = follower_steps
        self.leader_steps = leader_steps
        self.optimizer = optimizer

    def resolve(self, spec: ProblemSpec) -> Self:
        """A copy whose parameters that are None are numbers that suit the problem.

        Parameters
        ----------
        spec : ProblemSpec

        Returns
        -------
        Stochastic

        Raises
        ------
        ValueError
            If a parameter is out of range, or the optimizer has no such name in
            `torch.optim`.
        """
        check_rules(self.get_params(), RULES)
        if self.optimizer != GAUSS_NEWTON:
            named_optimizer(self.optimizer)
        resolved = clone(self)
        if self.max_iter is None:
            resolved.max_iter = self.mirror_steps + 20
        if self.batch_size is None:
            resolved.batch_size = 5_000
        if self.leader_learning_rate is None:
            # Logits linear in whitened features need longer steps than layers' weights.
            resolved.leader_learning_rate = 3e-3 if spec.network_policy else 0.1
        resolved.cg_steps = self._LINEAR_CG_STEPS if spec.linear_q else self._CG_STEPS
        return resolved

    def one_pass(self, n_rows: int) -> Self:
        """A copy of a resolved solver that takes its minibatches once over the rows.

        `StackelbergPolicyEstimator.partial_fit` is for solvers that have this method.

        Parameters
        ----------
        n_rows : int

        Returns
        -------
        Stochastic
        """
        once = deepcopy(self)
        drawn = min(n_rows, self.batch_size or n_rows) * self.follower_steps
        once.max_iter, once.tol = -(-n_rows // drawn), 0.0
        return once

    def solve(
        self,
        problem: MinibatchGame,
        start: SolverState,
        *,
        lam: float,
        beta: float,
        observe: Observer | None = None,
    ) -> SolverResult:
        """Alternate the steps of both until the value stands still.

        Parameters
        ----------
        problem : MinibatchGame
        start : SolverState
            Of modules that begin, or of an earlier `solve`, on the same rows or on
            others. It is left as it is; the modules are copied, to the problem's device
            and precision.
        lam, beta : float
            λ and β of the Q-function's objective.
        observe : callable, default=None
            Called with each entry of the history, a dict of str to float, and a
            callable that gives copies of the two modules; True ends the search.

        Returns
        -------
        SolverResult
            On the CPU. The best response is brought to an end by Gauss-Newton steps on
            the whole log (or 20,000 rows of it); the policy is the better of the last
            one and the one of the largest v measured. Equal seeds give bit-identical
            results on one machine.
        """
        run = StochasticRun(self, problem, deepcopy(start), lam, beta, observe)
        last = run.iteration + (self.max_iter or 0)
        while run.iteration < last and not run.over:
            run.step()
        return run.result()


def named_optimizer(optimizer: Optimizer) -> Callable[..., torch.optim.Optimizer]:
    """A callable of parameters and a step size, from the name of one in torch.optim."""
    if callable(optimizer):
        return optimizer
    known = {
        name.lower(): kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    }
    kind = known.get(str(optimizer).lower())
    if kind is None or kind is torch.optim.Optimizer:
        names = sorted({*known} - {"optimizer"})
        raise ValueError(
            f"optimizer must be {GAUSS_NEWTON!r}, one of {names}, or a callable of "
            f"parameters and a step size, got {optimizer!r}."
        )
    return lambda parameters, rate: kind(parameters, lr=rate)
