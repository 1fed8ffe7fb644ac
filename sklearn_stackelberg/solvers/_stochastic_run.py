"""Iterations of the stochastic solver: steps of the Q-function, steps of the policy."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from .._sampling import Minibatches
from ..policies._base import Policy
from ..q_functions import LinearQ
from ._base import (
    STEP_GROWTH,
    BestPoint,
    History,
    Observer,
    Point,
    SolverState,
    StochasticSettings,
    Weights,
)
from ._gauss_newton import BatchObjectives
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
from ._optimizers import GAUSS_NEWTON, named_optimizer, saved_state

# Rows on which v is measured, where two digits are enough, and on which a mirror step
# is fitted.
_MEASURED_ROWS, _MIRROR_ROWS = 2_000, 5_000

# Step sizes fall as (1 + iteration / _DECAY) ** -0.5, however many are to come, so that
# a run that is resumed goes on with the steps that it would have taken.
_DECAY = 100.0

# Measurements over which v must stand still for the run to end.
_PATIENCE = 5

# Relative residual to solve to. A product with the curvature sums over rows twice, and
# is right to some tens of units in its last place (1e-7 in single precision): below
# that, the residual that conjugate gradient keeps is not the true one any more.
_CG_TOL = {torch.float64: 1e-8, torch.float32: 1e-5}

# q beyond so many times what rewards allow is no pessimism any more.
_EXPLODED = 1e3

_NAMES = ("policy", "q_function")


class StochasticRun:
    """One run of the solver, on the problem's device: where it is, and what it does."""

    def __init__(
        self,
        solver: StochasticSettings,
        problem: MinibatchGame,
        state: SolverState,
        lam: float,
        beta: float,
        observe: Observer | None,
    ) -> None:
        self.solver, self.problem, self.observe = solver, problem, observe
        self.history, self.stopped, self.diverged = History(), False, ""
        self.interrupted = ""
        self.shrinkage = 0.0  # of a Q-function that is linear, measured with v
        self.players = Players(
            self._started(state.policy),
            self._started(state.q_function),
            problem.discount,
        )
        self.objectives = BatchObjectives(problem, self.players, lam, beta)
        self.rates = {
            "policy": float(solver.leader_learning_rate or 0.0),
            "q_function": solver.learning_rate,
        }
        # With Gauss-Newton steps the Q-function's is idle; it is there so that every
        # state has both, whatever the setting that it is resumed with.
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
        self.last_finite, self.last_point = self.state(), self.point()

    def _started(self, module: Weights | None) -> nn.Module:
        if not isinstance(module, nn.Module):
            raise TypeError(
                "Stochastic starts from a policy and a Q-function that are modules, "
                f"got {type(module).__name__}."
            )
        if not trained(module):  # as results are, so that nobody trains them
            module.requires_grad_()
        return module.to(self.problem.device, self.problem.dtype).eval()

    @property
    def over(self) -> bool:
        ended = self.stopped or bool(self.diverged or self.interrupted)
        return ended or self._stands_still()

    def _draw(self) -> Batch:
        places = [self.batches[name].draw(self.rng) for name in ("rows", "initial")]
        if any(b.size < b.n for b in self.batches.values()):
            return self.problem.batch(*places)
        # All rows and all initial states: the same batch in each iteration.
        if self.whole is None:
            self.whole = self.problem.batch(*places)
        return self.whole

    def step(self) -> None:
        """Steps of the Q-function, a measurement if it is due, steps of the policy."""
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
            self.restore(self.best.at)
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
            evaluation = self.players(batch, choices)
            objective = self.objectives.unbiased_objective(evaluation, batch, w)
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
            cast(Policy, self.players.policy),
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
        objective = objectives.unbiased_objective(evaluation, batch, w)
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
        if isinstance(getattr(self.players.q_function, "module", None), LinearQ):
            # To first order in β: what it takes off bᵀw, w the ridge solution.
            ridge_solution = w.detach() + found.adjoint
            self.shrinkage = float(objectives.beta * found.adjoint @ ridge_solution)
        entry = self.history.last()
        if self.best is None or entry["value"] > self.best.value:
            self.best = BestPoint(entry["value"], self.point())
        self.last_finite, self.last_point = self.state(), self.point()
        if self.observe is not None:
            self.stopped = bool(self.observe(entry, self.copies))

    def _check(self) -> None:
        """Give up where weights or values are not finite any more."""
        found = divergence(self)
        if found:
            what, remedy = found
            self.diverged = (
                f"{what}: the fit was given up in iteration {self.iteration}, and what "
                f"it had in iteration {self.last_finite.iteration} is kept. {remedy} "
                "[pitfalls: given-up]"
            )

    def _stands_still(self) -> bool:
        # Mirror steps are not to end the run: v is measured before what they lead to.
        values = self.history.entries["value"][-1 - _PATIENCE :]
        first = self.iteration - _PATIENCE * self.solver._measure_every
        if len(values) <= _PATIENCE or first < self.solver.mirror_steps:
            return False
        # Against all that was gained: v itself is measured from an arbitrary zero. From
        # the least, since the first is of a Q-function that has not responded yet.
        gained = max(values) - min(self.history.entries["value"])
        return max(values) - min(values) <= self.solver.tol * gained

    def state(self) -> SolverState:
        """A copy of where the run stands, on the CPU."""
        return SolverState(
            policy=_at_rest(self.players.policy),
            q_function=_at_rest(self.players.q_function),
            rng=deepcopy(self.rng),
            iteration=self.iteration,
            optimizers={k: saved_state(o) for k, o in self.optimizers.items()},
            batches=deepcopy(self.batches),
            adjoint=self.point().adjoint,
            damping=self.damping,
            best=self.best,
            log=self.log,
        )

    def _placed(self, adjoint: Tensor | None) -> Tensor | None:
        if adjoint is None:
            return None
        return adjoint.to(self.problem.device, self.problem.dtype)

    def point(self) -> Point:
        """A copy, on the CPU, of what `restore` goes on from."""
        adjoint = None if self.adjoint is None else self.adjoint.clone().cpu()
        theta, w = (flat(getattr(self.players, name)).cpu() for name in _NAMES)
        return Point(theta, w, self.damping, adjoint)

    def restore(self, at: Point) -> None:
        assign(self.players.policy, at.theta)
        assign(self.players.q_function, at.w)
        # They are of these weights, as they were there.
        self.damping, self.adjoint = at.damping, self._placed(at.adjoint)

    def copies(self) -> tuple[nn.Module, nn.Module]:
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


def divergence(run: StochasticRun) -> tuple[str, str] | None:
    """What went wrong, a clause, and what to change, a sentence; None if nothing."""
    players, batch, solver = run.players, run.measured, run.solver
    finite_policy, finite_q = (
        bool(torch.isfinite(flat(getattr(players, name))).all()) for name in _NAMES
    )
    with torch.no_grad():
        choice = players.policy(batch.policy_initial)
        q = players.q_function.expected(batch.q_initial, choice)
    largest, allowed = float(q.abs().max()), run.problem.largest_value
    # Rewards of nothing leave room for pessimism too.
    if finite_policy and finite_q and largest <= _EXPLODED * max(1.0, allowed):
        return None
    beta, lam = run.objectives.beta, run.objectives.lam
    if finite_q and not finite_policy:
        return (
            "The policy's weights are not finite any more",
            f"Lower leader_learning_rate={solver.leader_learning_rate:g}, or raise "
            f"beta={beta:g} so that the Q-function responds more smoothly.",
        )
    rate = f"Lower learning_rate={solver.learning_rate:g}"
    if solver.optimizer == GAUSS_NEWTON:
        # Its steps have no size: what they lack is rows that are like the log.
        rate = f"Raise batch_size={solver.batch_size}"
    return (
        f"Q grew to {largest:.3g} in scaled rewards, where rewards allow {allowed:.3g}",
        f"{rate}, raise beta={beta:g}, which holds Q where the log is silent, or raise "
        f"lam={lam:g}, which holds it to the log.",
    )
