"""What the estimator makes of states: finite ones, linear terms, relevant columns."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import changed, dose_log, estimator, ignore_convergence, walk_log
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_stackelberg import Transitions
from sklearn_stackelberg._fitting import state_inputs
from sklearn_stackelberg._fitting.hyperparameters import Hyperparameters
from sklearn_stackelberg._problem.dataset import OfflineProblem
from sklearn_stackelberg.kernels import LandmarkFeatures
from sklearn_stackelberg.kernels._columns import LinearColumns

pytestmark = ignore_convergence

DEFAULT = dict(kernel="auto", bandwidth="relevance", linear_terms=True, n_components=50)
STATES = np.random.default_rng(1).normal(size=(60, 3)) * [1.0, 5.0, 0.1]


def finite_log(n=300, n_states=4, seed=0):
    rng = np.random.default_rng(seed)
    state = rng.integers(n_states, size=(n, 1)).astype(float)
    action = rng.integers(2, size=n)
    after = rng.integers(n_states, size=(n, 1)).astype(float)
    return Transitions(state, action, (action == state[:, 0] % 2) * 1.0, after)


def test_linear_terms_are_a_sum_of_kernels():
    settings = dict(n_components=20, random_state=0)
    both = LandmarkFeatures(linear_terms=True, **settings).fit(STATES)
    local = LandmarkFeatures(**settings).fit(STATES)
    linear = LinearColumns("float64").fit(STATES)
    z = np.hstack([local.transform(STATES), linear.transform(STATES)])
    assert_array_equal(both.transform(STATES), z)
    assert both.n_features_out_ == z.shape[1]
    marks = both.landmarks_
    own = (both.transform(marks) ** 2).sum(axis=1)
    assert_allclose(both.similarity_to_itself(marks), own)
    weight = np.random.default_rng(0).normal(size=(z.shape[1], 2))
    found = both.project(STATES, both.landmark_weights(weight))
    assert_allclose(found, z @ weight, atol=1e-6)


@pytest.mark.parametrize("kernel", ["linear", "delta", "polynomial"])
def test_kernels_without_a_length_have_no_linear_terms(kernel):
    states = np.arange(5.0)[:, None]
    assert LandmarkFeatures(kernel, linear_terms=True).fit(states).linear_ is None


def test_few_states_of_many_rows_are_equal_or_not():
    log = finite_log()
    policy = estimator(**DEFAULT).fit(log)
    assert policy.features_.kernel_ == "delta"
    # The evaluator takes them alike.
    assert policy.evaluation_.features.kernel_ == "delta"
    assert_array_equal(policy.predict(np.arange(4.0)[:, None]), [0, 1, 0, 1])
    # Of a state that was never logged nothing is known.
    assert_allclose(policy.predict_proba([[9.0]]), 0.5)
    assert_allclose(policy.q_values([[9.0]]), policy.anchor_)


@pytest.mark.parametrize(
    ("log", "settings"),
    [
        (walk_log(), {}),
        (finite_log(n=30), {}),  # too few rows for each
        (finite_log(), {"n_components": 3}),
        (finite_log(), {"bandwidth": 0.5}),
        (finite_log(), {"kernel_params": {"gamma": 1.0}}),
    ],
)
def test_other_states_have_a_kernel_of_their_columns(log, settings):
    policy = estimator(**DEFAULT | settings).fit(log)
    given = {"bandwidth", "kernel_params"} & set(settings)
    assert policy.features_.kernel_ in (("rbf",) if given else ("rbf", "laplacian"))


def test_continuous_actions_have_the_plain_median():
    settings = dict(mirror_steps=2, max_iter=0, ridge=1e-3)
    found = estimator(**DEFAULT | settings).fit(dose_log(n=100))
    plain = dict(kernel="rbf", bandwidth="median", linear_terms=False)
    expected = estimator(**DEFAULT | settings | plain).fit(dose_log(n=100))
    assert_array_equal(found.bandwidth_, expected.bandwidth_)
    assert found.features_.n_features_out_ == expected.features_.n_features_out_


def bent_log(n=600, seed=0):
    """The second column decides which action is right, the others do nothing."""
    rng = np.random.default_rng(seed)
    state, action = rng.normal(size=(n, 4)), rng.integers(2, size=n)
    reward = np.where(action == 1, np.tanh(3 * state[:, 1]), 0.0)
    return Transitions(state, action, reward, rng.normal(size=(n, 4)))


@pytest.mark.parametrize("kernel", ["auto", "rbf"])
def test_columns_that_do_nothing_are_longer(kernel):
    units = np.array([1.0, 1e3, 1.0, 1.0])
    settings = DEFAULT | dict(kernel=kernel, discount=0.5, max_iter=0)
    log = bent_log()
    lengths = estimator(**settings).fit(log).bandwidth_
    assert lengths[1] < 0.7 * np.delete(lengths, 1).min()
    scaled = changed(log, state=log.state * units, next_state=log.next_state * units)
    found = estimator(**settings).fit(scaled).bandwidth_
    assert_allclose(found / units, lengths, rtol=1e-6)


def test_fits_of_one_problem_share_the_lengths(monkeypatch):
    calls, measure = [], state_inputs.relevant_lengths

    def counted(*args):
        calls.append(args)
        return measure(*args)

    monkeypatch.setattr(state_inputs, "relevant_lengths", counted)
    problem = OfflineProblem.from_log(bent_log(), discount=0.5, initial_states="all")
    rows = problem.rows(problem.log.action)
    hp = Hyperparameters.from_estimator(estimator(**DEFAULT))
    found = []
    for shared in ({}, problem.shared, problem.shared):
        rng = np.random.RandomState(0)
        one = state_inputs.with_relevance(
            hp, problem.state, problem.states, rows, rng, shared
        )
        # What is drawn afterwards is the same, whether lengths were known or not.
        found.append([*one.bandwidth, rng.random_sample()])
    assert len(calls) == 2
    assert_array_equal(found, [found[0]] * 3)


@pytest.mark.parametrize(
    "settings", [{"kernel": "laplacian"}, {"q_function": "linear", "policy": "linear"}]
)
def test_relevance_is_of_rbf_alone(settings):
    log = bent_log(n=100)
    found = estimator(**DEFAULT | settings).fit(log).bandwidth_
    if "kernel" in settings:
        plain = estimator(**DEFAULT | settings | {"bandwidth": "median"}).fit(log)
        assert_array_equal(found, plain.bandwidth_)
    else:
        assert found is None


def test_an_action_that_was_taken_once_and_a_constant_state():
    log = bent_log(n=40)
    once = changed(log, action=np.where(np.arange(40) == 3, 2, log.action))
    assert len(estimator(**DEFAULT).fit(once).bandwidth_) == 4
    flat = changed(log, state=np.ones((40, 1)), next_state=np.ones((40, 1)))
    assert estimator(**DEFAULT | {"kernel": "rbf"}).fit(flat).bandwidth_.shape == (1,)
