"""Support that a fit chooses by what a more pessimistic follower finds worth it."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import changed, estimator, ignore_convergence
from numpy.testing import assert_array_equal

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.solvers import Stochastic
from sklearn_stackelberg.solvers import _best_response as best_response
from sklearn_stackelberg.solvers import _closed_form as closed_form

pytestmark = [ignore_convergence, pytest.mark.usefixtures("full_fits")]

PUSHES = np.array([-0.4, -0.2, 0.0, 0.2, 0.4])


def line(random, seed=0, n_episodes=40, length=20, away=1.0):
    """Costs x² a step, of a logger that pushes away from 0 or towards it."""
    rng = np.random.default_rng(seed)
    x, steps = rng.normal(size=n_episodes), []
    for _ in range(length):
        wanted = np.clip(away * 0.32 * x, -0.4, 0.4)
        own = np.abs(wanted[:, None] - PUSHES).argmin(axis=1)
        anything = rng.random(n_episodes) < random
        action = np.where(anything, rng.integers(5, size=n_episodes), own)
        after = np.clip(x + PUSHES[action] + 0.05 * rng.normal(size=n_episodes), -3, 3)
        steps.append((x, action, -(x**2), after))
        x = after
    state, action, reward, after = (np.ravel(part) for part in zip(*steps, strict=True))
    episode = np.tile(np.arange(n_episodes), length)
    step = np.repeat(np.arange(length), n_episodes)
    return Transitions(
        state[:, None],
        action,
        reward,
        after[:, None],
        is_initial=step == 0,
        episode=episode,
        step=step,
    )


def fit(log, **settings):
    settings = {"discount": 0.9, "n_components": 50, "random_state": 0} | settings
    return estimator(**settings).fit(log)


def toward_zero(policy):
    """Share of 100 places, none near 0, from which the policy pushes towards 0."""
    places = np.concatenate([np.linspace(-2, -0.5, 50), np.linspace(0.5, 2, 50)])
    pushes = PUSHES[np.asarray(policy.predict(places[:, None]), dtype=int)]
    return float(np.mean(pushes * places < 0.0))


def test_a_policy_leaves_a_bad_logger_who_tries_other_actions():
    log = line(0.3)
    near, chosen = fit(log, support=0.2), fit(log, support="auto")
    assert (near.support_, chosen.support_) == (0.2, 0.01)
    assert toward_zero(near) < 0.3
    assert toward_zero(chosen) > 0.9
    assert chosen.policy_value_ > near.policy_value_


@pytest.mark.parametrize("away", [1.0, -1.0], ids=["bad", "good"])
def test_it_is_the_fit_of_the_support_that_it_came_to(away):
    log = line(0.3, away=away)
    chosen = fit(log, support="auto")
    same = fit(log, support=chosen.support_)
    assert chosen.support_ == (0.01 if away > 0 else 0.2)
    assert_array_equal(chosen.predict_proba(log), same.predict_proba(log))
    assert_array_equal(chosen.q_values(log), same.q_values(log))
    assert chosen.history_["value"] == same.history_["value"]
    assert chosen.equilibrium_ == same.equilibrium_


def test_units_of_the_rewards_do_not_choose():
    log = line(0.3)
    for scale, shift in ((1e-3, 0.0), (1.0, 1000.0), (1e3, -50.0)):
        other = changed(log, reward=scale * log.reward + shift)
        assert fit(other, support="auto").support_ == 0.01


@pytest.mark.parametrize("away", [1.0, -1.0], ids=["bad", "good"])
def test_of_a_long_log_a_part_chooses(monkeypatch, away):
    log = line(0.3, n_episodes=60, away=away)
    monkeypatch.setattr(best_response.LSTDSystem.subsample, "__defaults__", (400,))
    chosen = fit(log, support="auto")
    assert chosen.support_ == (0.01 if away > 0 else 0.2)
    same = fit(log, support=chosen.support_)
    assert_array_equal(chosen.predict_proba(log), same.predict_proba(log))


def test_a_callback_that_stops_ends_the_first_search():
    seen = []

    def stop(entry):
        seen.append(entry)
        return True

    chosen = fit(line(0.3), support="auto", callback=stop)
    assert len(seen) == 1
    assert chosen.support_ == 0.2


def test_a_policy_keeps_nothing_of_what_it_is_asked():
    log = line(0.3)
    support = fit(log, support="auto")._state.inputs.support
    assert support._known is None


def test_where_every_action_is_usual_nothing_is_chosen():
    log = line(1.0)
    assert fit(log, support="auto").support_ == 0.2


def test_networks_begin_and_stay_at_a_fifth():
    solver = Stochastic(mirror_steps=2, max_iter=5)
    assert fit(line(0.3), support="auto", solver=solver).support_ == 0.2


@pytest.mark.parametrize("support", ["wide", 1.0, -0.1, None])
def test_other_supports_are_refused(support):
    with pytest.raises(ValueError, match="support must be a number in"):
        fit(line(0.3), support=support)


@pytest.mark.parametrize("part", [False, True])
def test_an_interrupt_of_the_second_search_keeps_the_first(monkeypatch, part):
    if part:
        monkeypatch.setattr(best_response.LSTDSystem.subsample, "__defaults__", (200,))
    log, original, systems = line(0.3), closed_form.BestResponse, []
    alone = fit(log, support=0.2)

    def call(lstd, *args):
        systems.append(lstd)
        if len({id(system) for system in systems}) == 2 and lstd is systems[-2]:
            raise KeyboardInterrupt
        return original(lstd, *args)

    monkeypatch.setattr(closed_form, "BestResponse", call)
    policy = estimator(discount=0.9, n_components=50, random_state=0, support="auto")
    with pytest.raises(KeyboardInterrupt, match="best policy so far is kept"):
        policy.fit(log)
    assert policy.support_ == 0.2
    if not part:
        assert_array_equal(policy.predict_proba(log), alone.predict_proba(log))
