"""The closed form over continuous actions, against dense matrices and known optima."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from _problems import (
    TableRows,
    autograd,
    callable_kernel,
    closed_form,
    finite_differences,
    kernel_id,
    lstd,
    relative_error,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics.pairwise import rbf_kernel
from torch.testing import assert_close

from sklearn_stackelberg._problem.rows import Rows
from sklearn_stackelberg.equilibrium import measure_equilibrium
from sklearn_stackelberg.kernels import LandmarkFeatures, StateActionFeatures
from sklearn_stackelberg.policies import CandidateSoftmax, SquashedGaussian
from sklearn_stackelberg.solvers import _lstd_continuous as lstd_continuous
from sklearn_stackelberg.solvers._continuous_policies import (
    CandidatePolicyModel,
    GaussianPolicyModel,
)
from sklearn_stackelberg.solvers._lstd_continuous import ContinuousLSTD


class StateRows(NamedTuple):
    """Rows of continuous actions, and their states."""

    states: np.ndarray
    state: np.ndarray
    next_state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    initial: np.ndarray


def continuous_lstd(rows, policy, *args, **kwargs):
    return ContinuousLSTD(Rows(*rows[1:]), rows.states, policy, *args, **kwargs)


TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def random_joint_rows(seed=0, *, n=60, n_states=40, d=2, p=1, end=0.2, n_initial=7):
    rng = np.random.default_rng(seed)
    return StateRows(
        rng.normal(size=(n_states, d)),
        rng.integers(n_states, size=n),
        rng.integers(n_states, size=n),
        rng.uniform(-1.0, 2.0, size=(n, p)),
        rng.normal(size=n),
        (rng.random(n) < end).astype(float),
        rng.integers(n_states, size=n_initial),
    )


def candidate_policy(rows, kernel="rbf", seed=0, n_components=8, dtype="float64"):
    features = StateActionFeatures(
        kernel, n_components=n_components, random_state=seed, dtype=dtype
    ).fit(rows.states[rows.state], rows.action)
    rng = np.random.default_rng(seed)
    return CandidatePolicyModel(features, rng.uniform(-1, 2, (3, rows.action.shape[1])))


def gaussian_policy(rows, kernel="rbf", seed=0, n_components=8, dtype="float64"):
    features = StateActionFeatures(
        kernel, n_components=n_components, random_state=seed, dtype=dtype
    ).fit(rows.states[rows.state], rows.action)
    inputs = LandmarkFeatures(
        "rbf", n_components=5, random_state=seed, dtype=dtype
    ).fit(rows.states)
    p = rows.action.shape[1]
    policy = SquashedGaussian(torch.zeros(1, 1), [-1.0] * p, [2.0] * p, n_nodes=4)
    return GaussianPolicyModel(features, inputs, policy)


POLICIES = {"candidates": candidate_policy, "gaussian": gaussian_policy}
both = pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)


def random_theta(policy, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = policy.start().shape
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def solver_of(lam=2.0, beta=0.1, **kwargs):
    return closed_form(lam, beta, **kwargs)


# Sums.


def mean_features(model, states, theta):
    """φ̄ from the policies' own modules, a state and a node at a time."""
    if isinstance(model, CandidatePolicyModel):
        candidates = model.gram.candidates
        features = np.stack(
            [
                model.features.transform(states, np.repeat(c[None], len(states), 0))
                for c in candidates
            ],
            axis=1,
        )
        policy = CandidateSoftmax(theta, torch.from_numpy(candidates))
        nodes = policy(torch.from_numpy(features))
    else:
        low, high = model.policy.low.numpy(), model.policy.high.numpy()
        policy = SquashedGaussian(theta, low, high, n_nodes=4)
        nodes = policy(torch.from_numpy(model.inputs.transform(states)))
    total = 0.0
    for j in range(nodes.weights.shape[1]):
        features = model.features.transform(states, nodes.actions[:, j].numpy())
        total = total + nodes.weights[:, j, None] * torch.from_numpy(features)
    return total


@both
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("kernel", ["rbf", "poly", "laplacian", callable_kernel])
def test_sums_are_those_of_dense_matrices(make, kernel, p):
    if make is gaussian_policy and callable(kernel):
        pytest.skip("it has no derivative")
    rows = random_joint_rows(1, p=p)
    policy = make(rows, kernel)
    theta = random_theta(policy)
    sums = continuous_lstd(rows, policy, 0.9, 0.02, chunk_rows=17)
    phi = torch.from_numpy(
        policy.features.transform(rows.states[rows.state], rows.action)
    )
    after = mean_features(policy, rows.states[rows.next_state], theta)
    weight = 0.9 * (1.0 - torch.from_numpy(rows.terminated))[:, None]
    M = phi.T @ (phi - weight * after) / len(phi) + 0.02 * torch.eye(
        len(phi.T), dtype=phi.dtype
    )
    b = 0.1 * mean_features(policy, rows.states[rows.initial], theta).mean(dim=0)
    found = sums(theta)
    assert_close(found.M, M, **TIGHT)
    assert_close(found.b, b, **TIGHT)
    assert_close(sums.c, phi.T @ torch.from_numpy(rows.reward) / len(phi), **TIGHT)


@both
@pytest.mark.parametrize(
    ("chunk_rows", "cache"),
    [(1, 5000), (7, 0), (7, 5000), (7, 2**30), (60, 5000), (60, 2**30)],
)
def test_chunks_and_what_is_kept_change_nothing(make, chunk_rows, cache, monkeypatch):
    rows = random_joint_rows(2)
    policy = make(rows)
    whole = continuous_lstd(rows, policy, 0.9, 0.1, chunk_rows=10**6)
    monkeypatch.setattr(lstd_continuous, "_CACHE_BYTES", cache)
    chunked = continuous_lstd(rows, policy, 0.9, 0.1, chunk_rows=chunk_rows)
    theta = random_theta(policy)
    for _ in range(2):
        a, b = (solver_of().evaluate(sums, theta) for sums in (whole, chunked))
        assert_close(b.flat_w, a.flat_w, **TIGHT)
        assert_close(b.total_derivative(), a.total_derivative(), **TIGHT)
    kept = sum(
        tensor.nbytes
        for chunk in chunked._kept.values()
        for tensor in (*chunk.data, *chunk[1:])
    )
    assert kept <= cache
    assert (kept > 0) == (cache > 0) or (cache == 5000 and chunk_rows >= 60)


def test_states_are_read_once():
    rows = random_joint_rows(0)
    policy = candidate_policy(rows)
    sums = continuous_lstd(rows, policy, 0.9, chunk_rows=16)
    read, calls = policy.read, []
    policy.read = lambda states: calls.append(len(states)) or read(states)
    theta = random_theta(policy)
    solver_of().evaluate(sums, theta).total_derivative()
    # Each state once, next state of many rows or initial state or both.
    used = {*rows.next_state[rows.terminated < 1], *rows.initial}
    assert sum(calls) == len(used)
    assert max(calls) <= 16
    solver_of().evaluate(sums, theta).total_derivative()
    assert sum(calls) == len(used)


@both
def test_float32_is_close_to_float64(make):
    rows = random_joint_rows(3)
    found = []
    for dtype in ("float64", "float32"):
        policy = make(rows, dtype=dtype)
        sums = continuous_lstd(rows, policy, 0.9, 0.01)
        found.append(solver_of().evaluate(sums, policy.start()))
    double, single = found
    assert single.lstd.dtype == torch.float32
    assert single.value.dtype == torch.float64
    # The sign of a feature is any eigensolver's to choose: what no sign changes.
    for f in (
        lambda at: at.value,
        lambda at: at.pessimism,
        lambda at: at.system.M.norm(),
        lambda at: at.total_derivative().norm(),
    ):
        assert float(f(single)) == pytest.approx(float(f(double)), rel=1e-3)
        assert float(f(single)) != float(f(double))


@both
@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_the_order_of_rows_changes_nothing(make, seed):
    rows = random_joint_rows(seed)
    order = np.random.default_rng(seed).permutation(len(rows.action))
    moved = rows._replace(
        **{
            name: getattr(rows, name)[order]
            for name in ("state", "next_state", "action", "reward", "terminated")
        },
        initial=rows.initial[::-1],
    )
    policy = make(rows)
    theta = random_theta(policy, seed)
    at, there = (
        solver_of().evaluate(continuous_lstd(some, policy, 0.9), theta)
        for some in (rows, moved)
    )
    assert_close(there.value, at.value, **TIGHT)
    assert_close(there.total_derivative(), at.total_derivative(), rtol=1e-8, atol=1e-10)


def test_rewards_enter_by_c_alone_and_by_their_unit():
    rows = random_joint_rows(0)
    policy = candidate_policy(rows)
    sums = continuous_lstd(rows, policy, 0.9)
    scaled = continuous_lstd(rows._replace(reward=1e3 * rows.reward), policy, 0.9)
    theta = random_theta(policy)
    assert_close(scaled.c, 1e3 * sums.c)
    assert_close(scaled(theta).M, sums(theta).M, rtol=0, atol=0)
    assert_close(scaled(theta).b, sums(theta).b, rtol=0, atol=0)


@both
def test_parts_of_a_log_are_estimates_of_its_sums(make):
    rows = random_joint_rows(4, n=600, n_initial=50)
    policy = make(rows)
    sums = continuous_lstd(rows, policy, 0.9, 0.01)
    assert sums.subsample(n_rows=300) is sums
    part = sums.subsample(n_rows=200)
    assert (part.n, part.log_length) == (200, 600)
    assert len(np.unique(part.rows.reward)) == 200
    theta = random_theta(policy)
    whole, drawn = sums(theta).M, part(theta).M
    assert 0 < (drawn - whole).norm() < 0.5 * whole.norm()
    assert_close(part(theta).b, sums(theta).b)


# Derivatives.


@both
@settings(max_examples=12)
@given(
    seed=st.integers(0, 999),
    discount=st.sampled_from([0.0, 0.9, 0.99]),
    lam=st.floats(1e-2, 1e2),
    ridge=st.sampled_from([0.0, 0.02]),
    end=st.sampled_from([0.0, 0.2, 1.0]),
    p=st.integers(1, 2),
)
def test_one_derivative_three_ways(make, seed, discount, lam, ridge, end, p):
    rows = random_joint_rows(seed, n=40, end=end, p=p)
    policy = make(rows, seed=seed, n_components=5)
    sums = continuous_lstd(rows, policy, discount, ridge, chunk_rows=16)
    solver, theta = solver_of(lam), random_theta(policy, seed)

    def value(theta):
        return solver.evaluate(sums, theta).value

    by_solve = autograd(value, theta)
    found = solver.evaluate(sums, theta).total_derivative()
    assert relative_error(found, by_solve) <= 1e-8
    assert relative_error(finite_differences(value, theta), by_solve) <= 1e-5


@both
@pytest.mark.parametrize("kernel", ["laplacian", "poly", "cosine", "linear"])
def test_one_derivative_for_other_kernels(make, kernel):
    rows = random_joint_rows(5)
    policy = make(rows, kernel)
    sums = continuous_lstd(rows, policy, 0.9, 0.01)
    theta = random_theta(policy)
    at = solver_of().evaluate(sums, theta)
    by_solve = autograd(lambda t: solver_of().evaluate(sums, t).value, theta)
    assert relative_error(at.total_derivative(), by_solve) <= 1e-8


@both
def test_the_individual_derivative_holds_w_fixed(make):
    rows = random_joint_rows(6)
    policy = make(rows)
    sums = continuous_lstd(rows, policy, 0.9)
    theta = random_theta(policy)
    at = solver_of().evaluate(sums, theta)
    expected = autograd(lambda t: sums(t).b @ at.flat_w, theta)
    assert relative_error(at.individual_derivative(), expected) <= 1e-10
    assert relative_error(at.total_derivative(), expected) > 1e-3


# What is known of the end.


def test_a_sample_of_a_log_holds_every_step_of_its_episodes():
    horizon, n = 10, 20_000
    rows = random_joint_rows(n=n, n_states=horizon)._replace(
        state=np.tile(np.arange(horizon), n // horizon)
    )
    sums = continuous_lstd(rows, candidate_policy(rows), discount=0.9)
    (found,) = {len(part) for part in sums.sample}
    assert found == lstd_continuous.STEP_ROWS
    assert len(np.unique(sums.sample[0].numpy().round(9), axis=0)) == horizon


def actions_told_apart(X, Y):
    """k(s, s')·1[a = a'], the action in the last column."""
    same = X[:, -1:] == Y[:, -1]
    return rbf_kernel(X[:, :-1], Y[:, :-1], gamma=2.0) * same


@pytest.mark.parametrize("max_iter", [0, 10])
@pytest.mark.parametrize("ridge", [0.0, 0.01])
def test_actions_told_apart_play_the_discrete_game(ridge, max_iter):
    rng = np.random.default_rng(0)
    levels = np.array([-1.0, 0.0, 2.5])
    states = rng.normal(size=(12, 2))
    state, code = (index.ravel() for index in np.indices((12, 3)))
    joint = StateRows(
        states,
        state,
        rng.permutation(state),
        levels[code][:, None],
        rng.normal(size=36),
        (rng.random(36) < 0.2).astype(float),
        np.arange(12),
    )
    features = LandmarkFeatures(
        "rbf",
        bandwidth=np.full(states.shape[1], 0.5),
        n_components=None,
        random_state=0,
    ).fit(states)
    table = torch.from_numpy(features.transform(states))
    discrete = TableRows(
        lambda index: table[torch.from_numpy(index)],
        joint.state,
        joint.next_state,
        code,
        joint.reward,
        joint.terminated,
        joint.initial,
        3,
    )
    solver = solver_of(mirror_steps=10, max_iter=max_iter, tol=1e-8)
    sums = lstd(discrete, 0.9, ridge)
    expected = solver.solve(sums, torch.zeros(12, 3, dtype=torch.float64))
    policy = CandidatePolicyModel(
        StateActionFeatures(actions_told_apart, n_components=None).fit(
            states[state], joint.action
        ),
        levels[:, None],
    )
    found = solver.solve(continuous_lstd(joint, policy, 0.9, ridge), policy.start())
    by_step = [r.history.entries["value"] for r in (found, expected)]
    assert_allclose(by_step[0][:11], by_step[1][:11], rtol=1e-6)
    if max_iter == 0:  # a mirror step is the same in both; a line search is not
        assert found.value == pytest.approx(expected.value, rel=1e-6)
        assert found.pessimism == pytest.approx(expected.pessimism, rel=1e-5)
        probabilities = policy.probabilities(policy.read(states), found.policy)
        assert_close(
            probabilities,
            torch.softmax(table @ expected.policy, dim=1),
            rtol=1e-4,
            atol=1e-6,
        )
    else:
        assert found.value == pytest.approx(expected.value, rel=0.02)


def bandit_rows(seed=0, n=800, p=1):
    """The nearer the action to what the state asks for, the better."""
    rng = np.random.default_rng(seed)
    states = rng.uniform(-1.0, 1.0, size=(n, p))
    action = rng.uniform(-1.0, 2.0, size=(n, p))
    asked = 0.5 + 1.2 * states
    index = np.arange(n)
    reward = -((action - asked) ** 2).sum(axis=1)
    return StateRows(states, index, index, action, reward, np.zeros(n), index)


@both
def test_discount_zero_sees_no_next_state(make):
    rows = bandit_rows(n=50)
    policy = make(rows)
    sums = continuous_lstd(rows, policy, 0.0)
    M = sums(random_theta(policy)).M
    assert_close(M, sums(policy.start()).M, rtol=0, atol=0)
    other = rows._replace(next_state=rows.next_state[::-1])
    assert_close(
        continuous_lstd(other, policy, 0.0)(policy.start()).M, M, rtol=0, atol=0
    )


def test_discount_zero_is_a_kernel_bandit_over_candidates():
    rows = bandit_rows()
    candidates = np.linspace(-1, 2, 7)[:, None]
    features = StateActionFeatures("rbf", n_components=60, random_state=0).fit(
        rows.states, rows.action
    )
    policy = CandidatePolicyModel(features, candidates)
    sums = continuous_lstd(rows, policy, 0.0)
    result = solver_of(lam=10.0, beta=1e-3).solve(sums, policy.start())
    inner = np.linspace(-0.9, 0.9, 25)[:, None]
    chosen = policy.outputs(policy.read(inner), result.policy).argmax(dim=1).numpy()
    # The nearest candidate, or the next to it: they are half a unit apart.
    assert np.abs(candidates[chosen] - (0.5 + 1.2 * inner)).max() < 0.5


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("phases", [{"max_iter": 0}, {"mirror_steps": 0}, {}])
def test_discount_zero_is_a_kernel_bandit_of_a_gaussian(p, phases):
    rows = bandit_rows(p=p, n=400)
    features = StateActionFeatures("rbf", n_components=40, random_state=0).fit(
        rows.states, rows.action
    )
    inputs = LandmarkFeatures("rbf", n_components=20, random_state=0).fit(rows.states)
    gaussian = SquashedGaussian(torch.zeros(1, 1), [-1.0] * p, [2.0] * p)
    policy = GaussianPolicyModel(features, inputs, gaussian)
    sums = continuous_lstd(rows, policy, 0.0)
    result = solver_of(lam=10.0, beta=1e-3, tol=1e-4, **phases).solve(
        sums, policy.start()
    )
    inner = np.linspace(-0.8, 0.8, 9)
    inner = np.stack(np.meshgrid(*[inner] * p), axis=-1).reshape(-1, p)
    outputs = policy.outputs(policy.read(inner), result.policy)
    found = gaussian.mode(outputs).numpy()
    asked = 0.5 + 1.2 * inner
    assert np.abs(found - asked).mean() < 0.1
    values = result.history.entries["value"]
    assert result.value == max(values) > values[0]


@both
def test_a_search_ends_near_an_equilibrium_and_is_measured(make):
    rows = random_joint_rows(0)
    policy = make(rows)
    sums = continuous_lstd(rows, policy, 0.9, 0.01)
    solver = solver_of(lam=0.05, beta=2.0, max_iter=500, tol=0.0)
    result = solver.solve(sums, policy.start())
    found = measure_equilibrium(sums, result.policy, lam=0.05, beta=2.0)
    start = measure_equilibrium(sums, policy.start(), lam=0.05, beta=2.0)
    assert found.leader_gradient_norm < 0.05 * start.leader_gradient_norm
    assert found.follower_gradient_norm < 1e-10
    assert found.follower_smallest_curvature >= 2.0
    assert result.q_function.shape == (sums.n_features, 1)


@both
def test_a_search_is_the_same_twice(make):
    rows = random_joint_rows(1)

    def search():
        policy = make(rows)
        return solver_of().solve(continuous_lstd(rows, policy, 0.9), policy.start())

    assert torch.equal(search().policy, search().policy)


@both
def test_the_individual_policy_steps(make):
    rows = random_joint_rows(1)
    policy = make(rows)
    solver = solver_of(leader_gradient="individual", mirror_steps=0, max_iter=20)
    result = solver.solve(continuous_lstd(rows, policy, 0.9), policy.start())
    assert result.value > result.history.entries["value"][0]
    assert torch.isfinite(result.policy).all()


@pytest.mark.parametrize("kernel", [callable_kernel, "delta"], ids=kernel_id)
def test_a_gaussian_refuses_a_kernel_without_a_derivative(kernel):
    rows = random_joint_rows(0)
    with pytest.raises(ValueError, match="cannot be differentiated in the action"):
        gaussian_policy(rows, kernel, n_components=None)
