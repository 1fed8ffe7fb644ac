"""The estimator as scikit-learn's tools, and a process that it shares, see it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import tempfile
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from _logs import (
    changed,
    estimator,
    held_out_value,
    ignore_convergence,
    ignore_imitation,
    random_mdp,
    uniform_log,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.fixes import parse_version

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.metrics import _holdout as learned

# Whether a climb ends in time is the subject of the tests that say so.
pytestmark = ignore_convergence

STATES = np.random.default_rng(7).normal(size=(150, 2))


@pytest.fixture(scope="module")
def log():
    return walk_log()


@pytest.fixture(scope="module")
def fitted(log):
    return estimator().fit(log)


# ---------------------------------------------------------------- the contract


@ignore_imitation  # scikit-learn passes actions alone; the warning is for users
@pytest.mark.usefixtures("full_fits")
def test_scikit_learn_checks_are_neither_skipped_nor_expected_to_fail():
    results = check_estimator(StackelbergPolicyEstimator())
    assert len(results) > 35
    assert {result["status"] for result in results} == {"passed"}
    if parse_version(sklearn.__version__) >= parse_version("1.7"):
        assert any(r["check_name"] == "check_array_api_input" for r in results)


def test_parameters_are_stored_as_given():
    given = {name: object() for name in StackelbergPolicyEstimator().get_params()}
    policy = StackelbergPolicyEstimator(**given)
    assert policy.get_params() == given
    assert vars(policy) == given
    assert vars(policy.set_params(lam=3)) == given | {"lam": 3}


def test_nested_parameters_of_a_kernel_object_can_be_set():
    policy = estimator(kernel=RBF(0.5), bandwidth="median")
    policy.set_params(kernel__length_scale=2.0)
    assert policy.kernel.length_scale == 2.0
    log = walk_log()
    named = estimator(kernel="rbf", bandwidth=[2.0, 2.0]).fit(log)
    assert_allclose(policy.fit(log).policy_value_, named.policy_value_, rtol=1e-6)


def test_fit_leaves_parameters_and_log_alone(log):
    before = joblib.hash(log)
    policy = estimator(kernel_params={}, bandwidth=[1.0, 2.0])
    params = policy.get_params()
    given, solver = copy.deepcopy(params), params["solver"].get_params()
    assert policy.fit(log) is policy
    assert policy.get_params() == given | {"solver": params["solver"]}
    assert params["solver"].get_params() == solver
    assert joblib.hash(log) == before


def test_shapes_and_types(fitted, log):
    probabilities = fitted.predict_proba(STATES)
    assert probabilities.shape == fitted.q_values(STATES).shape == (150, 3)
    assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert (probabilities >= 0).all()
    actions = fitted.predict(STATES)
    assert actions.shape == (150,)
    assert_array_equal(actions, fitted.classes_[probabilities.argmax(axis=1)])
    assert len(np.unique(actions)) > 1
    assert_array_equal(fitted.classes_, [0, 1, 2])
    assert fitted.n_features_in_ == 2
    assert not hasattr(fitted, "feature_names_in_")
    assert fitted.bandwidth_.shape == (2,)
    assert (fitted.bandwidth_ > 0).all()
    assert fitted.features_.n_features_out_ == fitted.policy_.weight.shape[0]
    not_done = 1.0 - log.terminated
    anchored = log.reward - (1.0 - 0.9 * not_done) * fitted.anchor_
    assert_allclose(anchored.mean(), 0.0, atol=1e-12)
    assert_allclose(fitted.reward_scale_, np.sqrt(np.mean(anchored**2)))


def test_the_torch_modules_are_the_predictions(log):
    # The module is of the preferences alone, without what the log supports.
    fitted = estimator(support=0.0).fit(log)
    features = torch.from_numpy(fitted.features_.transform(STATES))
    assert not fitted.policy_.weight.requires_grad
    probabilities = fitted.policy_(features).numpy()
    assert_allclose(fitted.predict_proba(STATES), probabilities, atol=1e-9)


@pytest.mark.parametrize("offset", [1.0, -1.0])
def test_far_from_the_log_q_is_the_return_of_an_average_row(offset):
    log = walk_log(offset=offset)
    policy = estimator().fit(log)
    mean = log.reward.mean()
    assert mean * offset > 0
    not_done = 1.0 - log.terminated.mean()
    assert_allclose(policy.anchor_, mean / (1.0 - 0.9 * not_done))
    assert_allclose(policy.q_values([[1e3, 1e3]]), policy.anchor_, atol=1e-12)


@pytest.mark.parametrize("initial_states", ["first", "all"])
@pytest.mark.parametrize("offset", [1.0, -1.0])
def test_the_value_is_that_of_the_initial_states(initial_states, offset):
    log = walk_log(offset=offset)
    policy = estimator(initial_states=initial_states).fit(log)
    values = (policy.predict_proba(log) * policy.q_values(log)).sum(axis=1)
    expected = {"first": values[log.is_initial].mean(), "all": values.mean()}
    assert_allclose(policy.policy_value_, expected[initial_states], rtol=1e-9)
    assert abs(expected["first"] - expected["all"]) > 1e-3


def test_first_states_fall_back_to_all_with_a_warning(log):
    nowhere = changed(log, is_initial=np.zeros(len(log)))
    policy = estimator(initial_states="first")
    with pytest.warns(UserWarning, match="No logged row is the first.*is_initial"):
        policy.fit(nowhere)
    everywhere = estimator(initial_states="all").fit(log)
    assert policy.policy_value_ == everywhere.policy_value_
    assert_array_equal(policy.predict_proba(STATES), everywhere.predict_proba(STATES))


def test_predict_takes_logs_episodes_and_tables(fitted, log):
    expected = fitted.predict_proba(log.state)
    without = Transitions(log.state, log.action, log.reward, log.next_state)
    for given in (log, log.episodes, without, log.state.tolist()):
        assert_array_equal(fitted.predict_proba(given), expected)
    assert_array_equal(fitted.predict(log), fitted.predict(log.state))
    assert_array_equal(fitted.q_values(log), fitted.q_values(log.state))
    assert_array_equal(fitted.sample(log, 3), fitted.sample(log.state, 3))


def test_fit_takes_the_episodes_of_a_log(log, fitted):
    policy = estimator().fit(log.episodes)
    assert_array_equal(policy.predict_proba(STATES), fitted.predict_proba(STATES))


# ---------------------------------------------------------------- tables


def test_tables_give_names_to_columns(log, fitted):
    frame = walk_log(frame=True)
    policy = estimator().fit(frame)
    assert_array_equal(policy.feature_names_in_, ["x", "y"])
    states = pd.DataFrame(STATES, columns=["x", "y"])
    assert_array_equal(policy.predict_proba(states), fitted.predict_proba(STATES))
    assert_array_equal(policy.predict_proba(frame), fitted.predict_proba(log))
    with pytest.raises(ValueError, match="feature names should match"):
        policy.predict(states.rename(columns={"y": "z"}))
    with pytest.raises(ValueError, match="same order"):
        policy.predict(states[["y", "x"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        policy.predict(STATES)


def test_a_column_may_bear_the_name_of_a_field():
    frame = walk_log(frame=True)
    renamed = changed(
        frame,
        state=frame.state.rename(columns={"x": "episodes"}),
        next_state=frame.next_state.rename(columns={"x": "episodes"}),
    )
    policy = estimator().fit(renamed)
    assert len(policy.predict(renamed.state)) == len(renamed)


def test_a_refit_forgets_names(log):
    policy = estimator().fit(walk_log(frame=True))
    policy.fit(log)
    assert not hasattr(policy, "feature_names_in_")


# ---------------------------------------------------------------- actions alone


@ignore_imitation
def test_actions_alone_are_successes_of_one_step(log):
    policy = estimator().fit(log.state, log.action)
    whole = Transitions(
        log.state,
        log.action,
        np.ones(90),
        log.state,
        np.ones(90),
        episode=np.arange(90),
    )
    other = estimator().fit(whole)
    assert_array_equal(policy.predict_proba(STATES), other.predict_proba(STATES))
    assert policy.score(log.state, log.action) == other.score(whole)


def test_actions_alone_are_imitation_and_say_so(log):
    clear = (STATES[:, 0] > 0).astype(int)
    with pytest.warns(UserWarning, match="pessimistic imitation"):
        policy = estimator(bandwidth=0.5).fit(STATES, clear)
    assert np.mean(policy.predict(STATES) == clear) > 0.95


@ignore_imitation
def test_pipeline_of_a_scaler_and_actions_alone(log):
    pipeline = make_pipeline(StandardScaler(), estimator())
    pipeline.fit(log.state, log.action)
    scaled = StandardScaler().fit(log.state)
    alone = estimator().fit(scaled.transform(log.state), log.action)
    expected = alone.predict(scaled.transform(STATES))
    assert_array_equal(pipeline.predict(STATES), expected)
    assert_array_equal(pipeline.classes_, [0, 1, 2])
    expected = alone.score(scaled.transform(log.state), log.action)
    assert pipeline.score(log.state, log.action) == expected


# ---------------------------------------------------------------- searches and scores


def test_score_is_the_evaluators_own(log, fitted):
    held_out = walk_log(seed=1)
    expected = fitted.score(held_out)
    assert type(expected) is float
    assert_allclose(expected, held_out_value(fitted, held_out), rtol=1e-10)
    assert fitted.score(held_out.episodes) == expected
    assert fitted.score(log) != expected
    # Settings of the candidate are nothing to its judge; its policy is all.
    other = copy.deepcopy(fitted).set_params(lam=1e-3, bandwidth=9.0, ridge=5.0)
    assert other.score(held_out) == expected
    assert other.set_params(discount=0.5).score(held_out) == expected
    assert pickle.loads(pickle.dumps(other)).score(held_out) == expected


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_score_is_the_true_value_where_the_log_is_long(kernel):
    mdp = random_mdp(n_states=4, n_actions=2)
    log, held_out = uniform_log(mdp, 20_000, seed=0), uniform_log(mdp, 20_000, seed=1)
    settings = dict(kernel=kernel, bandwidth="median", initial_states="first")
    policy = estimator(**settings).fit(log)
    probabilities = policy.predict_proba(np.arange(4.0)[:, None])
    starts = held_out.state[held_out.is_initial][:, 0].astype(int)
    truth = mdp.state_values(probabilities, 0.9)[starts].mean()
    assert_allclose(policy.score(held_out), truth, rtol=0.03)


def test_score_corrects_what_the_training_log_got_wrong(log, fitted):
    held_out = walk_log(seed=1)
    richer = changed(held_out, reward=held_out.reward + 1.0)
    assert fitted.score(richer) > fitted.score(held_out) + 1.0


# ---------------------------------------------------------------- copies


def test_clone_hash_and_copies_of_the_unfitted():
    policy = estimator(kernel=RBF(0.5), bandwidth="median", kernel_params={})
    for other in (
        clone(policy),
        copy.deepcopy(policy),
        pickle.loads(pickle.dumps(policy)),
    ):
        assert joblib.hash(other) == joblib.hash(policy)
    assert joblib.hash(policy) != joblib.hash(clone(policy).set_params(lam=1))


@pytest.mark.parametrize(
    "settings", [{}, dict(dtype="float32"), dict(kernel=RBF(0.5), bandwidth="median")]
)
def test_copies_of_the_fitted(log, settings, tmp_path):
    policy = estimator(**settings).fit(log)
    joblib.dump(policy, tmp_path / "policy.joblib")
    copies = [
        pickle.loads(pickle.dumps(policy)),
        copy.deepcopy(policy),
        joblib.load(tmp_path / "policy.joblib"),
    ]
    for other in copies:
        assert_array_equal(other.predict_proba(STATES), policy.predict_proba(STATES))
        assert_array_equal(other.q_values(STATES), policy.q_values(STATES))
        assert_array_equal(other.sample(STATES, 0), policy.sample(STATES, 0))
        assert other.policy_value_ == policy.policy_value_
        assert_equal(other.history_, policy.history_)  # NaN equals NaN here
        assert other.equilibrium_ == policy.equilibrium_
        assert other.score(log) == policy.score(log)
    # A deep copy shares nothing.
    before = policy.predict_proba(STATES)
    copies[1].policy_.weight.zero_()
    assert_array_equal(policy.predict_proba(STATES), before)


def test_a_clone_of_the_fitted_is_not_fitted(fitted):
    assert not [name for name in vars(clone(fitted)) if name.endswith("_")]


# ---------------------------------------------------------------- randomness


@pytest.mark.parametrize("bandwidth", ["median", 1.0])
def test_one_seed_is_one_fit_to_the_bit(log, bandwidth):
    settings = dict(n_components=20, bandwidth=bandwidth)
    left = estimator(random_state=3, **settings).fit(log)
    right = estimator(random_state=3, **settings).fit(log)
    assert_array_equal(left.predict_proba(STATES), right.predict_proba(STATES))
    assert_array_equal(left.q_values(STATES), right.q_values(STATES))
    assert left.policy_value_ == right.policy_value_
    same = estimator(random_state=np.random.RandomState(3), **settings).fit(log)
    assert left.policy_value_ == same.policy_value_
    other = estimator(random_state=4, **settings).fit(log)
    assert left.policy_value_ != other.policy_value_


def test_no_seed_is_fine(log):
    policy = estimator(random_state=None, n_components=20).fit(log)
    assert np.isfinite(policy.predict_proba(STATES)).all()
    # With every state a landmark nothing is drawn, but for the behaviour's forest.
    settings = dict(n_components=None, support=0.0)
    left, right = (
        estimator(random_state=seed, **settings).fit(log) for seed in (None, 5)
    )
    assert left.policy_value_ == right.policy_value_


def test_sample_follows_the_probabilities(log):
    policy = estimator(bandwidth=2.0, mirror_steps=1, max_iter=0)
    with pytest.warns(ConvergenceWarning):
        policy.fit(log)
    states = np.array([[0.0, 0.0], [1.0, -1.0], [-1.5, 0.5]])
    probabilities = policy.predict_proba(states)
    assert ((probabilities > 0.01) & (probabilities < 0.9)).all()
    drawn = policy.sample(np.repeat(states, 20_000, axis=0), random_state=0)
    for row, actions in enumerate(drawn.reshape(3, -1)):
        counts = [np.sum(actions == action) for action in policy.classes_]
        assert sum(counts) == 20_000
        assert chisquare(counts, 20_000 * probabilities[row]).pvalue > 1e-3


def test_sample_is_reproducible_and_keeps_labels(log):
    names = np.array(["left", "stay", "right"])
    policy = estimator().fit(changed(log, action=names[log.action]))
    drawn = policy.sample(STATES, random_state=1)
    assert set(drawn) <= set(names)
    assert_array_equal(drawn, policy.sample(STATES, random_state=1))
    assert_array_equal(drawn, policy.sample(STATES, np.random.RandomState(1)))
    assert (drawn != policy.sample(STATES, random_state=2)).any()


def test_an_action_of_probability_one_is_always_drawn(log):
    policy = estimator().fit(log)
    policy.policy_.weight[:] = 0.0
    features = policy.features_.transform(STATES)
    policy.policy_.weight[:, 1] = 1e4 * torch.from_numpy(features.mean(axis=0))
    certain = policy.predict_proba(STATES)[:, 1] == 1.0
    assert certain.sum() > 50
    drawn = policy.sample(STATES[certain], random_state=0)
    assert_array_equal(drawn, np.ones(certain.sum()))


# ---------------------------------------------------------------- side effects


def global_state():
    return (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().numpy().tobytes(),
        pickle.dumps(np.random.get_state()),  # noqa: NPY002
        np.geterr(),
        np.get_printoptions()["precision"],
        sklearn.get_config(),
    )


@pytest.fixture
def unusual_state():
    """Seeds and a thread count that no code would set, put back afterwards."""
    threads, generator = torch.get_num_threads(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(987)
        torch.set_num_threads(3)
        np.random.seed(987)  # noqa: NPY002
        yield
    torch.set_num_threads(threads)
    np.random.set_state(generator)  # noqa: NPY002


@pytest.mark.usefixtures("unusual_state")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_side_effects(log, dtype, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = global_state()
    # Landmarks and bandwidth are drawn, and every public method is called.
    policy = estimator(n_components=20, bandwidth="median", dtype=dtype).fit(log)
    policy.predict(STATES), policy.predict_proba(STATES), policy.q_values(STATES)
    policy.sample(STATES, random_state=0), policy.score(log), repr(policy)
    assert global_state() == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_states_at_predict_are_not_written_to(fitted):
    states = STATES.copy()
    states.setflags(write=False)
    fitted.predict(states), fitted.q_values(states), fitted.sample(states, 0)
    assert_array_equal(states, STATES)


# ---------------------------------------------------------------- the climb


@pytest.mark.parametrize(
    ("leader_gradient", "dtype", "offset"),
    [
        ("total", "float64", 1.0),
        ("total", "float32", -1.0),
        ("individual", "float64", -1.0),
        ("individual", "float32", 1.0),
    ],
)
def test_history_holds_the_best_and_is_of_equal_lengths(leader_gradient, dtype, offset):
    log = walk_log(offset=offset)
    policy = estimator(leader_gradient=leader_gradient, dtype=dtype).fit(log)
    history = policy.history_
    assert set(history) >= {
        "value",
        "pessimism",
        "follower_objective",
        "bellman_error",
        "leader_gradient_norm",
        "seconds",
    }
    assert {len(entries) for entries in history.values()} == {len(history["value"])}
    assert all(type(x) is float for entries in history.values() for x in entries)
    assert max(history["value"]) == policy.policy_value_
    best = int(np.argmax(history["value"]))
    assert history["pessimism"][best] > 0
    total = history["pessimism"][best] + policy.shrinkage_
    assert_allclose(policy.pessimism_, total, rtol=1e-12)
    assert min(history["bellman_error"]) >= 0
    assert (np.diff(history["seconds"]) >= 0).all()
    assert 0 < policy.n_iter_ < len(history["value"])
    # It climbed, and mirror steps computed no derivative.
    assert max(history["value"]) > history["value"][0]
    norms = np.array(history["leader_gradient_norm"])
    assert np.isnan(norms[0])
    assert np.isfinite(norms).any()


def test_the_total_derivative_climbs_at_least_as_high(log):
    settings = dict(mirror_steps=20, max_iter=200, tol=1e-4)
    total = estimator(leader_gradient="total", **settings).fit(log)
    individual = estimator(leader_gradient="individual", **settings).fit(log)
    assert total.policy_value_ > individual.policy_value_


def test_a_longer_climb_is_never_lower(log):
    values = [
        estimator(mirror_steps=steps, max_iter=0).fit(log).policy_value_
        for steps in (0, 3, 40)
    ]
    assert values == sorted(values)
    assert len(set(values)) == 3


def test_without_a_step_the_policy_is_uniform_and_nothing_is_left_undone(log):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy = estimator(mirror_steps=0, max_iter=0, support=0.0).fit(log)
    assert_allclose(policy.predict_proba(STATES), 1 / 3)
    assert policy.n_iter_ == 0
    assert len(policy.history_["value"]) == 1


@pytest.mark.parametrize("leader_gradient", ["total", "individual"])
def test_too_few_iterations_say_what_to_try(log, leader_gradient):
    policy = estimator(
        max_iter=1, mirror_steps=2, tol=1e-9, leader_gradient=leader_gradient
    )
    words = "still moving.*max_iter=1 .*Raise max_iter, raise tol, or raise beta"
    with pytest.warns(ConvergenceWarning, match=words) as caught:
        policy.fit(log)
    assert caught[0].filename == __file__
    assert policy.n_iter_ == 3
    with pytest.warns(ConvergenceWarning, match="when mirror_steps=2 ended"):
        assert policy.set_params(solver__max_iter=0).fit(log).n_iter_ == 2


def test_a_climb_that_ends_by_itself_does_not_warn(log):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy = estimator(beta=1.0, max_iter=500, tol=1e-5).fit(log)
    equilibrium = policy.equilibrium_
    steepest = np.nanmax(policy.history_["leader_gradient_norm"])
    assert 0 < equilibrium.leader_gradient_norm < steepest
    assert equilibrium.follower_gradient_norm < 1e-8
    # β is beta (1 − γ)².
    assert equilibrium.follower_smallest_curvature >= 0.99e-2


def test_finite_states_by_default_landmarks():
    # As many landmarks as states are all of them, however few are asked for.
    log = uniform_log(random_mdp(0), 500)
    left = estimator(kernel="delta", bandwidth="median", n_components=6).fit(log)
    right = estimator(kernel="delta", bandwidth="median", n_components=None).fit(log)
    assert left.policy_value_ == right.policy_value_


def test_the_score_of_a_long_log_starts_from_a_part_of_it(monkeypatch):
    mdp = random_mdp(n_states=4, n_actions=2)
    log, held_out = uniform_log(mdp, 4000), uniform_log(mdp, 2000, seed=1)
    whole = estimator(kernel="delta", bandwidth="median").fit(log).score(held_out)
    monkeypatch.setattr(learned, "_ROWS", 1000)
    part = estimator(kernel="delta", bandwidth="median").fit(log).score(held_out)
    assert part != whole
    assert_allclose(part, whole, rtol=0.1)


def test_a_score_beyond_what_rewards_allow_loses_its_excess(log, fitted):
    held_out = walk_log(seed=1)
    score, highest = fitted.score(held_out), fitted.evaluation_.highest
    assert highest == log.reward.max() / (1 - 0.9)
    tight = copy.deepcopy(fitted)
    tight.evaluation_ = dataclasses.replace(fitted.evaluation_, highest=score - 1.0)
    assert_allclose(tight.score(held_out), score - 2.0)
