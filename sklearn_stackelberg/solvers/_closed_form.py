"""The leader's climb along the follower's best response in closed form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ._base import History, Observer, SolverResult
from ._best_response import BestResponse, LSTDSystem

LeaderGradient = Literal["total", "individual"]

# Each mirror step is this much longer than the one before: short ones while q still
# changes a lot with the policy, long ones once it is nearly decided.
_STEP_GROWTH = 1.1

# Steps in a row without a gain of ``tol`` after which a phase has nothing left to give.
_PATIENCE = 10


class ClosedFormSolver:
    """Climb v(w*(θ), θ): mirror steps first, then quasi-Newton steps.

    v is not concave, and its derivative at a state is weighted by how often the policy
    gets there: from a uniform policy on a long horizon it all but vanishes. A mirror
    step θ += η w* improves the policy at every state at once, whether it is reached or
    not; L-BFGS along the total derivative then finishes what the leader can foresee and
    mirror steps cannot, that the follower answers.

    Parameters
    ----------
    lam, beta : float
        λ and β of the follower's objective.
    leader_gradient : {"total", "individual"}
        The derivative of the second phase: D_θ v, or ∂_θ v with w held fixed while the
        leader steps, an ablation that is no gradient of anything and so takes steps of
        a set length.
    mirror_steps : int
        At most so many mirror steps.
    max_iter : int
        At most so many steps of the second phase.
    tol : float
        Relative gain of v under which a phase ends.
    observe : callable, default=None
        Called after each evaluation with its entry of the history, a dict of str to
        float, and a callable that gives θ and w; True stops the climb, and the best
        point so far is returned.
    """

    def __init__(
        self,
        lam: float,
        beta: float,
        *,
        leader_gradient: LeaderGradient = "total",
        mirror_steps: int = 40,
        max_iter: int = 50,
        tol: float = 1e-2,
        observe: Observer | None = None,
    ) -> None:
        self.lam, self.beta = lam, beta
        self.leader_gradient = leader_gradient
        self.mirror_steps, self.max_iter, self.tol = mirror_steps, max_iter, tol
        self.observe = observe

    def evaluate(self, sums: LSTDSystem, theta: Tensor) -> BestResponse:
        """The follower's best response to θ.

        Parameters
        ----------
        sums : DiscreteLSTD or ContinuousLSTD
        theta : Tensor

        Returns
        -------
        Evaluation
        """
        return BestResponse(sums, theta, self.lam, self.beta)

    def solve(self, sums: LSTDSystem, starts: Iterable[Tensor]) -> SolverResult:
        """Climb from the best of several policies.

        Parameters
        ----------
        sums : DiscreteLSTD or ContinuousLSTD
        starts : iterable of Tensor
            Mirror steps start from the one of the largest v. Long logs are climbed on
            a part of their rows first.

        Returns
        -------
        SolverResult
            The best point seen, never the last one for its own sake.
        """
        climb = _Climb(self, sums)
        stopped, shortfall = False, ""
        try:
            shortfall = climb.run(starts)
        except _Stopped:
            stopped = True
        best = climb.best
        return SolverResult(
            theta=best.theta,
            w=best.w,
            value=float(best.value),
            pessimism=float(best.pessimism),
            history=climb.history,
            n_iter=climb.n_iter,
            shortfall=shortfall,
            stopped=stopped,
        )


class _Stopped(Exception):
    """The observer has seen enough."""


class _Climb:
    """One run of the solver: where it is, and the best it has seen."""

    def __init__(self, solver: ClosedFormSolver, sums: LSTDSystem) -> None:
        self.solver, self.sums = solver, sums
        self.history = History()
        self.best: BestResponse
        self.n_iter = 0
        self.theta: Tensor

    def run(self, starts: Iterable[Tensor]) -> str:
        """All phases; what they left undone."""
        solver, part = self.solver, self.sums.subsample()
        if part is self.sums:
            self.theta = max(starts, key=lambda theta: self.visit(theta).value)
            shortfall = self.mirror_phase()
        else:
            # A part of a long log shows the way up; the whole log has the last word.
            found = solver.solve(part, starts)
            self.n_iter, shortfall = found.n_iter, found.shortfall
            self.visit(found.theta)
            if found.stopped:
                raise _Stopped
        if solver.max_iter > 0:
            total = solver.leader_gradient == "total"
            shortfall = self.quasi_newton() if total else self.individual_phase()
        return shortfall

    def visit(self, theta: Tensor, derivative: Tensor | None = None) -> BestResponse:
        """Evaluate θ, reached along a derivative, and keep it if it is the best."""
        evaluation = self.solver.evaluate(self.sums, theta)
        self.record(evaluation, derivative)
        return evaluation

    def record(
        self, evaluation: BestResponse, derivative: Tensor | None = None
    ) -> None:
        """Note an evaluation in the history and keep it if it is the best so far."""
        if not hasattr(self, "best") or evaluation.value > self.best.value:
            self.best = evaluation
        norm = np.nan if derivative is None else float(derivative.norm())
        self.history.add(
            value=evaluation.value,
            pessimism=evaluation.pessimism,
            follower_objective=evaluation.follower_objective,
            bellman_error=evaluation.bellman_error,
            leader_gradient_norm=norm,
        )
        observe = self.solver.observe
        if observe is None:
            return
        if observe(self.history.last(), lambda: (evaluation.theta, evaluation.w)):
            raise _Stopped

    def mirror_phase(self) -> str:
        """θ += η w*, by steps that grow."""
        evaluation, stale = self.best, 0
        for step in range(self.solver.mirror_steps):
            before = self.best.value
            self.theta = self.sums.mirror_step(
                self.theta, evaluation.flat_w, _STEP_GROWTH**step
            )
            evaluation = self.visit(self.theta)
            self.n_iter += 1
            stale = 0 if self._gained(before) else stale + 1
            if stale >= _PATIENCE:
                return ""
        return self._shortfall("mirror_steps", self.solver.mirror_steps)

    def quasi_newton(self) -> str:
        """L-BFGS on −v, from the best θ so far."""
        start = self.best.theta
        unit = max(abs(float(self.best.value)), 1e-12)

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            theta = torch.from_numpy(flat.copy()).reshape(start.shape)
            evaluation = self.solver.evaluate(self.sums, theta)
            derivative = evaluation.total_derivative()
            self.record(evaluation, derivative)
            return -float(evaluation.value) / unit, -derivative.numpy().ravel() / unit

        found = minimize(
            objective,
            start.numpy().ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": self.solver.max_iter,
                "ftol": self.solver.tol,
                "gtol": 0.0,
            },
        )
        self.n_iter += found.nit
        if found.status != 1:
            return ""
        return self._shortfall("max_iter", self.solver.max_iter)

    def individual_phase(self) -> str:
        """Steps along ∂_θ v at fixed w, each as long as a mirror step."""
        evaluation, stale = self.best, 0
        for _ in range(self.solver.max_iter):
            derivative = evaluation.individual_derivative()
            length = 1.0 / self.sums.logit_scale(derivative)
            before = self.best.value
            evaluation = self.visit(evaluation.theta + length * derivative, derivative)
            self.n_iter += 1
            stale = 0 if self._gained(before) else stale + 1
            if stale >= _PATIENCE:
                return ""
        return self._shortfall("max_iter", self.solver.max_iter)

    def _gained(self, before: Tensor) -> bool:
        gain = float(self.best.value - before)
        return gain > self.solver.tol * abs(float(before))

    def _shortfall(self, name: str, limit: int) -> str:
        if not limit:
            return ""  # a phase that was not asked for leaves nothing undone
        values = self.history.entries["value"]
        recent = values[-1] - values[max(0, len(values) - 1 - _PATIENCE)]
        return (
            f"The policy's value was still moving (by {recent:.3g} over the last "
            f"{min(_PATIENCE, len(values) - 1)} evaluations, at {values[-1]:.3g} in "
            f"scaled rewards) when {name}={limit} ended the climb. Raise {name}, raise "
            "tol, or raise beta so that the follower answers more smoothly."
        )
