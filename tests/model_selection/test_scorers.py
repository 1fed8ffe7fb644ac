"""Scorers are their metrics; the refit rule prefers pessimism, and refuses nothing."""

from __future__ import annotations

import pickle
import re
import warnings

import numpy as np
import pytest
import sklearn
from _logs import (
    changed,
    estimator,
    ignore_convergence,
    ignore_few_episodes,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import EpisodeKFold, OnStates, Transitions
from sklearn_stackelberg.metrics import _fitted_q_value as value_fitted_q
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)
from sklearn_stackelberg.metrics._prepare import prepare_evaluation
from sklearn_stackelberg.model_selection import (
    BellmanErrorScorer,
    DoublyRobustScorer,
    FittedQScorer,
    ImportanceSamplingScorer,
    PessimisticRefit,
)

pytestmark = [ignore_convergence, ignore_few_episodes, pytest.mark.slow]

# The forest that finds what a log supports takes most of a small fit's time.
FAST = dict(mirror_steps=2, max_iter=1, n_components=10, support=0.0)
FOLDS = EpisodeKFold(2)
# Scorer, its metric, its sign, and settings that folds of few episodes allow.
SCORERS = [
    (FittedQScorer, fitted_q_value, 1, {}),
    (FittedQScorer, fitted_q_value, 1, {"greedy": True, "ridge": 0.1}),
    (DoublyRobustScorer, doubly_robust_value, 1, {"n_folds": 2}),
    (ImportanceSamplingScorer, importance_sampling_value, 1, {"clip": 5.0}),
    (BellmanErrorScorer, bellman_error, -1, {}),
]
each = pytest.mark.parametrize(("scorer", "metric", "sign", "settings"), SCORERS)


@pytest.fixture(scope="module")
def log():
    """Whole episodes, so that every metric can be taken; with known propensities."""
    log = walk_log(n=162)
    chained = np.where(
        (log.step < 8)[:, None], np.roll(log.state, -1, axis=0), log.next_state
    )
    return changed(
        log,
        next_state=chained,
        terminated=log.step == 8,
        propensity=np.full(len(log), 1 / 3),
    )


@pytest.fixture(scope="module")
def table(log):
    frame = log.to_frame()
    # Every episode ends for good: a row that holds what follows it is superfluous.
    frame = frame[frame["action"].notna()]
    states = [name for name in frame if name.startswith("state_")]
    return frame[states].to_numpy(), frame.drop(columns=states)


@pytest.fixture(scope="module")
def policy(log):
    return estimator(**FAST).fit(log[: len(log) // 2])


def piped(**settings):
    return make_pipeline(OnStates(StandardScaler()), estimator(**FAST | settings))


# ---------------------------------------------------------------- scorers


@each
def test_a_scorer_is_its_metric(scorer, metric, sign, settings, log, table, policy):
    found = scorer(**settings)(policy, log)
    estimate = metric(policy, log, discount=0.9, **settings)
    assert type(found) is float
    assert_allclose(found, sign * estimate.value, rtol=1e-12)
    assert_allclose(scorer(**settings)(policy, *table), found, rtol=1e-10)
    held = log[log.episode > 5]
    assert scorer(**settings)(policy, held) != found


@each
def test_a_report_is_read_from_the_estimate(
    scorer, metric, sign, settings, log, policy
):
    found = scorer(report=True, confidence_level=0.9, **settings)(policy, log)
    estimate = metric(policy, log, discount=0.9, confidence_level=0.9, **settings)
    low, high = estimate.confidence_interval
    expected = {
        "value": sign * estimate.value,
        "standard_error": estimate.standard_error,
        "lower_limit": low if sign > 0 else -high,
        "effective_sample_size": estimate.effective_sample_size,
    }
    assert [*found] == [*expected]
    assert_allclose([*found.values()], [*expected.values()], rtol=1e-12)
    assert found["lower_limit"] < found["value"]


@pytest.mark.parametrize("report", [False, True])
def test_one_evaluation_fit_and_no_error_that_is_not_needed(
    report, log, policy, monkeypatch
):
    solved, errors = [], []
    solve = value_fitted_q.fitted_q

    def counted(*args, **kwargs):
        solved.append(fit := solve(*args, **kwargs))
        return fit

    fit_type = type(solve(prepare_evaluation(policy, log), 0.9))
    error = fit_type.standard_error

    def counted_error(fit):
        errors.append(fit)
        return error.__get__(fit) if hasattr(error, "__get__") else error

    monkeypatch.setattr(value_fitted_q, "fitted_q", counted)
    monkeypatch.setattr(fit_type, "standard_error", property(counted_error))
    FittedQScorer(report=report)(policy, log)
    assert len(solved) == 1
    assert len(errors) == int(report)


def test_a_reference_is_the_log_and_not_the_fold(log, policy):
    scorer = FittedQScorer(reference=log)
    assert scorer(policy, log[:50]) == FittedQScorer()(policy, log)


@each
def test_a_reference_goes_before_the_fold(
    scorer, metric, sign, settings, log, table, policy
):
    fold = log[log.episode < 3]
    whole = metric(policy, log, discount=0.9, **settings).value * sign
    for reference in (log, table, log.episodes):
        prepare_evaluation = scorer(reference=reference, **settings)
        assert_allclose(prepare_evaluation(policy, fold), whole, rtol=1e-10)
        assert_allclose(prepare_evaluation(policy, None), whole, rtol=1e-10)
    # In a search: each fold's own policy, on the same rows.
    found = cross_validate(
        piped(),
        log,
        cv=FOLDS,
        scoring=scorer(reference=log, **settings),
        return_estimator=True,
    )
    expected = [
        sign * metric(fitted, log, discount=0.9, **settings).value
        for fitted in found["estimator"]
    ]
    assert len({*expected}) == 2
    assert_allclose(found["test_score"], expected, rtol=1e-10)


@pytest.mark.slow
def test_the_discount_is_the_candidates_own_or_given(log, table):
    candidates = [0.5, 0.9]
    name = "stackelbergpolicyestimator__discount"
    pipeline = piped()
    for given in (None, 0.7):
        search = GridSearchCV(
            pipeline,
            {name: candidates},
            cv=FOLDS,
            scoring=FittedQScorer(discount=given),
        ).fit(log)
        for row, discount in enumerate(candidates):
            expected = [
                fitted_q_value(
                    clone(pipeline).set_params(**{name: discount}).fit(log[train]),
                    log[test],
                    discount=given or discount,
                ).value
                for train, test in FOLDS.split(log)
            ]
            mean = search.cv_results_["mean_test_score"][row]
            assert_allclose(mean, np.mean(expected), rtol=1e-10)
        # A search, and a search within a pipeline, stand for their best candidate.
        best = given or search.best_params_[name]
        whole = fitted_q_value(search, log, discount=best).value
        assert FittedQScorer(discount=given)(search, log) == whole
    inner = GridSearchCV(estimator(**FAST), {"discount": [0.6]}, cv=FOLDS)
    outer = make_pipeline(StandardScaler(), inner).fit(*table)
    expected = fitted_q_value(outer, *table, discount=0.6).value
    assert FittedQScorer()(outer, *table) == expected


def test_a_policy_without_discount_needs_one_given(log):
    class Coin:
        classes_ = np.arange(3)

        def predict_proba(self, states):
            return np.full((len(states), 3), 1 / 3)

    with pytest.raises(ValueError, match=r"a Coin, has no discount.*FittedQScorer\("):
        FittedQScorer()(Coin(), log)
    expected = fitted_q_value(Coin(), log, discount=0.8).value
    assert FittedQScorer(discount=0.8)(Coin(), log) == expected


@each
def test_copies_score_alike(scorer, metric, sign, settings, log, policy):
    prepare_evaluation = scorer(discount=0.8, reference=log, report=True, **settings)
    for copy in (
        pickle.loads(pickle.dumps(prepare_evaluation)),
        clone(prepare_evaluation, safe=False),
    ):
        assert copy(policy, None) == prepare_evaluation(policy, None)
        assert repr(copy) == repr(prepare_evaluation)


def test_several_scorers_at_once(log):
    scorers = {
        "value": FittedQScorer(),
        "robust": DoublyRobustScorer(n_folds=2),
        "fit": BellmanErrorScorer(),
    }
    together = cross_validate(piped(), log, cv=FOLDS, scoring=scorers)
    for name, scorer in scorers.items():
        alone = cross_val_score(piped(), log, cv=FOLDS, scoring=scorer)
        assert_array_equal(together[f"test_{name}"], alone)


@pytest.mark.slow
def test_weights_reach_the_scorer_by_metadata_routing(log):
    weight = np.random.default_rng(0).uniform(0.1, 3.0, size=len(log))
    params = {"sample_weight": weight}
    policy = estimator(**FAST)
    expected = [
        fitted_q_value(
            clone(policy).fit(log[train]),
            log[test],
            discount=0.9,
            sample_weight=weight[test],
        ).value
        for train, test in FOLDS.split(log)
    ]
    plain = cross_val_score(policy, log, cv=FOLDS)
    assert np.abs(plain - expected).min() > 1e-4
    with sklearn.config_context(enable_metadata_routing=True):
        policy.set_fit_request(sample_weight=False)
        weighted = FittedQScorer().set_score_request(sample_weight=True)
        for scorer in (weighted, pickle.loads(pickle.dumps(weighted))):
            found = cross_val_score(
                policy, log, cv=FOLDS, scoring=scorer, params=params
            )
            assert_allclose(found, expected, rtol=1e-10)
        light = DoublyRobustScorer(n_folds=2).set_score_request(sample_weight=False)
        both = {"heavy": weighted, "light": light}
        found = cross_validate(policy, log, cv=FOLDS, scoring=both, params=params)
        assert_allclose(found["test_heavy"], expected, rtol=1e-10)
        assert np.isfinite(found["test_light"]).all()
        deaf = FittedQScorer().set_score_request(sample_weight=False)
        for scorer, error in (
            (FittedQScorer(), "sample_weight.* not explicitly set"),
            (deaf, "sample_weight"),
        ):
            with pytest.raises((ValueError, TypeError), match=error):
                cross_val_score(policy, log, cv=FOLDS, scoring=scorer, params=params)
    fitted = clone(policy).fit(log)
    with pytest.raises(ValueError, match=r"evaluates on its reference.*drop one"):
        FittedQScorer(reference=log)(fitted, log, sample_weight=weight)


# ---------------------------------------------------------------- the refit rule


def results(means, lams=None, *, splits=None, name="param_lam", metric="score"):
    """What a search would have found."""
    means = np.asarray(means, dtype=float)
    splits = np.stack([means] * 3) if splits is None else np.asarray(splits, float)
    found = {
        "params": [{} for _ in means],
        f"mean_test_{metric}": means,
        f"split0_train_{metric}": means + 100.0,
    }
    found |= {f"split{k}_test_{metric}": row for k, row in enumerate(splits)}
    if lams is not None:
        mask = [lam is None for lam in lams]
        kind = object if any(mask) else None
        found[name] = np.ma.array(np.array(lams, dtype=kind), mask=mask)
    return found


def by_hand(splits, lams, n_standard_errors=1.0):
    """The rule in one line a step, of folds by candidates."""
    splits = np.asarray(splits)
    means = splits.mean(axis=0)
    best = means.argmax()
    error = splits[:, best].std(ddof=1) / np.sqrt(len(splits))
    least = means[best] - n_standard_errors * error
    close = [number for number, mean in enumerate(means) if mean >= least]
    return min(close, key=lambda i: (lams[i], -means[i]))


def test_one_standard_error_by_hand():
    # The best mean is 0.5, of 0.3, 0.5 and 0.7; its standard error is 0.2 / √3.
    splits = [[0.30, 0.41, 0.3, 0.39], [0.50, 0.41, 0.5, 0.39], [0.40, 0.41, 0.7, 0.39]]
    means = np.mean(splits, axis=0)
    assert_allclose(means, [0.40, 0.41, 0.5, 0.39])
    lams = [3.0, 1.0, 9.0, 0.1]
    found = results(means, lams, splits=splits)
    # 0.39 lies within 0.1155 of it, and has the smallest λ.
    assert PessimisticRefit()(found) == 3
    assert PessimisticRefit(n_standard_errors=0.9)(found) == 1
    assert PessimisticRefit(n_standard_errors=0.7)(found) == 2
    assert PessimisticRefit(n_standard_errors=0)(found) == 2


@pytest.mark.parametrize("seed", range(20))
def test_the_rule_on_random_results(seed):
    rng = np.random.default_rng(seed)
    splits = rng.normal(size=(4, 9)) + 0.5 * rng.normal(size=9)
    lams = rng.choice([0.1, 1.0, 10.0], size=9)
    found = results(splits.mean(axis=0), lams, splits=splits)
    for number in (0.0, 0.5, 1.0, 2.0):
        rule = PessimisticRefit(n_standard_errors=number)
        assert rule(found) == by_hand(splits, lams, number)


def test_ties_take_the_better_and_then_the_first():
    splits = np.array([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.8, 0.8]])
    lams = [10.0, 1.0, 1.0, 1.0]
    means = np.array([0.50, 0.40, 0.45, 0.45])
    assert PessimisticRefit()(results(means, lams, splits=splits)) == 2
    assert PessimisticRefit()(results([0.5] * 4, [1.0] * 4)) == 0
    # Where the folds agree, the error is 0, and only equals are as good.
    assert PessimisticRefit()(results([0.5, 0.5, 0.4], [10.0, 1.0, 0.1])) == 1


@pytest.mark.parametrize("name", ["param_lam", "param_policy__lam", "param_a__b__lam"])
@pytest.mark.parametrize("kind", [float, int, np.float32, np.int64, object])
def test_lam_of_whatever_step_and_type(name, kind):
    splits = np.array([[0.0, 0.1, 0.2], [1.0, 1.1, 1.2]])
    lams = np.array([1, 10, 100], dtype=kind)
    found = results(splits.mean(axis=0), lams, splits=splits, name=name)
    assert PessimisticRefit()(found) == 0


def test_without_lam_the_best_is_taken():
    splits = np.array([[0.0, 0.1, 0.2], [1.0, 1.1, 1.2]])
    means = splits.mean(axis=0)
    assert PessimisticRefit()(results(means, splits=splits)) == 2
    other = results(means, [1.0, 2.0, 3.0], splits=splits, name="param_slam")
    assert PessimisticRefit()(other) == 2
    # Candidates of a list of grids that leave lam alone come after those that do not.
    some = results(means, [None, 5.0, None], splits=splits)
    assert PessimisticRefit()(some) == 1


def test_candidates_that_were_not_evaluated_are_passed_over():
    splits = np.array([[np.nan, 0.1, 0.2, 0.3], [1.0, 1.1, 1.2, -np.inf]])
    found = results(splits.mean(axis=0), [0.1, 1.0, 10.0, 0.1], splits=splits)
    assert PessimisticRefit()(found) == 1
    found = results([np.nan, np.nan, 0.1], [0.1, 1.0, 10.0])
    assert PessimisticRefit()(found) == 2


def test_no_candidate_was_evaluated():
    words = r"None of the 2 candidates .* error_score='raise'.*what is never logged"
    with pytest.raises(ValueError, match=words):
        PessimisticRefit()(results([np.nan, np.nan], [1.0, 2.0]))


def test_a_metric_that_is_not_there():
    with pytest.raises(ValueError, match=r"no metric 'value'; it has \['score'\]"):
        PessimisticRefit("value")(results([0.5], [1.0]))
    assert PessimisticRefit("value")(results([0.5], [1.0], metric="value")) == 0


def test_it_can_be_shown_copied_and_pickled():
    rule = PessimisticRefit("value", n_standard_errors=2.0)
    shown = "PessimisticRefit('value', n_standard_errors=2.0)"
    for copy in (rule, clone(rule, safe=False), pickle.loads(pickle.dumps(rule))):
        assert repr(copy) == shown


# ---------------------------------------------------------------- in searches


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "numbers"),
    [(GridSearchCV, (0.0, 100.0)), (RandomizedSearchCV, (100.0,))],
)
def test_a_search_refits_what_the_rule_chooses(kind, numbers, log):
    lam = "stackelbergpolicyestimator__lam"
    space = {lam: [30, 3, 1]}
    how = {} if kind is GridSearchCV else {"n_iter": 3, "random_state": 0}
    chosen = []
    for number in numbers:
        rule = PessimisticRefit("value", n_standard_errors=number)
        search = kind(
            piped(),
            space,
            cv=FOLDS,
            scoring=FittedQScorer(report=True),
            refit=rule,
            **how,
        ).fit(log)
        results = search.cv_results_
        splits = [results[f"split{k}_test_value"] for k in range(2)]
        lams = [params[lam] for params in results["params"]]
        assert search.best_index_ == by_hand(splits, lams, number)
        twin = clone(piped()).set_params(**search.best_params_).fit(log)
        assert_array_equal(search.predict_proba(log), twin.predict_proba(log))
        chosen.append(search.best_params_[lam])
    assert chosen[-1] == 1


def uncovered_log(thirds):
    """Action 1, the good one, is logged in some thirds of the episodes only."""
    rng = np.random.default_rng(0)
    episode = np.arange(90) // 3
    known = np.isin(episode // 10, thirds)
    action = np.where(known, rng.integers(2, size=90), 0)
    state = rng.normal(size=(90, 2))
    reward = action + 0.1 * rng.normal(size=90)
    return Transitions(state, action, reward, state[::-1], episode=episode)


def uncovered_search(**settings):
    grid = {"lam": [1.0, 10.0]}
    return GridSearchCV(estimator(**FAST), grid, cv=EpisodeKFold(3), **settings)


# The fold that alone holds action 1 leaves none to learn it from, and no policy that
# learned it can be evaluated on the others.
HEARD = [
    "Scoring failed.*actions that the log never holds",
    "2 fits failed out of a total of 6.*one class of action",
    "test scores are non-finite",
]


def warned(call):
    """The warnings, but that the policy was still moving."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [warning for warning in caught if "still moving" not in str(warning.message)]


def test_a_search_in_which_no_candidate_could_be_evaluated_is_refused():
    log = uncovered_log([2])
    words = "None of the 2 candidates of this search could be fitted and evaluated"
    for settings in (
        {"refit": PessimisticRefit()},
        {
            "scoring": FittedQScorer(report=True),
            "refit": PessimisticRefit("value"),
        },
    ):

        def search(settings=settings):
            with pytest.raises(ValueError, match=words):
                uncovered_search(**settings).fit(log)

        warned(search)


def test_a_search_by_scikit_learns_own_rule_warns_that_none_was_evaluated():
    log = uncovered_log([2])
    said = warned(lambda: uncovered_search().fit(log))
    text = "\n".join(str(warning.message) for warning in said)
    for words in HEARD:
        assert re.search(words, text, re.DOTALL), words
    assert any(warning.category is FitFailedWarning for warning in said)
    with pytest.raises(ValueError, match="actions that the log never holds"):
        uncovered_search(error_score="raise").fit(log)


def test_a_report_of_which_one_fold_cannot_be_evaluated_is_nan_there():
    log = uncovered_log([1, 2])
    search = uncovered_search(scoring=FittedQScorer(report=True), refit=False)
    said = [str(warning.message) for warning in warned(lambda: search.fit(log))]
    assert sum(
        "could not be evaluated, and all of its figures are NaN" in s for s in said
    )
    results = search.cv_results_
    for name in ("value", "standard_error", "lower_limit", "effective_sample_size"):
        assert np.isnan(results[f"split0_test_{name}"]).all()
        assert np.isfinite(results[f"split1_test_{name}"]).all()
    with pytest.raises(ValueError, match="None of the 2 candidates"):
        PessimisticRefit("value")(results)


def test_a_halving_search_does_not_use_the_rule(log):
    """As the rule's description says; scikit-learn gives no warning."""

    class Refuses(PessimisticRefit):
        def __call__(self, cv_results):
            raise AssertionError

    search = HalvingGridSearchCV(
        piped(),
        {"stackelbergpolicyestimator__lam": [1.0, 10.0]},
        cv=EpisodeKFold(2),
        factor=2,
        min_resources=9,
        random_state=0,
        refit=Refuses(),
    ).fit(log.episodes)
    assert search.best_index_ in np.flatnonzero(search.cv_results_["iter"] == 1)
