"""scikit-learn's tools on a log and on its decision table: numbers, not only no error.

Every number is held against a loop written out by hand (fit on some rows, fitted-Q on
others), and the log's against the table's.
"""

from __future__ import annotations

import pickle
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from _logs import (
    FIELDS,
    estimator,
    held_out_value,
    ignore_convergence,
    ignore_few_episodes,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    ParameterGrid,
    ParameterSampler,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import resample
from sklearn.utils.fixes import parse_version

from sklearn_stackelberg import EpisodeKFold, OnStates, Transitions, as_transitions
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)
from sklearn_stackelberg.model_selection import FittedQScorer, PessimisticRefit

pytestmark = [ignore_convergence, pytest.mark.slow]

DISCOUNT = 0.9
STATES = ["speed", "load", "heat"]
LAM = "stackelbergpolicyestimator__lam"
ITERATIONS = "stackelbergpolicyestimator__solver__max_iter"
GRID = {LAM: [30.0, 3.0]}  # the second is the pipelines' own
FOLDS = EpisodeKFold(2, shuffle=True, random_state=1)
# A fixed bandwidth: by the median the policy would be the same without the scaler.
FAST = dict(
    discount=DISCOUNT,
    lam=3.0,
    bandwidth=[1.0, 1.0, 1.0],
    n_components=15,
    mirror_steps=3,
    max_iter=2,
    # The forest that finds what a log supports takes most of a small fit's time.
    support=0.0,
)


def make_table(n_episodes=24, seed=0):
    """Three columns in units far apart; a third of the episodes end for good.

    Where one is cut, a row without an action holds its last state, so that every row
    is a state of a transition or follows one.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for episode in rng.permutation(n_episodes):
        state = rng.normal(size=3)
        length = rng.integers(4, 10)
        for step in range(length):
            act = rng.integers(3)
            last = episode % 3 == 0 and step == length - 1
            before = state
            push = np.array([1.0, 0.4 * act, -0.5]) * (act - 1)
            state = 0.8 * state + 0.5 * push + 0.2 * rng.normal(size=3)
            reward = np.tanh(state[0]) - 0.3 * state[1] ** 2
            name = ["brake", "coast", "push"][act]
            rows.append([*before, name, reward, episode, step, last, 1 / 3])
        if not last:
            rows.append([*state, None, np.nan, episode, length, False, np.nan])
    columns = [*STATES, "action", "reward", "episode", "step", "terminated"]
    table = pd.DataFrame(rows, columns=[*columns, "propensity"])
    return table.assign(load=100.0 * table["load"], heat=table["heat"] / 50.0)


TABLE = make_table()
DECISIONS = TABLE.drop(columns=STATES)
LOG = Transitions.from_frame(TABLE, state=STATES, **{name: name for name in DECISIONS})
NEW_STATES = make_table(seed=1)[STATES]


@dataclass(frozen=True)
class Route:
    """A way in: what goes into scikit-learn's tools, and the policy to be tuned."""

    pipeline: Pipeline
    X: Any
    y: Any = None
    known: dict = field(default_factory=dict, repr=False)
    fitted: dict = field(default_factory=dict, repr=False)

    @property
    def data(self):
        return self.X, self.y

    @property
    def given(self):
        """What there is of X and y."""
        return [part for part in self.data if part is not None]

    @property
    def new_states(self):
        """States that are not in the log, in the container of X."""
        return NEW_STATES.to_numpy() if isinstance(self.X, np.ndarray) else NEW_STATES

    @property
    def n(self):
        return len(self.X)

    @property
    def episode(self):
        """Episode of each row."""
        if isinstance(self.X, Transitions):
            return self.X.episode
        return self.X.labels if self.y is None else np.asarray(self.y["episode"])

    def take(self, rows):
        """Some rows, in their order."""
        taken = self.X.iloc[rows] if hasattr(self.X, "iloc") else self.X[rows]
        if self.y is None:
            return taken, None
        return taken, self.y.iloc[rows] if hasattr(self.y, "iloc") else self.y[rows]

    def fit(self, rows, **params):
        """Fitted once to the same rows: no test changes what is fitted."""
        key = (np.arange(self.n)[rows].tobytes(), repr(params))
        if key not in self.fitted:
            policy = clone(self.pipeline).set_params(**params)
            self.fitted[key] = policy.fit(*self.take(rows))
        return self.fitted[key]

    def value(self, policy, rows, **settings):
        """What the default score must be."""
        return held_out_value(policy, *self.take(rows), **settings)

    def by_hand(self, folds, **params):
        """Held-out value of each fold, in a plain loop."""
        # What a splitter and parameters give is kept: many tests ask for it.
        key = (repr(folds), repr(params)) if hasattr(folds, "split") else None
        if key in self.known:
            return self.known[key]
        if key:
            folds = folds.split(*self.data)
        scores = np.array(
            [self.value(self.fit(train, **params), test) for train, test in folds]
        )
        if key:
            self.known[key] = scores
        return scores

    def rows_of(self, episodes):
        """The rows of whole episodes, in the order of the episodes given."""
        rows = [np.flatnonzero(self.episode == name) for name in episodes]
        return np.concatenate(rows)


def on_log():
    return make_pipeline(OnStates(StandardScaler()), estimator(**FAST))


def on_table():
    return make_pipeline(StandardScaler(), estimator(**FAST))


ROUTES = {
    "log": Route(on_log(), LOG),
    "episodes": Route(on_log(), LOG.episodes),
    "table": Route(on_table(), TABLE[STATES], DECISIONS),
    "records": Route(
        on_table(), TABLE[STATES].to_numpy(), DECISIONS.to_records(index=False)
    ),
}
both = pytest.mark.parametrize("name", ["log", "table"])
every = pytest.mark.parametrize("name", [*ROUTES])


def cut(test):
    """A test in which rows are drawn one by one; what is said of it is tested once."""
    for words in ("Cut episodes", "Gaps in the steps", "Of .* rows with an action"):
        test = pytest.mark.filterwarnings(f"ignore:{words}:UserWarning")(test)
    return test


def same(found, expected):
    """Equal but for what another order of sums changes."""
    # Values are of the size of ten, and one near zero is a difference of such.
    assert_allclose(found, expected, rtol=1e-10, atol=1e-8)


def same_log(found, expected):
    """Two logs, field by field."""
    for name in FIELDS:
        assert_array_equal(getattr(found, name), getattr(expected, name), name)


def test_the_routes_hold_the_same_log():
    """What the rest rests on, and that there is something to find."""
    for name in ("table", "records"):
        same_log(as_transitions(*ROUTES[name].data), LOG)
    assert len(TABLE) > len(LOG) > 120
    assert 0 < LOG.terminated.sum() < len(LOG.episodes)
    log = ROUTES["log"]
    scores = log.by_hand(FOLDS)
    assert len({*scores}) == 2
    raw = Route(make_pipeline(estimator(**FAST)), LOG).by_hand(FOLDS)
    assert np.abs(raw - scores).min() > 1e-3  # the scaler matters
    for lam in (0.3, 30.0):
        assert np.abs(log.by_hand(FOLDS, **{LAM: lam}) - scores).max() > 1e-3


def test_a_log_scaled_by_hand_gives_the_same():
    """The first route without OnStates, without a pipeline and without a scaler."""
    train, test = next(FOLDS.split(LOG))
    episodes = np.unique(LOG.episode[train])
    recorded = TABLE.loc[TABLE["episode"].isin(episodes), STATES].to_numpy()
    mean, spread = recorded.mean(axis=0), recorded.std(axis=0)
    by_hand = LOG.with_states(
        (LOG.state.to_numpy() - mean) / spread,
        (LOG.next_state.to_numpy() - mean) / spread,
    )
    policy = estimator(**FAST).fit(by_hand[train])
    route = ROUTES["log"]
    same(policy.score(by_hand[test]), route.value(route.fit(train), test))


# ---------------------------------------------------------------- splits and draws


@cut
@every
def test_train_test_split(name):
    route = ROUTES[name]
    parts = train_test_split(*route.given, test_size=0.3, random_state=0)
    rows = train_test_split(np.arange(route.n), test_size=0.3, random_state=0)
    for found, index in zip((parts[::2], parts[1::2]), rows, strict=True):
        same_log(as_transitions(*found), as_transitions(*route.take(index)))
    score = clone(route.pipeline).fit(*parts[::2]).score(*parts[1::2])
    same(score, route.value(route.fit(rows[0]), rows[1]))
    if name == "episodes":
        # Whole ones: their rows of the table give the same score.
        chosen = [route.episode[index] for index in rows]
        assert not np.intersect1d(*chosen).size
        table = ROUTES["table"]
        train, test = (table.rows_of(episodes) for episodes in chosen)
        same(score, table.value(table.fit(train), test))


@cut
@every
def test_resample_without_replacement(name):
    route = ROUTES[name]
    how = dict(replace=False, n_samples=int(0.8 * route.n), random_state=0)
    index = resample(np.arange(route.n), **how)
    drawn = resample(*route.given, **how)
    drawn = drawn if isinstance(drawn, list) else [drawn]
    same_log(as_transitions(*drawn), as_transitions(*route.take(index)))
    score = clone(route.pipeline).fit(*drawn).score(*route.data)
    same(score, route.value(route.fit(index), np.arange(route.n)))


def test_a_bootstrap_draws_whole_episodes():
    index = resample(np.arange(len(LOG.episodes)), random_state=0)
    assert len(np.unique(index)) < len(index)
    drawn = resample(LOG.episodes, random_state=0)
    parts = [LOG[LOG.episode == LOG.episodes.labels[i]] for i in index]
    expected = Transitions.concatenate(*parts)
    same_log(drawn, expected)
    policies = [on_log().fit(log) for log in (drawn, expected)]
    same(*(policy.predict_proba(NEW_STATES) for policy in policies))
    everything = np.arange(len(LOG))
    same(policies[0].score(LOG), ROUTES["log"].value(policies[1], everything))


@cut
def test_a_bootstrap_of_rows():
    rows = resample(np.arange(len(LOG)), random_state=0)
    drawn = resample(LOG, random_state=0)
    same_log(drawn, LOG[rows])
    route = ROUTES["log"]
    same(on_log().fit(drawn).score(LOG), route.value(route.fit(rows), slice(None)))
    # A table cannot be linked where a step is there twice.
    X, y = resample(TABLE[STATES], DECISIONS, random_state=0)
    with pytest.raises(ValueError, match=r"more than once|twice|repeat"):
        on_table().fit(X, y)


# ---------------------------------------------------------------- folds


def test_episode_k_fold():
    # In their order: test_k_fold_over_episodes_is_episode_k_fold.
    folds = EpisodeKFold(4, shuffle=True, random_state=4)
    scores = {}
    for name, route in ROUTES.items():
        scores[name] = cross_val_score(route.pipeline, *route.data, cv=folds)
        same(scores[name], route.by_hand(folds))
        same(scores[name], scores["log"])
    held = [
        [{*route.episode[test]} for _, test in folds.split(*route.data)]
        for route in ROUTES.values()
    ]
    assert held[0] == held[1] == held[2] == held[3]


@both
def test_group_k_fold(name):
    route = ROUTES[name]
    for folds in (GroupKFold(3), GroupKFold(3, shuffle=True, random_state=2)):
        found = cross_val_score(
            route.pipeline, *route.data, cv=folds, groups=route.episode
        )
        same(found, route.by_hand(folds.split(route.X, groups=route.episode)))
    # Shuffled, it does not look at how many rows an episode has: as on the log.
    log = ROUTES["log"]
    same(found, log.by_hand(folds.split(log.X, groups=log.episode)))


def test_k_fold_over_episodes_is_episode_k_fold():
    route = ROUTES["episodes"]
    found = cross_val_score(route.pipeline, route.X, cv=KFold(3))
    same(found, ROUTES["log"].by_hand(EpisodeKFold(3)))


@pytest.mark.filterwarnings("ignore:Of .* rows with an action:UserWarning")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("log", "Cut episodes"),
        ("table", "Gaps in the steps"),
        ("records", "Gaps in the steps"),
    ],
)
def test_row_wise_folds_are_warned_of_once(name, words):
    route = ROUTES[name]
    folds = KFold(3, shuffle=True, random_state=0)
    data = pickle.loads(pickle.dumps(route.data))  # logs that were not warned of yet
    with pytest.warns(UserWarning, match=words) as told:
        found = cross_val_score(route.pipeline, *data, cv=folds)
    said = [str(warning.message) for warning in told]
    found_words = [text for text in said if words in text]
    # A fold of a table does not know its table: the filters tell equal words.
    (only,) = set(found_words)
    assert len(found_words) == 1 or name != "log"
    assert "EpisodeKFold" in only
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", words)
        same(found, route.by_hand(folds))


# ---------------------------------------------------------------- cross-validation


@every
def test_cross_val_score_and_cross_validate(name):
    route = ROUTES[name]
    expected, new = route.by_hand(FOLDS), route.new_states
    same(expected, ROUTES["log"].by_hand(FOLDS))
    same(cross_val_score(route.pipeline, *route.data, cv=FOLDS), expected)
    found = cross_validate(
        route.pipeline,
        *route.data,
        cv=FOLDS,
        return_train_score=True,
        return_estimator=True,
        return_indices=True,
    )
    same(found["test_score"], expected)
    for fold, (train, test) in enumerate(FOLDS.split(*route.data)):
        assert_array_equal(found["indices"]["train"][fold], train)
        assert_array_equal(found["indices"]["test"][fold], test)
        policy, twin = found["estimator"][fold], route.fit(train)
        same(found["train_score"][fold], route.value(twin, train))
        assert_array_equal(policy.predict(new), twin.predict(new))
        same(policy.predict_proba(new), twin.predict_proba(new))


@pytest.mark.parametrize("name", ["log", "table", "records"])
def test_cross_val_predict(name):
    route = ROUTES[name]
    found = cross_val_predict(route.pipeline, *route.data, cv=FOLDS)
    assert len(found) == route.n
    for train, test in FOLDS.split(*route.data):
        states, _ = route.take(test)
        assert_array_equal(found[test], route.fit(train).predict(states))
    # Those of the table's rows that are decisions are the log's.
    _, rows = as_transitions(*route.data, return_rows=True)
    assert_array_equal(found[rows], cross_val_predict(on_log(), LOG, cv=FOLDS))


def test_cross_val_predict_of_probabilities():
    route = ROUTES["log"]
    found = cross_val_predict(on_log(), LOG, cv=FOLDS, method="predict_proba")
    assert found.shape == (len(LOG), 3)
    for train, test in FOLDS.split(LOG):
        same(found[test], route.fit(train).predict_proba(LOG[test]))


@pytest.mark.parametrize("name", ["table", "records"])
def test_cross_val_predict_of_probabilities_needs_the_log(name):
    # scikit-learn first takes y for labels of classes, and encodes it.
    route = ROUTES[name]
    with pytest.raises((ValueError, TypeError)):
        cross_val_predict(route.pipeline, *route.data, cv=FOLDS, method="predict_proba")


@cut
@pytest.mark.parametrize("name", ["log", "episodes", "table"])
def test_learning_curve(name):
    route = ROUTES[name]
    sizes = [6, 12] if name == "episodes" else [35, 60]
    # The first so many rows end inside an episode.
    words = "Cut episodes|Gaps in the steps"
    said = pytest.warns(UserWarning, match=words) if name == "log" else nullcontext()
    data = pickle.loads(pickle.dumps(route.data))  # logs that were not warned of yet
    with said:
        found, train_scores, scores = learning_curve(
            route.pipeline, *data, cv=FOLDS, train_sizes=sizes
        )
    assert found.tolist() == sizes
    folds = [*FOLDS.split(*route.data)]
    for row, size in enumerate(sizes):
        firsts = [(train[:size], test) for train, test in folds]
        same(scores[row], route.by_hand(firsts))
        same(train_scores[row], route.by_hand([(a, a) for a, _ in firsts]))
        if name == "episodes":
            # Whole ones: their rows of the table give the same.
            table = ROUTES["table"]
            parts = [[table.rows_of(route.episode[p]) for p in f] for f in firsts]
            same(scores[row], table.by_hand(parts))


@both
def test_validation_curve(name):
    route = ROUTES[name]
    train_scores, scores = validation_curve(
        route.pipeline, *route.data, cv=FOLDS, param_name=LAM, param_range=GRID[LAM]
    )
    trained = [(train, train) for train, _ in FOLDS.split(*route.data)]
    for row, lam in enumerate(GRID[LAM]):
        same(scores[row], route.by_hand(FOLDS, **{LAM: lam}))
        same(train_scores[row], route.by_hand(trained, **{LAM: lam}))


# ---------------------------------------------------------------- searches


def check_search(search, route, candidates):
    """Scores, ranks, choice and refitted policy of a search, against a plain loop."""
    results = search.cv_results_
    assert results["params"] == candidates
    splits = np.array([route.by_hand(FOLDS, **params) for params in candidates])
    for fold, column in enumerate(splits.T):
        same(results[f"split{fold}_test_score"], column)
    same(results["mean_test_score"], splits.mean(axis=1))
    same(results["std_test_score"], splits.std(axis=1))
    best = int(splits.mean(axis=1).argmax())
    assert (search.best_index_, results["rank_test_score"][best]) == (best, 1)
    same(search.best_score_, splits[best].mean())
    everything, new = np.arange(route.n), route.new_states
    twin = route.fit(everything, **candidates[best])
    assert_array_equal(search.predict(new), twin.predict(new))
    same(search.predict_proba(new), twin.predict_proba(new))
    assert_array_equal(search.classes_, ["brake", "coast", "push"])
    same(search.score(*route.data), route.value(twin, everything))


@pytest.mark.parametrize("name", ["log", "episodes", "table"])
def test_grid_search(name):
    route, log = ROUTES[name], ROUTES["log"]
    search = GridSearchCV(route.pipeline, GRID, cv=FOLDS, error_score="raise")
    search.fit(*route.data)
    candidates = [*ParameterGrid(GRID)]
    check_search(search, route, candidates)
    splits = np.array([log.by_hand(FOLDS, **params) for params in candidates])
    same(search.cv_results_["mean_test_score"], splits.mean(axis=1))
    twin = log.fit(slice(None), **search.best_params_)
    assert_array_equal(search.predict(route.new_states), twin.predict(NEW_STATES))


REPORTED = dict(
    scoring=FittedQScorer(report=True, reference=LOG), refit=PessimisticRefit("value")
)


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
@pytest.mark.usefixtures("full_fits")  # other processes have no others
@pytest.mark.parametrize(("name", "scored"), [("log", REPORTED), ("table", {})])
def test_grid_search_in_two_processes(name, scored):
    route = ROUTES[name]
    one, two = (
        GridSearchCV(route.pipeline, GRID, cv=FOLDS, n_jobs=n_jobs, **scored).fit(
            *route.data
        )
        for n_jobs in (1, 2)
    )
    assert ("mean_test_lower_limit" in one.cv_results_) == bool(scored)
    assert one.cv_results_.keys() == two.cv_results_.keys()
    for key, expected in one.cv_results_.items():
        if "_test_" in key and "rank" not in key:
            # A worker has one thread, and sums of other threads round otherwise.
            assert_allclose(two.cv_results_[key], expected, rtol=1e-8, atol=1e-10)
        elif "time" not in key:
            assert_array_equal(two.cv_results_[key], expected, key)
    assert one.best_index_ == two.best_index_
    assert_array_equal(one.predict_proba(NEW_STATES), two.predict_proba(NEW_STATES))


@both
def test_randomized_search(name):
    route = ROUTES[name]
    space = {LAM: loguniform(0.1, 100.0), ITERATIONS: [0, 1, 2]}
    search = RandomizedSearchCV(
        route.pipeline, space, n_iter=3, cv=FOLDS, random_state=3
    ).fit(*route.data)
    drawn = [*ParameterSampler(space, 3, random_state=3)]
    assert len({params[LAM] for params in drawn}) == 3
    check_search(search, route, drawn)


def halving(route, **settings):
    grid = {LAM: [0.3, 3.0, 30.0]}
    search = HalvingGridSearchCV(
        route.pipeline, grid, cv=EpisodeKFold(2), factor=2, random_state=0, **settings
    )
    return search.fit(*route.data)


def test_halving_search_over_episodes():
    route, table = ROUTES["episodes"], ROUTES["table"]
    search = halving(route, min_resources=12)
    assert (search.n_resources_, search.n_candidates_) == ([12, 24], [3, 2])
    results = search.cv_results_
    for row, params in enumerate(results["params"]):
        share = results["n_resources"][row] / route.n
        folds = []
        for fold in EpisodeKFold(2).split(route.X):
            how = dict(replace=False, random_state=0)
            folds.append(
                [resample(p, n_samples=int(share * len(p)), **how) for p in fold]
            )
        found = [results[f"split{k}_test_score"][row] for k in range(2)]
        same(found, route.by_hand(folds, **params))
        # Whole episodes: their rows of the table give the same.
        parts = [[table.rows_of(route.episode[p]) for p in fold] for fold in folds]
        same(found, table.by_hand(parts, **params))
    last = np.flatnonzero(results["iter"] == 1)
    best = last[results["mean_test_score"][last].argmax()]
    assert search.best_params_ == results["params"][best]
    twin = route.fit(slice(None), **search.best_params_)
    assert_array_equal(search.predict(NEW_STATES), twin.predict(NEW_STATES))


@both
def test_halving_search_over_iterations(name):
    route = ROUTES[name]
    search = halving(route, resource=ITERATIONS, min_resources=1, max_resources=2)
    results = search.cv_results_
    assert [params[ITERATIONS] for params in results["params"]] == [1, 1, 1, 2, 2]
    for row, params in enumerate(results["params"]):
        found = [results[f"split{k}_test_score"][row] for k in range(2)]
        same(found, route.by_hand(EpisodeKFold(2), **params))
    best = results["params"][3 + results["mean_test_score"][3:].argmax()]
    assert search.best_params_ == best


@both
def test_nested_cross_validation(name):
    route = ROUTES[name]
    inner, outer, grid = EpisodeKFold(2), EpisodeKFold(3), {LAM: [0.3, 30.0]}
    search = GridSearchCV(route.pipeline, grid, cv=inner)
    found = cross_val_score(search, *route.data, cv=outer)
    candidates = [*ParameterGrid(grid)]
    expected = []
    for train, test in outer.split(*route.data):
        folds = [(train[a], train[b]) for a, b in inner.split(*route.take(train))]
        means = [route.by_hand(folds, **params).mean() for params in candidates]
        best = candidates[int(np.argmax(means))]
        expected.append(route.value(route.fit(train, **best), test))
    same(found, expected)


@both
@ignore_few_episodes
def test_a_search_is_a_policy_to_be_judged(name):
    route = ROUTES[name]
    search = GridSearchCV(route.pipeline, GRID, cv=FOLDS).fit(*route.data)
    best = search.best_estimator_
    scaled = best[0].transform(route.X)
    for metric in (
        fitted_q_value,
        doubly_robust_value,
        importance_sampling_value,
        bellman_error,
    ):
        data = [
            metric(policy, *route.data, discount=DISCOUNT) for policy in (search, best)
        ]
        # The last step alone, on the states that it sees.
        data.append(metric(best[-1], scaled, route.y, discount=DISCOUNT))
        for other in data[1:]:
            same(other.value, data[0].value)
            same(other.standard_error, data[0].standard_error)
    assert np.isfinite([data[0].value, data[0].standard_error]).all()


# ---------------------------------------------------------------- caches and copies


class CountingScaler(StandardScaler):
    """Counts the fits of all of its kind."""

    fits: ClassVar[int] = 0

    def fit(self, X, y=None, sample_weight=None):
        CountingScaler.fits += 1
        return super().fit(X, y, sample_weight)


@both
def test_pipeline_with_memory(name, tmp_path):
    route = ROUTES[name]
    scaler = OnStates(CountingScaler()) if route.y is None else CountingScaler()
    kept = make_pipeline(scaler, estimator(**FAST), memory=str(tmp_path))
    CountingScaler.fits = 0
    search = GridSearchCV(kept, GRID, cv=FOLDS).fit(*route.data)
    # Once a fold and once for the refit, not once a candidate.
    assert CountingScaler.fits == 3
    check_search(search, route, [*ParameterGrid(GRID)])
    again = GridSearchCV(kept, GRID, cv=FOLDS).fit(*route.data)
    assert CountingScaler.fits == 3
    same(again.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])
    clone(kept).fit(*route.take(route.rows_of(np.unique(route.episode)[1:])))
    assert CountingScaler.fits == 4


@both
def test_clone_and_pickle(name):
    route = ROUTES[name]
    policy = route.fit(np.arange(route.n), stackelbergpolicyestimator__support=0.2)
    copy = clone(policy)
    with pytest.raises(NotFittedError):
        copy.predict(NEW_STATES)
    for other in (copy.fit(*route.data), pickle.loads(pickle.dumps(policy))):
        assert_array_equal(
            other.predict_proba(NEW_STATES), policy.predict_proba(NEW_STATES)
        )
        assert other.score(*route.data) == policy.score(*route.data)
    search = GridSearchCV(route.pipeline, GRID, cv=FOLDS)
    found = pickle.loads(pickle.dumps(search.fit(*route.data)))
    assert_array_equal(found.predict(NEW_STATES), search.predict(NEW_STATES))
    assert clone(found).fit(*route.data).best_params_ == search.best_params_


def test_a_pickled_log_is_the_log():
    copy, view = (pickle.loads(pickle.dumps(x)) for x in (LOG, LOG.episodes))
    for log in (copy, view.transitions, view[:]):
        assert_array_equal(np.sort(log.episode), np.sort(LOG.episode))
    same_log(copy, LOG)
    same_log(view.transitions, LOG)
    scores = [
        cross_val_score(on_log(), log, cv=FOLDS) for log in (LOG, copy, LOG.episodes)
    ]
    assert_array_equal(scores[1], scores[0])
    same(scores[2], scores[0])


def test_a_hash_is_of_what_a_log_holds():
    log = Transitions.from_frame(TABLE, state=STATES, **{n: n for n in DECISIONS})
    before = joblib.hash(log)
    assert before == joblib.hash(LOG)
    whole = slice(None)
    # Before, a part of a frame keeps the strides of the whole.
    if parse_version(pd.__version__) >= parse_version("3"):
        assert joblib.hash(log[[0, 1]]) == joblib.hash(LOG[:2])
    rewarded = log[whole]
    rewarded.reward = log.reward + 1e-9
    others = [log[:-1], log[::-1], log.with_states(log.state, log.state), rewarded]
    assert len({before, *map(joblib.hash, others)}) == 5
    # Use leaves no trace in it.
    view = log.episodes
    seen = joblib.hash(view)
    policy = on_log().fit(log)
    policy.score(log)
    log.describe()
    cross_val_score(on_log(), view, cv=FOLDS)
    GridSearchCV(on_log(), GRID, cv=FOLDS).fit(log)
    assert (joblib.hash(log), joblib.hash(view)) == (before, seen)
    assert joblib.hash(LOG.episodes) == seen
    assert joblib.hash(policy[0]) == joblib.hash(on_log().fit(log)[0])


# ---------------------------------------------------------------- global settings


def weights_of(route):
    """One weight for each episode, that all of its rows have."""
    drawn = np.random.default_rng(0).uniform(0.1, 3.0, size=24)
    return drawn[np.asarray(route.episode, dtype=int)]


@both
def test_scores_with_metadata_routing(name):
    route = ROUTES[name]
    plain = route.by_hand(FOLDS)
    weight = weights_of(route)
    params = {"sample_weight": weight}
    expected = [
        route.value(route.fit(train), test, sample_weight=weight[test])
        for train, test in FOLDS.split(*route.data)
    ]
    assert np.isfinite(expected).all()
    assert np.abs(expected - plain).min() > 1e-4
    log = ROUTES["log"]
    heavy = [
        log.value(log.fit(train), test, sample_weight=weights_of(log)[test])
        for train, test in FOLDS.split(LOG)
    ]
    same(expected, heavy)
    if parse_version(sklearn.__version__) < parse_version("1.8"):
        return  # A pipeline's score takes no requests of its steps yet.
    with sklearn.config_context(enable_metadata_routing=True):
        same(cross_val_score(route.pipeline, *route.data, cv=FOLDS), plain)
        with pytest.raises(ValueError, match="sample_weight] are passed but"):
            cross_val_score(route.pipeline, *route.data, cv=FOLDS, params=params)
        pipeline = clone(route.pipeline)
        pipeline[-1].set_score_request(sample_weight=True)
        pipeline[-1].set_fit_request(sample_weight=False)
        scaler = pipeline[0] if route.y is not None else pipeline[0].transformer
        scaler.set_fit_request(sample_weight=False)
        found = cross_val_score(pipeline, *route.data, cv=FOLDS, params=params)
        same(found, expected)
        search = GridSearchCV(pipeline, GRID, cv=FOLDS, error_score="raise")
        search.fit(*route.data, **params)
        same(search.cv_results_["mean_test_score"][1], np.mean(expected))
        heavy = route.value(search, slice(None), sample_weight=weight)
        same(search.score(*route.data, **params), heavy)


@both
def test_the_container_of_transformed_states_changes_no_result(name):
    route = ROUTES[name]
    expected = route.by_hand(FOLDS)
    probabilities = route.fit(slice(None)).predict_proba(NEW_STATES)
    with sklearn.config_context(transform_output="pandas"):
        same(cross_val_score(route.pipeline, *route.data, cv=FOLDS), expected)
        policy = clone(route.pipeline).fit(*route.data)
        assert [*policy[-1].feature_names_in_] == STATES
        same(policy.predict_proba(NEW_STATES), probabilities)
        search = GridSearchCV(route.pipeline, GRID, cv=FOLDS).fit(*route.data)
        same(search.cv_results_["mean_test_score"][1], expected.mean())
        same(search.score(*route.data), route.value(search, slice(None)))
