"""The search beside the estimator: what it chooses, and that its figures are right."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn
from _logs import dose_log, ignore_convergence, ignore_imitation, walk_log
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from sklearn_stackelberg import (
    EpisodeKFold,
    OnStates,
    StackelbergPolicyCV,
    StackelbergPolicyEstimator,
    Transitions,
)
from sklearn_stackelberg._fitting.fold_fits import FoldFits
from sklearn_stackelberg._fitting.hyperparameters import Hyperparameters
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.metrics import fitted_q_value
from sklearn_stackelberg.model_selection import (
    BlockKFold,
    FittedQScorer,
    _search_results,
)
from sklearn_stackelberg.model_selection._grid import Grid
from sklearn_stackelberg.model_selection._halving import Halving
from sklearn_stackelberg.model_selection._held_out import Outcome
from sklearn_stackelberg.model_selection._search_results import in_words
from sklearn_stackelberg.networks import MLP
from sklearn_stackelberg.solvers import ClosedForm, Stochastic
from sklearn_stackelberg.transitions._discounting import return_range

pytestmark = ignore_convergence

FOLDS = EpisodeKFold(3)
LOG = walk_log(180)
QUICK = ClosedForm(mirror_steps=5, max_iter=5)
STATES = walk_log(60, seed=1).state
# Of searches in which it does not matter what is tried.
FEW = dict(lams=(1.0, 10.0), ridges=(), kernels=(), bandwidths=(), supports=())


def policy(**settings):
    return StackelbergPolicyEstimator(
        **{"discount": 0.9, "n_components": 15, "solver": QUICK, "random_state": 0}
        | settings
    )


def search(estimator=None, **settings):
    """A search of few candidates."""
    small = dict(
        lams=(1.0, 10.0, 100.0),
        betas=(),
        ridges=(0.0, 1e-3),
        kernels=("both", "linear"),
        bandwidths=("relevance", 2.0),
        supports=(0.0,),
        random_state=0,
    )
    estimator = policy() if estimator is None else estimator
    return StackelbergPolicyCV(estimator, **small | settings)


@pytest.fixture(scope="module")
def fitted():
    return search(cv=FOLDS).fit(LOG)


def as_scored(scores):
    """Of each split, no less than what its training rows' rewards can add up to."""
    parts = [LOG[train] for train, _ in FOLDS.split(LOG)]
    lowest = [return_range(part, 0.9)[0] for part in parts]
    return np.maximum(scores, lowest[: len(scores)])


def is_full(results):
    return results["n_splits_scored"] == 3


# ---------------------------------------------------------------- what is chosen


def test_scores_are_those_of_a_search_that_shares_nothing(fitted):
    results = fitted.cv_results_
    parts = [(LOG[train], LOG[test]) for train, test in FOLDS.split(LOG)]
    compared = []
    for place, params in enumerate(results["params"]):
        # Behind features that were drawn otherwise, so is the forest of the support.
        own = params["bandwidth"] != 2.0 and params["q_function"] == "kernel"
        if params["support"] != 0.0 and not own:
            continue
        n_scored = results["n_splits_scored"][place]
        some = parts[:n_scored]
        alone = [policy(**params).fit(one).score(other) for one, other in some]
        found = [results[f"split{k}_test_score"][place] for k in range(n_scored)]
        assert_allclose(found, as_scored(alone), rtol=1e-8)
        compared.append((params["support"], params["q_function"]))
    assert {*compared} == {("auto", "kernel"), (0.0, "kernel")}
    assert is_full(results).any()


@pytest.mark.usefixtures("full_fits")  # whose forests part no state
def test_supports_that_part_no_state_are_one_fit(monkeypatch):
    solved, solve = [], ClosedForm.solve

    def counted(self, *args, **kwargs):
        solved.append(args)
        return solve(self, *args, **kwargs)

    monkeypatch.setattr(ClosedForm, "solve", counted)
    hp = Hyperparameters.from_estimator(policy(support=0.9))
    parts = [LOG[rows] for rows in next(FOLDS.split(LOG))]
    fits, found = FoldFits(*parts, hp), {}
    for support, n_solved in ((0.02, 1), (0.01, 1), (0.9, 2)):
        found[support] = fits.solve(replace(hp, support=support)).policy
        assert len(solved) == n_solved
    alone = FoldFits(*parts, hp).solve(replace(hp, support=0.01)).policy
    for name in ("predict", "predict_proba", "q_values"):
        assert_array_equal(
            getattr(found[0.01], name)(STATES), getattr(alone, name)(STATES)
        )
    # In states that the log does not have each has its own.
    assert found[0.01].support.threshold == 0.01


def test_the_estimators_own_setting_is_tried_first_on_all_splits(fitted):
    scores = cross_val_score(policy(), LOG, cv=FOLDS)
    results = fitted.cv_results_
    found = [results[f"split{k}_test_score"][0] for k in range(3)]
    assert_allclose(found, as_scored(scores))
    assert results["params"][0]["lam"] == 10.0
    assert not results["dropped"][0]


def scored(**scores):
    """Halving of the estimator's own λ of 10 and others, by scores on three splits."""
    lams = [float(name[1:]) for name in scores]
    hp = Hyperparameters.from_estimator(policy(lam=10.0))
    some = dict(betas=(), ridges=(), kernels=(), bandwidths=(), supports=())
    grid = Grid(hp, False, 0.9, lams=lams, **some)
    halving = Halving(grid, [None] * 3, None, 0)
    for lam, found in zip(lams, scores.values(), strict=True):
        place = sorted(lams).index(lam)
        candidate = grid.moved(grid.start, lam=place)
        halving.found[candidate] = [Outcome(score, 0.0, 0.0) for score in found]
    return grid, halving


@pytest.mark.parametrize(
    ("scores", "lam"),
    [
        # Higher, and as surely so as it is seldom.
        (dict(_10=[1.0, 1.0, 1.0], _30=[1.1, 1.1, 1.1]), 30.0),
        # Much higher, and by one split.
        (dict(_10=[1.0, 1.0, 1.0], _30=[1.0, 1.0, 9.0]), 10.0),
        (dict(_10=[1.0, 1.0, 1.0], _30=[1.0, 1.0, 9.0], _1=[1.1, 1.2, 1.1]), 1.0),
        # Nothing else, or no score of its own.
        (dict(_10=[1.0, 1.0, 1.0], _30=[1.0, 1.0, 1.0]), 10.0),
        (dict(_10=[1.0, np.nan, 1.0], _30=[0.0, 0.5, 0.0], _1=[0.0, 0.1, 0.0]), 30.0),
    ],
)
def test_what_is_surest_to_be_better_is_chosen(scores, lam):
    grid, halving = scored(**scores)
    assert grid.params(halving.chosen)["lam"] == lam


def test_the_summary_names_a_higher_score_that_is_less_sure():
    _, halving = scored(_10=[1, 1, 1], _30=[1, 1, 9], _1=[1.1, 1.2, 1.1])
    words = in_words(halving, None, None)
    assert "The highest score, of lam=30.0, is higher by 2.5" in words
    assert "less sure to be better than the estimator's own" in words


def test_the_results_are_of_what_was_chosen(fitted):
    results = fitted.cv_results_
    full = np.flatnonzero(is_full(results))
    best = full[np.argmax(results["mean_test_score"][full])]
    assert results["rank_test_score"][best] == 1
    assert fitted.best_score_ == results["mean_test_score"][fitted.best_index_]
    assert fitted.best_params_ == results["params"][fitted.best_index_]


def test_it_finds_what_matters():
    """Of a log whose values hang on a bend, a line is not chosen."""
    rng = np.random.default_rng(0)
    x, action = rng.uniform(-2, 2, size=(600, 1)), rng.integers(2, size=600)
    reward = np.where(action == 1, np.abs(x[:, 0]) - 1.0, 0.0)
    reward += 0.2 * rng.normal(size=600)
    log = Transitions(x, action, reward, x, np.ones(600), episode=np.arange(600))
    linear = policy(discount=0.0, q_function="linear", policy="linear")
    found = search(linear, kernels=("both", "linear"), bandwidths=()).fit(log)
    assert found.best_params_["q_function"] == "kernel"
    assert_array_equal(found.predict([[-1.8], [0.0], [1.8]]), [1, 0, 1])
    assert "q_function='kernel'" in found.summary_
    # The best policy earns E max(|x| - 1, 0) = 1/4.
    low, high = found.value_.confidence_interval
    assert low < 0.25 < high


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_the_best_estimator_is_the_fit_of_all_rows(fitted):
    alone = policy(**fitted.best_params_).fit(LOG)
    assert_allclose(fitted.predict_proba(STATES), alone.predict_proba(STATES))
    assert_array_equal(fitted.predict(STATES), alone.predict(STATES))
    assert_allclose(fitted.q_values(STATES), alone.q_values(STATES))
    assert_array_equal(fitted.predict_set(STATES), alone.predict_set(STATES))
    assert_array_equal(fitted.sample(STATES, 0), alone.sample(STATES, 0))
    assert_array_equal(fitted.classes_, alone.classes_)
    other = walk_log(90, seed=2)
    assert fitted.score(other) == alone.score(other)
    given = {"discount": 0.9}
    values = [float(fitted_q_value(p, other, **given)) for p in (fitted, alone)]
    assert values[0] == values[1]
    assert not hasattr(fitted, "predict_interval")


def test_results_have_scikit_learns_keys(fitted):
    grid = GridSearchCV(policy(), {"lam": [1.0, 10.0]}, cv=FOLDS).fit(LOG)
    assert {*grid.cv_results_} <= {*fitted.cv_results_}
    results, n = fitted.cv_results_, len(fitted.cv_results_["params"])
    assert all(len(column) == n for column in results.values())
    for name in ("mean_test_score", "std_test_score", "mean_fit_time"):
        assert np.isfinite(results[name]).all()
    dropped = results["dropped"]
    assert dropped.any()
    assert_array_equal(dropped, results["n_splits_scored"] < 3)
    ranks = results["rank_test_score"]
    assert ranks[~dropped].max() < ranks[dropped].min()
    pd.DataFrame(results)


def test_one_seed_gives_one_result_whatever_the_threads(fitted):
    again = search(cv=FOLDS, n_jobs=3).fit(LOG)
    for k in range(3):
        name = f"split{k}_test_score"
        assert_array_equal(again.cv_results_[name], fitted.cv_results_[name])
    assert_array_equal(again.predict_proba(STATES), fitted.predict_proba(STATES))
    assert again.value_ == fitted.value_
    unseeded = policy(random_state=None)
    one, two = (search(unseeded, random_state=7, **FEW).fit(LOG) for _ in range(2))
    assert one.summary_ == two.summary_
    assert_array_equal(one.predict_proba(STATES), two.predict_proba(STATES))


def test_fit_is_silent_and_leaves_parameters_alone(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = policy()
        found = search(estimator, **FEW).fit(LOG)
    assert capsys.readouterr().out == ""
    assert not hasattr(estimator, "n_features_in_")
    assert found.estimator is estimator
    search(verbose=1, **FEW).fit(LOG)
    assert "round 1, split 1 of 3" in capsys.readouterr().out


def test_words(fitted):
    results = fitted.cv_results_
    assert f"Chosen among {len(results['params'])} of " in fitted.summary_
    wide = search(lams=(10.0, 100.0, 1000.0), ridges=(), cv=FOLDS).fit(LOG)
    for name, end in wide.grid_ends_.items():
        assert f"{name} ({end})" in wide.summary_
    assert "for as many candidates" in fitted.summary_


def test_an_end_of_a_grid_is_said():
    """What is trusted most is best where nothing is random."""
    rng = np.random.default_rng(0)
    x, action = rng.uniform(-1, 1, size=(300, 1)), rng.integers(2, size=300)
    reward = np.where(action == 1, np.sin(9 * x[:, 0]), 0.0)
    log = Transitions(x, action, reward, x, np.ones(300), episode=np.arange(300))
    given = dict(lams=(1e-5, 1e-4, 1e-3), ridges=(), bandwidths=(), kernels=())
    found = search(policy(discount=0.0, lam=1e-5), **given).fit(log)
    assert found.grid_ends_.get("lam") in (None, "highest", "lowest")
    for name, end in found.grid_ends_.items():
        assert f"{name} ({end})" in found.summary_


@pytest.mark.parametrize("end", ["lowest", "highest"])
@pytest.mark.parametrize("name", ["lam", "beta", "ridge", "bandwidth", "support"])
def test_every_end_of_a_grid_has_words(name, end):
    assert _search_results._BEYOND[name, end]


# ---------------------------------------------------------------- ways in


def test_a_pipeline_is_fitted_within_each_split():
    state = np.where(np.arange(360).reshape(180, 2) % 17 == 0, np.nan, LOG.state)
    following = LOG.next_state.copy()
    log = LOG.with_states(state, following)
    steps = make_pipeline(OnStates(make_pipeline(SimpleImputer(), StandardScaler())))
    pipeline = Pipeline([*steps.steps, ("dose", policy())])
    inside = search(pipeline, cv=FOLDS, **FEW).fit(log)
    assert all(name.startswith("dose__") for name in inside.best_params_)
    expected = cross_val_score(pipeline, log, cv=FOLDS)
    found = [inside.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
    assert_allclose(found, as_scored(expected))
    assert isinstance(inside.best_estimator_, Pipeline)
    alone = clone(pipeline).set_params(**inside.best_params_).fit(log)
    assert_allclose(inside.predict_proba(state), alone.predict_proba(state))
    assert np.isfinite(inside.value_.standard_error)
    before = make_pipeline(OnStates(SimpleImputer()), search(cv=FOLDS, **FEW)).fit(log)
    assert before.predict(state).shape == (180,)
    assert np.isfinite(before.score(log[:90]))


def test_a_table_is_searched_as_its_log_is():
    rows = LOG
    table = pd.DataFrame(
        {
            "action": rows.action,
            "reward": rows.reward,
            "episode": np.arange(len(rows)),
            "terminated": True,
        }
    )
    log = Transitions(
        rows.state,
        rows.action,
        rows.reward,
        rows.state,
        np.ones(len(rows)),
        episode=np.arange(len(rows)),
    )
    of_table = search(cv=FOLDS, **FEW).fit(rows.state, table)
    of_log = search(cv=FOLDS, **FEW).fit(log)
    assert_allclose(of_table.best_score_, of_log.best_score_)
    assert_allclose(of_table.value_.value, of_log.value_.value)
    assert_array_equal(of_table.predict(STATES), of_log.predict(STATES))


def test_continuous_actions():
    found = search(policy(discount=0.5), kernels=("both", "linear")).fit(dose_log(120))
    assert "candidates" not in found.best_params_
    assert {p.get("q_function", "kernel") for p in found.cv_results_["params"]} == {
        "kernel"
    }
    low, high = found.predict_interval(STATES)
    assert (low <= found.predict(STATES)).all()
    assert (found.predict(STATES) <= high).all()
    assert found.action_nodes(STATES)[0].shape == (60, 1, 1)
    assert not hasattr(found, "predict_set")
    gaussian = policy(discount=0.5, action_distribution="gaussian", support=0.2)
    found = search(gaussian, **FEW).fit(dose_log(90))
    assert found.predict(STATES).shape == (60,)


def test_finite_states_and_masks():
    rng = np.random.default_rng(0)
    chances, rewards = rng.dirichlet(np.ones(4), (4, 3)), rng.normal(size=(4, 3, 4))
    mdp = FiniteMDP(chances, rewards, np.ones(4) / 4)
    log = mdp.sample(np.full((4, 3), 1 / 3), 400, rng, horizon=10)
    log.available = np.ones((len(log), 3), dtype=bool)
    log.available[:, 2] = log.action == 2
    log.next_available = np.ones((len(log), 3), dtype=bool)
    found = search(policy(discount=0.8), kernels=("both",)).fit(log)
    states = np.arange(4)[:, None]
    mask = np.tile([True, True, False], (4, 1))
    assert (found.predict(states, mask) < 2).all()
    assert_array_equal(found.predict_proba(states, available=mask)[:, 2], 0.0)


@pytest.mark.usefixtures("short_response")
def test_networks_are_searched_without_kernels():
    small, solver = MLP((4,)), Stochastic(max_iter=2, batch_size=16)
    network = policy(q_function=small, policy=small, solver=solver, support=0.0)
    found = search(network, cv=2, lams=(10.0,)).fit(LOG[:90])
    assert {*found.best_params_} == {"support", "lam", "beta", "ridge"}
    assert len(found.cv_results_["params"]) == 1


def test_one_long_episode_and_rows_without_any():
    one = walk_log(180)
    one.episode, one.step = np.zeros(180, int), np.arange(180)
    assert search(**FEW).fit(one).n_splits_ == 3
    assert search(cv=BlockKFold(2), **FEW).fit(one).n_splits_ == 2
    none = Transitions(one.state, one.action, one.reward, one.state, np.ones(180))
    assert search(policy(discount=0.0), cv=2, **FEW).fit(none).n_splits_ == 2


def test_splits_of_episodes():
    found = search(cv=KFold(3), **FEW).fit(LOG.episodes)
    by_rows = search(cv=FOLDS, **FEW).fit(LOG)
    for k in range(3):
        name = f"split{k}_test_score"
        assert_allclose(found.cv_results_[name], by_rows.cv_results_[name])


def test_a_scorer():
    scorer = FittedQScorer()
    found = search(cv=FOLDS, scoring=scorer, **FEW).fit(LOG)
    expected = cross_val_score(policy(), LOG, cv=FOLDS, scoring=scorer)
    own = [found.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
    assert_allclose(own, expected)
    other = walk_log(90, seed=2)
    assert_allclose(found.score(other), scorer(found, other))


# ---------------------------------------------------------------- scikit-learn


@ignore_imitation
def test_scikit_learns_checks():
    # Hundreds of fits, of which nothing is asked but that they are there.
    solver = ClosedForm(mirror_steps=1, max_iter=1)
    plain = policy(support=0.0, bandwidth="median", n_components=5, solver=solver)
    results = check_estimator(StackelbergPolicyCV(plain, betas=(), cv=2, **FEW))
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_clone_pickle_and_parameters(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(copy.predict(STATES), fitted.predict(STATES))
    assert copy.summary_ == fitted.summary_
    fresh = clone(fitted)
    assert not hasattr(fresh, "best_estimator_")
    with pytest.raises(NotFittedError):
        fresh.predict(STATES)
    assert fresh.set_params(estimator__lam=3.0).estimator.lam == 3.0
    assert fitted.estimator.lam == 10.0


def test_weights():
    weight = np.repeat(np.random.default_rng(0).uniform(0.5, 2.0, 20), 9)
    found = search(cv=FOLDS, **FEW).fit(LOG, sample_weight=weight)
    expected = [
        policy()
        .fit(LOG[a], sample_weight=weight[a])
        .score(LOG[b], sample_weight=weight[b])
        for a, b in FOLDS.split(LOG)
    ]
    own = [found.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
    assert_allclose(own, as_scored(expected))
    few = FEW | dict(cv=2)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = search(**few).set_fit_request(sample_weight=True)
        routed.set_score_request(sample_weight=True)
        plain = cross_val_score(search(**few), LOG, cv=EpisodeKFold(2))
        given = {"sample_weight": weight}
        scores = cross_val_score(routed, LOG, cv=EpisodeKFold(2), params=given)
    assert np.isfinite(plain).all()
    assert np.isfinite(scores).all()
    assert not np.allclose(plain, scores)


# ---------------------------------------------------------------- refusals


def test_a_search_in_which_all_fits_failed_says_why():
    def broken(estimator, X, y=None):
        raise RuntimeError("no simulator here")

    found = search(scoring=broken, **FEW)
    with pytest.raises(ValueError, match=r"All \d+ candidates failed.*no simulator"):
        found.fit(LOG)
    assert not [name for name in vars(found) if name.endswith("_")]


def test_candidates_that_failed_are_counted():
    def fussy(estimator, X, y=None):
        if estimator.lam > 10.0:
            raise RuntimeError("too large")
        return estimator.score(X)

    lams = FEW | dict(lams=(1.0, 10.0, 100.0))
    found = search(scoring=fussy, cv=FOLDS, **lams).fit(LOG)
    assert found.best_params_["lam"] <= 10.0
    assert "candidates failed, the first by RuntimeError: too large" in found.summary_


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lams": (0.0,)}, "lam must be a positive finite number"),
        ({"lams": "calibrated"}, "lams must be a sequence of numbers"),
        ({"betas": 0.1}, "betas must be a sequence of numbers that beta is chosen"),
        ({"supports": "auto"}, "a sequence of numbers or 'auto' that support is"),
        ({"supports": ("best",)}, "supports must be a sequence of numbers or 'auto'"),
        ({"supports": (1.0,)}, "support must be a number in"),
        ({"bandwidths": (-1.0,)}, "bandwidth must be a positive"),
        ({"bandwidths": 0.5}, r"bandwidths must be a sequence .* such as \(0.5,\)"),
        ({"kernels": "both"}, r"kernels must be a sequence .* such as \('both',\)"),
        ({"confidence_level": 1.0}, "confidence_level must be"),
        ({"verbose": -1}, "verbose must be an integer"),
    ],
)
def test_options_out_of_range(given, words):
    with pytest.raises(ValueError, match=words):
        search(**given).fit(LOG)


def test_another_estimator_is_refused():
    with pytest.raises(TypeError, match="Tune other estimators by GridSearchCV"):
        search(StandardScaler()).fit(LOG)


# ---------------------------------------------------------------- what it is worth


def noise_log(seed, n_episodes=40):
    """Rewards that nothing moves, in two steps: every policy is worth 0."""
    rng = np.random.default_rng(seed)
    n = 2 * n_episodes
    state = rng.normal(size=(n, 3))
    following = np.vstack([state[1:], state[:1]])
    return Transitions(
        state,
        rng.integers(3, size=n),
        rng.normal(size=n),
        following,
        np.arange(n) % 2 == 1,
        episode=np.arange(n) // 2,
        step=np.arange(n) % 2,
    )


@pytest.mark.slow
def test_the_value_of_noise_is_noise():
    few = dict(kernels=("both",), bandwidths=(), supports=())
    quick = policy(support=0.0, bandwidth="median")
    found = [search(quick, **few).fit(noise_log(seed)) for seed in range(12)]
    ends = np.array([s.value_.confidence_interval for s in found])
    assert ((ends[:, 0] <= 0.0) & (ends[:, 1] >= 0.0)).mean() >= 0.9
    # And says something: returns go from about -4 to 4.
    assert np.diff(ends, axis=1).mean() < 5.0
