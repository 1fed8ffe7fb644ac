"""What is measured at an equilibrium, against dense matrices."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from _problems import (
    DenseGame,
    NetworkGame,
    closed_form,
    random_rows,
    random_theta,
    sampled,
    uniform_theta,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from sklearn_stackelberg import equilibrium
from sklearn_stackelberg._linalg import largest_eigenvalue
from sklearn_stackelberg.equilibrium import (
    Equilibrium,
    measure_equilibrium,
    measure_stochastic_equilibrium,
)
from sklearn_stackelberg.policies import SoftmaxPolicy
from sklearn_stackelberg.q_functions import DiscreteQ, LinearQ
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._minibatch_game import assign, flat
from sklearn_stackelberg.total_derivative import total_derivative


def measured(dense, theta, **settings):
    return measure_equilibrium(
        dense.sums, theta, lam=dense.lam, beta=dense.beta, **settings
    )


def dense_hessian(dense, theta):
    def value(flat):
        at = dense.solver.evaluate(dense.sums, flat.reshape(theta.shape))
        return at.value

    return torch.autograd.functional.hessian(value, theta.ravel())


def follower_curvature(dense, theta):
    M = dense.sums(theta).M
    scale = 2.0 * dense.lam * len(dense.rows.action)
    return scale * M.T @ M + dense.beta * torch.eye(M.shape[1], dtype=torch.float64)


def small(seed, **kwargs):
    settings = {"discount": 0.9, "lam": 0.05, "beta": 0.5, "ridge": 0.0}
    rows = random_rows(seed, n=50, n_features=3, n_actions=2)
    return DenseGame(rows, **{**settings, **kwargs})


def symmetric(seed, size):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root + root.T


@given(seed=st.integers(0, 999), size=st.integers(1, 12))
def test_lanczos_with_all_its_steps_is_the_dense_eigenvalue(seed, size):
    matrix = symmetric(seed, size)
    found = largest_eigenvalue(lambda x: matrix @ x, size, size)
    expected = float(torch.linalg.eigvalsh(matrix)[-1])
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * float(matrix.norm()))


@given(seed=st.integers(0, 99), steps=st.integers(1, 11))
def test_fewer_steps_bound_the_eigenvalue_from_below_and_rise(seed, steps):
    matrix = symmetric(seed, 12)
    found = [
        largest_eigenvalue(lambda x: matrix @ x, 12, k) for k in (steps, steps + 1)
    ]
    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    assert found[0] <= found[1] + 1e-10 <= largest + 1e-9


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_lanczos_in_any_unit(scale):
    matrix = scale * symmetric(0, 6)
    found = largest_eigenvalue(lambda x: matrix @ x, 6, 6)
    assert found == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-9)


def test_lanczos_stops_where_the_space_is_exhausted():
    products = 0

    def identity(x):
        nonlocal products
        products += 1
        return 3.0 * x

    assert largest_eigenvalue(identity, 50, 8) == pytest.approx(3.0)
    assert products == 1
    assert largest_eigenvalue(lambda x: 0.0 * x, 5, 8) == 0.0
    assert largest_eigenvalue(lambda x: -2.0 * x, 1, 8) == pytest.approx(-2.0)
    # Two eigenvalues, many times each: two products tell them apart.
    values = torch.tensor([5.0, -7.0] * 10, dtype=torch.float64)
    assert largest_eigenvalue(lambda x: values * x, 20, 8) == pytest.approx(5.0)


def test_lanczos_takes_no_more_products_than_allowed():
    products = 0
    matrix = symmetric(0, 30)

    def multiply(x):
        nonlocal products
        products += 1
        return matrix @ x

    largest_eigenvalue(multiply, 30, 7)
    assert products == 7


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_curvatures_are_those_of_dense_hessians(seed, ridge):
    dense = small(seed, ridge=ridge)
    theta = random_theta(dense.sums, seed)
    found = measured(dense, theta, lanczos_steps=theta.numel())
    hessian = dense_hessian(dense, theta)
    expected = float(torch.linalg.eigvalsh(hessian)[-1])
    # Central differences of the derivative: about ten digits of the Hessian's size.
    assert found.leader_largest_curvature == pytest.approx(
        expected, abs=1e-9 * float(hessian.norm())
    )
    smallest = float(torch.linalg.eigvalsh(follower_curvature(dense, theta))[0])
    assert found.follower_smallest_curvature == pytest.approx(smallest, rel=1e-8)
    assert found.follower_smallest_curvature >= dense.beta
    # The Hessian of F itself says the same.
    w = dense.solver.evaluate(dense.sums, theta).flat_w
    of_F = torch.autograd.functional.hessian(lambda w: dense.F(w, theta.ravel()), w)
    assert float(torch.linalg.eigvalsh(of_F)[0]) == pytest.approx(smallest, rel=1e-7)


@pytest.mark.parametrize("factor", [1.0, 30.0])
def test_the_differences_suit_large_weights_too(factor):
    dense = small(1)
    theta = factor * random_theta(dense.sums, 1)
    found = measured(dense, theta, lanczos_steps=theta.numel())
    hessian = dense_hessian(dense, theta)
    assert found.leader_largest_curvature == pytest.approx(
        float(torch.linalg.eigvalsh(hessian)[-1]), abs=1e-6 * float(hessian.norm())
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_fewer_products_report_a_bound(steps):
    dense = small(0)
    theta = random_theta(dense.sums)
    few = measured(dense, theta, lanczos_steps=steps)
    all_of_them = measured(dense, theta, lanczos_steps=theta.numel())
    assert few.leader_largest_curvature < all_of_them.leader_largest_curvature
    assert few.follower_smallest_curvature > all_of_them.follower_smallest_curvature


@given(seed=st.integers(0, 99), lam=st.floats(1e-2, 1e2), beta=st.floats(1e-3, 1.0))
def test_gradient_norms_are_those_of_the_evaluation(seed, lam, beta):
    dense = small(seed, lam=lam, beta=beta)
    theta = random_theta(dense.sums, seed)
    found = measured(dense, theta, lanczos_steps=1)
    at = dense.solver.evaluate(dense.sums, theta)
    assert found.leader_gradient_norm == pytest.approx(
        float(at.total_derivative().norm()), rel=1e-12
    )
    assert 0 <= found.follower_gradient_norm < 1e-10


def test_the_followers_gradient_is_relative_to_its_terms(monkeypatch):
    """A wrong response is seen, and the unit of the rewards is not."""
    dense = small(0)
    theta = random_theta(dense.sums)

    class Wrong(BestResponse):
        def __init__(self, *args):
            super().__init__(*args)
            self.flat_w = 1.1 * self.flat_w

    monkeypatch.setattr(equilibrium, "BestResponse", Wrong)

    def norm(rows):
        found = measured(DenseGame(rows, 0.9, 0.05, 0.5), theta, lanczos_steps=1)
        return found.follower_gradient_norm

    assert 1e-3 < norm(dense.rows) < 1.0
    # Rewards so large that v's own term is nothing beside them: a pure number is left.
    norms = [
        norm(dense.rows._replace(reward=unit * dense.rows.reward))
        for unit in (1e6, 1e9)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_where_a_search_has_ended_nothing_is_evaluated_again():
    dense = small(0)
    sums, weights = dense.sums, {"lam": dense.lam, "beta": dense.beta}
    theta = dense.solver.solve(sums, uniform_theta(sums)).policy
    assert sums.known(theta, **weights) is not None
    assert sums.known(theta, **weights | {"beta": 1.0}) is None
    found = measure_equilibrium(sums, theta, **weights)
    sums.found = None
    assert measure_equilibrium(sums, theta, **weights) == found


@pytest.mark.parametrize("seed", range(3))
def test_a_converged_search_is_an_equilibrium(seed):
    dense = small(seed, beta=5.0)
    solver = closed_form(dense.lam, dense.beta, mirror_steps=0, max_iter=500, tol=0.0)
    start = uniform_theta(dense.sums)
    result = solver.solve(dense.sums, start)
    before, after = (
        measured(dense, theta, lanczos_steps=start.numel())
        for theta in (start, result.policy)
    )
    assert after.leader_gradient_norm < 1e-3 * before.leader_gradient_norm
    # Softmax has directions that change nothing, so zero is the best there is.
    size = float(dense_hessian(dense, start).norm())
    assert after.leader_largest_curvature < 1e-2 * size
    assert after.follower_smallest_curvature >= dense.beta


# On samples.


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_curvatures_on_samples_are_those_of_dense_hessians(seed):
    played = NetworkGame(seed, "tanh", n=12, beta=0.5, width=2)
    players = played.players
    theta = flat(players.policy)
    w = played.response(theta, flat(players.q_function))
    assign(players.q_function, w)
    found = measure_stochastic_equilibrium(
        played.sampled,
        players.policy,
        players.q_function,
        lam=played.lam,
        beta=played.beta,
        lanczos_steps=len(theta),
    )
    hessian = torch.autograd.functional.hessian(lambda w: played.F(w, theta), w)
    smallest = float(torch.linalg.eigvalsh(hessian)[0])
    assert found.follower_smallest_curvature == pytest.approx(smallest, rel=1e-6)
    assert found.follower_gradient_norm < 1e-8
    # D²v a column at a time, at responses that a dense Newton method finds.
    step, columns = 1e-4, []
    for ahead in step * torch.eye(len(theta), dtype=torch.float64):
        sides = [
            total_derivative(played.v, played.F, played.response(moved, w, 3), moved)
            for moved in (theta + ahead, theta - ahead)
        ]
        columns.append((sides[0] - sides[1]) / (2.0 * step))
    matrix = torch.stack(columns)
    assert_close(matrix, matrix.T, rtol=0, atol=1e-4 * float(matrix.norm()))
    largest = float(torch.linalg.eigvalsh(0.5 * (matrix + matrix.T))[-1])
    assert found.leader_largest_curvature == pytest.approx(
        largest, abs=1e-3 * float(matrix.norm())
    )
    derivative = total_derivative(played.v, played.F, w, theta)
    assert found.leader_gradient_norm == pytest.approx(float(derivative.norm()))


def test_samples_and_the_closed_form_are_measured_alike():
    dense = small(0)
    theta = random_theta(dense.sums)
    expected = measured(dense, theta, lanczos_steps=theta.numel())
    at = dense.solver.evaluate(dense.sums, theta)

    def on_samples(w):
        return measure_stochastic_equilibrium(
            sampled(dense.rows, dense.discount),
            SoftmaxPolicy(theta),
            DiscreteQ(LinearQ(w)),
            lam=dense.lam,
            beta=dense.beta,
            lanczos_steps=theta.numel(),
        )

    found = on_samples(at.w)
    for name in (
        "leader_gradient_norm",
        "leader_largest_curvature",
        "follower_smallest_curvature",
    ):
        assert getattr(found, name) == pytest.approx(
            getattr(expected, name), rel=1e-5, abs=1e-7
        )
    assert found.follower_gradient_norm < 1e-10
    # Another response is seen.
    assert on_samples(1.1 * at.w).follower_gradient_norm > 1e-3


def test_a_follower_that_bends_down_is_no_equilibrium():
    # Rewards that a kinked q of few units cannot explain, and next to no β.
    played = NetworkGame(3, "relu", beta=1e-6)
    found = measure_stochastic_equilibrium(
        played.sampled,
        played.players.policy,
        played.players.q_function,
        lam=played.lam,
        beta=played.beta,
        lanczos_steps=4,
    )
    assert found.follower_gradient_norm > 1e-3
    assert np.isfinite(found.leader_largest_curvature)


def test_it_prints_its_four_numbers():
    found = Equilibrium(0.125, -2.5, 1e-13, 0.75)
    numbers = re.findall(r"= ([-+.e\d]*\d)", str(found))
    assert numbers == ["0.125", "-2.5", "1e-13", "0.75"]
    assert "\n" not in str(found)
    with pytest.raises(AttributeError):
        found.leader_gradient_norm = 0.0


def test_float32_measures_nearly_the_same():
    settings = {"n": 50, "n_features": 3, "n_actions": 2}
    double = DenseGame(random_rows(0, **settings), 0.9, 0.05, 0.5)
    single = DenseGame(random_rows(0, dtype=torch.float32, **settings), 0.9, 0.05, 0.5)
    theta = random_theta(double.sums)
    a, b = (measured(game, theta, lanczos_steps=6) for game in (double, single))
    size = float(dense_hessian(double, theta).norm())
    assert b.leader_gradient_norm == pytest.approx(a.leader_gradient_norm, rel=1e-3)
    assert b.follower_smallest_curvature == pytest.approx(
        a.follower_smallest_curvature, rel=1e-3
    )
    gap = b.leader_largest_curvature - a.leader_largest_curvature
    assert np.abs(gap) < 1e-2 * size
