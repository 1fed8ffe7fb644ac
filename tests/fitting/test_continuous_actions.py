"""Amounts as actions: candidates, Gaussians, bounds, and everything around them."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from _logs import best_dose, changed, dose_log, estimator, ignore_convergence, walk_log
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import (
    EpisodeKFold,
    OnStates,
    StackelbergPolicyEstimator,
    Transitions,
)
from sklearn_stackelberg.metrics import fitted_q_value

pytestmark = ignore_convergence

NEW = np.random.default_rng(9).normal(size=(60, 2))
DISTRIBUTIONS = ["candidates", "gaussian"]
every_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


def doser(distribution="candidates", **settings):
    return estimator(
        **dict(
            action_distribution=distribution,
            bandwidth="median",
            n_components=40,
            discount=0.5,
            max_iter=0,
            ridge=0.0,
        )
        | settings
    )


@pytest.fixture(scope="module")
def log():
    return dose_log()


@pytest.fixture(scope="module", params=DISTRIBUTIONS)
def fitted(request, log):
    return doser(request.param).fit(log)


# ------------------------------------------------------------ what is learned


@every_distribution
@pytest.mark.parametrize("p", [1, 2])
def test_the_best_dose_is_found(distribution, p):
    log = dose_log(n=400 * p, p=p)
    policy = doser(distribution, candidates=9 if p == 1 else 40, lam=100.0).fit(log)
    dose = policy.predict(NEW).reshape(len(NEW), p)
    loss = ((dose - best_dose(NEW, p)) ** 2).sum(axis=1).mean()
    uniform = ((0.0 - best_dose(NEW, p)) ** 2).sum(axis=1).mean() + p / 3
    assert loss < 0.1 * uniform


def test_amounts_taken_as_labels_and_as_amounts(log):
    rounded = changed(log, action=np.round(2 * log.action) / 2)
    assert doser().fit(rounded).action_type_ == "discrete"
    policy = doser(action_type="continuous").fit(rounded)
    assert policy.action_type_ == "continuous"
    assert_array_equal(policy.candidates_[:, 0], np.unique(rounded.action))


def test_whole_numbers_are_said_to_be_labels(log):
    whole = changed(log, action=np.round(20 * log.action).astype(int))
    with pytest.warns(UserWarning, match="different whole numbers.*continuous"):
        policy = doser(n_components=20).fit(whole)
    assert policy.action_type_ == "discrete"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert doser(action_type="continuous").fit(whole).action_type_ == "continuous"


# ------------------------------------------------------------ the estimator's face


def test_shapes(fitted):
    n, (low, high) = len(NEW), fitted.action_bounds_
    assert fitted.predict(NEW).shape == (n,)
    assert fitted.sample(NEW, random_state=0).shape == (n,)
    actions, weights = fitted.action_nodes(NEW)
    assert actions.shape == (*weights.shape, 1)
    assert_allclose(weights.sum(axis=1), 1.0)
    assert fitted.q_values(NEW, fitted.predict(NEW)).shape == (n,)
    assert not hasattr(fitted, "classes_")
    assert low.shape == high.shape == (1,)


def test_columns_stay_as_logged():
    for p, flat in ((1, False), (2, False)):
        policy = doser().fit(dose_log(p=p, flat=flat))
        expected = (len(NEW), p) if p > 1 else policy.predict(NEW).shape
        assert policy.predict(NEW).shape == expected
        assert policy.sample(NEW).shape == expected


def test_bounds_are_never_crossed(fitted, log):
    far = 1e3 * NEW
    low, high = fitted.action_bounds_
    assert low == log.action.min()
    assert high == log.action.max()
    for dose in (fitted.predict(far), fitted.sample(far, random_state=1)):
        assert dose.min() >= low
        assert dose.max() <= high
    actions, _ = fitted.action_nodes(far)
    assert actions.min() >= low
    assert actions.max() <= high


@every_distribution
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_given_bounds(log, distribution, dtype):
    bounds = (-1.1, [1.3])
    policy = doser(distribution, action_bounds=bounds, dtype=dtype).fit(log)
    assert_array_equal(policy.action_bounds_, ([-1.1], [1.3]))
    drawn = policy.sample(np.repeat(NEW, 50, axis=0), random_state=0)
    assert drawn.min() >= -1.1
    assert drawn.max() <= 1.3


def test_candidates_have_probabilities(log):
    policy = doser(candidates=[-0.5, 0.0, 0.25]).fit(log)
    assert_array_equal(policy.candidates_, [[-0.5], [0.0], [0.25]])
    probabilities = policy.predict_proba(NEW)
    assert probabilities.shape == (len(NEW), 3)
    assert_allclose(probabilities.sum(axis=1), 1.0)
    assert_array_equal(
        policy.predict(NEW), policy.candidates_[probabilities.argmax(1), 0]
    )
    drawn = policy.sample(np.tile(NEW, (400, 1)), random_state=0).reshape(400, -1)
    share = np.stack([(drawn == one).mean(axis=0) for one in policy.candidates_], 1)
    assert np.abs(share - probabilities).max() < 0.12
    values = policy.q_values(NEW)
    assert_allclose(values[:, 1], policy.q_values(NEW, np.zeros(len(NEW))))


def test_a_gaussian_has_none(log):
    policy = doser("gaussian").fit(log)
    with pytest.raises(ValueError, match="no single action a probability"):
        policy.predict_proba(NEW)
    with pytest.raises(ValueError, match="give the actions"):
        policy.q_values(NEW)
    drawn = policy.sample(np.tile(NEW, (200, 1)), random_state=0).reshape(200, -1)
    assert np.abs(np.median(drawn, axis=0) - policy.predict(NEW)).max() < 0.25
    assert len(np.unique(drawn)) == drawn.size


def test_labels_have_no_nodes():
    policy = estimator().fit(walk_log())
    assert policy.action_type_ == "discrete"
    assert not hasattr(policy, "action_nodes")
    chosen = policy.predict(NEW)
    table = policy.q_values(NEW)
    expected = table[np.arange(len(NEW)), np.searchsorted(policy.classes_, chosen)]
    assert_array_equal(policy.q_values(NEW, chosen), expected)


# ------------------------------------------------------------ identities


@every_distribution
def test_fits_are_repeatable_and_copies_alike(log, distribution):
    one, two = (doser(distribution, candidates=7).fit(log) for _ in range(2))
    three = pickle.loads(pickle.dumps(one))
    for other in (two, three):
        for method in ("predict", "action_nodes"):
            found, expected = (getattr(x, method)(NEW) for x in (other, one))
            for a, b in zip(found, expected, strict=True):
                assert_array_equal(a, b)
        assert other.policy_value_ == one.policy_value_
    assert not [k for k in vars(clone(one)) if k.endswith("_") or k.startswith("_")]


@every_distribution
def test_units_of_rewards_and_amounts_change_nothing(log, distribution):
    one = doser(distribution).fit(log)
    paid = doser(distribution).fit(changed(log, reward=8.0 * log.reward))
    assert_allclose(paid.policy_value_, 8.0 * one.policy_value_, rtol=1e-6)
    assert_allclose(paid.predict(NEW), one.predict(NEW), atol=1e-6)
    milli = doser(distribution).fit(changed(log, action=1024.0 * log.action))
    assert_allclose(milli.predict(NEW), 1024.0 * one.predict(NEW), atol=0.05)
    assert_allclose(milli.policy_value_, one.policy_value_, rtol=1e-6)


def test_a_flat_log_and_one_column_are_one_thing(log):
    column = changed(log, action=log.action[:, None])
    assert_array_equal(doser().fit(column).predict(NEW), doser().fit(log).predict(NEW))


def test_both_doors_are_one(log):
    n = len(log)
    X = np.concatenate([log.state, log.next_state])
    y = pd.DataFrame(
        {
            "action": np.concatenate([log.action, np.full(n, np.nan)]),
            "reward": np.concatenate([log.reward, np.full(n, np.nan)]),
            "episode": np.tile(np.arange(n), 2),
            "step": np.repeat([0, 1], n),
        }
    )
    single = Transitions(
        log.state, log.action, log.reward, log.next_state, episode=np.arange(n)
    )
    one, two = doser().fit(X, y), doser().fit(single)
    assert_allclose(one.policy_value_, two.policy_value_, rtol=1e-9)
    assert_array_equal(one.predict(NEW), two.predict(NEW))


# ------------------------------------------------------------ scikit-learn's tools


@every_distribution
def test_score_prefers_the_better_policy(distribution):
    log, other = dose_log(n=400), dose_log(n=400, seed=1)
    good = doser(distribution, candidates=7, lam=100.0).fit(log)
    bad = doser(distribution, candidates=7).fit(changed(log, reward=-log.reward - 1.0))
    assert good.score(other) > bad.score(other)
    estimate = fitted_q_value(good, other, discount=0.5)
    assert abs(estimate.value - good.score(other)) < 10 * estimate.standard_error


def test_pipeline_and_search(log):
    search = GridSearchCV(
        make_pipeline(OnStates(StandardScaler()), doser(candidates=5)),
        {"stackelbergpolicyestimator__lam": [1.0, 100.0]},
        cv=EpisodeKFold(2),
        error_score="raise",
    ).fit(log)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(NEW).shape == (len(NEW),)
    assert search.best_estimator_[-1].action_type_ == "continuous"


def test_a_refit_with_labels_forgets_the_amounts(log):
    policy = doser(candidates=5).fit(log)
    policy.fit(walk_log())
    assert policy.action_type_ == "discrete"
    assert not hasattr(policy, "candidates_")
    assert not hasattr(policy, "action_bounds_")
    assert policy.classes_.tolist() == [0, 1, 2]


# ------------------------------------------------------------ bad input

BAD = {
    "bounds the wrong way round": (
        dict(action_bounds=(1.0, -1.0)),
        "the wrong way round.*low=1.*high=-1",
    ),
    "bounds that are no pair": (dict(action_bounds=3.0), "must be a pair"),
    "bounds that are infinite": (dict(action_bounds=(-np.inf, 1)), "must be finite"),
    "actions outside": (
        dict(action_bounds=(-0.5, 0.5)),
        r"outside action_bounds, .* at rows 0, 2, .*Widen the bounds",
    ),
    "one candidate": (dict(candidates=1), "at least two"),
    "candidates outside": (dict(candidates=[0.0, 7.0]), "outside the bounds.*rows 1"),
    "candidates of two columns": (dict(candidates=np.eye(2)), "have shape"),
    "equal candidates": (dict(candidates=[0.0, 0.0]), "each given once"),
    "a line in the amount": (
        dict(q_function="linear", policy="linear"),
        "linear in the action, whose best is then always one of the bounds",
    ),
    "a kernel without a derivative": (
        dict(
            action_distribution="gaussian",
            kernel=lambda X, Y: np.exp(-((X[:, None] - Y[None]) ** 2).sum(2)),
        ),
        "cannot be differentiated in the action",
    ),
    "a GPU": (dict(device="cuda"), "the closed form works on the CPU"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_in_a_sentence(log, case):
    settings, words = BAD[case]
    policy = doser(**settings)
    with pytest.raises(ValueError, match=words):
        policy.fit(log)
    assert not [name for name in vars(policy) if name.endswith("_")]


def test_labels_that_are_asked_to_be_amounts():
    log = walk_log()
    names = changed(log, action=np.array(["a", "b", "c"])[log.action])
    with pytest.raises(ValueError, match="needs numbers, and the logged actions are"):
        estimator(action_type="continuous").fit(names)
    with pytest.raises(ValueError, match=r"action_bounds=.* labels, which have none"):
        estimator(action_bounds=(0, 1)).fit(names)
    with pytest.raises(ValueError, match="needs one value for each row"):
        doser(action_type="discrete").fit(dose_log(p=2))


def test_columns_of_amounts_keep_their_order():
    table = pd.DataFrame(dose_log(p=2).action, columns=["insulin", "glucose"])
    log = changed(dose_log(p=2), action=table)
    swapped = changed(log, action=table[["glucose", "insulin"]])
    policy = doser(candidates=5).fit(log)
    assert policy.action_names_ == ("insulin", "glucose")
    words = r"columns \['glucose', 'insulin'\], the policy learned on \['insu"
    for ask in (
        lambda: policy.score(swapped),
        lambda: fitted_q_value(policy, swapped, discount=0.5),
        lambda: policy.q_values(log.state, table[["glucose", "insulin"]]),
        lambda: policy.set_params(warm_start=True).fit(swapped),
    ):
        with pytest.raises(ValueError, match=words):
            ask()
    with pytest.raises(ValueError, match=r"actions have 2 columns, .* have 1"):
        policy.score(dose_log())


def test_questions_that_cannot_be_answered(log):
    policy = doser(candidates=3).fit(log)
    with pytest.raises(ValueError, match="outside action_bounds"):
        policy.q_values(NEW, np.full(len(NEW), 7.0))
    with pytest.raises(ValueError, match="action must be numbers"):
        policy.q_values(NEW, ["much"] * len(NEW))
    with pytest.raises(ValueError, match=r"action has shape \(2,\)"):
        policy.q_values(NEW, [0.0, 1.0])
    with pytest.raises(ValueError, match="NaN or infinite in rows"):
        policy.q_values(NEW, np.full(len(NEW), np.nan))
    with pytest.raises(ValueError, match="action must be one label"):
        estimator().fit(walk_log()).q_values(NEW, np.full(len(NEW), 7))


def patients(n, rng):
    """One dose each, right by the state, given by a logger that knows most of it."""
    states = np.column_stack([rng.normal(size=(n, 2)), rng.binomial(2, 0.35, n)])
    right = np.exp(3.0 + states @ [0.2, -0.2, -0.5])
    given = right * rng.lognormal(0.0, 0.3, n)
    return states, right, given


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_doses_are_no_worse_than_those_of_a_logger_that_knows_the_patient(seed):
    rng = np.random.default_rng(seed)
    states, right, given = patients(300, rng)
    reward = -(np.log(given / right) ** 2) + rng.normal(0.0, 0.2, 300)
    log = Transitions(states, given, reward, states, np.ones(300))
    policy = StackelbergPolicyEstimator(
        discount=0.0, action_type="continuous", random_state=0
    )
    fresh, best, logged = patients(2000, rng)
    losses = [
        np.mean(np.log(np.ravel(doses) / best) ** 2)
        for doses in (policy.fit(log).predict(fresh), logged)
    ]
    assert losses[0] < losses[1]


def test_settings_that_are_not_given_are_those_of_the_kind_of_problem():
    rng = np.random.default_rng(3)
    states, _, given = patients(60, rng)
    ends = np.ones(60, dtype=bool)
    goes_on = np.arange(60) % 6 < 5
    cases = [
        (given, ends, "continuous", {"beta": 1e-4, "ridge": 0.0}),
        (given, ~goes_on, "continuous", {"beta": 0.01, "ridge": 1e-4}),
        (given > 15.0, ~goes_on, "discrete", {"beta": 0.1, "ridge": 0.0}),
    ]
    for action, terminated, kind, numbers in cases:
        log = Transitions(states, action, given, states[::-1], terminated)
        settings = {"discount": 0.9, "action_type": kind, "n_components": 10}
        made = estimator(**settings, beta=None, ridge=None)
        same = estimator(**settings, **numbers)
        other = estimator(**settings, **numbers | {"beta": 0.3})
        found, expected, else_ = (
            each.fit(log).q_values(states) for each in (made, same, other)
        )
        assert_array_equal(found, expected)
        assert not np.allclose(found, else_, rtol=1e-6)
