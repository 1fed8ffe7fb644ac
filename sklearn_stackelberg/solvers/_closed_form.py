"""Steps of the policy along the best response in closed form."""

from __future__ import annotations

import copy
import weakref
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from .._stored_rows import free_memory
from .._typing import Floats
from .._validation import check_rules
from ._base import (
    INTERRUPTED,
    SEARCH_RULES,
    STEP_GROWTH,
    History,
    LeaderGradient,
    Observer,
    ProblemSpec,
    SolverResult,
    SolverState,
)
from ._best_response import BestResponse, LSTDSystem

# Steps in a row without a gain of ``tol`` after which a phase has nothing left to give.
_PATIENCE = 10

# What the search has gained at least, in units of v: less is rounding.
_SMALLEST_GAIN = 1e-9


class ClosedForm(BaseEstimator):
    """Solve with the best response in closed form: mirror steps, then L-BFGS.

    For a Q-function that is linear in its weights and a policy that is linear in the
    same features, of discrete or continuous actions, and on the CPU: the best response
    solves a linear system, and v(w*(θ), θ) is maximised directly.

    The derivative of v at a state is weighted by how often the policy gets there: from
    a uniform policy on a long horizon it all but vanishes. A mirror step θ += η w*
    improves the policy at every logged state at once; L-BFGS along the total derivative
    finishes what mirror steps cannot foresee, that the Q-function responds.

    Parameters
    ----------
    leader_gradient : {"total", "individual"}, default="total"
        The derivative that is followed after the mirror steps. ``"individual"`` holds w
        fixed while the policy steps, by a set length: an ablation.
    mirror_steps : int, default=40
        At most so many mirror steps, with which every fit begins.
    max_iter : int or None, default=None
        At most so many steps along the derivative after the mirror steps. None is 50
        for discrete actions, and 0 for continuous ones.
    tol : float, default=1e-2
        A phase ends where the value gains less than this share of all that it has
        gained since the first policy. Smaller raises ``policy_value_`` and, past what
        the log supports, not the policy's true value.

    See Also
    --------
    Stochastic : For networks, and for logs of any size.

    Examples
    --------
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator
    >>> from sklearn_stackelberg.solvers import ClosedForm
    >>> policy = StackelbergPolicyEstimator(solver=ClosedForm(tol=1e-3))
    >>> policy.get_params()["solver__tol"]
    0.001
    """

    needs: ClassVar[Literal["linear", "samples"]] = "linear"

    def __init__(
        self,
        *,
        leader_gradient: LeaderGradient = "total",
        mirror_steps: int = 40,
        max_iter: int | None = None,
        tol: float = 1e-2,
    ) -> None:
        self.leader_gradient = leader_gradient
        self.mirror_steps = mirror_steps
        self.max_iter = max_iter
        self.tol = tol

    def resolve(self, spec: ProblemSpec) -> ClosedForm:
        """A copy whose ``max_iter`` is a number, for a problem that it can solve.

        Parameters
        ----------
        spec : ProblemSpec

        Returns
        -------
        ClosedForm

        Raises
        ------
        ValueError
            If a parameter is out of range, or if Q-function, policy or device are not
            those of a closed form.
        """
        check_rules(self.get_params(), SEARCH_RULES)
        _check_linear(spec)
        if spec.device == "cuda" and spec.action_type == "continuous":
            raise ValueError(
                "device='cuda' is for discrete actions and for the stochastic solver; "
                "the closed form works on the CPU where actions are continuous. Set "
                "device='auto', or solver='stochastic'."
            )
        resolved = clone(self)
        if self.max_iter is None:
            # Features of state and action are many for the rows that there are: steps
            # along the derivative raise v there, and lower the return of the policy.
            resolved.max_iter = 0 if spec.action_type == "continuous" else 50
        return resolved

    def solve(
        self,
        problem: LSTDSystem,
        start: SolverState,
        *,
        lam: float,
        beta: float,
        observe: Observer | None = None,
    ) -> SolverResult:
        """Maximise v from a policy; long logs on a part of their rows first.

        Parameters
        ----------
        problem : LSTDSystem
        start : SolverState
            Whose policy is θ.
        lam, beta : float
            λ and β of the Q-function's objective.
        observe : callable, default=None
            Called with each entry of the history, a dict of str to float, and a
            callable that gives θ and w; True ends the search.

        Returns
        -------
        SolverResult
            The best point seen, never the last one for its own sake.
        """
        if not isinstance(start.policy, Tensor):
            raise TypeError(
                "ClosedForm starts from the weights of a policy, a Tensor, got "
                f"{type(start.policy).__name__}."
            )
        search = _Search(self, problem, lam, beta, observe)
        shortfall, stopped = search.run(start.policy)
        best = search.best
        # Weak, or neither would go before all garbage does.
        problem.found = found = copy.copy(best)
        found.lstd = cast(LSTDSystem, weakref.proxy(problem))
        return SolverResult(
            policy=best.theta,
            q_function=best.w,
            value=float(best.value),
            pessimism=float(best.pessimism),
            shrinkage=float(best.shrinkage),
            history=search.history,
            n_iter=search.n_iter,
            state=SolverState(best.theta, best.w),
            shortfall=shortfall,
            stopped=stopped,
            interrupted=search.interrupted,
        )


def _check_linear(spec: ProblemSpec) -> None:
    """Refuse a Q-function or a policy whose best response is no linear system."""
    found = {"q_function": not spec.linear_q, "policy": spec.network_policy}
    networks = [name for name, is_network in found.items() if is_network]
    if networks:
        raise ValueError(
            "solver='closed_form' needs a Q-function and a policy that are linear in "
            f"their weights, and {' and '.join(networks)} "
            f"{'are networks' if len(networks) > 1 else 'is a network'}: its best "
            "response is no linear system. Set solver='auto' or 'stochastic', or "
            f"{' and '.join(networks)} to 'kernel'."
        )
    if not spec.linear_policy:
        raise ValueError(
            "solver='closed_form' needs both players in the same features, but "
            f"q_function={spec.q_function} and policy={spec.policy}. Make them equal, "
            "or set solver='auto' or 'stochastic'."
        )


class _Stopped(Exception):
    """The observer has seen enough."""


class _Arrived(Exception):
    """What is left to gain is not worth an evaluation."""


class _Search:
    """One run of the solver: where it is, and the best it has seen."""

    def __init__(
        self,
        solver: ClosedForm,
        lstd: LSTDSystem,
        lam: float,
        beta: float,
        observe: Observer | None,
    ) -> None:
        self.solver, self.lstd, self.observe = solver, lstd, observe
        self.lam, self.beta = lam, beta
        self.max_iter = solver.max_iter or 0
        self.history = History()
        self.best: BestResponse
        self.n_iter = 0
        self.gained_on_part = 0.0
        self.first_value = np.nan
        self.is_lost = True  # no v was possible yet
        self.interrupted = ""

    def run(self, theta: Tensor) -> tuple[str, bool]:
        """What all phases left undone, and whether the observer ended them."""
        try:
            return self.phases(theta), False
        except _Stopped:
            return "", True
        except KeyboardInterrupt:
            # Before the first evaluation there is nothing to keep.
            if not hasattr(self, "best"):
                raise
            self.interrupted = INTERRUPTED
            return "", True

    def phases(self, theta: Tensor) -> str:
        solver, part = self.solver, self.lstd.subsample()
        if part is self.lstd:
            # Mirror steps need w*(θ) of where they start.
            self.visit(theta)
            shortfall = self.mirror_phase()
        else:
            # A part of a long log shows the way up; the whole log has the last word.
            search = _Search(solver, part, self.lam, self.beta, self.observe)
            shortfall, stopped = search.run(theta)
            self.n_iter = search.n_iter
            # What is left to gain is small beside what there was: measured by itself it
            # took 17 evaluations of a million rows, for 1 % of the gain.
            self.gained_on_part = search._total_gain()
            self.interrupted = search.interrupted
            theta = search.best.theta
            del search, part
            free_memory()
            self.visit(theta)
            if stopped:
                raise _Stopped
        if self.max_iter > 0:
            total = solver.leader_gradient == "total"
            shortfall = self.quasi_newton() if total else self.individual_phase()
        return shortfall

    def visit(self, theta: Tensor, derivative: Tensor | None = None) -> BestResponse:
        """Evaluate θ, reached along a derivative."""
        response = BestResponse(self.lstd, theta, self.lam, self.beta)
        self.record(response, derivative)
        return response

    def record(self, response: BestResponse, derivative: Tensor | None = None) -> None:
        """Note an evaluation in the history and keep it if it is the best so far."""
        best = getattr(self, "best", None)
        value = response.credible_value
        if best is None:
            self.first_value = value
        if best is None or value > best.credible_value:
            self.best = response
        self.is_lost &= not response.is_possible
        norm = np.nan if derivative is None else float(derivative.norm())
        self.history.add(
            value=response.value,
            pessimism=response.pessimism,
            follower_objective=response.follower_objective,
            bellman_error=response.bellman_error,
            leader_gradient_norm=norm,
        )
        # The best is asked again: where L-BFGS starts, and by how much β shrinks it.
        if best is not None and best is not self.best:
            best.release()
        if response is not self.best or response.is_large:
            response.release()
        if self.observe is not None and self.observe(
            self.history.last(), lambda: (response.theta, response.w)
        ):
            raise _Stopped

    def mirror_phase(self) -> str:
        """θ += η w*, by steps that grow."""
        response, stale = self.best, 0
        for step in range(self.solver.mirror_steps):
            before = self.best.credible_value
            # Eq. (30) of docs/game.md. From the last point, not the best: v may fall
            # before it rises. Away from what Q prefers, until a v is possible.
            preferred = -response.flat_w if self.is_lost else response.flat_w
            theta = self.lstd.mirror_step(response.theta, preferred, STEP_GROWTH**step)
            response = self.visit(theta)
            self.n_iter += 1
            stale = 0 if self._gained(before) else stale + 1
            if stale >= _PATIENCE:
                return ""
        return self._shortfall("mirror_steps", self.solver.mirror_steps)

    def quasi_newton(self) -> str:
        """L-BFGS on −v, from the best θ so far."""
        start = self.best.theta
        # ftol is relative to max(|f|, 1): in units of what was gained it is relative to
        # that, and f begins at zero. v itself is measured from an arbitrary zero.
        zero = self.best.credible_value
        unit = max(self._total_gain(), _SMALLEST_GAIN)

        def objective(flat: Floats) -> tuple[float, Floats]:
            # A copy, which the best point may keep: the array is scipy's to reuse.
            theta = torch.from_numpy(flat.copy()).reshape(start.shape)
            response = self.best
            if response.is_released or not torch.equal(theta, response.theta):
                response = BestResponse(self.lstd, theta, self.lam, self.beta)
                if self._foretells_nothing(response):
                    self.record(response)
                    raise _Arrived
            derivative = response.total_derivative()
            self.record(response, derivative)
            loss = (zero - response.credible_value) / unit
            uphill = derivative if response.is_possible else -derivative
            return loss, -uphill.numpy().ravel() / unit

        def count(_: object) -> None:
            self.n_iter += 1

        # A softmax that is nearly decided has a small gradient far from any maximum, so
        # that gtol must not end the phase.
        options = {"maxiter": self.max_iter, "ftol": self.solver.tol, "gtol": 0.0}
        settings = {"method": "L-BFGS-B", "callback": count, "options": options}
        try:
            found = minimize(objective, start.numpy().ravel(), jac=True, **settings)
        except _Arrived:
            return ""
        # Status 1: L-BFGS-B ran out of iterations.
        return self._shortfall("max_iter", self.max_iter) if found.status == 1 else ""

    def _foretells_nothing(self, tried: BestResponse) -> bool:
        """Whether on the way to a worse point of a long log v gains less than tol.

        By the parabola through both values with the slope at the best.
        """
        best, more = self.best, tried.credible_value - self.best.credible_value
        few = not self.gained_on_part or best.is_released
        if few or more > 0.0 or not tried.is_possible:
            return False
        slope = float((best.total_derivative() * (tried.theta - best.theta)).sum())
        # Eq. (83) of docs/game.md.
        foretold = slope**2 / (4.0 * (slope - more)) if slope > 0.0 else np.inf
        return foretold < self.solver.tol * self._total_gain()

    def individual_phase(self) -> str:
        """Steps along ∂_θ v at fixed w, each as long as a mirror step."""
        response, stale = self.best, 0
        for _ in range(self.max_iter):
            derivative = response.individual_derivative()
            uphill = -derivative if self.is_lost else derivative
            # No line search: v is not what this direction is the gradient of.
            length = 1.0 / self.lstd.logit_scale(derivative)
            before = self.best.credible_value
            response = self.visit(response.theta + length * uphill, derivative)
            self.n_iter += 1
            stale = 0 if self._gained(before) else stale + 1
            if stale >= _PATIENCE:
                return ""
        return self._shortfall("max_iter", self.max_iter)

    def _gained(self, before: float) -> bool:
        # Of the best so far: what a worse point gains on a worse one is no progress.
        gained = self.best.credible_value - before
        return gained > self.solver.tol * self._total_gain()

    def _total_gain(self) -> float:
        return self.gained_on_part + self.best.credible_value - self.first_value

    def _shortfall(self, name: str, limit: int) -> str:
        if not limit:
            return ""  # a phase of no steps leaves nothing undone
        values = self.history.entries["value"]
        recent = values[-1] - values[max(0, len(values) - 1 - _PATIENCE)]
        return (
            f"The policy's value was still moving (by {recent:.3g} over the last "
            f"{min(_PATIENCE, len(values) - 1)} evaluations, at {values[-1]:.3g} in "
            f"scaled rewards) when {name}={limit} ended the fit. Raise {name}, raise "
            "tol, or raise beta. [pitfalls: still-moving]"
        )
