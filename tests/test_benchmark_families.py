"""The problem families of the benchmarks: valid logs, and values that are true."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import logged

pytest.importorskip("gymnasium")
from benchmarks.families import CHOOSE, EVALUATE, progress
from benchmarks.families.choose import Control
from benchmarks.families.problem import Finite, Simulated
from benchmarks.families.queues import QUEUES
from benchmarks.families.shapes import KINDS, Shape

# Where there is noise alone no reference is better than the logger.
MADE = (*(make() for make in QUEUES), *(Shape(kind, 6, 500) for kind in KINDS[:-1]))
PROBLEMS = (*CHOOSE, *EVALUATE, *MADE)
SIMULATED = tuple(p for p in PROBLEMS if isinstance(p, Simulated))

each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)


class Acting:
    """A policy that acts as a function of states does."""

    def __init__(self, act, n_actions=None):
        self._act, self._rng = act, np.random.default_rng(0)
        if n_actions is not None:
            self.classes_ = np.arange(n_actions)

    def predict(self, states):
        return self._act(states, self._rng)

    def predict_proba(self, states):
        return np.eye(len(self.classes_))[self.predict(states)]

    def sample(self, states, random_state):
        return self.predict(states)


def test_nothing_is_chosen_by_what_figures_are_reported_on():
    names = [problem.name for problem in PROBLEMS]
    assert len(set(names)) == len(names)
    kinds = [{type(p) for p in part} - {Finite} for part in (CHOOSE, EVALUATE)]
    assert not kinds[0] & kinds[1]


@each_problem
def test_the_log_is_whole_and_follows_its_seed(problem):
    log, again, other = logged(problem, 0), problem.log(0), logged(problem, 1)
    assert np.isfinite(np.asarray(log.state)).all()
    np.testing.assert_array_equal(log.state, again.state)
    np.testing.assert_array_equal(log.reward, again.reward)
    assert len(log) != len(other) or not np.array_equal(log.action, other.action)
    # A row's next state is the next row's state, and nothing follows an end.
    follows = log.episode[1:] == log.episode[:-1]
    np.testing.assert_array_equal(log.step[1:][follows], log.step[:-1][follows] + 1)
    np.testing.assert_array_equal(log.next_state[:-1][follows], log.state[1:][follows])
    assert not log.terminated[:-1][follows].any()


@each_problem
def test_the_reference_beats_the_logger(problem):
    assert problem.optimum > problem.logger_value
    assert progress(problem, problem.optimum) == pytest.approx(1.0)
    assert progress(problem, problem.logger_value) == pytest.approx(0.0)


@each_problem
def test_the_logger_takes_what_is_allowed(problem):
    log = logged(problem, 1)
    allowed = problem.allowed(np.asarray(log.state, dtype=float), seed=1)
    if allowed is not None:
        assert allowed[np.arange(len(log)), log.action].all()
        least = Acting(
            lambda s, _: problem.allowed(s, 1).argmin(axis=1), allowed.shape[1]
        )
        predicted, probability = problem.unlogged_share(least, log.state, seed=1)
        assert predicted == pytest.approx(1.0 - allowed.all(axis=1).mean())
        assert probability == pytest.approx(predicted)


@pytest.mark.parametrize("problem", SIMULATED, ids=lambda p: p.name)
def test_the_value_of_the_log_is_that_of_the_logger(problem):
    if problem.value_length is not None:
        pytest.skip("Values are of longer episodes than the log's.")
    log = logged(problem, 0)
    discount = problem.value_discount or problem.discount
    returns = np.bincount(log.episode, discount**log.step * log.reward)
    error = returns.std() / np.sqrt(min(len(returns), problem.value_episodes))
    assert abs(returns.mean() - problem.logger_value) < 5.0 * error
    policy = Acting(problem.behave)
    assert abs(problem.value(policy) - problem.logger_value) < 5.0 * error
    assert abs(problem.value_stochastic(policy) - problem.logger_value) < 5.0 * error


@pytest.mark.parametrize(
    "problem", [p for p in PROBLEMS if isinstance(p, Finite)], ids=lambda p: p.name
)
def test_values_of_a_finite_problem_are_exact(problem):
    best = problem.mdp.optimal_policy(problem.discount)
    n_actions = problem.mdp.n_actions

    def act(states, _):
        distance = ((states[:, None] - problem.codes[None]) ** 2).sum(axis=2)
        return best[distance.argmin(axis=1)]

    policy = Acting(act, n_actions)
    assert problem.value(policy) == pytest.approx(problem.optimum)
    assert problem.value_stochastic(policy) == pytest.approx(problem.optimum)


def test_a_control_problem_rolls_out():
    problem = next(p for p in CHOOSE if isinstance(p, Control))
    upright = Acting(lambda s, _: (s[:, 2] + s[:, 3] > 0).astype(int), 2)
    assert problem.value(upright) > problem.logger_value
    assert problem.value_stochastic(upright) == problem.value(upright)
