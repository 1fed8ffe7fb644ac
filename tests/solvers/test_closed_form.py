"""Sums over rows against dense matrices; climbs against what is known of their end."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _problems import (
    DenseGame,
    TableRows,
    autograd,
    closed_form,
    joint,
    lstd,
    random_rows,
    random_theta,
    relative_error,
    uniform_theta,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from sklearn_stackelberg._problem.rows import feature_rows, index_states
from sklearn_stackelberg._sampling import fixed_sample
from sklearn_stackelberg.kernels import LandmarkFeatures
from sklearn_stackelberg.policies._base import NEVER
from sklearn_stackelberg.solvers import ClosedForm, ProblemSpec, SolverState
from sklearn_stackelberg.solvers import _best_response as best_response
from sklearn_stackelberg.solvers import _lstd_discrete as lstd_discrete
from sklearn_stackelberg.solvers._base import History
from sklearn_stackelberg.solvers._closed_form import _Search
from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD

EXACT = {"rtol": 1e-11, "atol": 1e-13}


def solver_of(lam=2.0, beta=0.1, **kwargs):
    settings = {
        "leader_gradient": "total",
        "mirror_steps": 20,
        "max_iter": 20,
        "tol": 1e-6,
    }
    return closed_form(lam, beta, **{**settings, **kwargs})


def process_rows(seed, n=600, n_states=5, n_actions=3, end=0.1):
    """A uniform logger in a finite process whose rewards and moves are learnable."""
    rng = np.random.default_rng(seed)
    moves = rng.dirichlet(np.full(n_states, 0.3), size=(n_states, n_actions))
    rewards = rng.normal(size=(n_states, n_actions))
    state = rng.integers(n_states, size=n)
    action = rng.integers(n_actions, size=n)
    # Every pair is logged.
    pairs = np.array(list(itertools.product(range(n_states), range(n_actions))))
    state[: len(pairs)], action[: len(pairs)] = pairs.T
    following = np.array(
        [
            rng.choice(n_states, p=moves[s, a])
            for s, a in zip(state, action, strict=True)
        ]
    )
    table = torch.eye(n_states, dtype=torch.float64)
    return TableRows(
        lambda index: table[torch.from_numpy(index)],
        state,
        following,
        action,
        rewards[state, action] + 0.1 * rng.normal(size=n),
        (rng.random(n) < end).astype(float),
        state.copy(),
        n_actions,
    )


# Rows: indices into a table.


@given(seed=st.integers(0, 99), n=st.integers(1, 12), d=st.integers(1, 3))
def test_a_state_that_is_also_a_next_state_stands_in_the_table_once(seed, n, d):
    rng = np.random.default_rng(seed)
    state, next_state = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    shared = rng.integers(-1, n, size=n)
    known = shared >= 0
    next_state[known] = state[shared[known]]
    states, state_index, next_index = index_states(state, next_state, shared.copy())
    assert len(states) == n + (~known).sum()
    assert_array_equal(states[state_index], state)
    assert_array_equal(states[next_index], next_state)
    assert next_index.max() < len(states)


def test_index_states_leaves_its_arguments_alone():
    shared = np.array([1, -1])
    index_states(np.zeros((2, 1)), np.ones((2, 1)), shared)
    assert_array_equal(shared, [1, -1])


@pytest.mark.parametrize("table_bytes", [0, 2**20])
def test_features_from_a_table_are_those_computed_anew(table_bytes):
    states = np.random.default_rng(0).normal(size=(20, 2))
    features = LandmarkFeatures(
        "rbf", bandwidth=1.0, n_components=8, random_state=0
    ).fit(states)
    calls = []

    def transform(X):
        calls.append(len(X))
        return features.transform(X)

    read = feature_rows(transform, states, features.n_features_out_, table_bytes)
    index = np.array([3, 3, 17, 0])
    for _ in range(2):
        assert_allclose(read(index).numpy(), features.transform(states[index]))
    assert calls == ([4, 4] if table_bytes == 0 else [20])


def test_the_table_is_kept_up_to_the_bytes_allowed():
    states = np.zeros((10, 1))
    calls = []

    def transform(X):
        calls.append(len(X))
        return np.ones((len(X), 3))

    size = 10 * 3 * 8
    feature_rows(transform, states, 3, size)(np.array([0]))
    assert calls == [10]
    feature_rows(transform, states, 3, size - 1)(np.array([0]))
    assert calls == [10, 1]


# Moments: sums over rows.


def dense_moments(dense, theta):
    """M, b and c row by row, every block written out."""
    rows = dense.rows
    phi, after, first = (
        dense.of(index) for index in (rows.state, rows.next_state, rows.initial)
    )
    m, actions, n = phi.shape[1], rows.n_actions, len(rows.action)
    M = dense.ridge * torch.eye(actions * m, dtype=torch.float64)
    c = torch.zeros(actions * m, dtype=torch.float64)
    for i in range(n):
        z = torch.zeros(actions, m, dtype=torch.float64)
        z[rows.action[i]] = phi[i]
        share = torch.softmax(after[i] @ theta, 0)
        follows = dense.discount * (1.0 - rows.terminated[i])
        difference = z - follows * share[:, None] * after[i]
        M += torch.outer(z.ravel(), difference.ravel()) / n
        c += z.ravel() * rows.reward[i] / n
    b = (1.0 - dense.discount) * joint(first, dense.policy(first, theta)).mean(0)
    return M, b, c


@given(
    seed=st.integers(0, 99),
    n_actions=st.integers(2, 4),
    n=st.integers(1, 20),
    ridge=st.sampled_from([0.0, 0.3]),
    end=st.sampled_from([0.0, 0.3, 1.0]),
    chunk_rows=st.sampled_from([1, 3, 1024]),
)
def test_sums_are_those_of_dense_matrices(seed, n_actions, n, ridge, end, chunk_rows):
    rows = random_rows(seed, n=n, n_features=2, n_actions=n_actions, end=end)
    dense = DenseGame(rows, 0.9, 1.0, 1.0, ridge)
    sums = lstd(rows, 0.9, ridge, chunk_rows)
    theta = random_theta(sums, seed)
    M, b, c = dense_moments(dense, theta)
    found = sums(theta)
    # The last action's block is never summed: it follows from the others.
    assert_close(found.M, M, **EXACT)
    assert_close(found.b, b, **EXACT)
    assert_close(sums.c, c, **EXACT)


@pytest.mark.parametrize("after", ["none", "some", "all"])
def test_initial_states_that_are_next_states_too(after):
    rows = random_rows(0, n_states=60)
    continued = rows.next_state[rows.terminated < 1.0]
    among, others = np.unique(continued), np.setdiff1d(np.arange(60), continued)
    both = np.r_[among[:5], others[:5]]
    initial = {"none": others[:9], "some": both, "all": continued}[after]
    dense = DenseGame(rows._replace(initial=initial), 0.9, 2.0, 0.1)
    sums = dense.sums
    held = [chunk.initial is not None for chunk in sums.blocks[0]._chunks]
    assert (any(held), len(sums.blocks[0]._initial)) == {
        "none": (False, 9),
        "some": (True, 5),
        "all": (True, 0),
    }[after]
    theta = random_theta(sums)
    assert_close(sums(theta).b, dense_moments(dense, theta)[1], **EXACT)
    at = dense.solver.evaluate(sums, theta)
    expected = autograd(lambda t: dense.solver.evaluate(sums, t).value, theta)
    assert relative_error(at.total_derivative(), expected) < 1e-9


@pytest.mark.parametrize("n_features", [4, 200])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_whose_next_state_leaves_no_choice_are_summed_once(
    n_features, weighted, monkeypatch
):
    # Of 200 features, M is not formed: rows are fewer than weights.
    rng = np.random.default_rng(0)
    table = random_rows(0, n_features=n_features, n_initial=30)
    rows = table.rows
    if weighted:
        rows = rows._replace(weight=rng.uniform(0.5, 2.0, 80))
        rows = rows._replace(initial_weight=rng.uniform(0.5, 2.0, 30))
    prior = np.where(rng.random((40, 3)) < 0.5, NEVER, rng.normal(size=(40, 3)))
    prior[:20, 1], prior[20:, 0] = 0.0, 0.0
    made, figures = [], []
    for settled_bytes in (2**25, 0):
        monkeypatch.setattr(lstd_discrete, "_MATRIX_BYTES", settled_bytes)
        arguments = rows, table.features, 3, 0.9
        sums = DiscreteLSTD(*arguments, log_prior=torch.from_numpy(prior))
        at = solver_of().evaluate(sums, random_theta(sums))
        made.append(sums.blocks[0])
        figures.append((at.system.b, sums.c, at.flat_w, at.total_derivative()))
    assert sums.has_few_rows == (n_features == 200)
    assert len(made[0]._settled) > 0 == len(made[1]._settled)
    assert len(made[0]._initial) < len(made[1]._initial) or not sums.has_few_rows
    for one, other in zip(*figures, strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kept_bytes", [0, 2**25])
def test_what_the_best_point_keeps_changes_no_figure(kept_bytes, monkeypatch):
    monkeypatch.setattr(best_response, "_KEPT_BYTES", kept_bytes)
    evaluated, evaluate = [], DiscreteLSTD.__call__

    def counted(sums, theta):
        evaluated.append(theta)
        return evaluate(sums, theta)

    monkeypatch.setattr(DiscreteLSTD, "__call__", counted)
    sums = lstd(process_rows(0), 0.9)
    found = solver_of().solve(sums, uniform_theta(sums))
    # L-BFGS begins at the best point, whose shrinkage is asked for at the end.
    spared = 0 if kept_bytes == 0 else 2
    assert len(evaluated) == len(found.history.entries["value"]) + 1 - spared
    again = solver_of().evaluate(sums, found.policy)
    assert_close(torch.tensor(found.value), again.value.float(), check_dtype=False)
    assert found.shrinkage == float(again.shrinkage)


def test_actions_in_the_table_that_nobody_took():
    rows = random_rows(0, n=30, n_actions=4)
    rows = rows._replace(action=np.where(rows.action == 2, 1, rows.action))
    dense = DenseGame(rows, 0.9, 2.0, 0.1)
    theta = random_theta(dense.sums)
    assert_close(dense.sums(theta).M, dense_moments(dense, theta)[0], **EXACT)
    at = dense.solver.evaluate(dense.sums, theta)
    expected = autograd(lambda t: dense.solver.evaluate(dense.sums, t).value, theta)
    assert relative_error(at.total_derivative(), expected) < 1e-9


@pytest.mark.parametrize(
    ("seed", "chunk_rows"), [(0, 1), (1, 7), (2, 64), (0, 79), (1, 80)]
)
@pytest.mark.parametrize("gathered", [True, False])
@pytest.mark.parametrize("table_bytes", [0, 2**30])
def test_chunks_tables_and_gathering_change_nothing(
    seed, chunk_rows, gathered, table_bytes, monkeypatch
):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(40, 2))
    features = LandmarkFeatures(
        "rbf", bandwidth=1.0, n_components=5, random_state=0
    ).fit(states)
    m = features.n_features_out_
    rows = random_rows(seed, table=features.transform(states))
    whole = lstd(rows, 0.9, 0.1, chunk_rows=10**6)
    monkeypatch.setattr(lstd_discrete, "_GATHERED_BYTES", 2**28 if gathered else 0)
    again = rows._replace(
        features=feature_rows(features.transform, states, m, table_bytes)
    )
    chunked = lstd(again, 0.9, 0.1, chunk_rows=chunk_rows)
    assert (chunked.blocks[0]._gathered is not None) == gathered
    theta = random_theta(whole, seed)
    a, b = (solver_of().evaluate(sums, theta) for sums in (whole, chunked))
    tight = {"rtol": 1e-10, "atol": 1e-12}
    assert_close(b.system.M, a.system.M, **tight)
    assert_close(b.system.b, a.system.b, **tight)
    assert_close(chunked.c, whole.c, **tight)
    for name in ("value", "pessimism", "bellman_error", "flat_w"):
        assert_close(getattr(b, name), getattr(a, name), **tight)
    assert_close(b.total_derivative(), a.total_derivative(), **tight)
    assert_close(b.individual_derivative(), a.individual_derivative(), **tight)


def test_the_chunks_of_a_gpu_change_nothing(monkeypatch):
    rows = process_rows(0)
    sums = lstd(rows, 0.9)
    theta = random_theta(sums)
    expected = sums(theta)
    monkeypatch.setattr(lstd_discrete, "_CPU_CHUNK", lstd_discrete._GPU_CHUNK)
    found = lstd(rows, 0.9)(theta)
    for one, other in zip((found.M, found.b), (expected.M, expected.b), strict=True):
        assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_no_chunk_holds_more_rows_than_allowed():
    longest = []
    rows = random_rows(0)
    read = rows.features

    def features(index):
        longest.append(len(index))
        return read(index)

    sums = lstd(rows._replace(features=features), 0.9, chunk_rows=7)
    theta = random_theta(sums)
    solver_of().evaluate(sums, theta).total_derivative()
    assert max(longest) == 7


@pytest.mark.parametrize("seed", range(3))
def test_float32_is_close_to_float64(seed):
    double = lstd(random_rows(seed), 0.9, 0.01)
    single = lstd(random_rows(seed, dtype=torch.float32), 0.9, 0.01)
    theta = random_theta(double, seed)
    a, b = (solver_of().evaluate(sums, theta) for sums in (double, single))
    assert single.dtype == torch.float32
    # Sums are kept in float64, so the rounding is that of single rows.
    for found in (b.value, b.system.M, b.flat_w, b.total_derivative()):
        assert found.dtype == torch.float64
    assert relative_error(b.system.M, a.system.M) < 1e-6
    assert relative_error(b.flat_w, a.flat_w) < 1e-4
    assert relative_error(b.total_derivative(), a.total_derivative()) < 1e-4
    assert float(abs(b.value - a.value)) < 1e-4 * float(abs(a.value) + 1)
    assert float(abs(b.value - a.value)) > 0


def test_float32_sums_do_not_drift_with_the_number_of_chunks():
    rng = np.random.default_rng(0)
    table = torch.from_numpy(rng.random((50, 2))).float()
    rows = random_rows(0, n=4000, table=table, dtype=torch.float32)
    rows = rows._replace(reward=1.0 + rng.random(4000))
    exact = lstd(rows._replace(features=lambda i: table[i].double()), 0.9)
    single = lstd(rows, 0.9, chunk_rows=2)
    theta = random_theta(exact)
    # Each term is good to 6e-8; sums of thousands in float32 would lose 100 times more.
    assert relative_error(single.c, exact.c) < 1e-7
    assert relative_error(single(theta).M, exact(theta).M) < 2e-7
    assert relative_error(single(theta).b, exact(theta).b) < 2e-7


@given(seed=st.integers(0, 99))
def test_the_order_of_rows_and_the_names_of_actions_change_nothing(seed):
    rows = random_rows(seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(80), rng.permutation(3)
    moved = rows._replace(
        state=rows.state[order],
        next_state=rows.next_state[order],
        action=names[rows.action[order]],
        reward=rows.reward[order],
        terminated=rows.terminated[order],
        initial=rng.permutation(rows.initial),
    )
    sums, other = lstd(rows, 0.9), lstd(moved, 0.9)
    theta = random_theta(sums, seed)
    renamed = torch.empty_like(theta)
    renamed[:, names] = theta
    at, there = solver_of().evaluate(sums, theta), solver_of().evaluate(other, renamed)
    tight = {"rtol": 1e-9, "atol": 1e-10}
    assert_close(there.value, at.value, **tight)
    assert_close(there.w[:, names], at.w, **tight)
    assert_close(there.total_derivative()[:, names], at.total_derivative(), **tight)


@given(seed=st.integers(0, 99))
def test_a_log_written_twice_is_the_log_with_twice_lambda(seed):
    rows = random_rows(seed)
    twice = rows._replace(
        **{
            name: np.concatenate([getattr(rows, name)] * 2)
            for name in ("state", "next_state", "action", "reward", "terminated")
        }
    )
    theta = random_theta(lstd(rows, 0.9), seed)
    at = solver_of(lam=2.0).evaluate(lstd(twice, 0.9), theta)
    there = solver_of(lam=4.0).evaluate(lstd(rows, 0.9), theta)
    assert_close(at.value, there.value, rtol=1e-9, atol=1e-11)
    assert_close(at.flat_w, there.flat_w, rtol=1e-9, atol=1e-11)


def test_discount_zero_sees_no_next_state():
    rows = random_rows(0)
    sums = lstd(rows, 0.0)
    M = sums(random_theta(sums)).M
    assert_close(M, sums(uniform_theta(sums)).M, rtol=0, atol=0)
    blocks = M.reshape(3, 4, 3, 4)
    for a, b in itertools.permutations(range(3), 2):
        assert_array_equal(blocks[a, :, b], 0.0)


# One evaluation.


@pytest.mark.parametrize("seed", range(3))
def test_w_is_laid_out_with_a_column_per_action(seed):
    dense = DenseGame(random_rows(seed), 0.9, 2.0, 0.1)
    theta = random_theta(dense.sums, seed)
    at = dense.solver.evaluate(dense.sums, theta)
    phi = dense.of(dense.rows.state)
    taken = torch.from_numpy(dense.rows.action)
    logged = (phi @ at.w)[torch.arange(len(taken)), taken]
    assert_close(logged, dense.Z @ at.flat_w)


@pytest.mark.parametrize("n_components", [None, 5])
def test_the_linear_kernel_plays_the_game_of_linear_features(n_components):
    states = np.random.default_rng(0).normal(size=(40, 3))
    features = LandmarkFeatures(
        "linear", bandwidth="median", n_components=n_components, random_state=0
    ).fit(states)
    given, states = states, states / np.sqrt(features.mean_similarity_)
    raw = random_rows(1, table=states)
    by_kernel = random_rows(1, table=features.transform(given))
    eye = np.sqrt(features.mean_similarity_) * np.eye(3)
    rotation = torch.from_numpy(features.transform(eye))  # φ = s Q
    sums, other = lstd(raw, 0.9, 0.05), lstd(by_kernel, 0.9, 0.05)
    theta = random_theta(sums)
    at = solver_of().evaluate(sums, theta)
    there = solver_of().evaluate(other, rotation.T @ theta)
    assert_close(there.value, at.value, rtol=1e-9, atol=1e-11)
    assert_close(rotation @ there.w, at.w, rtol=1e-9, atol=1e-10)
    found = rotation @ there.total_derivative()
    assert_close(found, at.total_derivative(), rtol=1e-8, atol=1e-10)


def counted_value(rows, discount, policy):
    """Q of a policy by exact evaluation of the process that the counts describe."""
    S, A = policy.shape
    pair = rows.state * A + rows.action
    count = np.bincount(pair, minlength=S * A).astype(float)
    reward = np.bincount(pair, rows.reward, minlength=S * A) / count
    moves = np.zeros((S * A, S))
    np.add.at(moves, (pair, rows.next_state), 1.0 - rows.terminated)
    moves /= count[:, None]
    choose = np.zeros((S, S * A))
    for s in range(S):
        choose[s, s * A : (s + 1) * A] = policy[s]
    q = np.linalg.solve(np.eye(S * A) - discount * moves @ choose, reward)
    return q.reshape(S, A), moves, reward


@pytest.mark.parametrize("seed", range(3))
def test_one_hot_states_and_a_huge_lambda_evaluate_on_the_counts(seed):
    rows = process_rows(seed)
    sums = lstd(rows, 0.9)
    theta = random_theta(sums, seed)
    at = solver_of(lam=1e6, beta=1e-6).evaluate(sums, theta)
    policy = torch.softmax(theta, dim=1).numpy()
    q, _, _ = counted_value(rows, 0.9, policy)
    assert_allclose(at.w.numpy(), q, rtol=1e-6, atol=1e-6)
    expected = (1.0 - 0.9) * (policy * q).sum(1)[rows.initial].mean()
    assert float(at.value) == pytest.approx(expected, rel=1e-6)


# Searches.


@pytest.mark.parametrize("seed", range(3))
def test_a_search_ends_near_value_iteration_on_the_counts(seed):
    rows = process_rows(seed)
    sums = lstd(rows, 0.9)
    result = solver_of(lam=1e4, beta=1e-4, mirror_steps=60, max_iter=100).solve(
        sums, uniform_theta(sums)
    )
    _, moves, reward = counted_value(rows, 0.9, np.full((5, 3), 1 / 3))
    best = np.zeros((5, 3))
    for _ in range(400):
        best = (reward + 0.9 * moves @ best.max(axis=1)).reshape(5, 3)
    greedy = np.eye(3)[result.policy.numpy().argmax(axis=1)]
    q, _, _ = counted_value(rows, 0.9, greedy)
    value = (greedy * q).sum(1)
    assert_allclose(value, best.max(axis=1), rtol=1e-9)
    assert result.value == pytest.approx(
        0.1 * best.max(axis=1)[rows.initial].mean(), rel=1e-2
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("leader_gradient", ["total", "individual"])
@pytest.mark.parametrize("lam", [0.1, 100.0])
def test_what_is_returned_is_the_best_that_was_seen(seed, leader_gradient, lam):
    rows = process_rows(seed, n=120)
    sums = lstd(rows, 0.9)
    solver = solver_of(lam=lam, leader_gradient=leader_gradient)
    result = solver.solve(sums, random_theta(sums, seed))
    entries = result.history.entries
    assert result.value == max(entries["value"])
    at = solver.evaluate(sums, result.policy)
    assert float(at.value) == pytest.approx(result.value, rel=1e-12)
    assert result.pessimism == pytest.approx(float(at.pessimism), rel=1e-12)
    assert_close(result.q_function, at.w)
    row = entries["value"].index(result.value)
    assert entries["pessimism"][row] == result.pessimism
    assert entries["bellman_error"][row] == pytest.approx(float(at.bellman_error))
    assert entries["follower_objective"][row] == pytest.approx(
        float(at.follower_objective)
    )


def test_a_v_that_rewards_do_not_allow_counts_as_far_below_the_highest():
    sums = lstd(process_rows(0), 0.9)
    at = solver_of().evaluate(sums, uniform_theta(sums))
    v = float(at.value)
    assert at.is_possible
    assert at.credible_value == v
    sums.highest = v
    assert at.is_possible
    sums.highest = v - 0.5
    assert not at.is_possible
    assert at.credible_value == pytest.approx(v - 1.0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("leader_gradient", ["total", "individual"])
def test_a_search_that_begins_above_what_rewards_allow_goes_down(seed, leader_gradient):
    sums = lstd(process_rows(seed), 0.9)
    start = uniform_theta(sums)
    solver = solver_of(lam=10.0, leader_gradient=leader_gradient)
    sums.highest = float(solver.evaluate(sums, start).value) - 0.2
    result = solver.solve(sums, start)
    values = np.array(result.history.entries["value"])
    assert values[1] < values[0]
    # The best is the nearest to the highest, from either side.
    distance = np.abs(values - sums.highest)
    assert abs(result.value - sums.highest) == pytest.approx(distance.min())
    assert distance.min() < distance[0]


def test_the_last_point_is_not_the_best_for_its_own_sake():
    """Some climb above must have lost its best point, or the test of it is idle."""
    lost = 0
    for seed in range(6):
        sums = lstd(process_rows(seed, n=120), 0.9)
        solver = solver_of(lam=0.1, leader_gradient="individual", max_iter=40)
        values = solver.solve(sums, uniform_theta(sums)).history.entries["value"]
        lost += values[-1] < max(values)
    assert lost > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99])
def test_the_mirror_phase_raises_v(seed, discount):
    sums = lstd(process_rows(seed), discount)
    solver = solver_of(lam=10.0, mirror_steps=15, max_iter=0)
    result = solver.solve(sums, uniform_theta(sums))
    values = result.history.entries["value"]
    assert len(values) == result.n_iter + 1
    # The first step already climbs, and the phase takes it further.
    assert values[0] < values[1] < result.value
    assert np.isnan(result.history.entries["leader_gradient_norm"]).all()
    # It reaches what the total derivative alone would.
    alone = solver_of(lam=10.0, mirror_steps=0, max_iter=200, tol=1e-9).solve(
        sums, uniform_theta(sums)
    )
    assert result.value - values[0] > 0.8 * (alone.value - values[0])


@pytest.mark.parametrize("seed", range(4))
def test_the_quasi_newton_phase_reaches_a_stationary_point(seed):
    # A strong β keeps the best policy inside, where the derivative can vanish.
    sums = lstd(random_rows(seed), 0.9)
    solver = solver_of(lam=0.05, beta=5.0, mirror_steps=0, max_iter=500, tol=0.0)
    result = solver.solve(sums, random_theta(sums, seed))
    values = result.history.entries["value"]
    norms = result.history.entries["leader_gradient_norm"]
    assert result.value > values[0]
    # The start is visited, and evaluated again with its derivative.
    assert np.isnan(norms[0])
    assert values[1] == pytest.approx(values[0], rel=1e-12)
    at = solver.evaluate(sums, result.policy)
    assert float(at.total_derivative().norm()) < 1e-3 * norms[1]


@pytest.mark.parametrize("seed", range(4))
def test_the_individual_derivative_runs_and_keeps_the_best(seed):
    sums = lstd(process_rows(seed), 0.9)
    start = uniform_theta(sums)
    settings = {"lam": 10.0, "mirror_steps": 0, "max_iter": 30}
    individual = solver_of(leader_gradient="individual", **settings).solve(sums, start)
    total = solver_of(leader_gradient="total", **settings).solve(sums, start)
    values = individual.history.entries["value"]
    assert individual.value == max(values) > values[0]
    # It is an ablation because it is another direction.
    at = solver_of(lam=10.0).evaluate(sums, start)
    norms = [r.history.entries["leader_gradient_norm"][1] for r in (individual, total)]
    assert norms[0] == pytest.approx(float(at.individual_derivative().norm()))
    assert norms[1] == pytest.approx(float(at.total_derivative().norm()))
    assert norms[0] != pytest.approx(norms[1], rel=1e-3)


def test_history_is_a_table():
    sums = lstd(process_rows(0, n=100), 0.9)
    result = solver_of(mirror_steps=5, max_iter=5).solve(sums, uniform_theta(sums))
    entries = result.history.entries
    assert {*map(len, entries.values())} == {len(entries["value"])}
    assert set(entries) == {
        "value",
        "pessimism",
        "follower_objective",
        "bellman_error",
        "leader_gradient_norm",
        "follower_gradient_norm",
        "cg_residual",
        "seconds",
    }
    assert (np.diff(entries["seconds"]) >= 0).all()
    assert min(entries["pessimism"]) >= 0
    assert min(entries["bellman_error"]) >= 0
    assert all(
        isinstance(value, float) for column in entries.values() for value in column
    )


@pytest.mark.parametrize("leader_gradient", ["total", "individual"])
def test_one_iteration_leaves_a_shortfall_in_a_sentence(leader_gradient):
    sums = lstd(process_rows(0), 0.9)
    solver = solver_of(
        lam=10.0, leader_gradient=leader_gradient, mirror_steps=0, max_iter=1, tol=1e-9
    )
    result = solver.solve(sums, uniform_theta(sums))
    assert result.n_iter == 1
    assert "max_iter=1 ended the fit" in result.shortfall
    assert "Raise max_iter" in result.shortfall
    assert "\n" not in result.shortfall


def test_mirror_steps_that_ran_out_are_named():
    sums = lstd(process_rows(0), 0.9)
    solver = solver_of(lam=10.0, mirror_steps=3, max_iter=0, tol=1e-9)
    result = solver.solve(sums, uniform_theta(sums))
    assert "mirror_steps=3 ended the fit" in result.shortfall
    assert "max_iter" not in result.shortfall


@pytest.mark.parametrize("leader_gradient", ["total", "individual"])
def test_a_search_that_has_arrived_has_no_shortfall(leader_gradient):
    sums = lstd(process_rows(0), 0.9)
    solver = solver_of(
        lam=10.0,
        leader_gradient=leader_gradient,
        mirror_steps=200,
        max_iter=200,
        tol=1e-3,
    )
    result = solver.solve(sums, uniform_theta(sums))
    assert result.shortfall == ""
    assert result.n_iter < 200


def test_a_search_is_the_same_twice():
    def climb():
        sums = lstd(process_rows(3), 0.95, 0.01)
        return solver_of().solve(sums, uniform_theta(sums))

    first, again = climb(), climb()
    assert torch.equal(first.policy, again.policy)
    assert first.history.entries["value"] == again.history.entries["value"]


def test_rewards_of_nothing_go_nowhere_and_do_not_fail():
    rows = process_rows(0, n=100)
    sums = lstd(rows._replace(reward=0.0 * rows.reward), 0.9)
    result = solver_of().solve(sums, uniform_theta(sums))
    assert torch.isfinite(result.policy).all()
    # Nothing but pessimism: v = −bᵀA⁻¹b.
    assert result.value == pytest.approx(-result.pessimism)


def test_every_row_terminated():
    rows = process_rows(0, n=200)
    sums = lstd(rows._replace(terminated=np.ones(200)), 0.9)
    result = solver_of(lam=1e4, beta=1e-6).solve(sums, uniform_theta(sums))
    pair = rows.state * 3 + rows.action
    mean = np.bincount(pair, rows.reward) / np.bincount(pair)
    assert_array_equal(
        result.policy.numpy().argmax(axis=1), mean.reshape(5, 3).argmax(axis=1)
    )


def test_a_history_in_other_units_moves_values_and_nothing_else():
    history = History()
    for value in (0.5, -1.0):
        history.add(
            value=value,
            pessimism=0.25,
            follower_objective=3.0,
            bellman_error=0.1,
            leader_gradient_norm=0.2,
        )
    found = history.rescaled(-10.0, 4.0)
    assert found["value"] == [-8.0, -14.0]
    # A difference of values, which no anchor moves.
    assert found["pessimism"] == [1.0, 1.0]
    assert list(found) == list(history.entries)
    for name in ("follower_objective", "bellman_error", "leader_gradient_norm"):
        assert found[name] == history.entries[name]
    assert history.entries["value"] == [0.5, -1.0]


# ------------------------------------------------------------------- long logs


def test_a_part_of_a_log_has_the_highest_v_of_the_whole():
    sums = lstd(process_rows(0, n=500), 0.9)
    sums.highest = 3.0
    part = sums.subsample(100)
    assert part is not sums
    assert part.highest == 3.0


def test_a_short_log_is_its_own_part():
    sums = lstd(random_rows(n=80), discount=0.9)
    assert sums.subsample(n_rows=40) is sums


def test_parts_of_a_log_are_estimates_of_its_sums():
    rows = random_rows(seed=1, n=600, n_initial=50)
    sums = lstd(rows, discount=0.9, ridge=0.01)
    part = sums.subsample(n_rows=200)
    assert (part.n, part.log_length) == (200, 600)
    assert len(np.unique(part.rows.reward)) == 200
    theta = torch.zeros(sums.n_features, sums.n_actions, dtype=torch.float64)
    # Rows drawn without replacement: the same scale, an error of some 200 ** -0.5.
    whole, drawn = sums(theta).M, part(theta).M
    assert 0 < (drawn - whole).norm() < 0.5 * whole.norm()
    assert_close(part(theta).b, sums(theta).b)


def test_a_long_log_is_searched_on_a_part_and_evaluated_as_a_whole(monkeypatch):
    rows = process_rows(3, n=900)
    sums = lstd(rows, discount=0.9)
    uniform = torch.zeros(sums.n_features, sums.n_actions, dtype=torch.float64)
    solver = solver_of(lam=10.0, beta=1e-3, tol=1e-6)
    direct = solver.solve(sums, uniform)
    short = DiscreteLSTD.subsample
    monkeypatch.setattr(DiscreteLSTD, "subsample", lambda self: short(self, n_rows=300))
    found = solver.solve(sums, uniform)
    on_the_whole = float(solver.evaluate(sums, found.policy).value)
    assert found.value == pytest.approx(on_the_whole, rel=1e-12)
    assert found.value == max(found.history.entries["value"])
    assert found.value == pytest.approx(direct.value, rel=0.02)


@pytest.mark.parametrize(("slope", "bend"), [(0.5, 0.6), (0.1, 2.0), (0.1, 0.05)])
@pytest.mark.parametrize("gained_on_part", [0.0, 1.0])
def test_what_is_left_on_the_way_to_a_worse_point_is_foretold(
    slope, bend, gained_on_part
):
    search = _Search(ClosedForm(tol=1e-2), None, 1.0, 1.0, None)
    search.gained_on_part, search.first_value = gained_on_part, 0.0
    derivative = torch.full((1,), slope)
    search.best = SimpleNamespace(
        credible_value=1.0,
        is_released=False,
        theta=torch.zeros(1),
        total_derivative=lambda: derivative,
    )
    at_one = 1.0 + slope - bend
    tried = SimpleNamespace(
        credible_value=at_one, is_possible=True, theta=torch.ones(1)
    )
    # The most that v = 1 + slope t - bend t² gains, of what was gained on both.
    worthless = slope**2 / (4 * bend) < 1e-2 * (1.0 + gained_on_part)
    expected = gained_on_part > 0.0 and at_one <= 1.0 and worthless
    assert search._foretells_nothing(tried) == expected


@pytest.mark.parametrize("horizon", [10, 20, 50])
def test_a_sample_of_a_log_holds_every_step_of_its_episodes(horizon):
    n = 20_000
    step = np.tile(np.arange(horizon), n // horizon)
    table = torch.eye(horizon, dtype=torch.float64)
    rows = random_rows(n=n, table=table)._replace(state=step)
    seen, _ = lstd(rows, discount=0.9)._sample
    assert len(seen) == best_response.STEP_ROWS
    assert seen.sum(dim=0) == pytest.approx(len(seen) / horizon, rel=0.5)


@given(n=st.integers(1, 60), limit=st.integers(1, 60), seed=st.integers(0, 9))
def test_a_fixed_sample_is_in_order_and_all_of_a_short_log(n, limit, seed):
    for rng in (None, np.random.default_rng(seed)):
        found = fixed_sample(n, limit, rng)
        assert len(found) == min(n, limit)
        assert (np.diff(found) > 0).all()
        assert 0 <= found[0] <= found[-1] < n
    assert_array_equal(fixed_sample(n, limit), fixed_sample(n, limit))


# ------------------------------------------------------------------- observers


@pytest.mark.parametrize("leader_gradient", ["total", "individual"])
def test_an_observer_gets_every_entry_and_changes_nothing(leader_gradient):
    seen, points = [], []

    def observe(entry, point):
        seen.append(entry)
        points.append(point())

    sums = lstd(process_rows(0, n=100), 0.9)
    settings = {"leader_gradient": leader_gradient, "mirror_steps": 4, "max_iter": 4}
    watched = solver_of(**settings).solve(sums, uniform_theta(sums), observe)
    alone = solver_of(**settings).solve(sums, uniform_theta(sums))
    entries = watched.history.entries
    assert [entry["value"] for entry in seen] == entries["value"]
    assert all(list(entry) == list(entries) for entry in seen)
    assert torch.equal(watched.policy, alone.policy)
    assert not watched.stopped
    best = np.argmax(entries["value"])
    assert torch.equal(points[best][0], watched.policy)
    assert torch.equal(points[best][1], watched.q_function)


@pytest.mark.parametrize("leader_gradient", ["total", "individual"])
@pytest.mark.parametrize("after", [1, 3, 8])
def test_an_observer_stops_the_search_at_the_best_so_far(leader_gradient, after):
    seen = []

    def observe(entry, _):
        seen.append(entry["value"])
        return len(seen) == after

    sums = lstd(process_rows(0, n=100), 0.9)
    result = solver_of(
        leader_gradient=leader_gradient,
        mirror_steps=4,
        max_iter=20,
        tol=1e-9,
    ).solve(sums, uniform_theta(sums), observe)
    assert len(seen) == after == len(result.history.entries["value"])
    assert result.value == max(seen)
    assert result.stopped
    assert result.shortfall == ""


def test_an_observer_stops_the_search_on_a_part_too(monkeypatch):
    sums = lstd(process_rows(3, n=900), 0.9)
    short = DiscreteLSTD.subsample
    monkeypatch.setattr(DiscreteLSTD, "subsample", lambda self: short(self, n_rows=300))
    seen = []
    result = solver_of(lam=10.0, max_iter=20).solve(
        sums, uniform_theta(sums), lambda entry, _: seen.append(entry) or True
    )
    assert result.stopped
    # Once on the part, and once to see what that comes to on the whole.
    assert len(seen) == 2
    assert result.value == seen[1]["value"]


# Parameters.


@pytest.mark.parametrize(
    ("action_type", "steps"), [("discrete", 50), ("continuous", 0)]
)
def test_max_iter_suits_the_actions(action_type, steps):
    solver = ClosedForm()
    assert solver.resolve(ProblemSpec(action_type, True, True, False)).max_iter == steps
    assert solver.max_iter is None
    given = ClosedForm(max_iter=3).resolve(ProblemSpec(action_type, True, True, False))
    assert given.max_iter == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ProblemSpec("discrete", False, False, False), "q_function is a network"),
        (ProblemSpec("discrete", False, False, True), "q_function and policy are"),
        (ProblemSpec("discrete", True, False, False), "in the same features"),
        (ProblemSpec("continuous", True, True, False, "cuda"), "device='cuda'"),
    ],
)
def test_what_has_no_closed_form_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        ClosedForm().resolve(spec)


def test_weights_are_what_it_starts_from():
    sums = lstd(process_rows(0, n=100), 0.9)
    with pytest.raises(TypeError, match="a Tensor, got Linear"):
        ClosedForm(max_iter=1).solve(
            sums, SolverState(torch.nn.Linear(1, 1)), lam=1.0, beta=1.0
        )
