"""The game's units: shifts, scales and constants of the rewards, noisy episodes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg._problem.dataset import OfflineProblem
from sklearn_stackelberg._problem.design_effect import design_effect
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.kernels._registry import KERNELS
from sklearn_stackelberg.metrics import (
    doubly_robust_value,
    fitted_q_value,
    logged_value,
)
from sklearn_stackelberg.solvers import ClosedForm, Stochastic

DISCOUNT = 0.9
USABLE = sorted(name for name, kernel in KERNELS.items() if not kernel.refused)
STATES = np.arange(1.0, 7.0)[:, None]


def ring(seed=0, n_episodes=30, length=10, **columns):
    """A ring of six states, the last two of which pay; left, stay or right."""
    rng = np.random.default_rng(seed)
    action = rng.integers(3, size=(n_episodes, length))
    state = np.zeros((n_episodes, length + 1), dtype=int)
    state[:, 0] = rng.integers(6, size=n_episodes)
    for t in range(length):
        moved = rng.random(n_episodes) < 0.8
        state[:, t + 1] = (state[:, t] + moved * (action[:, t] - 1)) % 6
    reward = np.maximum(state[:, :-1] - 3.0, 0.0) + rng.normal(0, 0.5, action.shape)
    return Transitions(
        1.0 + state[:, :-1].reshape(-1, 1),
        action.ravel(),
        reward.ravel(),
        1.0 + state[:, 1:].reshape(-1, 1),
        episode=np.repeat(np.arange(n_episodes), length),
        step=np.tile(np.arange(length), n_episodes),
        **columns,
    )


def shifted(log, constant):
    """The same log with a constant added to its rewards."""
    other = log[:]
    other.reward = log.reward + constant
    return other


def fitted(log, **params):
    return StackelbergPolicyEstimator(discount=DISCOUNT, random_state=0, **params).fit(
        log
    )


@pytest.mark.parametrize("constant", [0.0, 1000.0])
def test_the_highest_v_is_that_of_the_largest_return(constant):
    log = shifted(ring(), constant)
    problem = OfflineProblem.from_log(log, discount=DISCOUNT, initial_states="first")
    most, excess = problem.return_of(problem.highest)
    assert most == pytest.approx(log.reward.max() / (1 - DISCOUNT), rel=1e-9)
    assert excess == pytest.approx(0.0, abs=1e-9 * abs(most))
    assert problem.return_of(problem.highest + 1.0)[1] > 0.0
    # A constant of the rewards moves what can be reached as it moves the average.
    plain = OfflineProblem.from_log(ring(), discount=DISCOUNT, initial_states="first")
    assert problem.highest == pytest.approx(plain.highest, rel=1e-9)


SOLVERS = [
    *(pytest.param(name, ClosedForm(), id=name) for name in USABLE),
    pytest.param("rbf", Stochastic(mirror_steps=3, max_iter=5), id="stochastic"),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("kernel", "solver"), SOLVERS)
def test_a_constant_added_to_all_rewards_changes_no_action(kernel, solver):
    log = ring()
    first = fitted(log, kernel=kernel, solver=solver)
    for constant in (-1.0, 10.0, -100.0, 1e4):
        other = fitted(shifted(log, constant), kernel=kernel, solver=solver)
        np.testing.assert_array_equal(other.predict(STATES), first.predict(STATES))
        np.testing.assert_allclose(
            other.predict_proba(STATES), first.predict_proba(STATES), atol=1e-6
        )
        np.testing.assert_allclose(
            other.q_values(STATES) - first.q_values(STATES),
            constant / (1.0 - DISCOUNT),
            atol=1e-6 * abs(constant) / (1.0 - DISCOUNT),
        )


@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_what_single_decisions_teach_does_not_hang_on_the_discount(action_type):
    log = ring(terminated=np.ones(300, dtype=bool))
    settings = {"action_type": action_type, "n_components": 20, "random_state": 0}
    found = [
        StackelbergPolicyEstimator(discount=discount, **settings).fit(log)
        for discount in (0.0, 0.9, 1.0)
    ]
    for other in found[1:]:
        assert_array_equal(other.q_values(STATES), found[0].q_values(STATES))
        assert_array_equal(other.predict(STATES), found[0].predict(STATES))
        assert other.policy_value_ == found[0].policy_value_


def test_where_episodes_end_the_anchored_identity_is_exact():
    log = ring()
    log.terminated = np.arange(len(log)) % 10 == 9
    first, constant = fitted(log), 7.0
    lasting = 1.0 - DISCOUNT * (1.0 - log.terminated)
    other = fitted(shifted(log, constant * lasting))
    np.testing.assert_allclose(
        other.predict_proba(STATES), first.predict_proba(STATES), atol=1e-6
    )
    assert other.policy_value_ == pytest.approx(first.policy_value_ + constant)
    assert other.anchor_ == pytest.approx(first.anchor_ + constant)


def visits(constant=0.0, seed=0, with_step=False, n=40):
    """Six visits by design, the last in no column unless it is asked for."""
    rng = np.random.default_rng(seed)
    state, action = rng.normal(size=(n, 7, 2)), rng.integers(2, size=(n, 6))
    if with_step:
        step = np.broadcast_to(np.arange(7.0)[None, :, None], (n, 7, 1))
        state = np.concatenate([state, step], axis=2)
    paid = constant + state[:, :-1, 0] * action + rng.normal(0, 0.5, size=(n, 6))
    width = state.shape[2]
    return Transitions(
        state[:, :-1].reshape(-1, width),
        action.ravel(),
        paid.ravel(),
        state[:, 1:].reshape(-1, width),
        np.tile(np.arange(6) == 5, n),
        episode=np.repeat(np.arange(n), 6),
        step=np.tile(np.arange(6), n),
    )


# What one a visit is worth, when so many are left.
LEFT = (1.0 - DISCOUNT ** np.arange(1, 7)) / (1.0 - DISCOUNT)
SIX = LEFT[-1]


@pytest.mark.parametrize("with_step", [False, True])
def test_of_visits_by_design_a_constant_changes_no_action_and_no_error(with_step):
    first, held = visits(with_step=with_step), visits(seed=1, with_step=with_step)
    policy, states = fitted(first), held.state
    for constant in (10.0, -1e4):
        log = visits(constant, with_step=with_step)
        test = visits(constant, seed=1, with_step=with_step)
        other = fitted(log)
        np.testing.assert_array_equal(other.predict(states), policy.predict(states))
        added, near = constant * SIX, 1e-6 * abs(constant)
        # By default of all logged states, not of the first ones alone.
        every = policy.policy_value_ + constant * LEFT.mean()
        assert other.policy_value_ == pytest.approx(every)
        assert other.pessimism_ == pytest.approx(policy.pessimism_, abs=near)
        for metric in (fitted_q_value, doubly_robust_value):
            one = metric(policy, held, discount=DISCOUNT)
            two = metric(other, test, discount=DISCOUNT)
            assert two.value == pytest.approx(one.value + added, abs=near)
            assert two.standard_error == pytest.approx(one.standard_error, abs=near)
        report = coverage_report(other, test, discount=DISCOUNT)
        assert report.value == fitted_q_value(other, test, discount=DISCOUNT).value
        assert other.score(test) == pytest.approx(policy.score(held) + added, abs=near)
        np.testing.assert_array_equal(
            other.predict_set(states), policy.predict_set(states)
        )


def test_of_visits_by_design_values_of_states_know_the_visits_that_are_left():
    log = visits(100.0, with_step=True, n=100)
    policy = fitted(log)
    states = np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    for q in (policy.q_values(states), policy.q_values(states, return_std=True)[0]):
        np.testing.assert_allclose(q[0], 100.0, atol=5.0)
        np.testing.assert_allclose(q[1], 100.0 * SIX, atol=5.0)
    # Without a column that says so, of the visits that there are on average.
    log = visits(100.0, n=100)
    np.testing.assert_allclose(
        fitted(log).q_values(states[:, :2]), 100.0 * LEFT.mean(), atol=5.0
    )


@pytest.mark.filterwarnings("ignore:Cut episodes:UserWarning")
def test_of_visits_by_design_what_follows_a_cut_end_is_known_by_the_step():
    """A tenth is lost after the third visit: the value is that of all, and no less."""
    held = visits(n=400)
    kept = (held.step < 3) | (held.episode % 10 > 0)
    values = [
        logged_value(visits(constant, n=400)[kept], discount=DISCOUNT)
        for constant in (0.0, 100.0)
    ]
    assert values[1].value == pytest.approx(values[0].value + 100.0 * SIX, abs=1e-4)
    assert values[1].standard_error == pytest.approx(values[0].standard_error)
    whole = logged_value(held, discount=DISCOUNT)
    assert abs(values[0].value - whole.value) < whole.standard_error


def test_of_visits_by_design_other_logs_must_have_steps():
    log, held = visits(), visits(seed=1)
    rows = Transitions(
        held.state, held.action, held.reward, held.next_state, held.terminated
    )
    with pytest.raises(ValueError, match="this log has no steps"):
        fitted(log).score(rows)
    learner = StackelbergPolicyEstimator(
        discount=DISCOUNT, solver=Stochastic(mirror_steps=2, max_iter=2), random_state=0
    )
    learner.partial_fit(log)
    learner.partial_fit(held)
    with pytest.raises(ValueError, match="this log has no steps"):
        learner.partial_fit(rows)


@pytest.mark.parametrize("by_design_first", [True, False])
def test_what_goes_on_is_measured_from_what_it_began_with(by_design_first):
    """Q of the fit and of its evaluation, of logs whose steps say different things."""
    first, then = visits(100.0, n=60), visits(100.0, seed=1, n=60)
    by_chance = then if by_design_first else first
    # Ends in the middle of episodes, as many as at their last steps, at any step.
    by_chance.terminated = np.random.default_rng(0).random(len(first)) < 0.3
    learner = StackelbergPolicyEstimator(
        discount=DISCOUNT, solver=Stochastic(mirror_steps=2, max_iter=2), random_state=0
    )
    learner.partial_fit(first).partial_fit(then)
    q, (evaluated, _) = (learner.q_values(then.state, return_std=f) for f in (0, 1))
    # Taken off twice, or not at all, it would be apart by 300.
    assert abs(q.mean() - evaluated.mean()) < 60.0


@pytest.mark.parametrize("paid", [1.0, -1.0, 0.1])
@pytest.mark.parametrize("discount", [0.9, 0.999])
def test_where_all_is_worth_the_same_nothing_is_taken_off(paid, discount):
    rng = np.random.default_rng(0)
    state = rng.integers(50, size=501)[:, None]
    log = Transitions(state[:-1], rng.integers(2, size=500), [paid] * 500, state[1:])
    policy = StackelbergPolicyEstimator(discount=discount, random_state=0).fit(log)
    truth = paid / (1.0 - discount)
    assert policy.policy_value_ == pytest.approx(truth, rel=0.05)
    # What is left is pessimism in a unit that nothing in the log speaks for.
    assert policy.policy_value_ <= truth + 1e-9 * abs(truth)


def test_the_pessimism_counts_what_beta_takes_off():
    log = ring()
    for beta in (1e-2, 1e2):
        policy = fitted(log, kernel="delta", beta=beta, deterministic=False)
        # Hardly any pessimism and no shrinkage: the LSTD value of the same policy.
        probabilities = policy.predict_proba(STATES)
        exact = _lstd_value(log, probabilities)
        assert policy.policy_value_ + policy.pessimism_ == pytest.approx(exact, 1e-3)
    assert policy.shrinkage_ != 0.0


def _lstd_value(log, probabilities):
    """The value of a policy on the counts of a log of six states, all of its rows."""
    state, after = (x.astype(int)[:, 0] - 1 for x in (log.state, log.next_state))
    pairs = 3 * state + log.action
    model, paid, counts = np.zeros((18, 18)), np.zeros(18), np.zeros(18)
    for pair, s, r in zip(pairs, after, log.reward, strict=True):
        model[pair, 3 * s : 3 * s + 3] += probabilities[s]
        paid[pair] += r
        counts[pair] += 1.0
    q = np.linalg.solve(
        np.eye(18) - DISCOUNT * model / counts[:, None], paid / counts
    ).reshape(6, 3)
    return float((q * probabilities).sum(axis=1)[state].mean())


def test_rows_of_noisy_episodes_count_for_less():
    log = ring(n_episodes=60)
    noise = np.random.default_rng(1).normal(0, 3.0, size=60)
    noisy = shifted(log, np.repeat(noise, 10))
    # Rows of an episode add up only where the kernel takes their pairs for alike: of
    # finite states an episode has few that are equal.
    smooth = dict(kernel="rbf", bandwidth="median", linear_terms=False)
    for settings, least in ((smooth, 2.0), ({"kernel": "delta"}, 1.5)):
        assert fitted(log, **settings).design_effect_ < 1.1
        assert fitted(noisy, **settings).design_effect_ > least


def test_the_design_effect_of_equal_rows_is_their_number():
    # Every episode repeats one row five times: 40 rows say no more than 200.
    rng = np.random.default_rng(0)
    z, reward = np.ones((40, 1)), rng.normal(size=40)
    reward -= reward.mean()
    repeated = [np.repeat(part, 5, axis=0) for part in (z, reward, np.arange(40))]
    found = design_effect(
        repeated[0], np.full(200, -1), repeated[1], np.ones(200), repeated[2], 0.9
    )
    assert found == pytest.approx(5.0, rel=1e-6)
