"""The paper's own algorithm: steps of both players on minibatches, in alternation."""

from __future__ import annotations

from copy import deepcopy
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor, nn

from .._sampling import Minibatches
from .._validation import check_rules, integer, positive
from ._base import (
    SEARCH_RULES,
    STEP_GROWTH,
    BestPoint,
    History,
    LeaderGradient,
    Observer,
    Point,
    ProblemSpec,
    SolverResult,
    SolverState,
)
from ._divergence import divergence
from ._gauss_newton import BatchObjectives, GaussNewtonStep
from ._minibatch_game import (
    Batch,
    MinibatchGame,
    Players,
    assign,
    flat,
    split,
    trained,
    vector,
)
from ._mirror_descent import mirror_step
from ._optimizers import GAUSS_NEWTON, MakeOptimizer, named_optimizer, saved_state

_RULES = SEARCH_RULES | {
    "batch_size": integer(1, None),
    "learning_rate": positive(),
    "leader_learning_rate": positive(None),
    "follower_steps": integer(1),
    "leader_steps": integer(1),
}

# Rows on which v is measured, on which a mirror step is fitted, and on which the last
# best response is found: v needs two digits, the response to the end all there are.
_MEASURED_ROWS, _MIRROR_ROWS, _RESPONSE_ROWS = 2_000, 5_000, 20_000

# Initial states at a time, of the value over all of them: bounds the memory.
_CHUNK = 10_000

# Step sizes fall as (1 + iteration / _DECAY) ** -0.5, however many are to come, so that
# a fit that is resumed goes on with the steps that it would have taken.
_DECAY = 100.0

# Measurements over which v must stand still for the search to end.
_PATIENCE = 5

# Steps to the last best response, unless F falls by less than so much of itself.
_RESPONSE_STEPS, _RESPONSE_TOL = 15, 1e-6

# Relative residual to solve to. A product with the curvature sums over rows twice, and
# is right to some tens of units in its last place (1e-7 in single precision): below
# that, the residual that conjugate gradient keeps is not the true one any more.
_CG_TOL = {torch.float64: 1e-8, torch.float32: 1e-5}

_NAMES = ("policy", "q_function")


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
            If a parameter is out of range, or the optimizer has no such name in
            `torch.optim`.
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
            resolved.leader_learning_rate = 3e-3 if spec.network_policy else 0.1
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
        if None in (self.max_iter, self.batch_size, self.leader_learning_rate):
            raise ValueError(
                "max_iter, batch_size and leader_learning_rate of Stochastic must be "
                "numbers when solve is called: call resolve first, which chooses them."
            )
        run = _Run(self, problem, deepcopy(start), lam, beta, observe)
        last = run.iteration + (self.max_iter or 0)
        while run.iteration < last and not run.over:
            run.step()
        return run.result()


class _Run:
    """One run of the solver, on the problem's device: where it is, and what it does."""

    def __init__(
        self,
        solver: Stochastic,
        problem: MinibatchGame,
        state: SolverState,
        lam: float,
        beta: float,
        observe: Observer | None,
    ) -> None:
        self.solver, self.problem, self.observe = solver, problem, observe
        self.history, self.stopped = History(), False
        self.shortfall = self.diverged = ""
        modules = []
        for name in _NAMES:
            module = getattr(state, name)
            if not isinstance(module, nn.Module):
                raise TypeError(
                    f"Stochastic starts from modules; the {name} of the state is of "
                    f"type {type(module).__name__}."
                )
            if not trained(module):  # as results are, so that nobody trains them
                module.requires_grad_()
            modules.append(module.to(problem.device, problem.dtype).eval())
        self.players = Players(*modules, problem.discount)
        self.objectives = BatchObjectives(problem, self.players, lam, beta)
        self.rates = {
            "policy": float(solver.leader_learning_rate or 0.0),
            "q_function": solver.learning_rate,
        }
        make = named_optimizer(solver.optimizer)
        self.optimizers = {}
        for name, rate in self.rates.items():
            optimizer = make(trained(getattr(self.players, name)), rate)
            if name in state.optimizers:
                optimizer.load_state_dict(state.optimizers[name])
            self.optimizers[name] = optimizer
        sizes = {"rows": problem.n, "initial": problem.n_initial}
        self.batches = {
            name: Minibatches(n, solver.batch_size or n) for name, n in sizes.items()
        }
        # On the same rows a run goes on as if never stopped; on others, epochs begin
        # anew, and values measured before are of another problem.
        self.log = problem.checksum()
        self.best: BestPoint | None = None
        if state.log == self.log:
            self.best = state.best
            for name, saved in state.batches.items():
                begun = self.batches[name]
                if (saved.n, saved.size) == (begun.n, begun.size):
                    self.batches[name] = saved
        self.done = 0
        self.cg = _CG_TOL[problem.dtype], solver._cg_steps
        self.rng = state.rng or np.random.default_rng(0)
        self.iteration, self.damping = state.iteration, state.damping
        self.adjoint = self._placed(state.adjoint)
        self.whole: Batch | None = None
        self.measured = problem.fixed_batch(_MEASURED_ROWS)
        self.last_finite = self.state()

    @property
    def over(self) -> bool:
        """Nothing more to do."""
        return self.stopped or bool(self.diverged) or self._stands_still()

    def _draw(self) -> Batch:
        places = [self.batches[name].draw(self.rng) for name in ("rows", "initial")]
        if any(b.size < b.n for b in self.batches.values()):
            return self.problem.batch(*places)
        # All rows and all initial states: the same batch in each iteration.
        if self.whole is None:
            self.whole = self.problem.batch(*places)
        return self.whole

    def step(self) -> None:
        """Steps of the Q-function, a measurement where it is due, the policy's steps.

        Algorithm 1 of the paper, with Gauss-Newton and mirror steps besides.
        """
        solver = self.solver
        for name, rate in self.rates.items():
            for group in self.optimizers[name].param_groups:
                group["lr"] = rate * (1.0 + self.iteration / _DECAY) ** -0.5
        for _ in range(solver.follower_steps):
            if solver.optimizer == GAUSS_NEWTON:
                self._gauss_newton(self._draw())
            else:
                self._descend(self._draw())
        self._check()
        # Between the two: the Q-function has responded to the policy that is measured.
        if self.iteration % solver._measure_every == 0 and not self.diverged:
            self.measure()
        if self.over:
            return
        # Mirror steps pass by better policies than the one they end at.
        if self.iteration == solver.mirror_steps and self.best is not None:
            self._restore(self.best.at)
        if self.iteration < solver.mirror_steps:
            self._mirror()
        else:
            for _ in range(solver.leader_steps):
                self._ascend(self._draw())
        self._check()
        self.iteration += 1
        self.done += 1

    def _gauss_newton(self, batch: Batch) -> None:
        w = flat(self.players.q_function)
        found = self.objectives.gauss_newton_step(batch, w, self.damping, *self.cg)
        self.damping = found.damping
        assign(self.players.q_function, found.w)

    def _descend(self, batch: Batch) -> None:
        """One step of the Q-function's optimiser on F, estimated by a batch."""
        choices = self.objectives.choices(batch)
        parameters = trained(self.players.q_function)
        optimizer = self.optimizers["q_function"]

        def closure() -> float:
            optimizer.zero_grad()
            w = vector(parameters)
            objective = self.problem.follower_objective(
                self.players(batch, choices),
                batch,
                w,
                self.objectives.lam,
                self.objectives.beta,
            )
            objective.backward()
            return float(objective.detach())

        optimizer.step(closure)

    def _ascend(self, batch: Batch) -> None:
        """One step of the policy's optimiser up the derivative of v."""
        parameters = trained(self.players.policy)

        def closure() -> float:
            if self.solver.leader_gradient == "individual":
                derivative = self.objectives.individual_derivative(batch)
            else:
                found = self.objectives.total_derivative_of(
                    batch, self.adjoint, *self.cg
                )
                derivative, self.adjoint = found.derivative, found.adjoint
            for p, part in zip(parameters, split(derivative, parameters), strict=True):
                p.grad = -part  # optimisers descend
            with torch.no_grad():
                return -float(self.problem.value(self.players(batch)))

        self.optimizers["policy"].step(closure)

    def _mirror(self) -> None:
        """π ← π exp(η A) / Z at many logged states, as near as the policy comes."""
        places = [
            self.rng.choice(n, min(n, _MIRROR_ROWS), replace=False)
            for n in (self.problem.n, self.problem.n_initial)
        ]
        batch = self.problem.batch(*places)
        mirror_step(
            self.players.policy,
            self.players.q_function,
            torch.cat([batch.policy_next, batch.policy_initial]),
            torch.cat([batch.q_next, batch.q_initial]),
            eta=STEP_GROWTH**self.iteration,
            optimizer=self.optimizers["policy"],
            rng=self.rng,
        )

    def measure(self) -> None:
        """Add an entry to the history, and keep what is finite."""
        objectives, batch = self.objectives, self.measured
        found = objectives.total_derivative_of(batch, self.adjoint, *self.cg)
        followed = found.derivative
        if self.solver.leader_gradient == "individual":
            followed = objectives.individual_derivative(batch)
        w = flat(self.players.q_function).requires_grad_()
        evaluation = self.players.at(batch, w, choices=objectives.choices(batch))
        objective = self.problem.follower_objective(
            evaluation, batch, w, objectives.lam, objectives.beta
        )
        (gradient,) = torch.autograd.grad(objective, w)
        self.history.add(
            value=self.problem.value(evaluation).detach(),
            pessimism=found.pessimism,
            follower_objective=objective.detach(),
            bellman_error=self.problem.error(evaluation, batch, w).detach(),
            leader_gradient_norm=followed.norm(),
            follower_gradient_norm=gradient.norm(),
            cg_residual=found.cg_residual,
        )
        entry = self.history.last()
        if self.best is None or entry["value"] > self.best.value:
            self.best = BestPoint(entry["value"], self._point())
        self.last_finite = self.state()
        if self.observe is not None:
            self.stopped = bool(self.observe(entry, self._copies))

    def _check(self) -> None:
        """Give up where weights or values are not finite any more."""
        found = divergence(
            self.players,
            self.problem,
            self.measured,
            self.solver,
            lam=self.objectives.lam,
            beta=self.objectives.beta,
        )
        if found:
            what, remedy = found
            self.diverged = (
                f"{what}: the fit was given up in iteration {self.iteration}, and what "
                f"it had in iteration {self.last_finite.iteration} is kept. {remedy}"
            )

    def _stands_still(self) -> bool:
        values = self.history.entries["value"][-1 - _PATIENCE :]
        first = self.iteration - _PATIENCE * self.solver._measure_every
        if len(values) <= _PATIENCE or first < self.solver.mirror_steps:
            return False
        return max(values) - min(values) <= self.solver.tol * abs(values[-1])

    def state(self) -> SolverState:
        """A copy of where the run stands, on the CPU."""
        return SolverState(
            policy=_at_rest(self.players.policy),
            q_function=_at_rest(self.players.q_function),
            rng=deepcopy(self.rng),
            iteration=self.iteration,
            optimizers={k: saved_state(o) for k, o in self.optimizers.items()},
            batches=deepcopy(self.batches),
            adjoint=self._point().adjoint,
            damping=self.damping,
            best=self.best,
            log=self.log,
        )

    def _placed(self, adjoint: Tensor | None) -> Tensor | None:
        """A saved adjoint on the problem's device, in its precision."""
        if adjoint is None:
            return None
        return adjoint.to(self.problem.device, self.problem.dtype)

    def _point(self) -> Point:
        """A copy, on the CPU, of what `_restore` goes on from."""
        adjoint = None if self.adjoint is None else self.adjoint.clone().cpu()
        theta, w = (flat(getattr(self.players, name)).cpu() for name in _NAMES)
        return Point(theta, w, self.damping, adjoint)

    def _restore(self, at: Point) -> None:
        assign(self.players.policy, at.theta)
        assign(self.players.q_function, at.w)
        # They are of these weights, as they were there.
        self.damping, self.adjoint = at.damping, self._placed(at.adjoint)

    def _solve_best_response(self) -> bool:
        """Bring the Q-function to its best response on the whole log, or nearly.

        False where no step made F fall although there is more to gain.
        """
        batch = self.problem.fixed_batch(_RESPONSE_ROWS)
        step = GaussNewtonStep(flat(self.players.q_function), self.damping, 0.0)
        for _ in range(_RESPONSE_STEPS):
            step = self.objectives.gauss_newton_step(
                batch, step.w, step.damping, *self.cg
            )
            if step.fall <= _RESPONSE_TOL and not step.failed:
                break
        assign(self.players.q_function, step.w)
        return not step.failed

    def _value(self) -> float:
        """v, over all initial states."""
        total, n = 0.0, self.problem.n_initial
        with torch.no_grad():
            for start in range(0, n, _CHUNK):
                places = np.arange(start, min(n, start + _CHUNK))
                # One row, which v does not depend on.
                batch = self.problem.batch(places[:1] * 0, places)
                total += float(self.players(batch).initial_value.sum())
        return (1.0 - self.problem.discount) * total / n

    def result(self) -> SolverResult:
        """The last policy or the best, and the best response to it.

        v of a Q-function that has not responded yet proves nothing, so that the two are
        compared once it has.
        """
        state = self.last_finite if self.diverged else self.state()
        solver = self.solver
        if self.done and not self.over:
            self.shortfall = (
                f"The policy's value had not stood still (tol={solver.tol:g}) when "
                f"max_iter={solver.max_iter} iterations ended the fit. Raise max_iter, "
                "or raise tol."
            )
        if self.diverged:
            theta, w = (flat(getattr(state, name)) for name in _NAMES)
            self._restore(Point(theta, w, state.damping, state.adjoint))
        tried = [self._responded()]
        if self.best is not None:
            self._restore(self.best.at)
            tried.append(self._responded())
        best, has_responded = max(tried, key=lambda found: found[0].value)
        if not has_responded:
            self.shortfall = f"{self.shortfall} {self._unanswered()}".strip()
        self._restore(best.at)
        self.observe = None
        self.measure()
        policy, q_function = self._copies()
        return SolverResult(
            policy=policy,
            q_function=q_function,
            value=best.value,
            pessimism=self.history.last()["pessimism"],
            history=self.history,
            n_iter=state.iteration,
            state=state,
            shortfall=self.shortfall,
            diverged=self.diverged,
            stopped=self.stopped,
        )

    def _responded(self) -> tuple[BestPoint, bool]:
        """The policy with its best response, and whether it was found."""
        found = self._solve_best_response()
        return BestPoint(self._value(), self._point()), found

    def _unanswered(self) -> str:
        return (
            "The Q-function did not reach its best response to the policy: no step "
            "lowered its objective, although its gradient is not zero, so that "
            "policy_value_ may be too high. Raise "
            f"beta={self.objectives.beta:g}, which makes the objective smoother, or "
            f"batch_size={self.solver.batch_size}, so that its steps see more rows."
        )

    def _copies(self) -> tuple[nn.Module, nn.Module]:
        """Copies of the modules that nobody trains."""
        policy, q_function = (
            _at_rest(getattr(self.players, name)).requires_grad_(False)
            for name in _NAMES
        )
        return policy, q_function


def _at_rest(module: nn.Module) -> nn.Module:
    """A copy on the CPU without gradients."""
    module = deepcopy(module).cpu()
    module.zero_grad(set_to_none=True)
    return module
