"""Fewer rows than weights: the same numbers as by matrices as large as the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _problems import lstd, random_rows, random_theta, relative_error
from sklearn.exceptions import ConvergenceWarning

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.metrics import _features as features
from sklearn_stackelberg.metrics import doubly_robust_value, fitted_q_value
from sklearn_stackelberg.solvers import ClosedForm
from sklearn_stackelberg.solvers import _lstd_discrete as lstd_discrete
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._few_rows import RowFactor

CLOSE = 1e-8


def both(monkeypatch, rows, discount=0.9, **kwargs):
    """The system by way of the rows, and with M formed."""
    monkeypatch.setattr(lstd_discrete, "SMALL_SIZE", 0)
    few = lstd(rows, discount, **kwargs)
    monkeypatch.setattr(lstd_discrete, "SMALL_SIZE", 10**9)
    formed = lstd(rows, discount, **kwargs)
    assert few.has_few_rows
    assert not formed.has_few_rows
    return few, formed


# Of the smallest β, derivatives by either have half of their digits left: the residual
# that they are of is nearly zero. Against long doubles, the rows' is the nearer one.
@pytest.mark.parametrize(("beta", "digits"), [(0.1, CLOSE), (1e-7, 1e-5)])
@pytest.mark.parametrize("lam", [0.1, 3.0, 100.0])
@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(2))
def test_values_and_derivatives_are_those_of_the_formed_matrix(
    monkeypatch, seed, discount, lam, beta, digits
):
    # Action 4 has no row; others more rows than features, or fewer.
    rows = random_rows(seed, n=40, n_features=12, n_actions=5)
    action = np.random.default_rng(seed).choice(4, size=40, p=[0.6, 0.2, 0.15, 0.05])
    few, formed = both(monkeypatch, rows._replace(action=action), discount)
    theta = random_theta(few, seed)
    found = BestResponse(few, theta, lam, beta)
    expected = BestResponse(formed, theta, lam, beta)
    assert isinstance(found.factor, RowFactor)
    for name in ("flat_w", "adjoint", "value", "pessimism", "follower_objective"):
        error = relative_error(getattr(found, name), getattr(expected, name))
        assert error < digits, name
    derivatives = found.total_derivative(), expected.total_derivative()
    assert relative_error(*derivatives) < digits
    derivatives = found.individual_derivative(), expected.individual_derivative()
    assert relative_error(*derivatives) < digits


def test_products_are_those_of_the_formed_matrix(monkeypatch):
    few, formed = both(monkeypatch, random_rows(n=20, n_features=9, n_actions=4))
    theta = random_theta(few)
    found, expected = few(theta).M, formed(theta).M
    columns = torch.randn(36, 3, dtype=torch.float64)
    assert relative_error(found @ columns, expected @ columns) < 1e-12
    assert relative_error(found.T @ columns, expected.T @ columns) < 1e-12
    assert relative_error(found.T.T @ columns[:, 0], expected @ columns[:, 0]) < 1e-12


def test_rows_that_repeat_and_a_log_prior(monkeypatch):
    rows = random_rows(n=15, n_features=8, n_actions=4, n_states=3)
    prior = torch.zeros(3, 4, dtype=torch.float64)
    prior[1, 2] = -1e9
    few, formed = both(monkeypatch, rows, log_prior=prior)
    theta = random_theta(few)
    found = BestResponse(few, theta, 3.0, 1e-4)
    expected = BestResponse(formed, theta, 3.0, 1e-4)
    assert relative_error(found.flat_w, expected.flat_w) < CLOSE
    derivatives = found.total_derivative(), expected.total_derivative()
    assert relative_error(*derivatives) < CLOSE


def test_rows_that_repeat_with_hardly_any_beta(monkeypatch):
    rows = random_rows(n=24, n_features=8, n_actions=4, n_states=2)
    few, _ = both(monkeypatch, rows)
    found = BestResponse(few, random_theta(few), 3e3, 1e-15)
    assert found.factor._eigen is not None
    assert torch.isfinite(found.value)


def test_a_ridge_forms_the_matrix(monkeypatch):
    monkeypatch.setattr(lstd_discrete, "SMALL_SIZE", 0)
    rows = random_rows(n=15, n_features=8, n_actions=4)
    assert not lstd(rows, 0.9, 1e-3).has_few_rows


def many_labels(n=160, n_actions=40):
    rng = np.random.default_rng(0)
    state = rng.normal(size=(n, 2))
    codes = np.r_[np.arange(n_actions), rng.integers(n_actions, size=n - n_actions)]
    reward = rng.normal(size=n) - (codes % 5)
    action = np.char.add("dose ", codes.astype(str))
    terminated = rng.random(n) < 0.5
    return Transitions(state, action, reward, rng.normal(size=(n, 2)), terminated)


@pytest.fixture(scope="module")
def fitted():
    log = many_labels()
    # 40 labels times 160 landmarks: four matrices of 0.3 GiB, were they formed.
    solver = ClosedForm(mirror_steps=3, max_iter=0)
    policy = StackelbergPolicyEstimator(discount=0.9, solver=solver, random_state=0)
    with pytest.warns(ConvergenceWarning, match="still moving"):
        policy.fit(log)
    return policy, log


@pytest.mark.parametrize("estimate", [fitted_q_value, doubly_robust_value])
@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_estimates_are_those_of_all_directions(monkeypatch, fitted, estimate):
    policy, log = fitted
    settings = {"discount": 0.9, "n_components": 20}
    found = estimate(policy, log, **settings)
    monkeypatch.setattr(features, "SMALL_SIZE", 10**9)
    expected = estimate(policy, log, **settings)
    for name in ("value", "standard_error", "effective_sample_size"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-7)
