"""Continuous policies are evaluated as discrete ones, but for what only those have."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from _continuous import Labelled, Linear, Mixture, grid_log, linear_log
from _logs import changed, walk_log
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Matern
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor
from test_metrics import Constant

from sklearn_stackelberg import OnStates
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.kernels._state_action import StateActionFeatures
from sklearn_stackelberg.metrics import (
    _data,
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)
from sklearn_stackelberg.metrics._holdout import fit_holdout_evaluator, fitted_q
from sklearn_stackelberg.metrics._prepare import prepare_evaluation
from sklearn_stackelberg.metrics._settings import QSettings
from sklearn_stackelberg.model_selection import (
    BellmanErrorScorer,
    DoublyRobustScorer,
    FittedQScorer,
    ImportanceSamplingScorer,
)

DOSES = np.array([[0.0], [0.5], [1.5]])
G = 0.8
LINE = Linear([[-0.4, 0.1]])
PLANE = Linear([[-0.4, 0.1], [0.0, -0.3]], order=3)


def q_of(policy):
    """Any Q: of the discrete actions where the policy has them, else of given ones."""

    def q(states, actions):
        return np.sin(np.asarray(states)[:, 0] + 2 * np.asarray(actions)[:, 0])

    if not hasattr(policy, "classes_"):
        return q
    return lambda states: np.stack(
        [q(states, np.full((len(states), 1), dose)) for dose in policy.classes_], axis=1
    )


def counted(kind, **options):
    """Everything that is said of the policy on a log that can be counted."""
    log, policy = grid_log(), kind(DOSES)
    settings = dict(discount=G, kernel="delta", **options)
    estimates = [
        fitted_q_value(policy, log, **settings),
        fitted_q_value(
            policy, log, standard_error="bootstrap", n_bootstrap=3, **settings
        ),
        doubly_robust_value(policy, log, **settings),
        bellman_error(policy, log, q_function=q_of(policy), **settings),
    ]
    return [(e.value, e.standard_error, e.effective_sample_size) for e in estimates]


@pytest.mark.parametrize("greedy", [False, True])
def test_continuous_actions_that_can_be_counted_are_as_discrete(greedy):
    """δ((s, a), (s', a')) = δ(s, s') 1[a = a']: both are the same equations."""
    assert_allclose(counted(Mixture, greedy=greedy), counted(Labelled, greedy=greedy))


@dataclass(frozen=True)
class Counted(QSettings):
    kernel: str = "delta"


def test_what_a_training_log_says_is_the_same_of_continuous_and_discrete(monkeypatch):
    monkeypatch.setattr("sklearn_stackelberg.metrics._holdout.QSettings", Counted)
    # Few states of labels would have a kernel by what the log says.
    monkeypatch.setattr(
        "sklearn_stackelberg.metrics._holdout.choose_kernel", lambda *_, **__: "delta"
    )
    # And what the policy does beside it.
    none = np.empty(0, dtype=int)
    monkeypatch.setattr(
        "sklearn_stackelberg.metrics._holdout.varied_actions", lambda _: none
    )
    log, found = grid_log(), []
    for kind in (Mixture, Labelled):
        policy = kind(DOSES)
        learned = fit_holdout_evaluator(policy, log[:402], G)
        fit = fitted_q(prepare_evaluation(policy, log), G, QSettings(kernel="delta"))
        held = prepare_evaluation(policy, changed(log, episode=None, step=None)[402:])
        found.append([learned.value(held), fit.value, fit.standard_error])
    assert_allclose(found[0], found[1])


def test_coverage_is_the_same_of_continuous_and_discrete():
    log, reports = grid_log(), []
    for kind in (Mixture, Labelled):
        reports.append(coverage_report(kind(DOSES), log, discount=G, kernel="delta"))
    continuous, discrete = reports
    # Features of pairs are as many as there are pairs, the others as states.
    assert_allclose(continuous.ratio, discrete.ratio)
    assert_allclose(continuous.support, discrete.support)
    assert_allclose(continuous.share_unseen, discrete.share_unseen)
    assert_allclose(continuous.share_followed, discrete.share_followed)
    assert "probability" not in continuous.top_rows[0]
    assert continuous.top_rows[0]["row"] == discrete.top_rows[0]["row"]
    assert str(continuous) == str(discrete)


@pytest.mark.parametrize("metric", [fitted_q_value, doubly_robust_value])
def test_a_regressor_of_continuous_actions_that_can_be_counted(metric):
    """A full-grown tree distinguishes every pair, by a dose as by one-hot columns."""
    log = grid_log()
    found = [
        metric(
            kind(DOSES),
            log,
            discount=G,
            kernel="delta",
            regressor=DecisionTreeRegressor(random_state=0),
            n_iterations=4,
        )
        for kind in (Mixture, Labelled)
    ]
    assert_allclose(found[0].value, found[1].value)


def values(policy, log, **options):
    estimate = fitted_q_value(policy, log, discount=G, **options)
    return estimate.value, estimate.standard_error


class Spelt(Linear):
    """The same policy by other nodes: copied, shuffled, one of them split in two."""

    def action_nodes(self, states):
        actions, weights = super().action_nodes(states)
        actions = np.concatenate([actions, actions[:, :1]], axis=1)[:, ::-1]
        weights = np.concatenate([weights, weights[:, :1] / 2], axis=1)
        weights[:, 0] /= 2
        return actions, weights[:, ::-1]


@pytest.mark.parametrize("p", [1, 2])
def test_how_the_nodes_are_given_is_nothing_to_the_value(p):
    log = linear_log(p=p)
    slope = [[-0.4, 0.1], [0.0, -0.3]][:p]
    expected = values(Linear(slope, order=3), log)
    assert_allclose(values(Spelt(slope, order=3), log), expected)


class Apart(Mixture):
    """Candidates as if they differed from state to state."""

    def action_nodes(self, states):
        actions, weights = super().action_nodes(states)
        return np.array(actions), weights


@pytest.mark.parametrize("kernel", ["auto", "rbf", "linear"])
@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_candidates_are_nodes(kernel):
    candidates = np.linspace(-1, 1, 7)[:, None]
    log = linear_log()
    expected = values(Apart(candidates), log, kernel=kernel)
    assert_allclose(values(Mixture(candidates), log, kernel=kernel), expected)


class Pinned(Mixture):
    """Other candidates in the last state."""

    def action_nodes(self, states):
        actions, weights = super().action_nodes(states)
        actions = np.array(actions)
        actions[-1] += 0.01
        return actions, weights


def test_shared_nodes_are_known_by_their_values():
    candidates = np.linspace(-1, 1, 7)[:, None]
    log = linear_log()
    for policy, shared in ((Mixture, True), (Apart, True), (Pinned, False)):
        assert prepare_evaluation(policy(candidates), log).has_shared_nodes is shared
    # One state seen from many rows of memory, or one row of memory for all of them.
    by_stride = prepare_evaluation(Mixture(candidates), log)
    by_copy = prepare_evaluation(Apart(candidates), log)
    assert by_stride.nodes.strides[0] == 0 < by_copy.nodes.strides[0]
    for data in (by_stride, by_copy):
        fit = fitted_q(data, G)
        object.__setattr__(data, "has_shared_nodes", False)
        assert_allclose(fitted_q(data, G).value, fit.value, rtol=1e-12)
        assert_allclose(fitted_q(data, G).standard_error, fit.standard_error, rtol=1e-8)


def test_a_product_of_kernels_is_the_kernel_of_the_pair():
    """By its name it is computed in parts, as a callable pair by pair."""
    log = linear_log(p=2)
    by_name = values(PLANE, log, kernel="rbf", bandwidth=[1.0, 1, 2, 2])

    def whole(X, Y):
        scale = np.array([1.0, 1, 2, 2])
        away = X[:, None] / scale - Y[None] / scale
        return np.exp(-(away**2).sum(axis=2) / 2)

    assert_allclose(values(PLANE, log, kernel=whole), by_name)


@pytest.mark.parametrize("kernel", ["auto", Matern(1.0)])
def test_nodes_are_looked_at_some_at_a_time(kernel, monkeypatch):
    log = linear_log(p=2)
    expected = values(PLANE, log, kernel=kernel)
    seen = []
    for name in ("gram", "action_gram", "transform"):
        method = getattr(StateActionFeatures, name)

        def spy(self, *args, method=method):
            out = method(self, *args)
            seen.append(len(out))
            return out

        monkeypatch.setattr(StateActionFeatures, name, spy)
    monkeypatch.setattr(_data, "_GRAM_ENTRIES", 10_000)
    monkeypatch.setattr("sklearn_stackelberg._problem.rows.TABLE_BYTES", 0)
    monkeypatch.setattr(_data, "BATCH_ROWS", 50)
    assert_allclose(values(PLANE, log, kernel=kernel), expected)
    n_landmarks = 200
    assert max(seen) <= max(len(log), 10_000 // n_landmarks)
    report = coverage_report(
        PLANE, log, discount=G, kernel=kernel, min_effective_episodes=0
    )
    assert report.support.shape == (len(log), 9)


def bandit(n=400, seed=0):
    """One-step episodes; the nearer the dose to the state, the better."""
    log = linear_log(n // 10, seed=seed)
    target = 0.5 * log.state[:, 0]
    reward = -((log.action - target) ** 2)
    return changed(log, reward=reward, terminated=np.ones(n), episode=None, step=None)


@pytest.mark.parametrize("metric", [fitted_q_value, doubly_robust_value])
def test_the_value_of_doses_is_found(metric):
    log = bandit()
    for slope, spread in ((0.5, 0.1), (-0.5, 0.3)):
        policy = Linear([[slope, 0.0]], spread)
        truth = -np.mean(((slope - 0.5) * log.state[:, 0]) ** 2) - spread**2
        found = metric(policy, log, discount=0.0, kernel="rbf", n_components=50)
        assert abs(found.value - truth) < 0.05
    best = metric(
        Linear([[0.5, 0.0]], 0.5), log, discount=0.0, kernel="rbf", greedy=True
    )
    assert abs(best.value) < 0.05  # without the spread that the nodes have


def test_intervals_hold_the_value_of_many_steps():
    """A policy that does nothing: V = −s P s, by the Lyapunov equation."""
    policy = Linear([[0.0, 0.0]], spread=0.2)
    p = 1 / (1 - G * 0.49)  # of each state's square
    gain = 0.5 * (np.eye(2, 1) + 0.3)
    moved = 0.02 + 0.04 * (gain**2).sum()
    truth = -p * 2 / 3 - (0.3 * 0.04 + G * p * moved) / (1 - G)
    for metric in (fitted_q_value, doubly_robust_value):
        found = metric(policy, linear_log(60, 20), discount=G)
        low, high = found.confidence_interval
        assert low < truth < high
        assert high - low < 0.5 * abs(truth)


def test_a_linear_reward_is_regressed_on_the_actions():
    log = linear_log(40, p=2)
    reward = log.state @ [1.0, -2.0] + log.action @ [3.0, 0.5]
    log = changed(log, reward=reward)
    mean = log.state @ [1.0, -2.0] + PLANE.predict(log.state) @ [3.0, 0.5]
    found = fitted_q_value(
        PLANE, log, discount=0.0, regressor=LinearRegression(), standard_error=None
    )
    assert_allclose(found.value, mean[log.is_initial].mean())
    robust = doubly_robust_value(PLANE, log, discount=0.0, regressor=LinearRegression())
    # Its Q is held to the range of the rewards.
    assert_allclose(robust.value, found.value, atol=0.01)


class WithQ(Linear):
    """A policy whose own Q is that of a reward on a straight line, one step deep."""

    def q_values(self, states, action=None):
        return np.asarray(states)[:, 0] + 2.0 * np.asarray(action)[:, 0]


def test_the_true_q_function_has_no_bellman_error():
    log = linear_log()
    log = changed(log, reward=log.state[:, 0] + 2.0 * log.action)
    found = bellman_error(WithQ([[-0.4, 0.1]]), log, discount=0.0)
    assert_allclose(found.value, 0.0, atol=1e-20)
    worse = bellman_error(WithQ([[-0.4, 0.1]]), log, discount=0.5)
    assert worse.value > 3 * worse.standard_error
    with pytest.raises(ValueError, match="takes states and actions"):
        bellman_error(LINE, log, discount=0.5)
    with pytest.raises(ValueError, match="as many actions"):
        bellman_error(LINE, log, discount=0.5, q_function=lambda s, a: a.ravel()[:3])


def test_pipelines_and_frames_are_seen_through():
    log = linear_log(p=2)
    names = ["x", "y"]
    framed = log.with_states(
        pd.DataFrame(log.state, columns=names),
        pd.DataFrame(log.next_state, columns=names),
    )

    class Columns(Linear):
        def action_nodes(self, states):
            assert [*states.columns] == names
            return super().action_nodes(states)

    policy = Columns(PLANE.slope, order=3)
    assert values(policy, framed) == values(PLANE, log)
    table = framed.to_frame()
    y = table.drop(columns=names)
    assert_allclose(
        fitted_q_value(PLANE, table[names].to_numpy(), y, discount=G).value,
        values(PLANE, log)[0],
    )

    class Last(Linear, BaseEstimator):
        def fit(self, X, y=None):
            self.fitted_ = True
            return self

    pipeline = make_pipeline(OnStates(StandardScaler()), Last(PLANE.slope, order=3))
    pipeline.fit(log)
    inside = pipeline[:-1].transform(log)
    assert values(pipeline, log) == values(PLANE, inside)


def test_weights_of_rows_count():
    log = linear_log()
    weight = (np.arange(len(log)) < 100).astype(float)
    weighted = fitted_q_value(LINE, log, discount=G, sample_weight=weight)
    assert_allclose(weighted.value, values(LINE, log[:100])[0])


def test_heavy_rows_of_continuous_actions_are_named_shortly():
    log = linear_log(8, p=2)
    with pytest.warns(
        UserWarning, match=r"action \(-?\d\.\d+, -?\d\.\d+\): \d"
    ) as caught:
        report = coverage_report(PLANE, log, discount=G)
    assert re.search(r"\d\.\d{9}", str(caught[0].message)) is None
    row = report.top_rows[0]
    assert row["action"] == log.action[row["row"]].tolist()


# ---------------------------------------------------------------- scorers


@pytest.mark.parametrize(
    ("scorer", "metric", "sign"),
    [
        (FittedQScorer, fitted_q_value, 1),
        (DoublyRobustScorer, doubly_robust_value, 1),
        (BellmanErrorScorer, bellman_error, -1),
    ],
)
def test_scorers_are_their_metrics(scorer, metric, sign):
    log, policy = linear_log(), WithQ([[-0.4, 0.1]])
    expected = metric(policy, log, discount=policy.discount).value
    assert scorer()(policy, log) == sign * expected


def test_importance_sampling_of_continuous_actions_is_refused():
    log = linear_log()
    words = r"continuous actions have densities.*ratios='density'.*fitted_q_value"
    for data in (
        lambda: importance_sampling_value(LINE, log, discount=G),
        lambda: doubly_robust_value(LINE, log, discount=G, ratios="importance"),
        lambda: ImportanceSamplingScorer()(LINE, log),
    ):
        with pytest.raises(ValueError, match=words):
            data()
    with pytest.warns(UserWarning, match="continuous actions have densities"):
        assert np.isnan(ImportanceSamplingScorer(report=True)(LINE, log)["value"])


# ---------------------------------------------------------------- bad input


class Bad(Linear):
    """Whatever nodes."""

    def __init__(self, nodes):
        self.nodes = nodes

    def action_nodes(self, states):
        return self.nodes(len(states))


@pytest.mark.parametrize(
    ("policy", "log", "words"),
    [
        (
            Mixture([[0.0], [1.0], [2.0]]),
            walk_log(),
            None,
        ),  # whole numbers may be continuous
        (LINE, linear_log(p=2), r"actions have 1 columns, .* have 2"),
        (PLANE, linear_log(), "actions have 2 columns, .* have 1"),
        (
            LINE,
            changed(linear_log(), action=["a", "b"] * 100),
            "those of the log are not num",
        ),
        (
            Constant(0.5, 0.5),
            linear_log(p=2),
            "among 2 discrete actions.*are 2 numbers each",
        ),
        (
            Constant(0.5, 0.5),
            linear_log(),
            "among 2 discrete actions.*actions are continuous",
        ),
        (
            Linear([[0.0, 0.0]], spread=9.0),
            linear_log(40),
            r"47 % of its probability to actions far outside.*between \[-1",
        ),
        (
            Bad(lambda n: (np.zeros((n, 2, 1)), np.ones((n, 2)))),
            linear_log(),
            "sum to 1",
        ),
        (
            Bad(lambda n: (np.full((n, 1, 1), np.nan), np.ones((n, 1)))),
            linear_log(),
            "NaN or infinite",
        ),
        (Bad(lambda n: (np.zeros((n, 1)), np.ones(n))), linear_log(), "S, 1"),
        (object(), linear_log(), "no predict_proba.*or with action_nodes"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(policy, log, words):
    if words is None:
        assert prepare_evaluation(policy, log).nodes.shape[2] == 1
        return
    with pytest.raises(ValueError, match=words):
        fitted_q_value(policy, log, discount=G)


def test_predictions_that_are_no_actions_are_refused():
    with pytest.raises(ValueError, match="actions of 1 number were expected"):
        fitted_q_value(PLANE, linear_log(), discount=G, greedy=True)


def test_without_predict_the_heaviest_node_is_the_greedy_one():
    class Nodes:
        action_nodes = staticmethod(Mixture(DOSES).action_nodes)

    data = prepare_evaluation(Nodes(), grid_log(), greedy=True)
    assert_array_equal(data.nodes[:, 0], Mixture(DOSES).predict(data.states))
