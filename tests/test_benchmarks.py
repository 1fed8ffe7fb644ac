"""The tabular peers of the benchmarks against problems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium")
from benchmarks.peers.tabular import (
    Counts,
    behaviour_cloning,
    penalised_values,
    value_iteration,
    vi_lcb,
)
from benchmarks.problems import DISCOUNT, FROZEN_LAKE, frozen_lake
from benchmarks.report import best_settings
from sklearn_stackelberg import Transitions


def exhaustive_log(map_name):
    """Every outcome of every pair as often as its probability says."""
    mdp = frozen_lake(map_name)
    weights = np.rint(3 * mdp.transition).astype(int)
    pairs = np.argwhere(weights > 0)
    pairs = np.repeat(pairs, weights[tuple(pairs.T)], axis=0)
    state, action, after = pairs.T
    return Transitions(
        state[:, None],
        action,
        mdp.reward[state, action, after],
        after[:, None],
        mdp.termination[state, action, after] > 0.5,
    )


@pytest.mark.parametrize("map_name", ["4x4", "8x8"])
def test_value_iteration_on_an_exhaustive_log_is_the_optimum(map_name):
    mdp = frozen_lake(map_name)
    counts = Counts.of(exhaustive_log(map_name), mdp.n_states, mdp.n_actions)
    policy = value_iteration(counts, DISCOUNT)
    assert mdp.policy_value(policy, DISCOUNT) == pytest.approx(
        mdp.optimal_value(DISCOUNT), abs=1e-9
    )
    best = mdp.q_values(mdp.optimal_policy(DISCOUNT), DISCOUNT)
    np.testing.assert_allclose(penalised_values(counts, DISCOUNT), best, atol=1e-9)


@pytest.mark.parametrize("clip", [True, False])
def test_vi_lcb_without_penalty_is_value_iteration(clip):
    problem = FROZEN_LAKE[0]
    counts = Counts.of(problem.log(0), problem.mdp.n_states, 4)
    plain = value_iteration(counts, DISCOUNT)
    assert problem.success(vi_lcb(counts, DISCOUNT, 0.0, clip)) == pytest.approx(
        problem.success(plain)
    )


def test_a_huge_penalty_clones_the_behaviour():
    problem = FROZEN_LAKE[-1]
    counts = Counts.of(problem.log(0), problem.mdp.n_states, 4)
    cloned = behaviour_cloning(counts, sampled=False)
    lower = vi_lcb(counts, DISCOUNT, 1e6, clip=True)
    seen = counts.visits.sum(axis=1) > 0
    np.testing.assert_array_equal(lower[seen], cloned[seen])


def test_the_partial_logger_bars_one_action_in_half_of_the_states():
    problem = next(p for p in FROZEN_LAKE if p.logger == "partial")
    states = problem.decision_states
    for table in problem.behaviour_tables(3):
        np.testing.assert_allclose(table.sum(axis=1), 1.0)
    uniform, controller = problem.behaviour_tables(3)
    barred = uniform[states] == 0
    assert barred.sum() == round(len(states) / 2)
    assert (controller[states][barred] == 0).all()


def test_the_best_setting_is_chosen_by_the_mean():
    rows = [
        {
            "problem": "p",
            "method": "m",
            "setting": {"c": c},
            "score": s,
            "cpu_seconds": 1.0,
        }
        for c, s in [(1, 0.0), (1, 1.0), (2, 0.6), (2, 0.6), (3, 2.0)]
    ]
    (best,) = best_settings(rows)  # setting 3 lacks a seed
    assert best["setting"] == {"c": 2}
    assert best["mean"] == pytest.approx(0.6)
