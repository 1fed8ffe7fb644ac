"""The game's equations against their definitions, and the best response against F."""

from __future__ import annotations

import itertools

import pytest
import torch
from _problems import (
    DenseGame,
    TableRows,
    autograd,
    joint,
    lstd,
    random_rows,
    random_theta,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from sklearn_stackelberg import game

GAMES = {
    "seed": st.integers(0, 99),
    "discount": st.sampled_from([0.0, 0.5, 0.99]),
    "lam": st.floats(1e-2, 1e2),
    "beta": st.floats(1e-3, 10.0),
    "ridge": st.sampled_from([0.0, 0.05, 1.0]),
}


def draw(seed, **kwargs):
    dense = DenseGame(random_rows(seed), **kwargs)
    theta = random_theta(dense.sums, seed)
    return dense, theta, dense.solver.evaluate(dense.sums, theta)


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_expected_value_of_a_certain_action_is_its_q():
    q_values = normal(0, 5, 3)
    certain = torch.eye(3, dtype=torch.float64)[[0, 2, 1, 1, 0]]
    chosen = q_values[torch.arange(5), [0, 2, 1, 1, 0]]
    assert_close(game.expected_value(q_values, certain), chosen)
    even = torch.full((5, 3), 1 / 3, dtype=torch.float64)
    assert_close(game.expected_value(q_values, even), q_values.mean(1))


def test_the_residual_stops_where_the_episode_terminates():
    q_logged, next_value, reward = normal(0, 6), normal(1, 6), normal(2, 6)
    terminated = torch.tensor([0.0, 1.0] * 3, dtype=torch.float64)
    found = game.td_residual(q_logged, next_value, reward, terminated, 0.9)
    for row in range(6):
        follows = 0.0 if terminated[row] else 0.9 * next_value[row]
        assert_close(found[row], reward[row] + follows - q_logged[row])
    other = game.td_residual(q_logged, normal(3, 6), reward, terminated, 0.9)
    assert_close(found[1::2], other[1::2], rtol=0, atol=0)
    assert (found[::2] != other[::2]).all()


@given(
    seed=st.integers(0, 99),
    anchor=st.floats(-1e3, 1e3),
    discount=st.sampled_from([0.0, 0.9, 0.99]),
)
def test_anchored_rewards_leave_the_residual_as_it_is(seed, anchor, discount):
    q_logged, next_value, reward = normal(seed, 6), normal(seed + 1, 6), normal(2, 6)
    terminated = torch.tensor([0.0, 1.0] * 3, dtype=torch.float64)
    moved = game.anchored_reward(reward.numpy(), terminated.numpy(), anchor, discount)
    found = game.td_residual(
        q_logged - anchor,
        next_value - anchor,
        torch.from_numpy(moved),
        terminated,
        discount,
    )
    expected = game.td_residual(q_logged, next_value, reward, terminated, discount)
    assert_close(found, expected, rtol=1e-10, atol=1e-9)


@given(seed=st.integers(0, 99), n=st.integers(1, 8), p=st.integers(1, 5))
def test_bellman_error_is_the_double_sum(seed, n, p):
    residual, Z = normal(seed, n), normal(seed + 1, n, p)
    total = 0.0
    for i in range(n):
        for j in range(n):
            total += float(residual[i] * (Z[i] @ Z[j]) * residual[j])
    found = game.bellman_error(residual, Z)
    assert float(found) == pytest.approx(total / n**2, rel=1e-9, abs=1e-12)


def test_bellman_error_is_the_largest_weighted_average_over_the_unit_ball():
    residual, Z = normal(0, 9), normal(1, 9, 4)
    error = game.bellman_error(residual, Z)

    def average(direction):
        f = Z @ (direction / direction.norm())
        return float((f * residual).mean()) ** 2

    tried = [average(normal(seed, 4)) for seed in range(200)]
    assert max(tried) <= float(error)
    assert average(Z.T @ residual) == pytest.approx(float(error), rel=1e-12)


@pytest.mark.parametrize("size", range(2, 7))
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_minibatches_estimate_the_bellman_error_without_bias(size, ridge):
    n = 6
    reward, design, Z = normal(0, n), normal(1, n, 4), normal(2, n, 4)
    batches = list(itertools.combinations(range(n), size))

    def full(w):
        return game.bellman_error(reward - torch.tanh(design @ w), Z, w, ridge)

    def mean(w):
        residual = reward - torch.tanh(design @ w)
        found = [
            game.minibatch_bellman_error(residual[list(b)], Z[list(b)], n, w, ridge)
            for b in batches
        ]
        return torch.stack(found).mean()

    w = normal(3, 4)
    assert_close(mean(w), full(w), rtol=1e-10, atol=1e-12)
    assert_close(autograd(mean, w), autograd(full, w), rtol=1e-10, atol=1e-12)
    if size < n:
        plain = [game.bellman_error(reward[list(b)], Z[list(b)]) for b in batches]
        # The plain double sum counts a row's pair with itself n/B times too often.
        assert torch.stack(plain).mean() > 1.1 * game.bellman_error(reward, Z)


@given(seed=st.integers(0, 99), n=st.integers(1, 8), p=st.integers(1, 5))
def test_a_minibatch_of_all_rows_is_the_bellman_error(seed, n, p):
    residual, Z = normal(seed, n), normal(seed + 1, n, p)
    found = game.minibatch_bellman_error(residual, Z, n)
    assert_close(found, game.bellman_error(residual, Z), rtol=1e-10, atol=1e-12)


def test_a_minibatch_of_one_row_of_many_is_a_bound():
    n = 7
    residual, Z = normal(0, n), normal(1, n, 3)
    rows = [game.minibatch_bellman_error(residual[[i]], Z[[i]], n) for i in range(n)]
    assert_close(rows[2], (Z[2] @ Z[2]) * residual[2] ** 2)
    assert torch.stack(rows).mean() >= game.bellman_error(residual, Z)


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_ridge_is_rows_that_end_at_once_with_nothing(repeats):
    n, p = 10, 4
    residual, Z, w = normal(0, n), normal(1, n, p), normal(2, p)
    rho = repeats / n
    # φ = e_j, no reward and nothing after: δ = 0 − w_j.
    pseudo = torch.eye(p, dtype=torch.float64).repeat(repeats, 1)
    augmented = game.bellman_error(
        torch.cat([residual, -(pseudo @ w)]), torch.cat([Z, pseudo])
    )
    # The average is over the logged rows alone.
    longer = (n + repeats * p) / n
    assert_close(game.bellman_error(residual, Z, w, rho), augmented * longer**2)
    assert_close(
        game.bellman_error(residual, Z, w, 0.0), game.bellman_error(residual, Z)
    )


def test_objectives_add_up():
    q0, w = normal(0, 6), normal(1, 3)
    value = game.leader_objective(q0, 0.75)
    assert_close(value, q0.sum() / 24)
    error = torch.tensor(0.3, dtype=torch.float64)
    found = game.follower_objective(value, error, w, 50, 2.0, 0.1)
    assert_close(found, value + 2.0 * 50 * 0.3 + 0.05 * (w**2).sum())


@given(**GAMES)
def test_an_evaluation_holds_the_games_own_quantities(seed, **kwargs):
    dense, theta, at = draw(seed, **kwargs)
    w = at.flat_w
    assert_close(at.value, dense.v(w, theta), rtol=1e-9, atol=1e-12)
    assert_close(at.bellman_error, dense.error(w, theta), rtol=1e-9, atol=1e-12)
    assert_close(at.follower_objective, dense.F(w, theta), rtol=1e-9, atol=1e-12)
    gradient = autograd(lambda w: dense.F(w, theta), w)
    assert_close(
        at.follower_gradient, gradient, rtol=0, atol=1e-8 * float(w.norm() + 1)
    )


@given(**GAMES)
def test_the_best_response_is_where_the_gradient_of_F_is_zero(seed, **kwargs):
    dense, theta, at = draw(seed, **kwargs)
    gradient = autograd(lambda w: dense.F(w, theta), at.flat_w)
    away = autograd(lambda w: dense.F(w, theta), torch.zeros_like(at.flat_w))
    assert float(gradient.norm()) < 1e-9 * float(away.norm())


@given(**GAMES)
def test_the_best_response_beats_its_neighbours(seed, **kwargs):
    dense, theta, at = draw(seed, **kwargs)
    lowest = dense.F(at.flat_w, theta)
    for number, size in enumerate([1e-3, 1e-2, 0.1, 1.0, 10.0]):
        step = size * normal(number, len(at.flat_w))
        assert dense.F(at.flat_w + step, theta) > lowest
        assert dense.F(at.flat_w - step, theta) > lowest


@pytest.mark.slow
@given(**GAMES)
def test_pessimism_is_what_separates_v_from_the_ridge_value(seed, **kwargs):
    dense, theta, at = draw(seed, **kwargs)
    # Without the leader's term in F the follower is a plain ridge regression.
    start = torch.zeros_like(at.flat_w)
    without = lambda w: dense.F(w, theta) - dense.v(w, theta)  # noqa: E731
    hessian = torch.autograd.functional.hessian(without, start)
    fit = -torch.linalg.solve(hessian, autograd(without, start))
    gap = dense.v(fit, theta) - at.value
    assert at.pessimism >= 0
    assert_close(at.pessimism, gap, rtol=1e-6, atol=1e-8 * float(abs(at.value) + 1))


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_ridge_is_a_longer_log_for_the_whole_game(repeats):
    rows = random_rows(3, n=40)
    n, m, actions = 40, 4, rows.n_actions
    short = DenseGame(rows, 0.9, 2.0, 0.1, ridge=repeats / n)
    unit = torch.eye(m, dtype=torch.float64)
    table = torch.cat([rows.features(torch.arange(40).numpy()), unit])
    number = torch.arange(m * actions * repeats).numpy()
    longer = TableRows(
        lambda index: table[torch.from_numpy(index)],
        concatenate(rows.state, 40 + number % m),
        concatenate(rows.next_state, 0 * number),
        concatenate(rows.action, number // m % actions),
        concatenate(rows.reward, 0.0 * number),
        concatenate(rows.terminated, 1.0 + 0.0 * number),
        rows.initial,
        actions,
    )
    # λ n E_K: the longer log's averages are over more rows.
    share = len(longer.action) / n
    long = DenseGame(longer, 0.9, 2.0 * share, 0.1)
    theta = random_theta(short.sums)
    a = short.solver.evaluate(short.sums, theta)
    b = long.solver.evaluate(long.sums, theta)
    assert_close(b.system.M * share, a.system.M)
    for name in ("value", "pessimism", "flat_w", "follower_objective"):
        assert_close(getattr(a, name), getattr(b, name))
    assert_close(a.bellman_error, b.bellman_error * share**2)
    assert_close(a.total_derivative(), b.total_derivative())


def concatenate(logged, pseudo):
    return torch.cat([torch.from_numpy(logged), torch.from_numpy(pseudo)]).numpy()


def test_what_follows_a_terminated_row_has_no_influence():
    rows = random_rows(4, end=0.4)
    ended = rows.terminated == 1.0
    moved = rows.next_state.copy()
    moved[ended] = (moved[ended] + 7) % 40
    other = rows._replace(next_state=moved)
    theta = random_theta(lstd(rows, 0.9))
    a, b = (DenseGame(r, 0.9, 2.0, 0.1) for r in (rows, other))
    at, there = (g.solver.evaluate(g.sums, theta) for g in (a, b))
    for name in ("M", "b", "c"):
        left, right = (getattr(found.system, name) for found in (at, there))
        assert_close(left, right, rtol=0, atol=0)
    assert_close(at.value, there.value, rtol=0, atol=0)
    derivatives = at.total_derivative(), there.total_derivative()
    assert_close(*derivatives, rtol=0, atol=0)
    assert_close(a.F(at.flat_w, theta), b.F(at.flat_w, theta), rtol=0, atol=0)
    # Not because next states never matter.
    moved = rows.next_state.copy()
    moved[~ended] = (moved[~ended] + 7) % 40
    alive = DenseGame(rows._replace(next_state=moved), 0.9, 2.0, 0.1)
    assert alive.solver.evaluate(alive.sums, theta).value != at.value


@given(seed=st.integers(0, 99), factor=st.sampled_from([1 / 1024, 2.0, 1024.0]))
def test_rewards_scale_v_where_the_follower_has_no_pessimism_to_scale(seed, factor):
    dense = DenseGame(random_rows(seed), 0.9, 2.0, 0.1)
    scaled = dense.rows._replace(reward=factor * dense.rows.reward)
    theta = random_theta(dense.sums, seed)
    at = dense.solver.evaluate(dense.sums, theta)
    there = dense.solver.evaluate(lstd(scaled, 0.9), theta)
    # v + pessimism is linear in the rewards; the pessimism does not see them.
    assert_close(there.pessimism, at.pessimism)
    fit, scaled_fit = at.value + at.pessimism, there.value + there.pessimism
    assert_close(scaled_fit, factor * fit, rtol=1e-9, atol=1e-9 * max(1.0, factor))


def test_a_larger_lambda_or_beta_costs_the_follower():
    rows = random_rows(5)
    theta = random_theta(lstd(rows, 0.9))

    def at(lam, beta):
        dense = DenseGame(rows, 0.9, lam, beta)
        return dense.solver.evaluate(dense.sums, theta)

    errors = [float(at(lam, 0.1).bellman_error) for lam in (0.1, 1.0, 10.0, 100.0)]
    assert errors == sorted(errors, reverse=True)
    sizes = [float(at(1.0, beta).flat_w.norm()) for beta in (0.01, 0.1, 1.0, 10.0)]
    assert sizes == sorted(sizes, reverse=True)


def test_joint_features_give_the_expected_value():
    phi, share, w = normal(0, 6, 4), torch.softmax(normal(1, 6, 3), 1), normal(2, 12)
    q_values = phi @ w.reshape(3, 4).T
    assert_close(joint(phi, share) @ w, game.expected_value(q_values, share))
