"""Steps on samples: the closed form's game, put down and resumed, given up in time."""

from __future__ import annotations

import itertools
import pickle
from copy import deepcopy

import gymnasium as gym
import numpy as np
import pytest
import torch
from _problems import (
    NetworkGame,
    TableRows,
    autograd,
    closed_form,
    lstd,
    random_rows,
    relative_error,
    sampled,
)
from torch.testing import assert_close

from sklearn_stackelberg._linalg import conjugate_gradient
from sklearn_stackelberg._problem.rows import Rows
from sklearn_stackelberg._sampling import Minibatches
from sklearn_stackelberg.datasets import FiniteMDP, log_episodes
from sklearn_stackelberg.kernels import LandmarkFeatures
from sklearn_stackelberg.networks import MLP, build_network
from sklearn_stackelberg.policies import (
    CandidateSoftmax,
    SoftmaxPolicy,
    SquashedGaussian,
)
from sklearn_stackelberg.q_functions import ContinuousQ, DiscreteQ, LinearQ
from sklearn_stackelberg.solvers import ProblemSpec, SolverState, Stochastic
from sklearn_stackelberg.solvers import _gauss_newton as gauss_newton
from sklearn_stackelberg.solvers import _stochastic_run as stochastic_run
from sklearn_stackelberg.solvers._minibatch_game import (
    MinibatchGame,
    MinibatchInputs,
    Players,
    flat,
)

# Fits by the dozen: some minutes of a processor in all.
pytestmark = pytest.mark.slow

short_response = pytest.mark.usefixtures("short_response")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def linear_players(rows: TableRows):
    m = rows.features(rows.state[:1]).shape[1]
    zero = torch.zeros(m, rows.n_actions, dtype=torch.float64)
    return SoftmaxPolicy(zero.clone()), DiscreteQ(LinearQ(zero.clone()))


def rows_of(log, kernel, **settings) -> TableRows:
    states = np.concatenate([np.asarray(log.state), np.asarray(log.next_state)])
    states = states.reshape(len(states), -1).astype(float)
    features = LandmarkFeatures(
        kernel, bandwidth="median", random_state=0, **settings
    ).fit(states)
    table = torch.from_numpy(features.transform(states))
    n = len(log)
    reward = np.asarray(log.reward, dtype=float)
    _, codes = np.unique(log.action, return_inverse=True)
    return TableRows(
        lambda index: table[torch.from_numpy(index)],
        np.arange(n),
        n + np.arange(n),
        codes,
        reward / np.sqrt(np.mean(reward**2)),
        np.asarray(log.terminated, dtype=float),
        np.arange(n),
        int(codes.max()) + 1,
    )


def frozen_lake():
    mdp = FiniteMDP.from_gymnasium(gym.make("FrozenLake-v1", is_slippery=True))
    log = mdp.sample(np.full((16, 4), 0.25), 800, np.random.default_rng(0))
    return rows_of(log, "delta", n_components=None)


def cartpole():
    log = log_episodes(
        gym.make("CartPole-v1"), lambda _, rng: int(rng.integers(2)), 500, 0
    )
    return rows_of(log, "rbf", n_components=8)


def chain():
    """Eight places in a row; each step to the right may slip, the last place pays."""
    rng = np.random.default_rng(0)
    n, length = 400, 8
    state, action = rng.integers(length, size=n), rng.integers(2, size=n)
    moved = np.where((action == 1) & (rng.random(n) < 0.8), state + 1, state - 1)
    after = moved.clip(0, length - 1)
    table = torch.eye(length, dtype=torch.float64)
    return TableRows(
        lambda index: table[torch.from_numpy(index)],
        state,
        after,
        action,
        (after == length - 1) * 2.0,
        np.zeros(n),
        np.arange(length),
        2,
    )


SPEC = ProblemSpec("discrete", linear_q=False, linear_policy=False, network_policy=True)


class OnSamples:
    """A stochastic solver at one λ and β, with the settings that no user has."""

    def __init__(
        self, lam, beta, *, seed=0, cg_steps=20, measure_every=5, tol=1e-3, **settings
    ):
        settings = {"max_iter": 40, "leader_learning_rate": 3e-3, **settings}
        self.solver = Stochastic(tol=tol, **{"batch_size": 5_000, **settings})
        self.solver._cg_steps, self.solver._measure_every = cg_steps, measure_every
        self.lam, self.beta, self.seed = lam, beta, seed

    def solve(self, problem, *modules, state=None, observe=None):
        if state is None:
            state = SolverState(*modules, rng=np.random.default_rng(self.seed))
        return self.solver.solve(
            problem, state, lam=self.lam, beta=self.beta, observe=observe
        )


def small_run(**settings):
    """Networks on a small game, with settings under which a step takes little time."""
    played = NetworkGame(0, "tanh")
    settings = {"batch_size": 16, "max_iter": 4, "mirror_steps": 2, **settings}
    solver = OnSamples(played.lam, played.beta, **{"seed": 3, **settings})
    return solver, played


def assert_same(a, b):
    """Bit for bit."""
    for name in ("policy", "q_function"):
        pairs = zip(
            getattr(a, name).state_dict().values(),
            getattr(b, name).state_dict().values(),
            strict=True,
        )
        assert all(torch.equal(x, y) for x, y in pairs)


# The closed form's game.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "discount", "settings"),
    [
        (chain, 0.9, {"max_iter": 15}),
        (chain, 0.9, {"max_iter": 15, "batch_size": 200}),
        (frozen_lake, 0.95, {"max_iter": 45, "cg_steps": 100}),
        (cartpole, 0.9, {"max_iter": 30}),
    ],
)
def test_both_solvers_reach_one_game_where_q_is_linear(problem, discount, settings):
    rows, (lam, beta) = problem(), (10.0, 1e-3)
    sums = lstd(rows, discount)
    closed = closed_form(lam, beta, max_iter=100, tol=1e-6)
    m, actions = sums.n_features, sums.n_actions
    expected = closed.solve(sums, torch.zeros(m, actions, dtype=torch.float64))
    settings = {"cg_steps": 40, **settings}
    solver = OnSamples(lam, beta, leader_learning_rate=1.0, **settings)
    found = solver.solve(sampled(rows, discount), *linear_players(rows))
    theta = found.policy.weight
    # What it says of its policy is what the closed form says of it ...
    at = closed.evaluate(sums, theta)
    assert found.value == pytest.approx(float(at.value), rel=1e-4)
    assert_close(found.q_function.module.weight, at.w, rtol=1e-2, atol=1e-2)
    assert found.pessimism == pytest.approx(float(at.pessimism), rel=1e-2)
    # ... and the policy is as good, and the same.
    assert found.value == pytest.approx(expected.value, rel=0.01)
    states = rows.features(rows.state)
    same = (states @ theta).argmax(1) == (states @ expected.policy).argmax(1)
    assert same.double().mean() >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", torch.optim.RMSprop])
def test_gradient_steps_on_minibatches_reach_it_too(optimizer):
    rows, discount, lam, beta = chain(), 0.5, 0.2, 0.5
    sums = lstd(rows, discount)
    solver = OnSamples(
        lam,
        beta,
        optimizer=optimizer,
        learning_rate=0.03,
        leader_learning_rate=0.1,
        follower_steps=10,
        batch_size=100,
        mirror_steps=10,
        max_iter=40,
    )
    problem = sampled(rows, discount)
    result = solver.solve(problem, *linear_players(rows))
    closed = closed_form(lam, beta, max_iter=100, tol=1e-6)
    expected = closed.solve(sums, torch.zeros(8, 2, dtype=torch.float64)).value
    # The Q-function had responded before its best response was found.
    unsettled = result.history.entries["value"][-2]
    assert unsettled == pytest.approx(expected, rel=0.05)
    assert result.value == pytest.approx(expected, rel=0.01)


@short_response
def test_an_optimizer_that_searches_along_a_line():
    solver, played = small_run(
        optimizer="lbfgs", batch_size=40, learning_rate=1.0, max_iter=1
    )
    result = solver.solve(played.sampled, *played.modules)
    objective = result.history.entries["follower_objective"]
    start = played.F(flat(played.players.q_function), flat(played.players.policy))
    assert objective[0] < float(start)


def test_a_ridge_is_the_closed_forms():
    rows, discount, lam, beta, ridge = random_rows(0), 0.9, 2.0, 0.1, 0.05
    problem = sampled(rows, discount, ridge=ridge)
    solver = OnSamples(lam, beta, cg_steps=100, max_iter=3)
    result = solver.solve(problem, *linear_players(rows))
    at = closed_form(lam, beta).evaluate(
        lstd(rows, discount, ridge), result.policy.weight
    )
    assert result.value == pytest.approx(float(at.value), rel=1e-6)


# Minibatches.


@pytest.mark.parametrize(("n", "size"), [(12, 4), (13, 4), (5, 5), (3, 8), (7, 1)])
def test_an_epoch_holds_each_place_once(n, size):
    batches, rng = Minibatches(n, size), np.random.default_rng(0)
    counts = np.zeros(n)
    for _ in range(50):
        epoch = [batches.draw(rng) for _ in range(n // min(n, size))]
        assert {*map(len, epoch)} == {min(n, size)}
        places = np.concatenate(epoch)
        assert len(np.unique(places)) == len(places)
        counts[places] += 1
    # What is left over in one epoch is not always the same.
    assert counts.min() > 0


@short_response
def test_batches_larger_than_the_log_are_the_log():
    solver, played = small_run(batch_size=10**9)
    result = solver.solve(played.sampled, *played.modules)
    exact = OnSamples(
        played.lam, played.beta, batch_size=40, max_iter=4, mirror_steps=2, seed=3
    ).solve(played.sampled, *played.modules)
    assert_same(result, exact)


# Put down and resumed.


@short_response
@pytest.mark.parametrize(
    ("optimizer", "gradient"),
    [("gauss-newton", "total"), ("gauss-newton", "individual"), ("adam", "total")],
)
def test_a_resumed_run_is_the_run_that_did_not_stop(optimizer, gradient):
    settings = {"optimizer": optimizer, "leader_gradient": gradient, "tol": 0.0}
    solver, played = small_run(max_iter=5, measure_every=2, **settings)
    whole = solver.solve(played.sampled, *played.modules)
    solver, _ = small_run(max_iter=3, measure_every=2, **settings)
    first = solver.solve(played.sampled, *played.modules)
    state = pickle.loads(pickle.dumps(first.state))
    solver, _ = small_run(max_iter=2, measure_every=2, **settings)
    resumed = solver.solve(played.sampled, state=state)
    assert_same(whole.state, resumed.state)
    assert_same(whole, resumed)
    assert whole.value == resumed.value
    assert whole.n_iter == resumed.n_iter == 5
    # The state was left as it was: it can be resumed from again.
    assert_same(solver.solve(played.sampled, state=state), resumed)
    assert_same(solver.solve(played.sampled, state=deepcopy(state)), resumed)


@short_response
def test_a_run_goes_on_with_other_rows():
    solver, played = small_run()
    first = solver.solve(played.sampled, *played.modules)
    other = NetworkGame(1, "tanh", n=30).sampled
    found = solver.solve(other, state=first.state)
    assert found.n_iter == 8
    assert found.state.batches["rows"].n == 30
    # What was best on the other rows is of another game.
    assert found.value == max(found.value, first.state.best.value) or (
        found.state.best.value != first.state.best.value
    )


def shifted(read):
    return lambda index: read(index) + 0.1


def of_another_log(rows, inputs, name):
    """The same rewards, and something else that differs."""
    if name in inputs._fields:
        return rows, inputs._replace(**{name: shifted(getattr(inputs, name))})
    old = getattr(rows, name)
    new = 1.0 - old if name == "terminated" else old[::-1].copy()
    return rows._replace(**{name: new}), inputs


@short_response
def test_equal_rewards_are_not_an_equal_log():
    solver, played = small_run(max_iter=1, mirror_steps=0)
    players = played.modules
    rows, inputs = played.sampled.rows, played.sampled.inputs

    def checksum(*log):
        return solver.solve(MinibatchGame(*log, played.discount), *players).state.log

    found = checksum(rows, inputs)
    assert checksum(rows._replace(), inputs._replace()) == found
    of_inputs, of_rows = ("policy", "q_function"), ("state", "next_state", "action")
    for name in (*of_inputs, *of_rows, "terminated", "initial"):
        assert checksum(*of_another_log(rows, inputs, name)) != found, name


@short_response
def test_minibatches_of_another_length_are_not_gone_on_with():
    solver, played = small_run(max_iter=1)
    players = played.modules
    state = solver.solve(played.sampled, *players).state
    other = NetworkGame(0, "tanh", n=30).sampled
    # Two checksums may be equal by chance.
    state.log = solver.solve(other, *players).state.log
    found = solver.solve(other, state=state)
    assert {name: b.n for name, b in found.state.batches.items()} == {
        "rows": other.n,
        "initial": other.n_initial,
    }


@short_response
def test_players_given_are_left_as_they_are_and_nothing_global_moves():
    solver, played = small_run()
    before = [flat(p).clone() for p in played.players.children()]
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads, default = torch.get_num_threads(), torch.get_default_dtype()
    result = solver.solve(played.sampled, *played.modules)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, default)
    for player, weights in zip(played.players.children(), before, strict=True):
        assert torch.equal(flat(player), weights)
        assert all(p.grad is None for p in player.parameters())
    again = solver.solve(played.sampled, *played.modules)
    assert_same(result, again)
    for player in (result.policy, result.q_function):
        deepcopy(player)
        assert pickle.loads(pickle.dumps(player)).state_dict().keys()
        assert not any(p.requires_grad for p in player.parameters())


# Observers.


def test_the_history_is_of_what_was_done():
    solver, played = small_run(max_iter=6, mirror_steps=0, measure_every=2, tol=0.0)
    seen = []
    result = solver.solve(
        played.sampled,
        *played.modules,
        observe=lambda entry, players: seen.append(entry),
    )
    entries = result.history.entries
    assert [len(column) for column in entries.values()] == [4] * len(entries)
    assert [entry["value"] for entry in seen] == entries["value"][:-1]
    assert np.isfinite([*entries.values()]).all()
    # What is returned is what the last entry is of.
    played.players.policy.load_state_dict(result.policy.state_dict())
    played.players.q_function.load_state_dict(result.q_function.state_dict())
    w, theta = flat(played.players.q_function), flat(played.players.policy)
    assert entries["value"][-1] == pytest.approx(float(played.v(w, theta)))
    assert entries["value"][-1] == pytest.approx(result.value)
    F = autograd(lambda w: played.F(w, theta), w)
    assert entries["follower_gradient_norm"][-1] == pytest.approx(float(F.norm()))
    assert entries["follower_objective"][-1] == pytest.approx(float(played.F(w, theta)))


@short_response
def test_an_observer_ends_the_run():
    solver, played = small_run(max_iter=50, measure_every=1)
    count = itertools.count()
    result = solver.solve(
        played.sampled,
        *played.modules,
        observe=lambda entry, players: next(count) == 2,
    )
    assert result.stopped
    assert result.n_iter == 2
    assert result.shortfall == ""


@short_response
def test_iterations_that_ran_out_are_named():
    solver, played = small_run(max_iter=2, tol=1e-9)
    result = solver.solve(played.sampled, *played.modules)
    assert "max_iter=2 iterations" in result.shortfall
    solver, _ = small_run(max_iter=100, tol=0.9, measure_every=1)
    result = solver.solve(played.sampled, *played.modules)
    assert result.shortfall == ""
    assert result.n_iter < 100


@short_response
def test_the_individual_derivative_goes_another_way():
    results = []
    for gradient in ("total", "individual"):
        solver, played = small_run(leader_gradient=gradient, mirror_steps=0)
        results.append(solver.solve(played.sampled, *played.modules))
    assert results[0].state.adjoint is not None
    assert results[1].state.adjoint is None
    a, b = (flat(result.state.policy) for result in results)
    assert relative_error(a, b) > 1e-4


# Given up in time.


@short_response
def test_a_q_function_that_explodes_is_given_up_with_what_was_finite():
    solver, played = small_run(
        optimizer="sgd", learning_rate=1e3, max_iter=100, measure_every=1
    )
    result = solver.solve(played.sampled, *played.modules)
    assert "Lower learning_rate=1000" in result.diverged
    assert "raise beta=0.1" in result.diverged
    assert "raise lam=0.5" in result.diverged
    assert "\n" not in result.diverged
    assert np.isfinite(result.value)
    for player in (result.policy, result.q_function):
        assert torch.isfinite(torch.cat([*map(torch.ravel, player.parameters())])).all()


@short_response
def test_a_policy_that_explodes_is_named():
    solver, played = small_run(
        optimizer=lambda parameters, rate: torch.optim.SGD(parameters, lr=rate),
        learning_rate=1e-6,
        leader_learning_rate=float("inf"),
        mirror_steps=0,
        max_iter=10,
    )
    result = solver.solve(played.sampled, *played.modules)
    assert "Lower leader_learning_rate=inf" in result.diverged
    assert torch.isfinite(flat(result.state.policy)).all()


def test_damping_and_adjoint_go_back_with_the_players(monkeypatch):
    solver, played = small_run(max_iter=9, mirror_steps=0, measure_every=2, tol=0.0)
    dampings, starts = [], []
    respond, total_derivative_of = (
        gauss_newton.BatchObjectives.gauss_newton_step,
        gauss_newton.BatchObjectives.total_derivative_of,
    )

    def recorded_response(self, batch, w, damping, *rest):
        dampings.append(damping)
        return respond(self, batch, w, damping, *rest)

    def recorded_derivative(self, batch, start, *rest):
        starts.append(start)
        return total_derivative_of(self, batch, start, *rest)

    monkeypatch.setattr(
        gauss_newton.BatchObjectives, "gauss_newton_step", recorded_response
    )
    monkeypatch.setattr(
        gauss_newton.BatchObjectives, "total_derivative_of", recorded_derivative
    )
    # It breaks after the step of iteration 3, and was last measured in iteration 2.
    monkeypatch.setattr(
        stochastic_run,
        "divergence",
        lambda *_, **__: ("It broke", "Mend it.") if len(dampings) == 4 else None,
    )
    result = solver.solve(played.sampled, *played.modules)
    state, best = result.state, result.state.best.at
    assert "It broke" in result.diverged
    assert state.iteration == 2
    assert dampings[3] == state.damping
    assert dampings[4] == state.damping
    assert best.damping in dampings[5:]
    assert starts[-1] is best.adjoint or any(
        torch.equal(starts[-1], adjoint)
        for adjoint in (state.adjoint, best.adjoint)
        if adjoint is not None
    )


class Backwards(torch.nn.Module):
    """A linear map whose derivatives have the wrong sign: no step goes down."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        weight = torch.linspace(-0.5, 0.5, n_inputs * n_outputs, dtype=torch.float64)
        self.weight = torch.nn.Parameter(weight.reshape(n_inputs, n_outputs))

    def forward(self, x):
        value = x @ self.weight
        return value - 2.0 * value.detach()


def test_a_q_function_that_cannot_respond_is_named():
    solver, played = small_run(batch_size=40, mirror_steps=0, max_iter=1)
    result = solver.solve(
        played.sampled, played.players.policy, DiscreteQ(Backwards(2, 3))
    )
    assert "did not reach its best response" in result.shortfall
    assert "Raise beta=0.1" in result.shortfall
    assert "batch_size=40" in result.shortfall
    assert "\n" not in result.shortfall
    # That the iterations ran out is said beside it.
    assert "max_iter=1 iterations" in result.shortfall


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_q_function_at_its_minimum_has_not_failed(dtype):
    rows = chain()
    problem = sampled(rows, 0.9, dtype=dtype)
    policy, q_function = (p.to(dtype).requires_grad_() for p in linear_players(rows))
    objectives = gauss_newton.BatchObjectives(
        problem, Players(policy, q_function, 0.9), lam=10.0, beta=1e-3
    )
    batch, falls = problem.fixed_batch(1_000), []
    w, damping, tol = flat(q_function), 1e-10, stochastic_run._CG_TOL[dtype]
    for _ in range(10):
        found = objectives.gauss_newton_step(batch, w, damping, tol, 100)
        w, damping = found.w, found.damping
        falls.append(found.fall)
        assert not found.failed
    assert falls[0] > 0.1
    assert min(falls) == 0.0


def test_rewards_of_nothing_are_no_divergence():
    rows = chain()
    nothing = rows._replace(reward=0.0 * rows.reward)
    problem = sampled(nothing, 0.9)
    result = OnSamples(1.0, 1e-3, max_iter=5).solve(problem, *linear_players(nothing))
    assert result.diverged == ""
    assert result.value == pytest.approx(-result.pessimism, rel=0.05)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match=r"one of \[.*'adam'.*\].*got 'adamant'"):
        Stochastic(optimizer="adamant").resolve(SPEC)


# Parameters.


@pytest.mark.parametrize(("network_policy", "rate"), [(True, 3e-3), (False, 0.1)])
def test_what_is_none_becomes_a_number(network_policy, rate):
    spec = ProblemSpec("discrete", network_policy, True, network_policy)
    solver = Stochastic(mirror_steps=7)
    found = solver.resolve(spec)
    assert (found.max_iter, found.batch_size) == (27, 5_000)
    assert found.leader_learning_rate == rate
    assert solver.max_iter is solver.batch_size is solver.leader_learning_rate is None
    given = Stochastic(max_iter=3, batch_size=20, leader_learning_rate=0.5)
    assert given.resolve(spec).get_params() == given.get_params()


@pytest.mark.parametrize(("n_rows", "iterations"), [(100, 5), (101, 6), (15, 1)])
def test_one_pass_goes_once_over_the_rows(n_rows, iterations):
    solver = Stochastic(batch_size=10, follower_steps=2).resolve(SPEC)
    once = solver.one_pass(n_rows)
    assert (once.max_iter, once.tol) == (iterations, 0.0)
    assert solver.max_iter == 60


def test_parameters_out_of_range_are_refused():
    for params in ({"batch_size": 0}, {"learning_rate": -1.0}, {"leader_steps": 1.5}):
        (name,) = params
        with pytest.raises(ValueError, match=f"{name} must be"):
            Stochastic(**params).resolve(SPEC)


def test_what_was_not_resolved_is_not_solved():
    played = NetworkGame()
    with pytest.raises(ValueError, match="call resolve first"):
        Stochastic().solve(played.sampled, SolverState(*played.modules), lam=1, beta=1)
    with pytest.raises(TypeError, match="modules"):
        Stochastic().resolve(SPEC).solve(
            played.sampled, SolverState(torch.zeros(2, 3)), lam=1.0, beta=1.0
        )


# Actions that are measurements.


def doses(n=120):
    """One decision: the dose that the state asks for is best, the logger draws any."""
    rng = np.random.default_rng(0)
    state, action = rng.uniform(-1, 1, size=(n, 1)), rng.uniform(-1, 1, size=(n, 1))
    reward = 1.0 - 3.0 * (action[:, 0] - 0.8 * state[:, 0]) ** 2
    both = np.concatenate([state, action], axis=1)
    features = LandmarkFeatures(
        "rbf", bandwidth="median", n_components=40, random_state=0
    ).fit(both)
    inputs, embedding = (
        torch.from_numpy(part) for part in (state, features.transform(both))
    )
    index = np.arange(n)
    return state, MinibatchGame(
        Rows(index, index, action, reward, np.ones(n), index),
        MinibatchInputs(
            lambda index: inputs[torch.from_numpy(index)],
            lambda index: inputs[torch.from_numpy(index)],
            lambda index: embedding[torch.from_numpy(index)],
        ),
        0.0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["candidates", "gaussian"])
@pytest.mark.parametrize(("mirror_steps", "max_iter"), [(0, 20), (6, 8)])
def test_networks_learn_a_dose(kind, mirror_steps, max_iter):
    state, problem = doses()
    grid = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64)[:, None]
    head = build_network(MLP((8,), "tanh"), 1, 9 if kind == "candidates" else 2)
    if kind == "candidates":
        policy = CandidateSoftmax(head, grid)
    else:
        policy = SquashedGaussian(head, np.array([-1.0]), np.array([1.0]))
    q_function = ContinuousQ(build_network(MLP((16,), "tanh"), 2, 1, seed=1))
    solver = OnSamples(
        30.0,
        1e-3,
        mirror_steps=mirror_steps,
        max_iter=max_iter,
        leader_learning_rate=0.03,
        leader_steps=5,
        cg_steps=10,
        tol=0.0,
    )
    result = solver.solve(problem, policy, q_function)
    actions, weights = result.policy(torch.from_numpy(state))
    chosen = (weights[:, :, None] * actions).sum(1)[:, 0].detach().numpy()
    # One amount for all leaves about 0.2; where a few steps end hangs on rounding.
    assert np.mean((chosen - 0.8 * state[:, 0]) ** 2) < 0.08
    assert np.abs(actions.detach().numpy()).max() <= 1.0
    # The logger's mean is 1 - 3 (1/3 + 0.64/3) = -0.64; the best is 1.
    assert 0.3 < result.value <= 1.05


# Precision and device.


@short_response
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["gauss-newton", "adam"])
def test_single_precision_comes_to_nearly_the_same(optimizer):
    solver, played = small_run(optimizer=optimizer)
    double = solver.solve(played.sampled, *played.modules)
    problem = MinibatchGame(
        played.sampled.rows,
        played.sampled.inputs,
        played.discount,
        dtype=torch.float32,
    )
    single = solver.solve(problem, *played.modules)
    assert {p.dtype for p in single.policy.parameters()} == {torch.float32}
    assert single.value == pytest.approx(double.value, abs=1e-2)


def test_single_precision_solves_no_further_than_rounding(monkeypatch):
    solved = []

    def recorded(matvec, right, start=None, **settings):
        found = conjugate_gradient(matvec, right, start, **settings)
        further = conjugate_gradient(matvec, right, start, tol=1e-8, max_iter=500)
        left = [float((right - matvec(s.x)).norm()) for s in (found, further)]
        solved.append((found.n_iter, further.n_iter, *left))
        return found

    monkeypatch.setattr(gauss_newton, "conjugate_gradient", recorded)
    rows = chain()
    problem = sampled(rows, 0.9, dtype=torch.float32)
    solver = OnSamples(10.0, 1e-3, cg_steps=30, max_iter=4, mirror_steps=2)
    solver.solve(problem, *linear_players(rows))
    products, further, left, left_further = np.array(solved).T
    assert products.max() < 30 < further.max()
    # Twice the products halve the true residual of few.
    assert np.median(left / left_further) < 2.0


@CUDA
def test_a_run_on_a_gpu_comes_back_to_the_cpu():
    solver, played = small_run()
    problem = MinibatchGame(
        played.sampled.rows,
        played.sampled.inputs,
        played.discount,
        device="cuda",
    )
    result = solver.solve(problem, *played.modules)
    there = solver.solve(played.sampled, state=result.state)
    assert {p.device.type for p in result.policy.parameters()} == {"cpu"}
    assert np.isfinite(there.value)
    expected = solver.solve(played.sampled, *played.modules)
    assert result.value == pytest.approx(expected.value, abs=1e-3)
