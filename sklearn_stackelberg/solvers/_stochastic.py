"""The paper's own algorithm: steps of both players on minibatches, in alternation."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone

from .._validation import check_rules, integer, positive
from ._base import (
    INTERRUPTED,
    SEARCH_RULES,
    BestPoint,
    LeaderGradient,
    Observer,
    ProblemSpec,
    SolverResult,
    SolverState,
)
from ._gauss_newton import GaussNewtonStep
from ._minibatch_game import MinibatchGame, assign, flat
from ._optimizers import GAUSS_NEWTON, MakeOptimizer, named_optimizer
from ._stochastic_run import StochasticRun

_RULES = SEARCH_RULES | {
    "batch_size": integer(1, None),
    "learning_rate": positive(),
    "leader_learning_rate": positive(None),
    "follower_steps": integer(1),
    "leader_steps": integer(1),
}

# Rows on which the last best response is found, by at most so many steps, unless F
# falls by less than so much of itself.
_RESPONSE_ROWS, _RESPONSE_STEPS, _RESPONSE_TOL = 20_000, 15, 1e-6

# Initial states at a time, of the value over all of them: bounds the memory.
_CHUNK = 10_000

# Of the Q-function's step size, the policy's where both take gradient steps.
_SLOWER = 0.1


class Stochastic(BaseEstimator):
    """Solve by steps on minibatches, of the Q-function and of the policy alternately.

    For any Q-function and any policy, networks included, on the CPU or a GPU, as in
    [1]_. In an iteration the Q-function takes steps of its own on

        F(w, θ) = v(w, θ) + λ n E_K(w, θ) + (β/2) |w|²,

    and then the policy follows the total derivative of v, which foresees how the
    Q-function will respond: (∂²F)⁻¹ ∂_w v is solved by conjugate gradient on
    Gauss-Newton products, and no Hessian is formed. ``docs/networks.md`` says more.

    F is badly conditioned: a bias of q that lasts changes the residuals by 1 − γ of
    itself only. So the Q-function's steps are damped Gauss-Newton steps unless an
    optimiser is named. And D_θ v weights a state by how often the policy gets there,
    which hides what could be better on a long horizon, so that a fit begins with mirror
    steps.

    Parameters
    ----------
    leader_gradient : {"total", "individual"}, default="total"
        The derivative that the policy follows after its mirror steps. ``"individual"``
        holds w fixed while the policy steps: an ablation.
    mirror_steps : int, default=40
        So many of the first iterations are with a mirror step, which improves the
        policy in all logged states at once.
    max_iter : int or None, default=None
        Iterations, those with mirror steps included. None is 20 more than
        `mirror_steps`.
    tol : float, default=1e-2
        A fit ends where the value changes by less than this share of what it has
        gained since the first policy. Zero takes all iterations.
    batch_size : int or None, default=None
        Rows, and initial states, of a minibatch; all of them where there are fewer.
        Larger is steadier and slower. Gauss-Newton steps take the batch for the log, so
        give them many rows. None is 5,000.
    learning_rate : float, default=1e-3
        Step size of the Q-function, falling as (1 + iteration / 100) ** -0.5. Larger is
        faster until it diverges. Gauss-Newton steps have none.
    leader_learning_rate : float or None, default=None
        Step size of the policy, falling likewise, also of mirror steps. None is 3e-3
        for networks, 0.1 for others, and where the Q-function takes gradient steps at
        most a tenth of its step size: the policy is then the slower of the two.
    follower_steps, leader_steps : int, default=1
        Steps of the Q-function and of the policy in an iteration. More steps of the
        Q-function bring it nearer to its best response before the policy moves.
    optimizer : str or callable, default="gauss-newton"
        How the Q-function steps: ``"gauss-newton"``, beside which the policy takes
        Adam's steps; or, for both, a name of `torch.optim`, such as ``"sgd"``, or a
        callable that takes parameters and a step size and returns an optimiser.

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

    # Products that a solution may take: fewer are faster, and blur what the policy
    # foresees. A linear Q, which has few weights and is to have the closed form's
    # solution, gets more.
    _cg_steps, _LINEAR_CG_STEPS = 20, 100

    # Iterations from one entry of the history to the next, each of which costs a solve.
    _measure_every = 5

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
        optimizer: str | MakeOptimizer = GAUSS_NEWTON,
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
            If a parameter is out of range, or `torch.optim` has no such optimizer.
        """
        check_rules(self.get_params(), _RULES)
        named_optimizer(self.optimizer)
        resolved = clone(self)
        if self.max_iter is None:
            resolved.max_iter = self.mirror_steps + 20
        if self.batch_size is None:
            resolved.batch_size = 5_000
        if self.leader_learning_rate is None:
            # Logits linear in whitened features need longer steps than layers' weights.
            rate = 3e-3 if spec.network_policy else 0.1
            if self.optimizer != GAUSS_NEWTON:
                # Gradient steps of both: the policy is the slower of the two.
                rate = min(rate, _SLOWER * self.learning_rate)
            resolved.leader_learning_rate = rate
        if spec.linear_q:
            resolved._cg_steps = self._LINEAR_CG_STEPS
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
        once = copy(self)
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
            Of modules that begin, or of an earlier `solve`. It is left as it is; the
            modules are copied, to the problem's device and precision.
        lam, beta : float
            λ and β of the Q-function's objective.
        observe : callable, default=None
            Called with each entry of the history, a dict of str to float, and a
            callable that gives copies of the two modules; True ends the search.

        Returns
        -------
        SolverResult
            On the CPU. The best response is brought to an end on the whole log (or
            20,000 rows of it); the policy is the better of the last one and the one of
            the largest v measured. Equal seeds give bit-identical results on one
            machine.
        """
        if None in (self.max_iter, self.batch_size, self.leader_learning_rate):
            raise ValueError(
                "max_iter, batch_size and leader_learning_rate of Stochastic must be "
                "numbers: call resolve first, which chooses them."
            )
        run = StochasticRun(self, problem, deepcopy(start), lam, beta, observe)
        last = run.iteration + (self.max_iter or 0)
        try:
            while run.iteration < last and not run.over:
                run.step()
        except KeyboardInterrupt:
            # Before the first measurement there is nothing to keep.
            if run.best is None:
                raise
            run.interrupted = INTERRUPTED
        return _result(run, self)


def _result(run: StochasticRun, solver: Stochastic) -> SolverResult:
    """The last policy or the best, and the best response to it.

    v of a Q-function that has not responded yet proves nothing, so that the two are
    compared once it has.
    """
    # An interrupt may have come in the middle of a step.
    is_cut = bool(run.diverged or run.interrupted)
    state = run.last_finite if is_cut else run.state()
    shortfall = ""
    if run.done and not run.over:
        shortfall = (
            f"The policy's value had not stood still (tol={solver.tol:g}) when "
            f"max_iter={solver.max_iter} iterations ended the fit. Raise max_iter, or "
            "raise tol. [pitfalls: not-still]"
        )
    if is_cut:
        run.restore(run.last_point)
    tried = [_responded(run)]
    if run.best is not None:
        run.restore(run.best.at)
        tried.append(_responded(run))
    best, has_responded = max(tried, key=lambda found: found[0].value)
    if not has_responded:
        unanswered = (
            "The Q-function did not reach its best response to the policy: no step "
            "lowered its objective, so that policy_value_ may be too high. Raise "
            f"beta={run.objectives.beta:g} or batch_size={solver.batch_size}. "
            "[pitfalls: no-best-response]"
        )
        shortfall = f"{shortfall} {unanswered}".strip()
    run.restore(best.at)
    run.observe = None
    run.measure()
    policy, q_function = run.copies()
    return SolverResult(
        policy=policy,
        q_function=q_function,
        value=best.value,
        pessimism=run.history.last()["pessimism"],
        shrinkage=run.shrinkage,
        history=run.history,
        n_iter=state.iteration,
        state=state,
        shortfall=shortfall,
        diverged=run.diverged,
        stopped=run.stopped,
        interrupted=run.interrupted,
    )


def _responded(run: StochasticRun) -> tuple[BestPoint, bool]:
    """The policy with its best response on the whole log, and whether it was found."""
    batch = run.problem.fixed_batch(_RESPONSE_ROWS)
    step = GaussNewtonStep(flat(run.players.q_function), run.damping, 0.0)
    for _ in range(_RESPONSE_STEPS):
        step = run.objectives.gauss_newton_step(batch, step.w, step.damping, *run.cg)
        if step.fall <= _RESPONSE_TOL and not step.failed:
            break
    assign(run.players.q_function, step.w)
    return BestPoint(_value(run), run.point()), not step.failed


def _value(run: StochasticRun) -> float:
    """v, over all initial states."""
    problem, total = run.problem, 0.0
    with torch.no_grad():
        for start in range(0, problem.n_initial, _CHUNK):
            places = np.arange(start, min(problem.n_initial, start + _CHUNK))
            # One row, which v does not depend on.
            batch = problem.batch(places[:1] * 0, places)
            total += float(run.players(batch).initial_value.sum())
    return (1.0 - problem.discount) * total / problem.n_initial
