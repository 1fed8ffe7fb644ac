"""What is left of the Bellman equation: nothing, the step, or the row before."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from _logs import changed
from numpy.testing import assert_allclose

from sklearn_stackelberg import (
    StackelbergPolicyCV,
    StackelbergPolicyEstimator,
    Transitions,
)
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics import (
    HiddenStateWarning,
    doubly_robust_value,
    fitted_q_value,
)
from sklearn_stackelberg.metrics._holdout import fitted_q
from sklearn_stackelberg.metrics._prepare import prepare_evaluation
from sklearn_stackelberg.metrics._residual_check import residual_check
from sklearn_stackelberg.metrics._settings import QSettings
from sklearn_stackelberg.model_selection import FittedQScorer

DISCOUNT = 0.8


class Uniform:
    """Two actions, as often, under any names."""

    def __init__(self, classes=(0, 1)):
        self.classes_ = np.array(classes)

    def predict_proba(self, states):
        return np.full((len(states), 2), 0.5)


class Spread:
    """An amount around 0, whatever the state."""

    def predict(self, states):
        return np.zeros(len(states))

    def action_nodes(self, states):
        nodes = np.tile([[-1.0], [1.0]], (len(states), 1, 1))
        return nodes, np.full((len(states), 2), 0.5)


def day(step):
    return np.sin(2 * np.pi * step / 8)


def logged(seed=0, *, trait=0.0, hour=0.0, shown=(), n_episodes=40, length=16):
    """An autoregression; rewards also have a trait of the episode, and of the hour."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=n_episodes)
    x = np.zeros((n_episodes, length + 1))
    action = rng.integers(2, size=(n_episodes, length))
    for t in range(length):
        x[:, t + 1] = 0.5 * x[:, t] + action[:, t] - 0.5 + rng.normal(size=n_episodes)
    step = np.tile(np.arange(length + 1), (n_episodes, 1))
    known = {
        "trait": np.tile(own[:, None], (1, length + 1)),
        "sine": day(step),
        "cosine": day(step + 2),
    }
    states = np.stack([x, *(known[name] for name in shown)], axis=2)
    reward = x[:, :-1] + 0.5 * action + rng.normal(size=(n_episodes, length))
    reward += trait * own[:, None] + hour * day(step[:, :-1])
    d = states.shape[2]
    return Transitions(
        states[:, :-1].reshape(-1, d),
        action.ravel(),
        reward.ravel(),
        states[:, 1:].reshape(-1, d),
        episode=np.repeat(np.arange(n_episodes), length),
        step=step[:, :-1].ravel(),
    )


def check(log, policy=None, n_components=200):
    data = prepare_evaluation(policy or Uniform(), log)
    settings = QSettings(n_components=n_components)
    return residual_check(fitted_q(data, DISCOUNT, settings))


def figures(found):
    return {one.what: (one.correlation, one.z) for one in found.carried} | {
        "step": (found.step_share, found.step_z)
    }


def test_states_that_say_all_are_not_suspected():
    found = [check(logged(seed)) for seed in range(30)]
    assert not any(one.steps_matter or one.of_row_before for one in found)
    # Of the largest of five columns, over 30 logs: as chance has it.
    largest = [abs(one.carried[0].z) for one in found]
    assert 1.0 < np.mean(largest) < 2.5


def test_a_trait_that_lasts_is_found_and_gone_where_states_show_it():
    hidden = check(logged(trait=2.0, n_episodes=80))
    assert hidden.of_row_before.what in ("the residual", "the reward")
    assert hidden.of_row_before.correlation > 0.4
    assert not hidden.steps_matter
    assert (
        check(logged(trait=2.0, n_episodes=80, shown=["trait"])).of_row_before is None
    )


def test_an_hour_that_matters_is_found_by_the_step():
    hidden = check(logged(hour=2.0))
    assert hidden.steps_matter
    # The hour's share of what the states leave: 2 of 2 + 1, and the next value's.
    assert 0.3 < hidden.step_share < 0.8
    assert not check(logged(hour=2.0, shown=["sine", "cosine"])).steps_matter


def test_one_trajectory_is_looked_at_in_blocks():
    long = {"hour": 2.0, "n_episodes": 1, "length": 600}
    hidden = check(logged(**long))
    assert hidden.of_row_before is not None
    # Of each step there is one row, which says nothing of another.
    assert (hidden.step_share, hidden.steps_matter) == (0.0, False)
    assert check(logged(**long, shown=["sine", "cosine"])).of_row_before is None


def test_the_units_and_the_order_of_a_log_do_not_matter():
    log = logged(trait=1.0, hour=1.0, n_episodes=10)
    # Landmarks are drawn in the order of the rows, unless all are taken.
    expected = figures(check(log, n_components=None))
    moved = changed(log, reward=1000.0 + 7.0 * log.reward)
    shuffled = log[np.random.default_rng(0).permutation(len(log))]
    for other in (moved, shuffled):
        found = figures(check(other, n_components=None))
        assert found.keys() == expected.keys()
        for name, (size, z) in expected.items():
            assert_allclose(found[name], (size, z), atol=1e-6, err_msg=name)


def test_actions_are_named_as_the_policy_has_them():
    log = logged()
    names = np.array(["none", "drug"])
    named = changed(log, action=names[log.action])
    found = check(named, Uniform(("none", "drug")))
    expected = figures(check(log))
    assert figures(found)["action 'drug'"] == expected["action 1"]


def test_state_columns_have_their_names():
    pd = pytest.importorskip("pandas")
    log = logged(shown=["sine"])
    columns = {
        name: pd.DataFrame(getattr(log, name), columns=["bp", "hour"])
        for name in ("state", "next_state")
    }
    found = figures(check(changed(log, **columns)))
    assert {"the state's 'bp'", "the state's 'hour'"} < found.keys()


def test_a_column_that_does_not_vary_is_rounding():
    log = logged()
    constant = np.full((len(log), 1), 1e6)
    wide = {
        name: np.hstack([getattr(log, name), constant])
        for name in ("state", "next_state")
    }
    found = figures(check(changed(log, **wide)))
    assert found["state column 1"] == (0.0, 0.0)


def test_amounts():
    log = logged(trait=2.0, n_episodes=80)
    dosed = changed(log, action=2.0 * log.action - 1.0)
    found = check(dosed, Spread())
    assert found.of_row_before.what in ("the residual", "the reward")
    assert "action column 0" in figures(found)


def test_rows_that_are_missing_are_no_rows_before():
    log = logged(trait=2.0)
    assert check(changed(log, step=2 * log.step)).carried == []


def test_there_is_nothing_to_look_at_in_single_rows():
    log = logged(length=1)
    assert (check(log).step_share, check(log).carried) == (0.0, [])
    alone = Transitions(log.state, log.action, log.reward, log.next_state)
    assert check(alone).carried == []
    assert check(log[[np.argmin(log.action), np.argmax(log.action)]]) is None


@pytest.mark.parametrize("amounts", [False, True])
def test_what_drifts_along_the_rows_is_found_where_decisions_drift_too(amounts):
    rng = np.random.default_rng(0)
    date, x = np.arange(600) / 600, rng.normal(size=(600, 2))
    taken = (rng.random(600) < 0.15 + 0.7 * date).astype(int)
    always = rng.integers(2, size=600)

    def drift(action, *columns, order=slice(None)):
        state = np.column_stack([x, *columns])
        reward = 2.0 * date + action * (0.8 - 1.2 * date) + rng.normal(size=600)
        given = 2.0 * action - 1.0 + 0.1 * x[:, 0] if amounts else action
        log = Transitions(state, given, reward, state, np.ones(600))
        return check(log[order], Spread() if amounts else Uniform()).drift

    assert "place" in drift(taken).what
    assert drift(taken, date) is None
    assert drift(always) is None
    assert drift(taken, order=rng.permutation(600)) is None


def test_a_drift_is_warned_of():
    log = logged(n_episodes=200, length=1)
    place = np.arange(len(log)) / len(log)
    log = changed(log, action=(place > 0.5).astype(int), reward=log.reward + 3 * place)
    with pytest.warns(HiddenStateWarning, match="the place in the log .* shuffle them"):
        fitted_q_value(Uniform(), log, discount=DISCOUNT)


def test_the_report_says_so():
    log = logged(hour=2.0)
    # The row before tells the hour as well.
    with pytest.warns(HiddenStateWarning, match="The step explains|of the row before"):
        report = coverage_report(Uniform(), log, discount=DISCOUNT)
    assert "Warning: The step explains" in str(report)
    assert "Add the step, or what it stands for" in str(report)
    log = logged(trait=2.0, n_episodes=80)
    words = "goes with the re(ward|sidual) of the row be"
    with pytest.warns(HiddenStateWarning, match=words):
        coverage_report(Uniform(), log, discount=DISCOUNT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = coverage_report(Uniform(), logged(), discount=DISCOUNT)
    assert report.warnings == []


@pytest.mark.parametrize("metric", [fitted_q_value, doubly_robust_value])
def test_estimates_say_so(metric):
    log = logged(hour=2.0)
    with pytest.warns(HiddenStateWarning, match="The step explains|of the row before"):
        metric(Uniform(), log, discount=DISCOUNT)


def test_a_search_says_it_of_no_candidate():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FittedQScorer(discount=DISCOUNT)(Uniform(), logged(hour=2.0))


@pytest.mark.parametrize(
    "policy",
    [
        StackelbergPolicyEstimator(discount=DISCOUNT, lam="calibrated"),
        StackelbergPolicyCV(
            discount=DISCOUNT,
            lams=[10.0],
            betas=[0.1],
            ridges=[0.0],
            kernels=["local"],
            bandwidths=[1.0],
            supports=[0.0, 0.2],
        ),
    ],
    ids=["calibrated", "search"],
)
def test_values_that_come_with_a_fit_say_so(policy):
    words = "The step explains|of the row before"
    with pytest.warns(HiddenStateWarning, match=words) as caught:
        policy.fit(logged(hour=2.0))
    assert {one.filename for one in caught} == {__file__}
    if isinstance(policy, StackelbergPolicyCV):
        assert "Warning: The step explains" in policy.summary_


def test_the_history_that_is_advised_ends_it():
    """A tablet works a visit later: what was given before is seen, or is not."""
    rng = np.random.default_rng(0)
    given = rng.integers(2, size=(80, 11))
    pain = np.zeros((80, 11))
    for t in range(10):
        last = given[:, t - 1] if t else 0.0
        pain[:, t + 1] = 0.6 * pain[:, t] - last + rng.normal(0.0, 0.7, 80)
    log = Transitions(
        pain[:, :-1].reshape(-1, 1),
        given[:, :-1].ravel(),
        -pain[:, :-1].ravel(),
        pain[:, 1:].reshape(-1, 1),
        episode=np.repeat(np.arange(80), 10),
        step=np.tile(np.arange(10), 80),
    )
    assert check(log).of_row_before.what in ("action 0", "action 1")
    assert check(log.with_history(2)).of_row_before is None
