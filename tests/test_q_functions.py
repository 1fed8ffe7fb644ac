"""Identities of the linear Q-function, and of the matrix of its best response."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from sklearn_stackelberg._linalg import Factor
from sklearn_stackelberg.q_functions import LinearQ

EPSILON = np.finfo(float).eps


def draw(seed, rows, columns, condition):
    """A matrix of a given condition number."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, columns)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    values = np.geomspace(1.0, 1.0 / condition, columns)
    return torch.from_numpy(left * values @ right.T), rng


def by_svd(M, scale, beta, right):
    """(scale MᵀM + βI)⁻¹ right from the singular values of M, never squared up."""
    _, values, rotation = np.linalg.svd(M.numpy(), full_matrices=True)
    eigenvalues = np.full(M.shape[1], beta)
    eigenvalues[: len(values)] += scale * values**2
    return rotation.T @ ((rotation @ right.numpy()) / eigenvalues[:, None])


def is_from_qr(factor):
    """Only the QR branch can leave a negative diagonal; Cholesky's is positive."""
    return bool((factor.upper.diagonal() < 0).any())


def test_linear_q_is_a_column_of_weights_per_action():
    weight = torch.randn(3, 2, dtype=torch.float64)
    q = LinearQ(weight)
    features = torch.randn(5, 3, dtype=torch.float64)
    for action in range(2):
        assert_close(q(features)[:, action], features @ weight[:, action])
    assert not q(features).requires_grad
    # Linear: the features of no state are worth nothing.
    assert_close(q(features) + q(-features), torch.zeros(5, 2).double())


@given(
    seed=st.integers(0, 99),
    columns=st.integers(1, 6),
    extra=st.integers(0, 4),
    scale=st.floats(1e-3, 1e3),
    beta=st.floats(1e-2, 1e2),
)
def test_solve_is_numpy_solve_where_the_matrix_is_tame(
    seed, columns, extra, scale, beta
):
    M, rng = draw(seed, columns + extra, columns, 3.0)
    right = torch.from_numpy(rng.normal(size=(columns, 2)))
    normal = scale * (M.T @ M).numpy() + beta * np.eye(columns)
    found = Factor(M, scale, beta).solve(right)
    np.testing.assert_allclose(
        found.numpy(), np.linalg.solve(normal, right.numpy()), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("scale", [1.0, 1e8])
@pytest.mark.parametrize("beta", [1e-12, 1e-6, 1.0])
def test_no_more_digits_are_lost_than_the_branch_has_to_lose(condition, scale, beta):
    matrix_condition = (scale + beta) / (scale / condition**2 + beta)
    for seed in range(5):
        M, rng = draw(seed, 8, 5, condition)
        right = scale * (M.T @ torch.from_numpy(rng.normal(size=(8, 1))))
        factor = Factor(M, scale, beta)
        expected = by_svd(M, scale, beta, right)
        error = np.linalg.norm(factor.solve(right).numpy() - expected)
        error /= np.linalg.norm(expected)
        # Cholesky of the normal matrix loses its condition, a QR only the square root.
        if is_from_qr(factor):
            assert error < 1e3 * EPSILON * matrix_condition**0.5
        else:
            assert matrix_condition < 1e13
            assert error < 1e2 * EPSILON * matrix_condition


@pytest.mark.parametrize("condition", [1e6, 3e6])
@pytest.mark.parametrize("columns", [101, 160])
def test_corrected_solves_are_as_exact_as_those_of_a_qr(
    condition, columns, monkeypatch
):
    M, rng = draw(0, columns + 20, columns, condition)
    right = 10.0 * (M.T @ torch.from_numpy(rng.normal(size=(columns + 20, 2))))
    expected, errors = by_svd(M, 10.0, 1e-14, right), []
    for many in (100, 1000):
        monkeypatch.setattr(Factor, "_MANY", many)
        factor = Factor(M, 10.0, 1e-14)
        assert is_from_qr(factor) == (many == 1000)
        error = np.linalg.norm(factor.solve(right).numpy() - expected)
        errors.append(error / np.linalg.norm(expected))
    assert errors[0] < 2.0 * errors[1] + 1e3 * EPSILON * condition
    # A Cholesky factor alone loses as many digits as M^T M has.
    monkeypatch.setattr(Factor, "_CORRECTIONS", 0)
    monkeypatch.setattr(Factor, "_MANY", 100)
    plain = np.linalg.norm(Factor(M, 10.0, 1e-14).solve(right).numpy() - expected)
    assert errors[0] < 0.1 * plain / np.linalg.norm(expected)


def test_lstsq_where_the_ridge_is_nothing_beside_the_rows():
    M, rng = draw(0, 9, 4, 1e3)
    target = rng.normal(size=(9, 1))
    right = 1e6 * (M.T @ torch.from_numpy(target))
    found = Factor(M, 1e6, 1e-12).solve(right).numpy()
    expected = np.linalg.lstsq(M.numpy(), target, rcond=None)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_both_branches_are_taken_and_both_square_to_the_matrix():
    tame, _ = draw(0, 8, 5, 2.0)
    harsh, _ = draw(0, 8, 5, 1e7)
    for M, beta, from_qr in ((tame, 1e-3, False), (harsh, 1e-12, True)):
        factor = Factor(M, 10.0, beta)
        assert is_from_qr(factor) == from_qr
        normal = 10.0 * (M.T @ M) + beta * torch.eye(5, dtype=torch.float64)
        assert_close(factor.upper.T @ factor.upper, normal, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 1e12])
def test_directions_without_rows_are_held_by_beta_alone(scale):
    # Rank 2 of 4: Cholesky of scale * MᵀM + 1e-12 I may well fail here.
    M, rng = draw(1, 6, 4, 1.0)
    M = M @ torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    right = torch.from_numpy(rng.normal(size=(4, 1)))
    found = Factor(M, scale, 1e-12).solve(right)
    assert_close(found[2:], right[2:] / 1e-12, rtol=1e-6, atol=0)


@pytest.mark.parametrize("condition", [2.0, 1e7])
def test_derivatives_run_through_both_branches(condition):
    M, rng = draw(2, 6, 4, condition)
    right = torch.from_numpy(rng.normal(size=(4, 1)))
    M = M.requires_grad_()
    beta = 1e-3 if condition < 10 else 1e-8
    found = torch.autograd.grad(Factor(M, 2.0, beta).solve(right).sum(), M)[0]
    # dA⁻¹ = −A⁻¹ dA A⁻¹ with A = 2 MᵀM + βI, and the sum's gradient is all ones.
    one = torch.ones(4, 1, dtype=torch.float64)
    with torch.no_grad():
        x = torch.from_numpy(by_svd(M, 2.0, beta, right))
        y = torch.from_numpy(by_svd(M, 2.0, beta, one))
        expected = -2.0 * (M @ (x @ y.T + y @ x.T))
    error = float((found - expected).norm() / expected.norm())
    assert error < (1e-12 if condition < 10 else 1e-3)
