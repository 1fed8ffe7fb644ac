"""Fitted-Q evaluation: exact where the features are, and weights are repetitions."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pandas as pd
import pytest
from _logs import (
    EXACT,
    changed,
    estimator,
    ignore_convergence,
    ignore_imitation,
    random_mdp,
    uniform_log,
    walk_log,
)
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_stackelberg as package
import sklearn_stackelberg.metrics._data as module
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.metrics import fitted_q_value
from sklearn_stackelberg.metrics._holdout import fit_holdout_evaluator
from sklearn_stackelberg.metrics._prepare import prepare_evaluation

pytestmark = ignore_convergence


class Table:
    """A policy over finite states, given by its probabilities, (S, A)."""

    def __init__(self, probabilities):
        self.probabilities = np.asarray(probabilities)
        self.classes_ = np.arange(self.probabilities.shape[1])

    def predict_proba(self, states):
        states = np.asarray(states)
        codes = states[:, 0] if states.shape[1] == 1 else states.argmax(axis=1)
        return self.probabilities[codes.astype(int)]


def random_table(mdp, seed=0):
    rng = np.random.default_rng(seed)
    return Table(rng.dirichlet(np.full(mdp.n_actions, 0.3), size=mdp.n_states))


def exact_value(log, mdp, policy, discount):
    """On the counts of the log, from the states it marks as initial."""
    counts = FiniteMDP.from_counts(log, n_states=mdp.n_states, n_actions=mdp.n_actions)
    return counts.policy_value(policy.probabilities, discount)


def value_of(policy, log, y=None, **settings):
    """The number alone, by default without the pull of the ridge."""
    return fitted_q_value(policy, log, y, **({"ridge": 1e-8} | settings)).value


# ---------------------------------------------------------------- finite states


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("encode", ["integer", "one-hot"])
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95])
def test_on_finite_states_it_is_exact_evaluation_on_the_counts(seed, encode, discount):
    mdp = random_mdp(seed, encode=encode)
    log = uniform_log(mdp, 1500, seed)
    assert 0 < log.is_initial.sum() < len(log)
    values = []
    for policy in (random_table(mdp, seed), random_table(mdp, seed + 100)):
        values.append(value_of(policy, log, discount=discount))
        expected = exact_value(log, mdp, policy, discount)
        assert_allclose(values[-1], expected, rtol=1e-5, atol=1e-6)
    assert abs(values[0] - values[1]) > 1e-2  # it depends on the policy


RIGHT = np.random.default_rng(0).integers(3, size=40)


def log_of_right_decisions(seed):
    """Right decisions earn 1 at each step; the logger is right in a third of them."""
    rng = np.random.default_rng(seed)
    n, length = 30, 40
    state = rng.integers(40, size=(n, length + 1))
    action = rng.integers(3, size=(n, length))
    before, after = (s.reshape(-1, 1) for s in (state[:, :-1], state[:, 1:]))
    reward = (action == RIGHT[state[:, :-1]]).ravel().astype(float)
    ends, episode = np.zeros(n * length), np.repeat(np.arange(n), length)
    return Transitions(before, action.ravel(), reward, after, ends, episode=episode)


def test_what_the_ridge_takes_does_not_add_up_over_steps():
    log, policy, truth = log_of_right_decisions(0), Table(np.eye(3)[RIGHT]), 1.0 / 0.03
    found = fitted_q_value(policy, log, discount=0.97)
    plain = fitted_q_value(policy, log, discount=0.97, kernel="delta")
    assert abs(found.value - truth) < found.standard_error
    assert plain.value < truth - 5.0 * plain.standard_error


def test_nor_in_what_rows_held_out_are_valued_by(monkeypatch):
    # Not so few, as tests have them, that 40 states are many.
    monkeypatch.setattr("sklearn_stackelberg.metrics._holdout._WEIGHTS", 200)
    policy, truth = Table(np.eye(3)[RIGHT]), 1.0 / 0.03
    evaluator = fit_holdout_evaluator(policy, log_of_right_decisions(1), 0.97)
    assert evaluator.actions.tolist() == [0, 1, 2]
    data = prepare_evaluation(policy, log_of_right_decisions(2))
    assert_allclose(evaluator.value(data), truth, rtol=0.1)


def test_without_first_rows_all_rows_are_initial():
    mdp = random_mdp(1)
    log, policy = uniform_log(mdp, 1500), random_table(mdp)
    nowhere = changed(log, is_initial=np.zeros(len(log)))
    everywhere = changed(log, is_initial=np.ones(len(log)))
    value = value_of(policy, nowhere, discount=0.9)
    assert value == value_of(policy, everywhere, discount=0.9)
    expected = exact_value(nowhere, mdp, policy, 0.9)
    assert_allclose(value, expected, rtol=1e-5)
    assert abs(value - value_of(policy, log, discount=0.9)) > 1e-2


def test_without_discount_it_is_the_direct_method():
    mdp = random_mdp(2)
    log, policy = uniform_log(mdp, 800), random_table(mdp)
    means = np.array(
        [
            [
                log.reward[(log.state[:, 0] == s) & (log.action == a)].mean()
                for a in (0, 1, 2)
            ]
            for s in range(mdp.n_states)
        ]
    )
    first = log.state[log.is_initial, 0]
    expected = (policy.probabilities[first] * means[first]).sum(axis=1).mean()
    assert_allclose(value_of(policy, log, discount=0.0), expected, rtol=1e-5)


def test_a_better_policy_scores_higher():
    mdp = random_mdp(0)
    log = uniform_log(mdp, 3000)
    best = np.eye(3)[mdp.optimal_policy(0.9)]
    worst = FiniteMDP(mdp.transition, -mdp.reward, mdp.initial, mdp.termination)
    worst = np.eye(3)[worst.optimal_policy(0.9)]
    scores = [
        value_of(Table(share * best + (1 - share) * worst), log, discount=0.9)
        for share in (0.0, 0.5, 1.0)
    ]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 1.0


# ---------------------------------------------------------------- invariance


@pytest.fixture(scope="module")
def log():
    return walk_log(seed=1)


@pytest.fixture(scope="module")
def policy():
    return estimator().fit(walk_log())


@pytest.mark.parametrize("factor", [1024.0, 1e12, 1e-12, -3.0, 0.0])
def test_it_is_linear_in_the_rewards(policy, log, factor):
    value = value_of(policy, log, discount=0.9)
    scaled = changed(log, reward=factor * log.reward)
    found = value_of(policy, scaled, discount=0.9)
    assert_allclose(found, factor * value, rtol=1e-8)


@pytest.mark.parametrize("rows", [1, 7])
def test_batches_are_one_sum(policy, log, rows, monkeypatch):
    value = value_of(policy, log, discount=0.9)
    monkeypatch.setattr(module, "BATCH_ROWS", rows)
    assert_allclose(value_of(policy, log, discount=0.9), value, rtol=1e-6)


def test_the_order_of_rows_is_nothing(policy, log):
    value = value_of(policy, log, discount=0.9)
    shuffled = log[np.random.default_rng(0).permutation(len(log))]
    assert_allclose(value_of(policy, shuffled, discount=0.9), value, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_what_follows_a_terminated_row_is_never_used(policy, log):
    next_state = log.next_state.copy()
    next_state[log.terminated] = np.nan
    spoiled = changed(log, next_state=next_state)
    value = value_of(policy, log, discount=0.9)
    assert value_of(policy, spoiled, discount=0.9) == value
    next_state = log.next_state.copy()
    next_state[~log.terminated] += 1.0
    moved = changed(log, next_state=next_state)
    assert value_of(policy, moved, discount=0.9) != value


def test_tables_are_arrays_with_names(policy, log):
    frame = walk_log(seed=1, frame=True)
    named = estimator().fit(walk_log(frame=True))  # warns if names are lost on the way
    value = value_of(named, frame, discount=0.9)
    expected = value_of(policy, log, discount=0.9)
    assert_allclose(value, expected, rtol=1e-6)  # columns sum in another order


@pytest.mark.parametrize("names", [["a", "b", "c"], [10, 20, 30]])
def test_actions_by_other_names(log, names):
    names = np.array(names)
    renamed = changed(log, action=names[log.action])
    expected = value_of(estimator().fit(log), log, discount=0.9)
    found = value_of(estimator().fit(renamed), renamed, discount=0.9)
    assert found == expected


class Constant:
    """The same probabilities everywhere."""

    def __init__(self, *probabilities):
        self.probabilities = np.array(probabilities)
        self.classes_ = np.arange(len(probabilities))

    def predict_proba(self, states):
        return np.tile(self.probabilities, (len(states), 1))


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_a_log_may_lack_an_action_that_the_policy_hardly_takes(log):
    fewer = changed(log[log.action != 2])
    assert np.isfinite(value_of(Constant(0.5, 0.46, 0.04), fewer, discount=0.9))
    words = r"gives 6 % of its probability to actions .* never holds: \[2\]"
    with pytest.raises(ValueError, match=words):
        value_of(Constant(0.5, 0.44, 0.06), fewer, discount=0.9)
    assert np.isfinite(value_of(Constant(0.5, 0.44, 0.06), log, discount=0.9))
    greedy = value_of(Constant(0.5, 0.44, 0.06), fewer, discount=0.9, greedy=True)
    assert greedy == value_of(Constant(1.0, 0.0, 0.0), fewer, discount=0.9)


@ignore_imitation
def test_actions_alone_are_taken_as_successes(log):
    policy = estimator(bandwidth=2.0, **EXACT).fit(log.state, log.action)
    whole = Transitions(log.state, log.action, np.ones(90), log.state, np.ones(90))
    expected = value_of(policy, whole, discount=0.9)
    assert value_of(policy, log.state, log.action, discount=0.9) == expected


@ignore_imitation
def test_a_pipeline_is_a_policy(log):
    pipeline = make_pipeline(StandardScaler(), estimator())
    pipeline.fit(log.state, log.action)
    scaler, alone = pipeline[0], pipeline[1]

    class Scaled:
        classes_ = alone.classes_

        def predict_proba(self, states):
            return alone.predict_proba(scaler.transform(states))

    value = value_of(pipeline, log, discount=0.9)
    # The evaluator's features are those of the scaled states, or of the given ones.
    assert_allclose(value_of(Scaled(), log, discount=0.9), value, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_two_calls_agree_on_more_states_than_landmarks(policy):
    log = walk_log(n=600, seed=2)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    values = {value_of(policy, log, discount=0.9) for _ in range(2)}
    assert len(values) == 1
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# ---------------------------------------------------------------- weights


def test_equal_weights_are_no_weights_but_for_the_ridge(policy, log):
    value = value_of(policy, log, discount=0.9)
    for weight in (np.ones(90), pd.Series(np.ones(90))):
        assert value_of(policy, log, discount=0.9, sample_weight=weight) == value
    # The ridge is in rows, of which larger weights are more.
    for times in (7, 0.125):
        options = {"sample_weight": np.full(90, times), "ridge": 1e-8 * times}
        found = value_of(policy, log, discount=0.9, **options)
        assert_allclose(found, value, rtol=1e-9)


@pytest.mark.parametrize("zeros", [False, True])
def test_whole_weights_are_repetitions(zeros):
    mdp = random_mdp(3)
    log, policy = uniform_log(mdp, 900), random_table(mdp)
    weight = np.random.default_rng(0).integers(0 if zeros else 1, 4, size=900)
    again = np.repeat(np.arange(900), weight)
    repeated = Transitions(
        *(getattr(log, name)[again] for name in ("state", "action", "reward")),
        log.next_state[again],
        log.terminated[again],
        is_initial=log.is_initial[again],
    )
    found = value_of(policy, log, discount=0.9, sample_weight=weight)
    expected = value_of(policy, repeated, discount=0.9)
    # The evaluator's bandwidth is that of the rows, which its ridge alone lets matter.
    assert_allclose(found, expected, rtol=1e-5)
    assert abs(found - value_of(policy, log, discount=0.9)) > 1e-2


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_rows_of_no_weight_are_not_there(policy, log):
    weight = np.random.default_rng(0).integers(2, size=90)
    found = value_of(policy, log, discount=0.9, sample_weight=weight)
    expected = value_of(policy, changed(log[weight == 1]), discount=0.9)
    assert_allclose(found, expected, rtol=1e-9)
    # Even where they are all of the first rows, or hold what is unknown.
    weight = np.where(log.is_initial, 0.0, 1.0)
    found = value_of(policy, log, discount=0.9, sample_weight=weight)
    expected = value_of(policy, changed(log[~log.is_initial]), discount=0.9)
    assert_allclose(found, expected, rtol=1e-9)
    unknown = changed(log, action=np.where(log.is_initial, 9, log.action))
    assert value_of(policy, unknown, discount=0.9, sample_weight=weight) == found


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("discount", [-0.1, 1.01, 2, np.nan, "0.9", None, True])
def test_discounts_out_of_range(policy, log, discount):
    with pytest.raises(ValueError, match=r"discount must be a number in \[0, 1\]"):
        value_of(policy, log, discount=discount)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones(89), r"shape \(89,\); one weight for each of the 90 rows"),
        (np.ones((90, 1)), r"shape \(90, 1\); one weight"),
        (np.zeros(90), "not zero everywhere; it goes from 0 to 0"),
        (-np.ones(90), "must be >= 0"),
        (np.where(np.arange(90) == 5, -1e-9, 1.0), "must be >= 0"),
        (np.where(np.arange(90) == 5, np.nan, 1.0), "sample_weight contains NaN"),
        (np.where(np.arange(90) == 5, np.inf, 1.0), "sample_weight contains infinity"),
    ],
)
def test_bad_weights(policy, log, weight, words):
    with pytest.raises(ValueError, match=words):
        value_of(policy, log, discount=0.9, sample_weight=weight)


def test_unknown_actions_are_named(policy, log):
    words = r"not fitted with: \[7\]; it knows \[0, 1, 2\]"
    with pytest.raises(ValueError, match=words):
        value_of(
            policy, changed(log, action=np.where(log.action == 1, 7, 0)), discount=0.9
        )
    with pytest.raises(ValueError, match=r"not fitted with: \['0', '1', '2'\]"):
        value_of(policy, changed(log, action=log.action.astype(str)), discount=0.9)


@pytest.mark.parametrize("name", ["state", "next_state"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_states(policy, log, name, value):
    values = getattr(log, name).copy()
    values[np.flatnonzero(~log.terminated)[3]] = value
    with pytest.raises(ValueError, match=r"Input \w+ contains (NaN|infinity)"):
        value_of(policy, changed(log, **{name: values}), discount=0.9)


def test_states_of_other_columns(policy, log):
    narrow = changed(log, state=log.state[:, :1], next_state=log.next_state[:, :1])
    with pytest.raises(ValueError, match=r"1 features, but .* expecting 2"):
        value_of(policy, narrow, discount=0.9)


# ---------------------------------------------------------------- documentation


def public_objects():
    """Every public function and class of the package, and their public methods."""
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "._" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", vars(module)):
            found = getattr(module, name)
            ours = getattr(found, "__module__", "").startswith(package.__name__)
            if name.startswith("_") or not ours or not callable(found):
                continue
            yield found
            if inspect.isclass(found):
                methods = [n for n in vars(found) if not n.startswith("_")]
                yield from filter(callable, (getattr(found, n) for n in methods))


def documented_defaults(doc):
    """(name, default as written) of the entries ``name : type, default=VALUE``."""
    section = re.search(r"Parameters\n-+\n(.*?)(\n\n[A-Z]\w+\n-+\n|\Z)", doc, re.S)
    text = re.sub(r"\\\n +", "", section.group(1)) if section else ""
    for names, value in re.findall(r"(?m)^([\w*, ]+) : .*?\bdefault=(.+)$", text):
        for name in names.split(", "):
            yield name, value


def test_documented_defaults_are_those_of_the_signature():
    checked, wrong = 0, []
    for found in public_objects():
        try:
            parameters = inspect.signature(found).parameters
        except ValueError:
            continue
        known = vars(inspect.getmodule(found))
        for name, written in documented_defaults(inspect.getdoc(found) or ""):
            if found.__name__.endswith("_request"):  # scikit-learn's own words
                continue
            checked += 1
            default = parameters[name].default
            # Constants and functions are documented by their names.
            try:
                meant = eval(written, {"inf": np.inf}, dict(known))
            except SyntaxError:
                meant = written
            if repr(meant) != repr(default):
                wrong.append((found.__qualname__, name, written, default))
    assert not wrong
    assert checked > 150
