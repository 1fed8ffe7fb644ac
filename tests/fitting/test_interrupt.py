"""Ctrl-C in the middle of a fit: what was found is kept, and the caller is stopped."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.model_selection import EpisodeKFold
from sklearn_stackelberg.solvers import _best_response, _closed_form, _stochastic_run

rng = np.random.default_rng(0)
STATE = rng.normal(size=(201, 2))
LOG = Transitions(
    STATE[:-1],
    rng.integers(2, size=200),
    STATE[:-1, 0] + rng.normal(size=200),
    STATE[1:],
    episode=np.arange(200) // 10,
    step=np.arange(200) % 10,
)


def estimator(**settings):
    given = {"discount": 0.9, "n_components": 10, "random_state": 0, "kernel": "rbf"}
    return StackelbergPolicyEstimator(**(given | settings))


def interrupt(monkeypatch, owner, name, after):
    """Ctrl-C at the call behind so many; those that went through are counted."""
    original, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        if len(calls) == after:
            monkeypatch.setattr(owner, name, original)
            raise KeyboardInterrupt
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)
    return calls


@pytest.mark.parametrize("after", [1, 5])
@pytest.mark.parametrize("part", [False, True])
def test_the_best_so_far_is_kept(after, part, monkeypatch):
    if part:
        # A search on half of the rows comes first, and is what is interrupted.
        monkeypatch.setattr(_best_response, "PART_ROWS", 50)
        monkeypatch.setattr(_best_response.LSTDSystem.subsample, "__defaults__", (50,))
    policy = estimator()
    interrupt(monkeypatch, _closed_form, "BestResponse", after)
    with pytest.raises(KeyboardInterrupt, match="best policy so far is kept"):
        policy.fit(LOG)
    values = policy.history_["value"]
    assert len(values) == (1 if part else after)
    assert policy.predict(STATE).shape == (201,)
    assert policy.policy_value_ == pytest.approx(max(values))
    whole = estimator().fit(LOG).policy_value_
    if after == 1 and not part:
        # What it began with: no action is preferred.
        assert policy.policy_value_ < whole
    policy.set_params(warm_start=True).fit(LOG)
    assert policy.policy_value_ > max(values)


def test_networks_go_back_to_the_last_measurement(monkeypatch):
    settings = {"solver": "stochastic", "q_function": "mlp", "policy": "mlp"}
    policy = estimator(**settings)
    interrupt(monkeypatch, _stochastic_run, "divergence", 25)
    with pytest.raises(KeyboardInterrupt, match="best policy so far is kept"):
        policy.fit(LOG)
    assert 0 < policy.n_iter_ <= 25
    assert np.isfinite(policy.predict_proba(STATE)).all()


def test_before_the_first_evaluation_there_is_nothing_to_keep(monkeypatch):
    policy = estimator()
    interrupt(monkeypatch, _closed_form, "BestResponse", 0)
    with pytest.raises(KeyboardInterrupt):
        policy.fit(LOG)
    with pytest.raises(NotFittedError):
        policy.predict(STATE)


def test_an_earlier_fit_stays_where_there_is_nothing_to_keep(monkeypatch):
    policy = estimator().fit(LOG)
    before = policy.q_values(STATE)
    interrupt(monkeypatch, _closed_form, "BestResponse", 0)
    with pytest.raises(KeyboardInterrupt):
        policy.fit(LOG)
    assert_array_equal(policy.q_values(STATE), before)


@pytest.mark.parametrize("lam", [1.0, "calibrated"])
def test_a_search_and_a_calibration_end(lam, monkeypatch):
    policy = estimator(lam=lam)
    if lam == 1.0:
        policy = GridSearchCV(policy, {"beta": [0.1, 1.0]}, cv=EpisodeKFold(2))
    calls = interrupt(monkeypatch, _closed_form, "BestResponse", 4)
    with pytest.raises(KeyboardInterrupt):
        policy.fit(LOG)
    assert len(calls) == 4
    assert not hasattr(policy, "best_params_")
    assert not hasattr(policy, "policy_value_")
