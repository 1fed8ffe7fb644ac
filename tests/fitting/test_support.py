"""Which actions a log supports in a state, discrete ones and continuous ones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from _logs import (
    barred_log,
    best_dose,
    changed,
    dose_log,
    estimator,
    ignore_convergence,
)
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_stackelberg import Transitions
from sklearn_stackelberg._fitting.never_taken import NeverTaken
from sklearn_stackelberg._fitting.support import (
    ActionRange,
    ActionSupport,
    action_prior,
    nearest_candidates,
)
from sklearn_stackelberg.policies._base import NEVER
from sklearn_stackelberg.solvers import ClosedForm, Stochastic

pytestmark = [ignore_convergence, pytest.mark.usefixtures("full_fits")]

SOLVERS = [
    pytest.param(ClosedForm(), id="closed form"),
    pytest.param(Stochastic(mirror_steps=2, max_iter=5), id="stochastic"),
]


def support_of(states, codes, n_actions, is_finite, threshold=0.15):
    rng = np.random.RandomState(0)
    return ActionSupport(threshold).fit(states, codes, n_actions, is_finite, rng)


def test_of_few_states_five_rows_are_enough_and_none_is_never():
    states = np.repeat([0.0, 1.0], [1005, 104])[:, None]
    codes = np.repeat([0, 1, 0, 1], [1000, 5, 100, 4])
    prior = support_of(states, codes, 3, True).log_prior(np.array([[0.0], [1.0]]))
    assert_allclose(prior[:, 0], 0.0)
    assert prior[0, 1] == pytest.approx(np.log(5 / 1000))
    # Four rows of 104 are fewer than 0.15 times the likeliest, and than five.
    assert prior[1, 1] == NEVER
    assert (prior[:, 2] == NEVER).all()


@pytest.mark.parametrize(("n", "n_actions"), [(60, 40), (30, 30), (200, 40)])
def test_few_rows_of_many_actions_are_fitted_without_a_word(n, n_actions):
    # Warnings are errors here, also scikit-learn's own.
    rng = np.random.default_rng(0)
    states, codes = rng.normal(size=(n, 2)), rng.integers(n_actions, size=n)
    prior = support_of(states, codes, n_actions, False).log_prior(states)
    assert (prior.max(axis=1) == 0.0).all()


def test_candidates_between_others_are_supported_if_they_were_taken():
    rows = np.array([15, 240, 6, 0, 39])
    states = np.random.default_rng(0).normal(size=(rows.sum(), 1))
    codes = np.repeat(np.arange(5), rows)
    np.random.default_rng(1).shuffle(codes)

    def supported(order, candidates):
        rng = np.random.RandomState(0)
        place = np.argsort(order)
        if candidates is not None:
            candidates = candidates[order]
        support = ActionSupport(0.2).fit(
            states, place[codes], 5, False, rng, candidates=candidates
        )
        assert support.leaf_rows_ == len(states)
        return (support.log_prior(states[:1]) > NEVER / 2)[0][place]

    # Under a fifth of the likeliest, and under twenty rows: not as labels.
    assert_array_equal(supported(np.arange(5), None), rows >= 20)
    # 3.6 % of the rows are on either side of all; one was never taken.
    doses = np.array([0.0, 1.0, 2.0, 3.0, 4.0])[:, None]
    for order in (np.arange(5), np.array([3, 0, 4, 1, 2])):
        assert_array_equal(supported(order, doses), rows > 0)
    # Of two columns both count: nobody takes much of both.
    corner = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [9.0, 9.0], [0.0, 1.0]])
    expected = (rows > 0) & (corner.max(axis=1) < 9.0)
    assert_array_equal(supported(np.arange(5), corner), expected)


def test_a_share_of_doses_at_random_is_enough_to_leave_a_logger_that_does_harm():
    """x' = x + 0.4 a, costs x²; seven of ten doses push x away from zero."""
    rng, x, columns = np.random.default_rng(0), np.linspace(-1.5, 1.5, 60), []

    def after(x, a):
        return np.clip(x + 0.4 * a + 0.05 * rng.normal(size=len(x)), -3, 3)

    for _ in range(30):
        a = np.clip(0.5 * x + 0.05 * rng.normal(size=60), -1, 1)
        a = np.where(rng.random(60) < 0.3, rng.uniform(-1, 1, 60), a)
        columns.append((x, a, -(x**2), after(x, a)))
        x = columns[-1][3]
    stacked = np.stack([np.stack(each) for each in columns], axis=2)  # (4, 60, 30)
    state, action, reward, following = stacked.reshape(4, -1)
    log = Transitions(
        state[:, None],
        action,
        reward,
        following[:, None],
        episode=np.repeat(np.arange(60), 30),
        step=np.tile(np.arange(30), 60),
    )
    policy = estimator(
        discount=0.95, action_type="continuous", support=0.2, lam=10.0
    ).fit(log)
    x = y = np.linspace(-1.5, 1.5, 60)
    for _ in range(10):
        x = after(x, np.ravel(policy.predict(x[:, None])))
        y = after(y, np.clip(0.5 * y, -1, 1))
    assert np.abs(x).mean() < 0.4 * np.abs(y).mean()


def rare_drug(n=1500, at_random=True, seed=0):
    """A drug for 4 % of the patients, of all or of the older half, and the patients."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(n, 2))
    share = 0.04 if at_random else np.where(states[:, 0] > 0.0, 0.08, 0.0)
    return states, (rng.random(n) < share).astype(int), rng


def test_twenty_rows_are_enough_where_the_state_has_no_say():
    states, codes, _ = rare_drug()
    support = support_of(states, codes, 2, False, 0.2)
    assert support.leaf_rows_ == len(states)
    assert (support.log_prior(states) > NEVER / 2).all()
    # Of ten rows in all, which are fewer than a fifth and than twenty, none is enough.
    few = np.where(np.cumsum(codes) > 10, 0, codes)
    support = support_of(states, few, 2, False, 0.2)
    assert (support.log_prior(states)[:, 1] == NEVER).all()


def test_where_a_logger_never_gives_it_a_rare_drug_has_no_support():
    states, codes, _ = rare_drug(n=3000, at_random=False)
    support = support_of(states, codes, 2, False, 0.2)
    found = support.log_prior(states)[:, 1] > NEVER / 2
    assert found[states[:, 0] < -0.2].mean() < 0.01


def test_what_is_barred_beyond_a_boundary_is_not_supported(monkeypatch):
    states, codes, allowed = barred_log()
    found = support_of(states, codes, 6, False, 0.2).log_prior(states) > NEVER / 2
    monkeypatch.setattr("sklearn_stackelberg._fitting.never_taken.EVIDENCE", 1e9)
    before = support_of(states, codes, 6, False, 0.2).log_prior(states) > NEVER / 2
    assert (before >= found).all()
    # Most of what was let through goes, and little that is allowed.
    assert (found & ~allowed).sum() < 0.05 * (before & ~allowed).sum()
    assert (found & allowed).sum() > 0.99 * (before & allowed).sum()
    assert found.any(axis=1).all()


def test_what_would_leave_nothing_is_not_held_to():
    # Each is never taken on one side, where a forest of one leaf sees both.
    states = np.linspace(-1.0, 1.0, 600)[:, None]
    codes = np.repeat([0, 1], 300)
    support = ActionSupport(0.2, leaf=600)
    support.fit(states, codes, 2, False, np.random.RandomState(0))
    assert_array_equal(support.counts(states) > 0.0, np.eye(2, dtype=bool)[codes])
    assert isinstance(support.never_, NeverTaken)
    support.never_.empty_ = [np.ones_like(empty) for empty in support.never_.empty_]
    assert_allclose(support.counts(states), 0.5, atol=0.05)


def test_a_rare_drug_that_helps_is_recommended_to_those_whom_it_helps():
    states, codes, rng = rare_drug()
    paid = 4.0 * codes * states[:, 0] + rng.normal(0, 3.0, size=len(states))
    log = Transitions(states, codes, paid, states, np.ones(len(states)))
    chosen = estimator(discount=0.0, support=0.2).fit(log).predict(states)
    gain = np.mean(chosen * states[:, 0]) / np.mean(np.maximum(states[:, 0], 0.0))
    assert gain > 0.8


def test_of_few_states_one_that_was_not_logged_allows_all():
    support = support_of(np.zeros((50, 1)), np.zeros(50, dtype=int), 3, True)
    assert_array_equal(support.log_prior(np.array([[7.0]])), np.zeros((1, 3)))


def test_actions_that_cannot_be_taken_leave_the_others_what_they_are():
    rng = np.random.default_rng(0)
    states, codes = rng.normal(size=(400, 1)), rng.integers(3, size=400)
    support = support_of(states, codes, 3, False)
    available = np.tile([True, False, True], (400, 1))
    free, held = support.log_prior(states), support.log_prior(states, available)
    assert (held[:, 1] == NEVER).all()
    assert_allclose(held[:, 0] - held[:, 2], free[:, 0] - free[:, 2])


def test_the_forest_is_asked_of_standardised_columns():
    rng = np.random.default_rng(0)
    states, codes = rng.normal(size=(300, 3)), rng.choice([0, 2], size=300)
    support = support_of(states, codes, 3, False)
    asked = rng.normal(size=(50, 3))
    expected = support.forest_.predict(support.columns_.transform(asked))
    assert_array_equal(support.counts(asked)[:, [0, 2]], expected)
    ranges = ActionRange(0.15).fit(states, states[:, :2], np.random.RandomState(0))
    leaves = ranges.forest_.leaves(ranges.columns_.transform(asked))
    ends = [e[leaf] for e, leaf in zip(ranges.ends_, leaves, strict=True)]
    assert_array_equal(ranges(asked), np.mean(ends, axis=0))


@pytest.mark.parametrize("is_finite", [False, True])
def test_what_is_remembered_changes_no_prior(is_finite, monkeypatch):
    rng = np.random.default_rng(0)
    states = rng.integers(5, size=(400, 1)).astype(float)
    plain = support_of(states, rng.integers(3, size=400), 3, is_finite)
    support, counted = plain.remembering(), []
    count = ActionSupport._count
    monkeypatch.setattr(
        ActionSupport, "_count", lambda s, x: counted.append(len(x)) or count(s, x)
    )
    available = np.tile([True, False, True], (400, 1))
    for threshold in (0.15, 0.9):
        for mask in (None, available, None):
            one = support.with_threshold(threshold).log_prior(states, mask)
            other = plain.with_threshold(threshold).log_prior(states, mask)
            assert_array_equal(one, other)
    assert_array_equal(support.log_prior(states[:7]), plain.log_prior(states[:7]))
    # Once of both arrays where it is remembered, and each time where it is not.
    assert sorted(counted) == [7] * 2 + [400] * 7


def test_no_support_has_no_prior_beyond_what_can_be_taken():
    states, available = np.zeros((2, 1)), np.array([[True, False], [True, True]])
    assert action_prior(None, states, None) is None
    expected = [[0.0, NEVER], [0.0, 0.0]]
    assert_array_equal(action_prior(None, states, available), expected)


def gated_log(n=500):
    """Action 2 is allowed where x > 0 alone, and pays the more the smaller x is."""
    rng = np.random.default_rng(0)
    state = rng.normal(size=(n, 2))
    action = rng.integers(3, size=n)
    barred = (action == 2) & (state[:, 0] <= 0)
    action[barred] = rng.integers(2, size=barred.sum())
    reward = np.where(action == 2, 2.0 - state[:, 0], 0.3 * action)
    after = 0.7 * state + rng.normal(size=state.shape)
    return Transitions(state, action, reward, after)


def share_of_never_logged(policy, states):
    barred = states[states[:, 0] <= 0]
    drawn = policy.predict_proba(barred)[:, 2].mean()
    return max(drawn, np.mean(policy.predict(barred) == policy.classes_[2]))


@pytest.mark.usefixtures("short_response")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("lam", "beta"), [(1e-6, 1e-8), (1e-6, 1.0), (1e6, 1e-8), (1e6, 1.0)]
)
def test_what_is_never_logged_is_not_recommended(lam, beta, solver):
    log = gated_log()
    policy = estimator(
        lam=lam, beta=beta, bandwidth="median", n_components=15, solver=solver
    ).fit(log)
    new = np.random.default_rng(1).normal(size=(2000, 2))
    assert share_of_never_logged(policy, log.state) <= 0.01
    assert share_of_never_logged(policy, new) <= 0.01


@pytest.mark.usefixtures("short_response")
@pytest.mark.parametrize("solver", SOLVERS)
def test_without_support_all_is_allowed(solver):
    log = gated_log()
    policy = estimator(
        support=0.0, bandwidth="median", n_components=15, solver=solver
    ).fit(log)
    assert share_of_never_logged(policy, log.state) > 0.1


def test_the_nearest_candidate_whatever_the_units():
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(200, 2))
    candidates = actions[:5]
    found = nearest_candidates(actions, candidates)
    assert_array_equal(found[:5], np.arange(5))
    unit = np.array([1e-3, 1e3])
    assert_array_equal(nearest_candidates(actions * unit, candidates * unit), found)


def test_the_nearest_of_doses_over_decades_is_by_ratio():
    doses = np.random.default_rng(0).lognormal(2.0, 1.5, size=(500, 1))
    candidates = np.array([[1.0], [100.0]])
    found = nearest_candidates(np.append(doses, [[9.0], [11.0]], axis=0), candidates)
    assert found[-2:].tolist() == [0, 1]


@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_a_range_holds_the_density_of_a_gaussian(threshold):
    rng = np.random.default_rng(0)
    state = rng.uniform(-1, 1, size=(5000, 1))
    action = np.column_stack([3.0 * np.sign(state[:, 0]), np.zeros(5000)])
    action = action + rng.normal(size=action.shape)
    ends = ActionRange(threshold).fit(state, action, np.random.RandomState(0))
    low, high = np.split(ends(np.array([[-0.5], [0.5]])), 2, axis=1)
    assert_allclose(0.5 * (low + high), [[-3.0, 0.0], [3.0, 0.0]], atol=0.5)
    half = np.sqrt(-2.0 * np.log(threshold))
    assert_allclose(0.5 * (high - low), half, rtol=0.3)


def held_log(n=800):
    """The logger stays within 1 of a line, and what lies beyond would seem better."""
    rng = np.random.default_rng(0)
    state = rng.normal(size=(n, 1))
    action = 2.0 * state[:, 0] + rng.uniform(-1, 1, size=n)
    ended = np.ones(n, dtype=bool)
    return Transitions(state, action, action, state, ended)


@pytest.mark.usefixtures("short_response")
@pytest.mark.parametrize(
    "solver", [ClosedForm(), Stochastic(max_iter=8, mirror_steps=6)]
)
def test_a_gaussian_stays_where_the_log_is(solver):
    log, new = held_log(), np.linspace(-1.5, 1.5, 20)[:, None]
    settings = dict(
        discount=0.0,
        action_type="continuous",
        action_distribution="gaussian",
        bandwidth="median",
        n_components=60,
        solver=solver,
    )
    policy = estimator(**settings).fit(log)
    drawn = policy.sample(np.tile(new, (20, 1)), random_state=0).reshape(20, -1)
    away = drawn - 2.0 * new[:, 0]
    assert np.abs(away).max() < 1.5
    held = np.abs(policy.action_nodes(new)[0][..., 0] - 2.0 * new).max()
    assert held < 1.5
    assert_array_equal(
        pickle.loads(pickle.dumps(policy)).predict(new), policy.predict(new)
    )
    free = estimator(**settings, support=0.0).fit(log)
    assert np.abs(free.action_nodes(new)[0][..., 0] - 2.0 * new).max() > held


def test_candidates_that_the_log_never_holds_near_a_state():
    log, new = held_log(), np.linspace(-1.5, 1.5, 20)[:, None]
    policy = estimator(
        discount=0.0, action_type="continuous", bandwidth="median", candidates=15
    ).fit(log)
    # A cell of a candidate is as wide as two of its neighbours are apart.
    assert np.abs(policy.predict(new) - 2.0 * new[:, 0]).max() < 2.0


@pytest.mark.parametrize("distribution", ["candidates", "gaussian"])
def test_doses_over_decades_are_as_good_as_their_logarithms(distribution):
    log = dose_log(n=300)
    logs, doses = (
        changed(log, action=action)
        for action in (3.0 * log.action, np.exp(3.0 * log.action))
    )
    one, two = (
        estimator(
            discount=0.5,
            action_distribution=distribution,
            bandwidth="median",
            lam=100.0,
            n_components=60,
        ).fit(some)
        for some in (logs, doses)
    )
    assert_allclose(two.predict(log.state), np.exp(one.predict(log.state)), rtol=1e-6)
    assert_allclose(two.policy_value_, one.policy_value_, rtol=1e-6)
    assert_allclose(two.score(doses), one.score(logs), rtol=1e-6)
    away = one.predict(log.state) / 3.0 - best_dose(log.state)[:, 0]
    assert np.sqrt(np.mean(away**2)) < 0.3
