"""Turns of a play on samples: the follower's steps, the leader's, what came of them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._base import BestPoint, History, Observer, SolverState, Standing, StochasticResult
from ._gauss_newton import BatchObjectives, Response
from ._minibatch_game import (
    Batch,
    Minibatches,
    MinibatchGame,
    Players,
    assign,
    checksum,
    flat,
    trained,
)
from ._mirror_descent import mirror_step

# Rows on which a play is measured, on which a mirror step is fitted, and on which the
# last answer is settled.
_MEASURED_ROWS, _MIRROR_ROWS, _SETTLED_ROWS = 2_000, 5_000, 20_000

_CHUNK = 10_000

# Each mirror step is this much longer than the one before, as in closed form.
_STEP_GROWTH = 1.1

# Step sizes fall as (1 + turn / _DECAY) ** -0.5, whatever the number of turns to come.
_DECAY = 100.0

# Measurements over which v must stand still for the play to end.
_PATIENCE = 5

# Steps to the last answer, unless F falls by less than so much of itself.
_SETTLING_STEPS, _SETTLED = 15, 1e-6

# Relative residual to solve to. A product with the curvature sums over rows twice, and
# is right to some tens of units in its last place (1e-7 in single precision): below
# that, the residual that conjugate gradient keeps is not the true one any more.
_CG_TOL = {torch.float64: 1e-8, torch.float32: 1e-5}


class StochasticRun:
    """One run of a solver, on the game's device: where it is, and what it does next.

    Parameters
    ----------
    solver : StochasticSolver
    sampled : MinibatchGame
    state : SolverState
        Taken over, not copied.
    observe : callable or None
    """

    def __init__(
        self,
        solver: Any,
        sampled: MinibatchGame,
        state: SolverState,
        observe: Observer | None,
    ) -> None:
        self.solver, self.sampled, self.observe = solver, sampled, observe
        self.history, self.stopped = History(), False
        self.shortfall = self.diverged = ""
        for player in (state.leader, state.follower):
            if not trained(player):
                player.requires_grad_()
            player.to(device=sampled.device, dtype=sampled.dtype).eval()
        self.players = Players(state.leader, state.follower, sampled.discount)
        self.objectives = BatchObjectives(
            sampled, self.players, solver.lam, solver.beta
        )
        self.rates = {
            "leader": solver.leader_learning_rate,
            "follower": solver.learning_rate,
        }
        self.optimizers = {}
        for name, rate in self.rates.items():
            parameters = trained(getattr(self.players, name))
            self.optimizers[name] = solver.optimizer(parameters, rate)
            if name in state.optimizers:
                self.optimizers[name].load_state_dict(state.optimizers[name])
        sizes = {"rows": sampled.n, "initial": sampled.n_initial}
        self.batches = {
            name: Minibatches(n, solver.batch_size) for name, n in sizes.items()
        }
        # On the same rows a play goes on as if never stopped; on others, epochs begin
        # anew, and values measured before are of another game.
        self.log = checksum(sampled.rows)
        self.best: BestPoint | None = None
        if state.log == self.log:
            self.best = state.best
            for name, saved in state.batches.items():
                begun = self.batches[name]
                if (saved.n, saved.size) == (begun.n, begun.size):
                    self.batches[name] = saved
        self.played = 0
        self.cg_tol = _CG_TOL[sampled.dtype]
        self.rng, self.turn = state.rng, state.turn
        self.damping, self.adjoint = state.damping, self._placed(state.adjoint)
        self.whole: Batch | None = None
        self.measured = sampled.fixed_batch(_MEASURED_ROWS)
        self.last_finite = self.state()

    @property
    def over(self) -> bool:
        """Nothing more to play for."""
        return self.stopped or bool(self.diverged) or self._stands_still()

    def _draw(self) -> Batch:
        places = [self.batches[name].draw(self.rng) for name in ("rows", "initial")]
        if any(b.size < b.n for b in self.batches.values()):
            return self.sampled.batch(*places)
        # All rows and all initial states: the same batch at each turn.
        if self.whole is None:
            self.whole = self.sampled.batch(*places)
        return self.whole

    def step(self) -> None:
        """The follower's steps, a measurement where it is due, the leader's steps."""
        solver = self.solver
        for name, rate in self.rates.items():
            for group in self.optimizers[name].param_groups:
                group["lr"] = rate * (1.0 + self.turn / _DECAY) ** -0.5
        for _ in range(solver.follower_steps):
            if solver.gauss_newton:
                self._respond(self._draw())
            else:
                self._descend(self._draw())
        self._check()
        # Between the two: the follower has answered the policy that is measured.
        if self.turn % solver.measure_every == 0 and not self.diverged:
            self.measure()
        if self.over:
            return
        if self.turn == solver.mirror_steps and self.best is not None:
            self._restore(self.best.at)
        if self.turn < solver.mirror_steps:
            self._mirror()
        else:
            for _ in range(solver.leader_steps):
                self._climb(self._draw())
        self._check()
        self.turn += 1
        self.played += 1

    def _respond(self, batch: Batch) -> None:
        step = self.objectives.gauss_newton_step(
            batch,
            flat(self.objectives.follower),
            self.damping,
            self.cg_tol,
            self.solver.cg_steps,
        )
        self.damping = step.damping
        assign(self.objectives.follower, step.w)

    def _descend(self, batch: Batch) -> None:
        """One step of the follower's optimiser on F, estimated by a batch."""
        with torch.no_grad():
            choices = self.players.choices(batch)
        parameters = trained(self.objectives.follower)
        optimizer = self.optimizers["follower"]

        def closure() -> Tensor:
            optimizer.zero_grad()
            w = torch.cat([parameter.reshape(-1) for parameter in parameters])
            objective = self.sampled.follower_objective(
                self.players(batch, choices),
                batch,
                w,
                self.solver.lam,
                self.solver.beta,
            )
            objective.backward()
            return objective

        optimizer.step(closure)

    def _climb(self, batch: Batch) -> None:
        """One step of the leader's optimiser up the derivative of v."""
        objectives, solver = self.objectives, self.solver

        def closure() -> Tensor:
            if solver.leader_gradient == "individual":
                derivative = objectives.individual_derivative(batch)
            else:
                seen = objectives.total_derivative_of(
                    batch, self.adjoint, self.cg_tol, solver.cg_steps
                )
                derivative, self.adjoint = seen.derivative, seen.adjoint
            start = 0
            for parameter in trained(objectives.leader):
                part = derivative[start : start + parameter.numel()]
                parameter.grad = -part.reshape(parameter.shape)
                start += parameter.numel()
            with torch.no_grad():
                return -self.sampled.value(self.players(batch))

        self.optimizers["leader"].step(closure)

    def _mirror(self) -> None:
        """π ← π exp(η A) / Z at many logged states, as near as the leader comes."""
        places = [
            self.rng.choice(n, min(n, _MIRROR_ROWS), replace=False)
            for n in (self.sampled.n, self.sampled.n_initial)
        ]
        batch = self.sampled.batch(*places)
        x = torch.cat([batch.leader_next, batch.leader_initial])
        y = torch.cat([batch.follower_next, batch.follower_initial])
        mirror_step(
            self.objectives.leader,
            self.objectives.follower,
            x,
            y,
            eta=_STEP_GROWTH**self.turn,
            optimizer=self.optimizers["leader"],
            rng=self.rng,
        )

    def measure(self) -> None:
        """Add an entry to the history, and keep what is sound."""
        objectives, batch = self.objectives, self.measured
        seen = objectives.total_derivative_of(
            batch, self.adjoint, self.cg_tol, self.solver.cg_steps
        )
        followed = seen.derivative
        if self.solver.leader_gradient == "individual":
            followed = objectives.individual_derivative(batch)
        with torch.no_grad():
            choices = self.players.choices(batch)
        w = flat(objectives.follower).requires_grad_()
        play = self.players.at(batch, w, choices=choices)
        objective = self.sampled.follower_objective(
            play, batch, w, self.solver.lam, self.solver.beta
        )
        (gradient,) = torch.autograd.grad(objective, w)
        self.history.add(
            value=self.sampled.value(play).detach(),
            pessimism=seen.pessimism,
            follower_objective=objective.detach(),
            bellman_error=self.sampled.error(play, batch, w).detach(),
            leader_gradient_norm=followed.norm(),
            follower_gradient_norm=gradient.norm(),
            cg_residual=seen.cg_residual,
        )
        if self.best is None or self.history.last()["value"] > self.best.value:
            self.best = BestPoint(self.history.last()["value"], self._standing())
        self.last_finite = self.state()
        if self.observe is not None:
            self.stopped = bool(self.observe(self.history.last(), self._resting))

    def _check(self) -> None:
        """Give up where what is played with is not sound any more."""
        why = divergence(self.players, self.sampled, self.measured, self.solver)
        if why:
            what, remedy = why
            self.diverged = (
                f"{what}: the play was given up in turn {self.turn}, and what it had "
                f"in turn {self.last_finite.turn} is kept. {remedy}"
            )

    def _stands_still(self) -> bool:
        values = self.history.entries["value"][-1 - _PATIENCE :]
        first = self.turn - _PATIENCE * self.solver.measure_every
        if len(values) <= _PATIENCE or first < self.solver.mirror_steps:
            return False
        return max(values) - min(values) <= self.solver.tol * abs(values[-1])

    def state(self) -> SolverState:
        """A copy of where the play stands, on the CPU."""
        return SolverState(
            *(_at_rest(getattr(self.players, name)) for name in self.rates),
            rng=deepcopy(self.rng),
            turn=self.turn,
            optimizers={
                name: _on_cpu(deepcopy(optimizer.state_dict()))
                for name, optimizer in self.optimizers.items()
            },
            batches=deepcopy(self.batches),
            adjoint=self._standing().adjoint,
            damping=self.damping,
            best=self.best,
            log=self.log,
        )

    def _placed(self, adjoint: Tensor | None) -> Tensor | None:
        """A saved adjoint on the game's device, in its precision."""
        if adjoint is None:
            return None
        return adjoint.to(self.sampled.device, self.sampled.dtype)

    def _standing(self) -> Standing:
        """A copy, on the CPU, of what `_restore` goes on from."""
        return Standing(
            flat(self.objectives.leader).cpu(),
            flat(self.objectives.follower).cpu(),
            self.damping,
            None if self.adjoint is None else self.adjoint.clone().cpu(),
        )

    def _restore(self, at: Standing) -> None:
        """Go on from where the play stood."""
        assign(self.objectives.leader, at.theta)
        assign(self.objectives.follower, at.w)
        self.damping, self.adjoint = at.damping, self._placed(at.adjoint)

    def _solve_best_response(self) -> bool:
        """Bring the follower to its best response on the whole log, or nearly.

        False where no step made F fall although there is more to gain.
        """
        batch = self.sampled.fixed_batch(_SETTLED_ROWS)
        step = Response(flat(self.objectives.follower), self.damping, 0.0)
        for _ in range(_SETTLING_STEPS):
            step = self.objectives.gauss_newton_step(
                batch, step.w, step.damping, self.cg_tol, self.solver.cg_steps
            )
            if step.fall <= _SETTLED and not step.failed:
                break
        assign(self.objectives.follower, step.w)
        return not step.failed

    def _value(self) -> float:
        """v, over all initial states."""
        total, n = 0.0, self.sampled.n_initial
        with torch.no_grad():
            for start in range(0, n, _CHUNK):
                places = np.arange(start, min(n, start + _CHUNK))
                batch = self.sampled.batch(places[:1] * 0, places)
                total += float(self.players(batch).initial_value.sum())
        return (1.0 - self.sampled.discount) * total / n

    def result(self) -> StochasticResult:
        """What is returned: the last policy or the best, and the settled answer to it.

        v of a follower that has not answered yet proves nothing, so that the two are
        compared once it has.
        """
        state = self.last_finite if self.diverged else self.state()
        if self.played and not self.over:
            self.shortfall = (
                "The policy's value had not stood still "
                f"(tol={self.solver.tol:g}) when max_iter={self.solver.max_iter} turns "
                "ended the play. Raise max_iter, or raise tol."
            )
        if self.diverged:
            weights = flat(state.leader), flat(state.follower)
            self._restore(Standing(*weights, state.damping, state.adjoint))
        answered = [self._solve_best_response()]
        tried = [BestPoint(self._value(), self._standing())]
        if self.best is not None:
            self._restore(self.best.at)
            answered.append(self._solve_best_response())
            tried.append(BestPoint(self._value(), self._standing()))
        chosen = max(range(len(tried)), key=lambda number: tried[number].value)
        best = tried[chosen]
        if not answered[chosen]:
            self.shortfall = f"{self.shortfall} {self._unanswered()}".strip()
        self._restore(best.at)
        self.observe = None
        self.measure()
        leader, follower = self._resting()
        return StochasticResult(
            leader=leader,
            follower=follower,
            value=best.value,
            pessimism=self.history.last()["pessimism"],
            history=self.history,
            n_iter=state.turn,
            state=state,
            shortfall=self.shortfall,
            diverged=self.diverged,
            stopped=self.stopped,
        )

    def _unanswered(self) -> str:
        solver = self.solver
        return (
            "The Q-function did not reach its best response to the policy: no step "
            "lowered its objective, although its gradient is not zero, so that "
            "policy_value_ may be too high. Raise "
            f"beta={solver.beta:g}, which makes the objective smoother, or "
            f"batch_size={solver.batch_size}, so that its steps see more rows."
        )

    def _resting(self) -> tuple[nn.Module, nn.Module]:
        """Copies of the players that nobody trains."""
        leader, follower = (
            _at_rest(getattr(self.players, name)).requires_grad_(False)
            for name in self.rates
        )
        return leader, follower


def _at_rest(player: nn.Module) -> nn.Module:
    """A copy on the CPU without gradients."""
    player = deepcopy(player).cpu()
    player.zero_grad(set_to_none=True)
    return player


def _on_cpu(saved: Any) -> Any:
    if isinstance(saved, Tensor):
        return saved.cpu()
    if isinstance(saved, dict):
        return {key: _on_cpu(value) for key, value in saved.items()}
    if isinstance(saved, list | tuple):
        return type(saved)(_on_cpu(value) for value in saved)
    return saved


# q beyond so many times what rewards allow is no pessimism any more.
_EXPLODED = 1e3


def divergence(
    players: Players, sampled: MinibatchGame, batch: Batch, solver: Any
) -> tuple[str, str] | None:
    """What went wrong, if anything did.

    Parameters
    ----------
    players : Players
    sampled : MinibatchGame
    batch : Batch
        Whose initial states tell how large q is.
    solver : StochasticSolver
        Whose settings the remedy names.

    Returns
    -------
    what, remedy : str
        A clause, and a sentence that says which step size or weight to change. None
        where all is sound.
    """
    finite = {
        name: bool(torch.isfinite(flat(getattr(players, name))).all())
        for name in ("leader", "follower")
    }
    with torch.no_grad():
        q = players.follower.expected(
            batch.follower_initial, players.leader(batch.leader_initial)
        )
    # Rewards of nothing leave room for pessimism too.
    largest = float(q.abs().max())
    limit = _EXPLODED * max(1.0, sampled.largest_value)
    if all(finite.values()) and largest <= limit:
        return None
    if finite["follower"] and not finite["leader"]:
        return (
            "The policy's weights are not finite any more",
            f"Lower leader_learning_rate={solver.leader_learning_rate:g}, or raise "
            f"beta={solver.beta:g} so that the follower answers more smoothly.",
        )
    rate = f"Lower learning_rate={solver.learning_rate:g}"
    if solver.gauss_newton:
        rate = f"Raise batch_size={solver.batch_size}"
    return (
        f"Q grew to {largest:.3g} in scaled rewards, where rewards allow "
        f"{sampled.largest_value:.3g}",
        f"{rate}, raise beta={solver.beta:g}, which holds Q where the log is silent, "
        f"or raise lam={solver.lam:g}, which holds it to the log.",
    )
