"""The benchmarks' peers on problems whose answer is known, and their comparisons."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("gymnasium")
import benchmarks.compare as scores
from benchmarks.continuous_problems import (
    PENDULUM,
    POINT_MASS,
    OptimalForce,
    PointMass,
    noisy,
    riccati,
    swing_up,
)
from benchmarks.dose_problems import SKEWED, STOCK, TOXIC, share
from benchmarks.peers.tabular import (
    Counts,
    behaviour_cloning,
    penalised_values,
    value_iteration,
    vi_lcb,
)
from benchmarks.problems import DISCOUNT, FROZEN_LAKE, frozen_lake
from benchmarks.report import best_settings
from benchmarks.unchanged import compare, report
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


def test_riccati_s_value_is_what_its_force_earns():
    returns = POINT_MASS.returns(OptimalForce(), n_episodes=250)
    error = returns.std(ddof=1) / np.sqrt(len(returns))
    assert abs(returns.mean() - riccati().value) < 4.0 * error


def test_the_optimal_force_hardly_ever_meets_its_bounds():
    gains = riccati().gains
    rng = np.random.default_rng(0)
    state = rng.uniform(-PointMass.START, PointMass.START, size=(1_000, 4))
    outside = 0
    for gain in gains:
        force = -state @ gain.T
        outside += np.sum(np.abs(force) > 1.0)
        state = state @ PointMass.A.T + force @ PointMass.B.T
    assert outside / (1_000 * len(gains) * 2) < 1e-3


@pytest.mark.parametrize("random", [0.0, 0.5, 1.0])
def test_a_noisy_torque_keeps_its_bounds_and_its_share_of_uniform_draws(random):
    behave = noisy(lambda observation: np.array([9.0]), random, 0.1, PENDULUM.bounds)
    rng = np.random.default_rng(0)
    torque = np.array([behave(np.zeros(3), rng)[0] for _ in range(2_000)])
    assert np.abs(torque).max() <= 2.0
    assert np.mean(torque < 2.0) == pytest.approx(random, abs=0.04)


def test_the_swing_up_stands_and_the_logger_is_mediocre():
    assert PENDULUM.returns(lambda s, _: swing_up(s), n_episodes=20).mean() > -250
    assert -1_000 < PENDULUM.returns(PENDULUM.behaviour, n_episodes=50).mean() < -600


def test_equal_arrays_are_unchanged_to_the_bit():
    arrays = {
        "p/value": np.array([1.0, np.nan, -np.inf]),
        "p/label": np.array(["a", "b"]),
        "q/mask": np.array(True),
        "q/nothing": np.zeros(0),
    }
    found = compare(arrays, {name: array.copy() for name, array in arrays.items()})
    assert all(one.same_bits and one.difference == 0.0 for one in found)
    assert "| p | 2 | 0.0e+00 | yes |" in report(found)


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ([0.1, 100.0], [0.1 + 1e-11, 100.0], 1e-13),
        ([0.1, 100.0], [0.1 + 1e-8, 100.0], 1e-10),
        ([0.0, 0.0], [0.0, 1e-300], np.inf),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, 2.0], [1.0, np.nan], np.inf),
        ([1.0, 2.0], [1.0], np.inf),
        (["a"], ["b"], np.inf),
        ([True], [False], np.inf),
    ],
)
def test_a_difference_is_relative_to_the_largest_entry(before, after, difference):
    (found,) = compare({"p/x": np.array(before)}, {"p/x": np.array(after)})
    assert found.difference == pytest.approx(difference, rel=1e-3)
    assert not found.same_bits
    assert found.unchanged == (difference < 1e-12)
    assert ("p/x" in report([found])) == (difference > 1e-12)


def test_a_missing_name_is_a_change():
    one = np.ones(1)
    found = compare({"p/x": one, "p/old": one}, {"p/x": one, "q/new": one})
    assert [one.missing for one in found] == ["", "after", "before"]
    assert [one.unchanged for one in found] == [True, False, False]
    text = report(found)
    assert "p/old: missing after" in text
    assert "q/new: missing before" in text


class Acting:
    """A policy that is a function of the states."""

    def __init__(self, predict):
        self.predict = predict


def test_shares_of_doses_are_of_the_best_of_a_grid():
    seven = Acting(lambda states: np.full(len(states), 7.0))
    assert share(SKEWED, seven) == pytest.approx(1.0, abs=1e-3)
    assert TOXIC.best > TOXIC.value(seven)
    assert share(STOCK, Acting(lambda states: np.zeros(len(states)))) < 0.0
    best = max(map(STOCK.value, map(Acting, STOCK.grid)))
    assert STOCK.best == pytest.approx(best, rel=0.01)


def test_steps_of_a_process_follow_one_another():
    log = STOCK.log(0)
    follows = log.step[1:] > 0
    np.testing.assert_array_equal(log.next_state[:-1][follows], log.state[1:][follows])
    assert 0.4 < (log.action == 0.0).mean() < 0.95


def score_rows(scores, problem="p", setting=None, method="ours", **more):
    """A row a log."""
    setting = setting or {}
    row = {"problem": problem, "method": method, "setting": setting, **more}
    return [
        {"seed": seed, "score": score, "cpu_seconds": 1.0, **row}
        for seed, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("after", "worse"),
    [([1.0, 2.0, 3.0], False), ([0.3, 1.3, 2.3], False), ([0.1, 1.1, 2.1], True)],
)
def test_a_cell_is_worse_if_it_fell_by_more_than_its_spread(after, worse):
    # The standard deviation of 1, 2, 3 is 0.82.
    (cell,) = scores.compare(score_rows([1.0, 2.0, 3.0]), score_rows(after))
    assert cell.worse == worse
    assert cell.difference == pytest.approx(np.mean(after) - 2.0)
    assert cell.error == pytest.approx(0.0, abs=1e-12)
    assert ("WORSE" in scores.report("control", [cell])) == worse


def test_each_side_has_its_best_setting_on_the_logs_that_both_have():
    # Of all logs before, a is the best setting; of the first two, b is.
    before = score_rows([0, 0, 9], setting={"a": 1}) + score_rows(
        [1, 1, 1], setting={"b": 1}
    )
    after = score_rows([3, 4], setting={"c": 1})
    (cell,) = scores.compare(before, after)
    assert cell.before["setting"] == {"b": 1}
    assert cell.difference == pytest.approx(2.5)
    assert cell.error == pytest.approx(0.5)


def test_peers_are_not_compared_and_a_missing_side_is_not_worse():
    peer = score_rows([5.0], method="theirs")
    found = scores.compare(
        peer + score_rows([1.0], "old"), peer + score_rows([1.0], "new")
    )
    assert [cell.problem for cell in found] == ["old", "new"]
    assert not any(cell.worse for cell in found)
    assert "| old | ours | 1 ± 0 | – |" in scores.report("control", found)


def save(folder, table, rows):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / f"{table}.jsonl").write_text("".join(lines))


def test_rows_are_read_so_that_larger_scores_are_better(tmp_path):
    pair = [{**row, "seconds": [1.0, 2.0]} for row in score_rows([0.2])]
    save(tmp_path, "stochastic", pair)
    (row,) = scores.read("stochastic", tmp_path)
    assert row["score"] == -0.2
    assert row["cpu_seconds"] == 3.0
    save(tmp_path, "total_derivative", score_rows([1.0], setting={"steps": 40}))
    (row,) = scores.read("total_derivative", tmp_path)
    assert (row["problem"], row["setting"]) == ("p, steps 40", {})
    assert list(scores.read("control", tmp_path)) == []


def test_compare_runs_both_sides_each_with_its_own_code(tmp_path, monkeypatch, capsys):
    fallen = {"before": [1.0, 1.0], "after": [0.5, 0.5]}
    roots = {}

    def run(root, folder, tables, seeds):
        roots[folder.name] = root
        for table in tables:
            save(folder, table, score_rows(fallen[folder.name][:seeds]))
        return []

    monkeypatch.setattr(scores, "run", run)
    monkeypatch.setattr(scores, "checkout", lambda rev, where: nullcontext(where / rev))
    arguments = ["control", "--revision", "HEAD", "--seeds", "2"]
    assert scores.main([*arguments, "--results", str(tmp_path)]) == 1
    assert roots["after"] == scores.ROOT != roots["before"]
    text = capsys.readouterr().out
    assert "| p | ours | 1 ± 0 | 0.5 ± 0 | -0.5 ± 0 | 1.00 / 1.00 | 2 | WORSE |" in text
    assert "1 of 1 cells are worse by more than their spread." in text
