"""Baselines find what can be found, and take what the estimator takes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import OnStates, Transitions
from sklearn_stackelberg.baselines import (
    LSPI,
    BehaviourCloning,
    BestSingleAction,
    ContinuousBehaviourCloning,
    D3RLPyDiscrete,
    DirectMethod,
    DRPolicy,
    FittedQIteration,
    KernelFittedQIteration,
    TabularValueIteration,
)
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.metrics import doubly_robust_value

SEQUENTIAL = (
    FittedQIteration(discount=0.9, n_iterations=6, random_state=0),
    KernelFittedQIteration(discount=0.9, n_components=20, random_state=0),
    LSPI(discount=0.9, n_components=20, random_state=0),
    TabularValueIteration(discount=0.9),
    TabularValueIteration(discount=0.9, penalty=0.1),
)


def chain():
    """Five states in a row: right, which costs a little, leads to a reward of one."""
    n = 5
    transition, reward = np.zeros((n, 2, n)), np.zeros((n, 2, n))
    for s in range(n):
        transition[s, 0, max(s - 1, 0)] = 1.0
        transition[s, 1, min(s + 1, n - 1)] = 1.0
        reward[s, 1] = -0.05
    reward[n - 2, 1] = 1.0
    start = np.eye(n)[0]
    terminal = np.arange(n) == n - 1
    return FiniteMDP(transition, reward, start, terminal)


def one_step(n=300, seed=0, labels=("a", "b", "c")):
    """The best of three is the second where the state is positive, else the first."""
    rng = np.random.default_rng(seed)
    state, code = rng.normal(size=(n, 2)), rng.integers(3, size=n)
    best = np.where(state[:, 0] > 0, 1, 0)
    reward = (code == best) + 0.1 * rng.normal(size=n)
    return Transitions(state, np.array(labels)[code], reward, state, np.ones(n))


@pytest.mark.parametrize("method", SEQUENTIAL, ids=lambda m: type(m).__name__)
def test_what_is_best_later_is_found(method):
    mdp = chain()
    log = mdp.sample(np.full((5, 2), 0.5), 1_000, random_state=0)
    policy = clone(method).fit(log)
    # Myopically the cost would be avoided.
    assert (policy.predict(mdp.states()[:4]) == 1).all()


@pytest.mark.parametrize(
    "method",
    [
        DirectMethod(random_state=0),
        DirectMethod(per_action=False, random_state=0),
        FittedQIteration(random_state=0),
        FittedQIteration(per_action=True, random_state=0),
        KernelFittedQIteration(random_state=0),
        LSPI(random_state=0),
    ],
    ids=repr,
)
def test_one_step(method):
    policy = method.fit(one_step())
    assert policy.predict([[1.0, 0.0], [-1.0, 0.0]]).tolist() == ["b", "a"]
    assert policy.predict_proba([[1.0, 0.0]]).tolist() == [[0.0, 1.0, 0.0]]


def test_kernel_methods_are_one_regression_on_one_step():
    log, state = one_step(), np.random.default_rng(1).normal(size=(200, 2))
    same = KernelFittedQIteration(random_state=0).fit(log).predict(state)
    np.testing.assert_array_equal(LSPI(random_state=0).fit(log).predict(state), same)


@pytest.mark.parametrize(
    "method",
    [
        BestSingleAction(discount=0.9, random_state=0),
        KernelFittedQIteration(discount=0.9, n_components=20, random_state=0),
        LSPI(discount=0.9, n_components=20, random_state=0),
        TabularValueIteration(discount=0.9),
    ],
    ids=lambda m: type(m).__name__,
)
def test_a_weight_is_that_many_rows(method):
    log = chain().sample(np.full((5, 2), 0.5), 60, random_state=1)
    weight = np.where(log.action == 1, 2.0, 1.0)
    rows = np.repeat(np.arange(len(log)), weight.astype(int))
    twice = Transitions(
        log.state[rows],
        log.action[rows],
        log.reward[rows],
        log.next_state[rows],
        log.terminated[rows],
        is_initial=log.is_initial[rows],
    )
    # All landmarks, so that none is drawn more often for having a copy.
    once = clone(method).fit(log, sample_weight=weight)
    other = clone(method).fit(twice)
    if isinstance(method, BestSingleAction):
        assert once.values_.argmax() == other.values_.argmax()
    states = np.arange(5.0)[:, None]
    np.testing.assert_array_equal(once.predict(states), other.predict(states))


def test_behaviour_cloning_is_the_classifier():
    log = one_step()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    expected = model.fit(log.state, log.action).predict_proba(log.state)
    found = BehaviourCloning().fit(log).predict_proba(log.state)
    np.testing.assert_allclose(found, expected)


def test_classes_that_are_not_whole_numbers():
    log = one_step(labels=(0.5, 1.0, 1.5))
    assert BehaviourCloning().fit(log).classes_.tolist() == [0.5, 1.0, 1.5]


def test_the_best_single_action():
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(400, 2)), rng.integers(3, size=400)
    # The third action is given to those who do well in any case.
    action[state[:, 0] > 1] = 2
    reward = 2.0 * state[:, 0] + 0.5 * (action == 1) + 0.1 * rng.normal(size=400)
    log = Transitions(state, action, reward, state, np.ones(400))
    assert reward[action == 2].mean() > reward[action == 1].mean()
    policy = BestSingleAction(random_state=0).fit(log)
    assert set(policy.predict(state)) == {1}


def test_continuous_cloning_stays_in_the_range_of_the_log():
    state = np.linspace(-1, 1, 50)[:, None]
    log = Transitions(state, 3.0 * state[:, 0], state[:, 0], state, np.ones(50))
    policy = ContinuousBehaviourCloning().fit(log)
    assert policy.predict([[0.0], [9.0]]) == pytest.approx([0.0, 3.0], abs=1e-9)
    nodes, weights = policy.action_nodes([[0.0], [9.0]])
    assert nodes.shape == (2, 1, 1)
    assert weights.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(
    "method",
    [
        BehaviourCloning(),
        BestSingleAction(random_state=0),
        DirectMethod(random_state=0),
        KernelFittedQIteration(n_components=30, random_state=0),
        LSPI(n_components=30, random_state=0),
        TabularValueIteration(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_what_is_not_available_is_not_taken(method):
    rng = np.random.default_rng(0)
    n, state = 400, rng.integers(4, size=(400, 1)).astype(float)
    available = np.ones((n, 3), dtype=bool)
    # The best action, which is not available in two of the states.
    available[:, 2] = state[:, 0] < 2
    action = np.where(available[:, 2], rng.integers(3, size=n), rng.integers(2, size=n))
    reward = action + 0.1 * rng.normal(size=n)
    log = Transitions(state, action, reward, state, np.ones(n), available=available)
    policy = clone(method).fit(log)
    found = policy.predict_proba(log)
    assert found[~available].max() == 0.0
    assert np.allclose(found.sum(axis=1), 1.0)
    if not isinstance(method, BehaviourCloning):
        assert (policy.predict(log) == np.where(available[:, 2], 2, 1)).all()
    # Metrics pass masks on.
    assert np.isfinite(doubly_robust_value(policy, log, discount=0.0).value)


def test_pipelines_frames_and_names():
    log = one_step()
    frame = pd.DataFrame(log.state, columns=["x", "y"])
    table = pd.DataFrame({"action": log.action, "reward": log.reward})
    policy = make_pipeline(StandardScaler(), DirectMethod(random_state=0))
    policy.fit(frame, table)
    assert policy.predict(frame[:2]).shape == (2,)
    logged = make_pipeline(OnStates(StandardScaler()), DirectMethod(random_state=0))
    assert (logged.fit(log).predict(log.state[:5]) == policy.predict(frame[:5])).all()
    with pytest.raises(ValueError, match="feature names should match"):
        DirectMethod().fit(frame, table).predict(frame[["y", "x"]])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LSPI(ridge=-1.0), "ridge must be a number >= 0"),
        (LSPI(discount=2.0), "discount must be"),
        (FittedQIteration(n_iterations=0), "n_iterations must be"),
        (TabularValueIteration(penalty="a"), "penalty must be"),
    ],
)
def test_bad_parameters(method, message):
    with pytest.raises(ValueError, match=message):
        method.fit(one_step())


def away(scale, n=40):
    """Rows of which each leads further from all that were logged."""
    rng = np.random.default_rng(0)
    state = rng.normal(size=(n, 4))
    return Transitions(
        state, rng.integers(2, size=n), rng.normal(size=n), scale * state, np.zeros(n)
    )


def test_what_diverges_is_said_in_our_words():
    with pytest.warns(ConvergenceWarning, match=r"diverged.*a larger ridge") as caught:
        KernelFittedQIteration(n_iterations=40, random_state=0).fit(away(1.5))
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match=r"diverged.*passed 1e\+150.*than 1e-09"):
        KernelFittedQIteration(ridge=1e-9, n_iterations=600, random_state=0).fit(
            away(3.0)
        )
    with pytest.raises(ValueError, match=r"diverged.*another regressor"):
        FittedQIteration(Ridge(1e-9), n_iterations=500).fit(away(1e4))
    for method in (KernelFittedQIteration, LSPI):
        with pytest.raises(ValueError, match=r"singular\. Set a larger ridge"):
            method(ridge=0.0, random_state=0, n_components=3).fit(one_step(4))


def test_actions_of_several_numbers_are_refused():
    state = np.zeros((9, 1))
    log = Transitions(state, np.eye(9)[:, :2], np.ones(9), state, np.ones(9))
    with pytest.raises(ValueError, match="2 numbers each"):
        LSPI().fit(log)


@pytest.mark.parametrize(
    ("method", "package"), [(D3RLPyDiscrete(), "d3rlpy"), (DRPolicy(), "econml")]
)
def test_what_is_not_installed_is_named(method, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    if package == "econml":
        monkeypatch.setitem(__import__("sys").modules, "econml.policy", None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        method.fit(one_step())
