"""Equations of finite states: those of `DiscreteLSTD`, without the pairs of no part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg._fitting import discrete_players
from sklearn_stackelberg._problem.rows import Rows
from sklearn_stackelberg.policies._base import NEVER
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD
from sklearn_stackelberg.solvers._lstd_finite import FiniteLSTD

N, STATES, ACTIONS = 60, 7, 4


@pytest.fixture(params=[False, True], ids=["masks", "no masks"])
def systems(request):
    rng = np.random.default_rng(0)
    # States by rows, as a log has them, and one that was never left: without features.
    code = rng.integers(STATES, size=2 * N)
    code[N : N + 3] = STATES
    table = torch.eye(STATES + 1, STATES, dtype=torch.float64)[torch.from_numpy(code)]
    prior = np.where(rng.random((STATES + 1, ACTIONS)) < 0.5, 0.0, NEVER)
    prior[:, 0] = np.log(0.5)
    # A state whose mask is not the same in all rows.
    prior = np.tile(prior[code], 1)
    prior[code == 2] = np.where(rng.random((sum(code == 2), 4)) < 0.5, 0.0, NEVER)
    prior[:, 1] = 0.0
    if request.param:
        prior = np.zeros_like(prior)
    allowed = prior[:N] > NEVER / 2
    action = np.array([rng.choice(np.flatnonzero(row)) for row in allowed])
    rows = Rows(
        state=np.arange(N),
        next_state=N + np.arange(N),
        action=action,
        reward=rng.normal(size=N),
        terminated=(rng.random(N) < 0.2).astype(float),
        initial=rng.integers(N, size=20),
    )

    def features(index):
        return table[torch.from_numpy(index)]

    prior = torch.from_numpy(prior)
    settings = {"ridge": 0.01}
    dense = DiscreteLSTD(rows, features, ACTIONS, 0.9, log_prior=prior, **settings)
    finite = FiniteLSTD(rows, features, STATES, ACTIONS, 0.9, prior, **settings)
    theta = torch.from_numpy(rng.normal(size=(STATES, ACTIONS)))
    return dense, finite, theta


def test_the_best_response_is_the_same(systems):
    dense, finite, theta = systems
    left, right = (BestResponse(s, theta, 3.0, 0.2) for s in (dense, finite))
    assert_allclose(right.value, left.value, rtol=1e-10)
    assert_allclose(right.pessimism, left.pessimism, rtol=1e-10)
    assert_allclose(right.bellman_error, left.bellman_error, rtol=1e-8)
    assert_allclose(right.w, left.w, atol=1e-10)


def test_the_derivative_is_the_same(systems):
    dense, finite, theta = systems
    left, right = (BestResponse(s, theta, 3.0, 0.2) for s in (dense, finite))
    assert_allclose(right.total_derivative(), left.total_derivative(), atol=1e-10)
    individual = left.individual_derivative()
    assert_allclose(right.individual_derivative(), individual, atol=1e-10)


def test_steps_are_the_same(systems):
    dense, finite, theta = systems
    left, right = (BestResponse(s, theta, 3.0, 0.2) for s in (dense, finite))
    moved = [
        system.mirror_step(theta, found.flat_w, 1.0)
        for system, found in ((dense, left), (finite, right))
    ]
    assert_allclose(moved[1], moved[0], atol=1e-8)
    assert finite.logit_scale(theta) == pytest.approx(dense.logit_scale(theta), rel=0.1)


def test_a_part_of_the_rows_has_the_same_features(systems):
    dense, finite, theta = systems
    half = finite.rows._replace(
        **{k: getattr(finite.rows, k)[:30] for k in Rows._fields[:5]}
    )
    left, right = (
        BestResponse(system.on_rows(half), theta, 3.0, 0.2)
        for system in (dense, finite)
    )
    assert_allclose(right.w, left.w, atol=1e-10)


def test_a_fit_is_the_same_and_keeps_every_state(monkeypatch):
    rng = np.random.default_rng(1)
    state = rng.integers(12, size=(400, 1))
    action = rng.integers(3, size=400)
    after = (state + action[:, None] + rng.integers(2, size=(400, 1))) % 12
    log = Transitions(state, action, (after[:, 0] == 5) * 1.0, after)
    policy = StackelbergPolicyEstimator(
        discount=0.8, kernel="delta", support=0.4, random_state=0
    )
    dense = policy.fit(log)
    values, proba = dense.policy_value_, dense.predict_proba(state)
    monkeypatch.setattr(discrete_players, "_MANY_WEIGHTS", 10)
    finite = policy.fit(log)
    assert finite.policy_value_ == pytest.approx(values, rel=1e-6)
    assert_allclose(finite.predict_proba(state), proba, atol=1e-6)
    assert len(finite.features_.landmarks_) == 12
