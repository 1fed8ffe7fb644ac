"""One derivative, four ways: written out, autograd, rank-two, finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _problems import (
    KERNELS,
    DenseGame,
    NetworkGame,
    autograd,
    finite_differences,
    kernel_id,
    kernel_states,
    lstd,
    random_rows,
    random_theta,
    relative_error,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sklearn_stackelberg import game
from sklearn_stackelberg._linalg import conjugate_gradient, dense_solve
from sklearn_stackelberg.kernels import LandmarkFeatures
from sklearn_stackelberg.solvers._minibatch_game import flat
from sklearn_stackelberg.total_derivative import (
    gauss_newton,
    moment_gradients,
    total_derivative,
)


def four_ways(dense, theta):
    """D_θ v written out, by autograd through the solve, rank-two, by differences."""
    solver, sums = dense.solver, dense.sums
    at = solver.evaluate(sums, theta)

    def value(theta):
        return solver.evaluate(sums, theta).value

    flat = theta.ravel()
    return {
        "rank two": at.total_derivative(),
        "written out": total_derivative(dense.v, dense.F, at.flat_w, flat).reshape(
            theta.shape
        ),
        "autograd": autograd(value, theta),
        "differences": finite_differences(value, theta),
    }


def assert_one_derivative(found):
    for name, derivative in found.items():
        assert relative_error(derivative, found["autograd"]) <= 1e-6, name
    # Only the differences have a reason to be further off than rounding.
    assert relative_error(found["rank two"], found["autograd"]) <= 1e-9
    assert relative_error(found["written out"], found["autograd"]) <= 1e-9


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    discount=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    lam=st.floats(1e-2, 1e2),
    beta=st.floats(1e-2, 1.0),
    ridge=st.sampled_from([0.0, 0.02, 0.5]),
    end=st.sampled_from([0.0, 0.2, 1.0]),
    n_actions=st.integers(2, 4),
)
def test_one_derivative_on_random_problems(
    seed, discount, lam, beta, ridge, end, n_actions
):
    rows = random_rows(seed, n=50, n_features=3, n_actions=n_actions, end=end)
    dense = DenseGame(rows, discount, lam, beta, ridge)
    assert_one_derivative(four_ways(dense, random_theta(dense.sums, seed)))


@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_one_derivative_for_each_kernel(kernel, ridge):
    states = kernel_states(kernel, np.random.default_rng(0))
    features = LandmarkFeatures(
        kernel,
        bandwidth="median",
        n_components=None if kernel == "delta" else 6,
        random_state=0,
    ).fit(states)
    table = features.transform(states)
    rows = random_rows(1, n=60, n_actions=2, table=table)
    dense = DenseGame(rows, 0.9, 2.0, 0.1, ridge)
    assert_one_derivative(four_ways(dense, random_theta(dense.sums)))


@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_one_derivative_where_the_solve_takes_its_other_branch(ridge):
    # Two of three directions never logged: only β holds them, by a factor of 1e12.
    table = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
    table[:, 1:] *= 1e-6
    rows = random_rows(2, n=60, n_actions=2, table=table)
    dense = DenseGame(rows, 0.9, 1e4, 1e-9, ridge)
    theta = random_theta(dense.sums)
    at = dense.solver.evaluate(dense.sums, theta)
    if not ridge:
        assert (at.factor.upper.diagonal() < 0).any()  # a QR's, not Cholesky's
    found = autograd(lambda t: dense.solver.evaluate(dense.sums, t).value, theta)
    assert relative_error(at.total_derivative(), found) <= 1e-6


@given(seed=st.integers(0, 99), ridge=st.sampled_from([0.0, 0.1]))
def test_the_individual_derivative_holds_w_fixed(seed, ridge):
    dense = DenseGame(random_rows(seed), 0.9, 2.0, 0.1, ridge)
    theta = random_theta(dense.sums, seed)
    at = dense.solver.evaluate(dense.sums, theta)
    expected = autograd(lambda t: dense.v(at.flat_w, t), theta)
    assert relative_error(at.individual_derivative(), expected) <= 1e-11
    assert relative_error(at.total_derivative(), expected) > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_damping_leads_from_the_total_to_the_individual_derivative(seed):
    dense = DenseGame(random_rows(seed), 0.9, 2.0, 0.1)
    theta = random_theta(dense.sums, seed)
    at = dense.solver.evaluate(dense.sums, theta)
    individual, total = at.individual_derivative(), at.total_derivative()

    def damped(damping):
        return total_derivative(
            dense.v, dense.F, at.flat_w, theta.ravel(), damping=damping
        ).reshape(theta.shape)

    away = [relative_error(damped(d), individual) for d in (1e2, 1e4, 1e6, 1e12)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-9
    near = [relative_error(damped(d), total) for d in (1e-2, 1e-4, 1e-6, 0.0)]
    assert near == sorted(near, reverse=True)
    assert near[-1] < 1e-9
    # The paper's regularised derivative is not the derivative of the game.
    assert near[0] > 1e-6


def by_conjugate_gradient(matvec, right):
    return conjugate_gradient(matvec, right, tol=1e-14, max_iter=20 * len(right)).x


def test_the_solve_is_an_argument():
    dense = DenseGame(random_rows(0), 0.9, 2.0, 0.5)
    theta = random_theta(dense.sums)
    w = dense.solver.evaluate(dense.sums, theta).flat_w
    found = total_derivative(
        dense.v, dense.F, w, theta.ravel(), solve=by_conjugate_gradient
    )
    expected = total_derivative(dense.v, dense.F, w, theta.ravel(), solve=dense_solve)
    assert relative_error(found, expected) < 1e-9


@pytest.mark.parametrize("curvature", ["Gauss-Newton", "exact"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("seed", range(2))
def test_networks_by_conjugate_gradient_and_by_a_dense_solve(
    activation, seed, curvature
):
    played = NetworkGame(seed, activation)
    theta, w = flat(played.players.policy), flat(played.players.q_function)
    product, least = None, 0.0
    if curvature == "Gauss-Newton":
        scale = 2.0 * played.lam * played.n
        product = gauss_newton(lambda w: played.mean(w, theta), w, scale, played.beta)
    else:
        # Away from a minimum the exact Hessian is positive only where it is damped.
        hessian = torch.autograd.functional.hessian(lambda w: played.F(w, theta), w)
        least = 0.1 - float(torch.linalg.eigvalsh(hessian)[0])

    def derivative(solve, damping=least):
        return total_derivative(
            played.v,
            played.F,
            w,
            theta,
            solve=solve,
            curvature=product,
            damping=damping,
        )

    expected = derivative(dense_solve)
    assert relative_error(derivative(by_conjugate_gradient), expected) <= 1e-5
    # β inside the solve alone leads to the individual derivative.
    individual = autograd(lambda theta: played.v(w, theta), theta)
    away = [
        relative_error(derivative(by_conjugate_gradient, damping), individual)
        for damping in (least, 1e3, 1e6, 1e12)
    ]
    assert away == sorted(away, reverse=True)
    assert away[0] > 1e-2
    assert away[-1] < 1e-9


@pytest.mark.slow
def test_networks_by_differences_of_the_best_response():
    played = NetworkGame(0, "tanh")
    theta = flat(played.players.policy)
    w = played.response(theta, flat(played.players.q_function))
    assert autograd(lambda w: played.F(w, theta), w).norm() < 1e-9
    found = total_derivative(played.v, played.F, w, theta)
    step = 1e-4
    for coordinate in (0, 7, 20):
        ahead = torch.zeros_like(theta)
        ahead[coordinate] = step
        values = [
            played.v(played.response(theta + sign * ahead, w, 20), theta + sign * ahead)
            for sign in (1, -1)
        ]
        expected = float(values[0] - values[1]) / (2 * step)
        assert float(found[coordinate]) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_gauss_newton_is_the_hessian_where_q_is_linear(ridge):
    dense = DenseGame(random_rows(0), 0.9, 2.0, 0.5, ridge)
    theta = random_theta(dense.sums)
    at = dense.solver.evaluate(dense.sums, theta)
    flat_theta = theta.ravel()

    def mean(w):
        residual = dense.residual(w, flat_theta)
        return game.embedded_residual(residual, dense.Z, w, ridge)

    curvature = gauss_newton(mean, torch.zeros_like(at.flat_w), at.scale, dense.beta)
    hessian = torch.autograd.functional.hessian(
        lambda w: dense.F(w, flat_theta), at.flat_w
    )
    columns = [curvature(x) for x in torch.eye(len(hessian), dtype=torch.float64)]
    assert_close(torch.stack(columns, dim=1), hessian, rtol=1e-9, atol=1e-9)
    found = total_derivative(
        dense.v,
        dense.F,
        at.flat_w,
        flat_theta,
        solve=by_conjugate_gradient,
        curvature=curvature,
    )
    assert relative_error(found, at.total_derivative().ravel()) <= 1e-8


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("seed", range(2))
def test_gauss_newton_is_symmetric_and_holds_beta(activation, seed):
    played = NetworkGame(seed, activation)
    theta, w = flat(played.players.policy), flat(played.players.q_function)
    curvature = gauss_newton(lambda w: played.mean(w, theta), w, 3.0, played.beta)
    jacobian = torch.autograd.functional.jacobian(lambda w: played.mean(w, theta), w)
    expected = 3.0 * jacobian.T @ jacobian + played.beta * torch.eye(len(w)).double()
    columns = [curvature(x) for x in torch.eye(len(w), dtype=torch.float64)]
    assert_close(torch.stack(columns), expected, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 99), size=st.integers(1, 8))
def test_conjugate_gradient_ends_after_as_many_products_as_unknowns(seed, size):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(size, dtype=torch.float64)
    right = torch.randn(size, generator=generator, dtype=torch.float64)
    x, residual, n_iter = conjugate_gradient(
        lambda x: matrix @ x, right, tol=1e-10, max_iter=3 * size
    )
    assert n_iter <= size + 2
    assert_close(matrix @ x, right, rtol=1e-8, atol=1e-8)
    true = float((right - matrix @ x).norm() / right.norm())
    assert residual == pytest.approx(true, abs=1e-9)
    # From the solution there is nothing left to do.
    assert conjugate_gradient(lambda x: matrix @ x, right, x, tol=1e-8).n_iter == 0
    few = conjugate_gradient(lambda x: matrix @ x, right, max_iter=1)
    assert few.n_iter == 1


def test_conjugate_gradient_of_nothing_and_of_what_is_not_positive():
    zero = torch.zeros(3, dtype=torch.float64)
    start = torch.ones(3, dtype=torch.float64)
    assert conjugate_gradient(lambda x: 2.0 * x, zero, start) == (
        pytest.approx(zero),
        0.0,
        0,
    )
    signs = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    x, residual, n_iter = conjugate_gradient(lambda x: signs * x, start)
    assert torch.isfinite(x).all()
    assert (residual, n_iter) == (1.0, 1)


@given(seed=st.integers(0, 99), size=st.integers(1, 6))
def test_dense_solve_solves(seed, size):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(size, dtype=torch.float64)
    right = torch.randn(size, generator=generator, dtype=torch.float64)
    assert_close(matrix @ dense_solve(lambda x: matrix @ x, right), right)


def test_a_follower_that_is_not_quadratic():
    """F with a quartic: w* by Newton's method, then differences of v(w*(θ), θ)."""
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    B = torch.randn(4, 3, generator=generator, dtype=torch.float64)

    def F(w, theta):
        return (w**4).sum() / 4 + w @ w / 2 + torch.sin(A @ theta) @ w

    def v(w, theta):
        return torch.cos(w @ B @ theta) + w @ w

    def answer(theta):
        w = torch.zeros(4, dtype=torch.float64)
        for _ in range(60):
            gradient = autograd(lambda w: F(w, theta), w)
            w = w - gradient / (3 * w**2 + 1)
        return w

    theta = torch.randn(3, generator=generator, dtype=torch.float64)
    found = total_derivative(v, F, answer(theta), theta)
    expected = finite_differences(lambda t: v(answer(t), t), theta)
    assert relative_error(found, expected) < 1e-8
    individual = autograd(lambda t: v(answer(theta), t), theta)
    assert relative_error(individual, expected) > 1e-2


def test_a_leader_who_moves_only_the_follower_and_one_who_moves_nobody():
    theta = torch.tensor([3.0, -1.0], dtype=torch.float64)

    def copies(w, theta):
        return ((w - theta) ** 2).sum() / 2

    # v does not name θ: all of its derivative is the follower's answer.
    found = total_derivative(lambda w, t: (w**2).sum(), copies, theta, theta)
    assert_close(found, 2 * theta)
    # F does not name θ: nothing to foresee.
    w = torch.ones(2, dtype=torch.float64)
    found = total_derivative(
        lambda w, t: (w * t).sum(), lambda w, t: ((w - 1.0) ** 2).sum(), w, theta
    )
    assert_close(found, w)


def test_the_arguments_are_left_alone():
    dense = DenseGame(random_rows(0), 0.9, 2.0, 0.1)
    theta = random_theta(dense.sums).ravel().requires_grad_()
    w = torch.zeros(12, dtype=torch.float64)
    found = total_derivative(dense.v, dense.F, w, theta)
    assert not found.requires_grad
    assert theta.grad is None
    assert not w.requires_grad


@given(
    seed=st.integers(0, 99),
    p=st.integers(1, 5),
    q=st.integers(1, 5),
    scale=st.floats(1e-2, 1e2),
    beta=st.floats(1e-2, 10.0),
)
def test_moment_gradients_are_autograd_through_M_and_b(seed, p, q, scale, beta):
    generator = torch.Generator().manual_seed(seed)
    M = torch.randn(p, q, generator=generator, dtype=torch.float64)
    c = torch.randn(p, generator=generator, dtype=torch.float64)
    b = torch.randn(q, generator=generator, dtype=torch.float64)

    def best_response(M, b):
        normal = scale * M.T @ M + beta * torch.eye(q, dtype=torch.float64)
        return torch.linalg.solve(normal, scale * M.T @ c - b), normal

    w, normal = best_response(M, b)
    adjoint = torch.linalg.solve(normal, b)
    (x1, y1, x2, y2), found_b = moment_gradients(M, c, w, adjoint, scale)
    found_M = torch.outer(x1, y1) + torch.outer(x2, y2)
    tolerance = {"rtol": 1e-7, "atol": 1e-9 * float(found_M.norm() + 1)}
    expected_M = autograd(lambda M: b @ best_response(M, b)[0], M)
    expected_b = autograd(lambda b: b @ best_response(M, b)[0], b)
    assert_close(found_M, expected_M, **tolerance)
    assert_close(found_b, expected_b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_vjp_is_autograd_of_any_function_of_the_moments(seed):
    sums = lstd(random_rows(seed), 0.9, 0.1, chunk_rows=16)
    theta = random_theta(sums, seed)
    generator = torch.Generator().manual_seed(seed)
    size = sums.n_actions * sums.n_features
    x1, y1, x2, y2, g = torch.randn(5, size, generator=generator, dtype=torch.float64)

    def inner(theta):
        at = sums(theta)
        return x1 @ at.M @ y1 + x2 @ at.M @ y2 + g @ at.b

    found = sums.vjp(theta, (x1, y1, x2, y2), g)
    assert relative_error(found, autograd(inner, theta)) < 1e-12
