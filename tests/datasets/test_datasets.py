"""Identities of the finite processes and of the logs of environments."""

from __future__ import annotations

import itertools
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_stackelberg.datasets import FiniteMDP, log_episodes, rollout_returns
from sklearn_stackelberg.transitions import Transitions

gymnasium = pytest.importorskip("gymnasium")

FIELDS = (
    "state",
    "action",
    "reward",
    "next_state",
    "terminated",
    "is_initial",
    "episode",
    "step",
    "propensity",
)


def newest(name):
    """Id of the newest version of an environment, which Gymnasium's own decides."""
    return max(env for env in gymnasium.registry if env.startswith(f"{name}-v"))


def random_mdp(seed, n_states=5, n_actions=3, end=0.1, **kwargs):
    rng = np.random.default_rng(seed)
    shape = (n_states, n_actions, n_states)
    return FiniteMDP(
        rng.dirichlet(np.full(n_states, 0.5), size=shape[:2]),
        rng.normal(size=shape),
        rng.dirichlet(np.ones(n_states)),
        np.full(shape, end),
        **kwargs,
    )


def random_policy(mdp, seed=0):
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)
    return 0.8 * policy + 0.2 / mdp.n_actions


def lake(size=4, **kwargs):
    return FiniteMDP.from_gymnasium(
        gymnasium.make("FrozenLake-v1", map_name=f"{size}x{size}"), **kwargs
    )


def assert_same_log(a, b):
    for name in FIELDS:
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert_array_equal(left, right, err_msg=name)


def global_state():
    return pickle.dumps(np.random.get_state())  # noqa: NPY002


class Constant:
    """An estimator that always predicts one action and counts its calls."""

    def __init__(self, action):
        self.action, self.n_calls = action, 0

    def predict(self, states):
        assert states.ndim == 2
        self.n_calls += 1
        return np.full(len(states), self.action)


# Exact values


@given(seed=st.integers(0, 10**6), discount=st.sampled_from([0.0, 0.5, 0.95, 1.0]))
@settings(max_examples=25)
def test_values_agree_with_a_long_exact_iteration(seed, discount):
    mdp = random_mdp(seed)
    policy = random_policy(mdp, seed)
    values = mdp.state_values(policy, discount)
    assert_allclose(values, mdp.state_values(policy, discount, horizon=500), atol=1e-9)
    assert mdp.policy_value(policy, discount) == pytest.approx(mdp.initial @ values)
    q = mdp.q_values(policy, discount)
    assert_allclose((policy * q).sum(axis=1), values, atol=1e-9)


def test_finite_horizon_is_one_step_and_then_the_rest():
    mdp = random_mdp(1)
    policy = random_policy(mdp)
    for horizon in (1, 2, 7):
        q = mdp.q_values(policy, 0.9, horizon)
        assert_allclose(
            (policy * q).sum(axis=1), mdp.state_values(policy, 0.9, horizon)
        )
    assert_array_equal(mdp.q_values(policy, 0.9, 1), mdp.expected_reward)


@given(seed=st.integers(0, 10**6), discount=st.sampled_from([0.0, 0.7, 0.99, 1.0]))
@settings(max_examples=25)
def test_optimal_policy_beats_every_policy(seed, discount):
    mdp = random_mdp(seed, n_states=3, n_actions=3)
    best = mdp.state_values(mdp.optimal_policy(discount), discount)
    for policy in itertools.product(range(3), repeat=3):
        values = mdp.state_values(np.array(policy), discount)
        assert (values <= best + 1e-9 * (1 + np.abs(best))).all()
    assert mdp.optimal_value(discount) == pytest.approx(mdp.initial @ best)


def test_rewards_by_pair_equal_rewards_by_transition():
    mdp = random_mdp(2)
    pair = FiniteMDP(mdp.transition, mdp.expected_reward, mdp.initial, mdp.termination)
    policy = random_policy(mdp)
    assert_allclose(pair.state_values(policy, 0.9), mdp.state_values(policy, 0.9))


def test_actions_probabilities_and_estimators_say_the_same():
    mdp = random_mdp(3)
    expected = mdp.policy_value(np.full(5, 2), 0.9)
    assert mdp.policy_value(np.eye(3)[np.full(5, 2)], 0.9) == expected
    assert mdp.policy_value(Constant(2), 0.9) == expected

    class Stochastic:
        def predict_proba(self, states):
            return np.full((len(states), 3), 1 / 3)

    assert mdp.policy_value(Stochastic(), 0.9) == pytest.approx(
        mdp.policy_value(np.full((5, 3), 1 / 3), 0.9)
    )


def test_terminal_states_are_worth_nothing():
    transition = np.zeros((2, 1, 2))
    transition[0, 0] = [0.5, 0.5]
    mdp = FiniteMDP(transition, [[[0.0, 1.0]], [[5.0, 5.0]]], [1, 0], [False, True])
    assert_allclose(mdp.state_values([0, 0], 1.0), [1.0, 0.0])
    # v = 0.5 + 0.5 * 0.9 v
    assert_allclose(mdp.state_values([0, 0], 0.9), [0.5 / 0.55, 0.0])


def test_undiscounted_values_of_endless_chains():
    """State 0 goes to 1 or 2 and both wait there for ever; 2 is paid for it."""
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 1] = transition[0, 1, 2] = 1.0
    transition[1, :, 1] = transition[2, :, 2] = 1.0
    reward = np.array([[3.0, 3.0], [0.0, 0.0], [1.0, 1.0]])
    mdp = FiniteMDP(transition, reward, [1, 0, 0])
    assert mdp.policy_value([0, 0, 0], 1.0) == 3.0  # 2 is out of reach
    with pytest.raises(ValueError, match=r"states \[2\].* for ever"):
        mdp.state_values([0, 0, 0], 1.0)
    with pytest.raises(ValueError, match=r"states \[0\].* for ever"):
        mdp.policy_value([1, 0, 0], 1.0)
    assert mdp.policy_value([1, 0, 0], 1.0, horizon=4) == 6.0


def test_an_undiscounted_optimum_does_not_wait_for_ever():
    """Waiting and moving on look alike at discount 1; only one is paid."""
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[0, 1, 1] = 1.0
    mdp = FiniteMDP(transition, [[0.0, 1.0], [0, 0]], [1, 0], [False, True])
    assert mdp.optimal_policy(1.0)[0] == 1
    assert mdp.optimal_value(1.0) == 1.0


# Gymnasium's processes


def test_frozen_lake_4x4():
    mdp = lake()
    assert mdp.optimal_value(1.0) == pytest.approx(14 / 17, abs=1e-12)
    best = mdp.optimal_policy(0.99)
    assert mdp.policy_value(best, 1.0, horizon=100) == pytest.approx(0.74, abs=0.005)
    assert mdp.policy_value(best, 1.0) == pytest.approx(14 / 17, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("env", [newest("Taxi"), newest("CliffWalking")])
def test_other_processes_meet_the_optimality_equation(env):
    mdp = FiniteMDP.from_gymnasium(env)
    best = mdp.optimal_policy(0.95)
    values = mdp.state_values(best, 0.95)
    assert_allclose(mdp.q_values(best, 0.95).max(axis=1), values, atol=1e-9)


def test_cliff_walking_takes_thirteen_steps():
    assert FiniteMDP.from_gymnasium(newest("CliffWalking")).optimal_value(1.0) == -13.0


def test_exact_success_is_what_rollouts_show():
    mdp = lake()
    best = mdp.optimal_policy(0.99)
    exact = mdp.policy_value(best, 1.0, horizon=100)
    wins = rollout_returns("FrozenLake-v1", lambda s, rng: best[s], 600, 0)
    assert wins.mean() == pytest.approx(exact, abs=4 * np.sqrt(exact * 0.26 / 600))


def test_an_environment_without_a_process_is_refused():
    with pytest.raises(ValueError, match="use log_episodes"):
        FiniteMDP.from_gymnasium("CartPole-v1")


# Sampled logs


def test_what_is_not_available_is_not_done():
    available = np.ones((5, 3), dtype=bool)
    open_to_all = random_mdp(0)
    best = open_to_all.optimal_policy(0.9)
    available[0, best[0]] = False
    mdp = random_mdp(0, available=available)
    held = mdp.optimal_policy(0.9)
    assert held[0] != best[0]
    others = [mdp.policy_value([a, *held[1:]], 0.9) for a in range(3) if a != best[0]]
    assert mdp.optimal_value(0.9) == pytest.approx(max(others))
    assert mdp.optimal_value(0.9) < open_to_all.optimal_value(0.9)
    policy = random_policy(mdp) * available
    log = mdp.sample(policy / policy.sum(axis=1, keepdims=True), 200, 0)
    assert_array_equal(log.available, available[log.state[:, 0]])
    one_hot = random_mdp(0, available=available, encode="one-hot")
    same = one_hot.sample(policy / policy.sum(axis=1, keepdims=True), 200, 0)
    assert_array_equal(same.available, log.available)
    again = pickle.loads(pickle.dumps(log))
    assert_array_equal(again.available_rule(log.state), log.available)


@pytest.mark.parametrize(
    ("available", "message"),
    [
        (np.ones((5, 2), dtype=bool), "available has shape"),
        (np.ones((5, 3)), "type float64"),
        (np.arange(15).reshape(5, 3) > 2, r"nothing can be done in the states \[0\]"),
    ],
)
def test_wrong_masks_are_refused(available, message):
    with pytest.raises(ValueError, match=message):
        random_mdp(0, available=available)


def test_sampled_frequencies_converge():
    mdp = random_mdp(4, end=0.2)
    policy = random_policy(mdp)
    log = mdp.sample(policy, 100_000, 0)
    counts = FiniteMDP.from_counts(log)
    p, n = mdp.transition, counts.visits[:, :, None]
    error = np.abs(counts.transition - p)
    assert (error < 5 * np.sqrt(p * (1 - p) / n) + 5 / n).all()
    assert_allclose(counts.initial, mdp.initial, atol=0.02)
    seen = counts.transition > 0
    assert_allclose(counts.reward[seen], mdp.reward[seen])
    actions = counts.visits / counts.visits.sum(axis=1, keepdims=True)
    assert_allclose(actions, policy, atol=0.02)
    assert np.mean(log.terminated) == pytest.approx(0.2, abs=0.01)
    assert_array_equal(log.propensity, policy[log.state[:, 0], log.action])


def test_sampled_returns_have_the_exact_mean():
    """Episodes are not picked by their length: their mean return is the value."""
    mdp = lake()
    policy = np.full((16, 4), 0.25)
    log = mdp.sample(policy, 60_000, 0, horizon=20)
    episodes = log.episode[-1]  # the last may be cut
    returns = np.bincount(log.episode, log.reward)[:episodes]
    exact = mdp.policy_value(policy, 1.0, horizon=20)
    error = returns.std() / np.sqrt(episodes)
    assert returns.mean() == pytest.approx(exact, abs=4 * error)


@given(
    n=st.integers(1, 400),
    horizon=st.one_of(st.none(), st.integers(1, 9)),
    end=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 100),
)
@settings(max_examples=40)
def test_sampled_rows_are_whole_episodes(n, horizon, end, seed):
    mdp = random_mdp(seed, end=end)
    log = mdp.sample(random_policy(mdp), n, seed, horizon=horizon)
    assert len(log) == n
    assert_episodes(log, horizon)


def assert_episodes(log, horizon):
    same = np.diff(log.episode) == 0
    assert_array_equal(np.diff(log.episode)[~same], 1)
    assert log.episode[0] == log.step[0] == 0
    assert_array_equal(np.diff(log.step)[same], 1)
    assert_array_equal(log.step[1:][~same], 0)
    assert_array_equal(log.is_initial, log.step == 0)
    assert_array_equal(log.next_state[:-1][same], log.state[1:][same])
    assert not np.asarray(log.terminated)[:-1][same].any()
    over = np.append(~same, False)
    cut = over & ~np.asarray(log.terminated)
    assert horizon is not None or not cut.any()
    if horizon is not None:
        assert (log.step < horizon).all()
        assert_array_equal(log.step[cut], horizon - 1)


def test_truncation_is_not_termination():
    mdp = random_mdp(5, end=0.0)
    log = mdp.sample(np.zeros(5, int), 100, 0, horizon=10)
    assert not np.any(log.terminated)
    assert_array_equal(log.step, np.tile(np.arange(10), 10))


def test_one_hot_states_hold_the_same_log():
    plain, coded = lake(), lake(encode="one-hot")
    policy = random_policy(plain)
    a, b = plain.sample(policy, 500, 0), coded.sample(policy, 500, 0)
    assert_array_equal(plain.one_hot(a.state), b.state)
    assert_array_equal(plain.one_hot(a.next_state), b.next_state)
    assert_array_equal(coded.states(), np.eye(16))
    x, y = FiniteMDP.from_counts(a), FiniteMDP.from_counts(b, n_states=16)
    assert_array_equal(x.visits, y.visits[: len(x.visits)])


def test_never_logged_pairs_end_the_episode():
    log = Transitions(
        [[0], [0], [1]],
        [0, 0, 1],
        [1.0, 3.0, 5.0],
        [[1], [0], [2]],
        [False, False, True],
        is_initial=[True, False, False],
        episode=[0, 0, 0],
        step=[0, 1, 2],
    )
    mdp = FiniteMDP.from_counts(log, n_states=4)
    assert_array_equal(mdp.visits, [[2, 0], [0, 1], [0, 0], [0, 0]])
    assert_allclose(mdp.transition[0, 0], [0.5, 0.5, 0, 0])
    assert mdp.expected_reward[0, 0] == 2.0
    unseen = mdp.visits == 0
    assert_array_equal(mdp.q_values([0, 0, 0, 0], 0.9)[unseen], 0.0)
    assert_allclose(mdp.initial, [1, 0, 0, 0])
    # v(0) = 2 + 0.9 (v(0) / 2 + 5 / 2)
    assert mdp.optimal_value(0.9) == pytest.approx((2 + 0.45 * 5) / 0.55)


@pytest.mark.parametrize("horizon", [None, 7])
def test_seeds_decide_and_leave_the_global_state_alone(horizon):
    mdp = random_mdp(6)
    policy = random_policy(mdp)
    before = global_state()
    a, b, c = (mdp.sample(policy, 300, s, horizon=horizon) for s in (0, 0, 1))
    assert global_state() == before
    assert_same_log(a, b)
    assert not np.array_equal(a.reward, c.reward)
    legacy = [mdp.sample(policy, 50, np.random.RandomState(3)) for _ in range(2)]
    assert_same_log(*legacy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": np.ones((2, 2, 3))}, "expected \\(S, A, S\\)"),
        ({"transition": np.full((2, 2, 2), 0.4)}, "do not sum to 1 at"),
        ({"reward": np.ones(2)}, "reward has shape"),
        ({"reward": np.full((2, 2), np.nan)}, "NaN or infinity"),
        ({"initial": [0.5, 0.4]}, "initial holds"),
        ({"initial": [1.5, -0.5]}, "initial holds"),
        ({"terminal": [True]}, "terminal has shape"),
        ({"terminal": np.full((2, 2, 2), 2.0)}, "outside"),
        ({"encode": "binary"}, "one-hot"),
    ],
)
def test_wrong_processes_are_refused(change, message):
    right = {
        "transition": np.full((2, 2, 2), 0.5),
        "reward": np.ones((2, 2)),
        "initial": [1.0, 0.0],
    }
    with pytest.raises(ValueError, match=message):
        FiniteMDP(**(right | change))


def test_wrong_questions_are_refused():
    mdp = random_mdp(7)
    policy = random_policy(mdp)
    with pytest.raises(ValueError, match="The policy has shape"):
        mdp.policy_value(np.zeros(4, int), 0.9)
    with pytest.raises(ValueError, match="n_actions is 3"):
        mdp.policy_value(np.full(5, 3), 0.9)
    with pytest.raises(ValueError, match="policy must hold integers"):
        mdp.policy_value(np.full(5, 0.5), 0.9)
    with pytest.raises(ValueError, match="policy holds"):
        mdp.policy_value(2 * policy, 0.9)
    with pytest.raises(ValueError, match="discount"):
        mdp.policy_value(policy, 1.1)
    with pytest.raises(ValueError, match="horizon"):
        mdp.policy_value(policy, 0.9, horizon=0)
    with pytest.raises(ValueError, match="n_transitions"):
        mdp.sample(policy, 0)
    log = mdp.sample(policy, 50, 0)
    with pytest.raises(ValueError, match="n_states is 2"):
        FiniteMDP.from_counts(log, n_states=2)
    with pytest.raises(ValueError, match="not one-hot"):
        mdp.one_hot(np.full((2, 5), 0.2))


# Environments


def lean(observation, rng):
    if rng.random() < 0.2:
        return int(rng.integers(2)), 0.1
    return int(observation[2] + observation[3] > 0), 0.9


def test_cart_pole_rows_are_whole():
    env = gymnasium.make("CartPole-v1", max_episode_steps=30)
    log = log_episodes(env, lean, 1000, random_state=0)
    assert len(log) == 1000
    assert log.state.shape == (1000, 4)
    assert log.state.dtype == log.next_state.dtype == np.float64
    assert_episodes(log, 30)
    terminated = np.asarray(log.terminated)
    last = np.append(np.diff(log.episode) == 1, True)
    # The time limit is reached, and says nothing about the value of the state.
    assert (last & ~terminated & (log.step == 29)).any()
    assert set(np.unique(log.propensity)) == {0.1, 0.9}


def test_an_estimator_logs_what_a_function_logs():
    def always(observation, rng):
        return 1

    a = log_episodes("CartPole-v1", Constant(1), 100, random_state=0)
    assert_same_log(a, log_episodes("CartPole-v1", always, 100, random_state=0))
    assert a.propensity is None


def test_discrete_observations_are_one_integer_column():
    log = log_episodes("FrozenLake-v1", lambda s, rng: rng.integers(4), 300, 0)
    assert log.state.shape == (300, 1)
    assert log.state.dtype.kind == log.next_state.dtype.kind == "i"
    assert_episodes(log, 100)
    counts = FiniteMDP.from_counts(log, n_states=16)
    exact = FiniteMDP.from_gymnasium("FrozenLake-v1")
    # Whatever was logged is possible in the exact process.
    assert (exact.transition[counts.visits > 0] > 0)[
        counts.transition[counts.visits > 0] > 0
    ].all()


def test_box_actions_and_dictionary_observations():
    log = log_episodes("Pendulum-v1", lambda s, rng: rng.uniform(-2, 2, 1), 20, 0)
    assert log.action.shape == (20,)
    labels = log_episodes("Pendulum-v1", Constant(-2.0), 20, 0)
    assert labels.action.shape == (20,)
    cards = log_episodes("Blackjack-v1", lambda s, rng: rng.integers(2), 20, 0)
    assert cards.state.ndim == 2
    assert_episodes(cards, None)


def test_a_horizon_cuts_episodes():
    log = log_episodes("CartPole-v1", lean, 100, 0, horizon=5)
    assert_episodes(log, 5)
    assert log.step.max() == 4


def test_logs_are_seeded_and_leave_the_global_state_alone():
    before = global_state()
    a, b, c = (log_episodes("CartPole-v1", lean, 200, seed) for seed in (0, 0, 1))
    assert global_state() == before
    assert_same_log(a, b)
    assert not np.array_equal(a.state, c.state)


def test_propensities_always_or_never():
    def sometimes(observation, rng):
        return (0, 0.5) if observation[0] > 0 else 0

    with pytest.raises(ValueError, match="first without: row"):
        log_episodes("CartPole-v1", sometimes, 200, 0)


def test_rollouts_in_lockstep_are_rollouts_one_by_one(monkeypatch):
    together = rollout_returns("CartPole-v1", lean, 7, 0)
    assert len(set(together)) > 1
    assert_array_equal(rollout_returns("CartPole-v1", lean, 3, 0), together[:3])
    monkeypatch.setattr("sklearn_stackelberg.datasets._gymnasium._LOCKSTEP", 2)
    assert_array_equal(rollout_returns("CartPole-v1", lean, 7, 0), together)


def test_rollouts_take_ids_factories_and_environments():
    env = gymnasium.make("CartPole-v1")
    given = ["CartPole-v1", lambda: gymnasium.make("CartPole-v1"), env]
    returns = [rollout_returns(e, Constant(0), 4, 0) for e in given]
    assert_array_equal(returns[0], returns[1])
    assert_array_equal(returns[0], returns[2])
    with pytest.raises(TypeError, match="expected a Gymnasium environment"):
        rollout_returns(3, Constant(0), 4)


def test_rollouts_ask_an_estimator_once_a_step():
    policy = Constant(0)
    returns = rollout_returns("CartPole-v1", policy, 20, 0)
    assert policy.n_calls == returns.max()
    assert_array_equal(rollout_returns("CartPole-v1", policy, 5, 0, horizon=3), 3.0)


def test_counts_are_positive_integers():
    with pytest.raises(ValueError, match="n_episodes"):
        rollout_returns("CartPole-v1", Constant(0), 0)
    with pytest.raises(ValueError, match="n_transitions"):
        log_episodes("CartPole-v1", Constant(0), 1.5)


class Pushes(gymnasium.Env):
    """A point that an action of any shape pushes by its sum; the reward shows which."""

    def __init__(self, shape=(2,)):
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, shape)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = np.zeros(1, dtype=np.float32)
        return self.at, {}

    def step(self, action):
        assert action.shape == self.action_space.shape
        self.at = self.at + action.sum()
        return self.at, float(action.flat[0] - action.flat[-1]), False, False, {}


class Vectors:
    """What an estimator of continuous actions predicts."""

    def predict(self, states):
        return np.stack([np.tanh(states[:, 0]), np.full(len(states), -0.25)], axis=1)


@pytest.mark.parametrize("shape", [(2,), (2, 2), (1, 1)])
def test_actions_of_several_numbers_are_logged_as_rows(shape):
    def draw(observation, rng):
        return rng.uniform(-1, 1, shape)

    log = log_episodes(Pushes(shape), draw, 12, 0, horizon=4)
    action = log.action.reshape(12, -1)
    assert log.action.shape == ((12, action.shape[1]) if shape != (1, 1) else (12,))
    assert_allclose(
        log.next_state[:, 0] - log.state[:, 0], action.sum(axis=1), atol=1e-6
    )
    assert_allclose(log.reward, action[:, 0] - action[:, -1], atol=1e-6)


def test_vectors_that_are_predicted_are_taken():
    log = log_episodes(Pushes(), Vectors(), 8, 0, horizon=4)
    assert_allclose(log.action, Vectors().predict(log.state), atol=1e-6)
    returns = rollout_returns(Pushes(), Vectors(), 3, 0, horizon=4)
    assert_allclose(returns, log.reward[:4].sum(), atol=1e-6)


def test_without_gymnasium_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match="pip install gymnasium"):
        log_episodes("CartPole-v1", lean, 10)
