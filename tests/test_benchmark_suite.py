"""The suite: halves that share nothing, problems with known truths, its table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gymnasium")
import benchmarks.tables.rollouts as rollouts
import benchmarks.tables.suite as suite
from benchmarks.__main__ import parse
from benchmarks.families import progress
from benchmarks.families.choose import ring
from benchmarks.families.environments import FORCE, HILL, LANDER, TORQUE, Environment
from benchmarks.families.explorers import Greenhouse, Line, Retention
from benchmarks.families.glucose import Glucose
from benchmarks.families.noise import MostlyNoise
from benchmarks.families.problem import Finite
from benchmarks.families.tank import Tank
from benchmarks.families.trial import Trial
from benchmarks.report import Rows
from benchmarks.suite import FIRST_SEED, GRID, GRID_NAME, HALVES, suite_methods
from benchmarks.suite.methods import OURS
from benchmarks.suite.rollouts import episode_returns, upper_confidence
from benchmarks.suite.scores import (
    Cell,
    cells,
    interval,
    is_below_logger,
    leads,
    ranks,
    share,
)
from sklearn_stackelberg.benchmark._methods import Facts

SIMULATED = (
    *(Tank(), Trial(), MostlyNoise()),
    *(Line(0.3), Greenhouse(), Retention()),
)


def short(environment, n_episodes=3):
    return replace(environment, n_transitions=300, n_episodes=n_episodes)


class Reference:
    """Acts as the reference does."""

    def __init__(self, act):
        self._act, self._rng = act, np.random.default_rng(0)

    def predict(self, states):
        return self._act(np.asarray(states), self._rng)


# ------------------------------------------------------------------------- the halves


def test_no_problem_is_in_both_halves():
    choose, evaluate = HALVES.values()
    names = [problem.name for problem in (*choose, *evaluate)]
    assert len(set(names)) == len(names)
    assert min(len(choose), len(evaluate)) >= 14
    # Nor the same process under another name; both classes hold many.
    general = {Finite, Environment}
    assert not ({type(p) for p in choose} & {type(p) for p in evaluate}) - general
    environments = [
        {str(p.env) for p in half if isinstance(p, Environment)}
        for half in (choose, evaluate)
    ]
    assert not environments[0] & environments[1]


def test_the_halves_logs_have_seeds_of_their_own():
    spans = [set(range(FIRST_SEED[half], FIRST_SEED[half] + 1_000)) for half in HALVES]
    assert not spans[0] & spans[1]
    assert not (spans[0] | spans[1]) & {20_000, 2**31}


# ----------------------------------------------------------------------- the problems


def need_the_patients():
    pytest.importorskip("sksurv", reason="ships the patients of ACTG 320")


@pytest.mark.parametrize("problem", SIMULATED, ids=lambda p: p.name)
def test_a_log_follows_its_seed_and_the_reference_beats_the_logger(problem):
    if isinstance(problem, Trial):
        need_the_patients()
    log, again, other = (problem.log(seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(log.state, again.state)
    np.testing.assert_array_equal(log.reward, again.reward)
    assert not np.array_equal(log.reward, other.reward)
    assert np.isfinite(np.asarray(log.state)).all()
    rng = np.random.default_rng(0)
    policy = Reference(lambda states, _: problem.best(states, rng))
    assert problem.optimum > problem.logger_value
    assert progress(problem, problem.value(policy, 5)) == pytest.approx(1.0, abs=0.1)
    lost = Reference(lambda states, _: problem.behave(states, rng))
    assert progress(problem, problem.value(lost, 5)) == pytest.approx(0.0, abs=0.15)


def test_the_drug_of_the_trial_helps_some_and_harms_some():
    need_the_patients()
    trial = Trial()
    effect = trial.effect(trial.patients)
    assert 0.2 < (effect > 0).mean() < 0.8
    assert progress(trial, trial.value(Reference(lambda s, _: np.ones(len(s))))) < 0.9


@pytest.mark.parametrize("environment", [TORQUE, FORCE, HILL], ids=lambda e: e.name)
def test_an_environment_of_amounts(environment):
    problem = short(environment, 10)
    log, again = problem.log(0), problem.log(0)
    np.testing.assert_array_equal(log.reward, again.reward)
    assert len(log) == 300
    assert np.asarray(log.action).dtype.kind == "f"
    assert problem.optimum > problem.logger_value


def test_the_lander_s_reference_lands():
    pytest.importorskip("Box2D")
    problem = short(LANDER, 4)
    log = problem.log(0)
    np.testing.assert_array_equal(log.reward, problem.log(0).reward)
    assert set(np.unique(log.action)) == {0, 1, 2, 3}
    assert problem.optimum > problem.logger_value + 50.0


def test_another_patient_than_the_one_that_ships():
    pytest.importorskip("simglucose")
    problem = Glucose("adult#003")
    problem.n_days, problem.n_value_days = 1, 2
    log = problem.log(0)
    assert len(log) == 48
    assert np.isfinite(np.asarray(log.state)).all()
    same = log.episode[1:] == log.episode[:-1]
    np.testing.assert_array_equal(log.next_state[:-1][same], log.state[1:][same])
    assert problem.optimum > problem.logger_value


# ------------------------------------------------------------------------ the methods


def test_methods_have_names_of_their_own_and_fit_small_logs():
    methods = suite_methods()
    assert len({m.key for m in methods}) == len(methods)
    assert len(GRID) == 25
    quick = {"LSPI kernel", "BC network"}
    problem = ring("small ring", 0.0)
    log = problem.log(0)
    facts = Facts.of(log, problem.discount, "auto")
    for method in methods:
        if method.name in quick:
            assert not method.not_for(facts)
            row = suite._of_method(problem, 0, method, facts.action_type)
            assert row["score"] is not None, row
            assert row["score"] <= 1.0 + 1e-9


def test_a_network_imitates_amounts():
    problem = short(FORCE, 2)
    network = next(m for m in suite_methods() if m.name == "BC network")
    row = suite._of_method(problem, 0, network, "continuous")
    assert row["score"] is not None, row


def test_a_method_that_fails_is_a_row():
    class Refuses:
        def fit(self, log):
            raise ValueError("no")

    assert suite._scored(ring("small ring", 0.0), 0, Refuses()) == {
        "score": None,
        "failed": "ValueError: no",
    }


def test_a_problem_whose_simulator_is_missing_is_left_out(
    tmp_path, monkeypatch, capsys
):
    class Missing:
        name, discount = "missing", 0.9

        def log(self, seed):
            raise ImportError("Install simglucose.")

    monkeypatch.setattr(suite, "HALVES", {"choose": (Missing(),)})
    assert suite.run(Rows("suite", tmp_path)) == ""
    assert "Left out: missing. Install simglucose." in capsys.readouterr().err


# -------------------------------------------------------------------------- the table


def rows_of(**scores):
    """Rows of one problem: a list of scores for each method, by logs."""
    return [
        {"problem": "p", "method": method, "seed": seed, "score": score}
        for method, values in scores.items()
        for seed, score in enumerate(values)
    ]


def test_figures_from_rows():
    found = cells(rows_of(a=[0.5, 0.75], b=[0.75, 0.5], c=[-0.5, -0.4], d=[0.1, None]))
    assert found["p", "d"].scores.tolist() == [0.1, -1.0]
    # a and b differ by less than chance does.
    assert ranks(found, "p", "abcd") == {"a": 1.5, "b": 1.5, "c": 3.5, "d": 3.5}
    assert [leads(found, "p", m, "abcd") for m in "abcd"] == [True, True, False, False]
    assert leads(found, "elsewhere", "a", "abcd") is None
    assert [is_below_logger(found["p", m]) for m in "abcd"] == [False] * 2 + [
        True,
        False,
    ]
    np.testing.assert_allclose(share(found["p", "a"], found["p", "b"]), [2 / 3, 1.5])
    # Of the grid the best setting of each log.
    grid = [{**row, "method": GRID_NAME} for row in rows_of(a=[0.2, 0.9], b=[0.6, 0.1])]
    assert cells(grid)["p", GRID_NAME].scores.tolist() == [0.6, 0.9]


def test_no_share_is_taken_of_a_grid_that_gains_nothing():
    none = Cell((0, 1), np.array([0.0, 0.01]))
    assert len(share(Cell((0, 1), np.array([0.3, -0.2])), none)) == 0
    far = share(Cell((0,), np.array([-90.0])), Cell((0,), np.array([0.5])))
    assert far.tolist() == [-1.0]


def test_intervals_are_over_problems_and_logs():
    rng = np.random.default_rng(0)
    groups = [rng.normal(mean, 0.1, 20) for mean in rng.normal(0.5, 0.2, 30)]
    low, high = interval(groups, np.mean)
    means = [group.mean() for group in groups]
    assert low < np.mean(means) < high
    error = np.std(means) / np.sqrt(30)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    # One problem has no spread over problems, but over logs.
    low, high = interval([np.array([0.0, 1.0])], np.mean)
    assert (low, high) == (0.0, 1.0)


def test_a_table_of_two_logs(tmp_path, monkeypatch):
    halves = {
        "choose": (ring("ring a", 0.0),),
        "evaluate": (ring("ring b", 0.0, 4),),
    }
    monkeypatch.setattr(suite, "HALVES", halves)
    monkeypatch.setattr(suite, "GRID", ({}, {"lam": 1.0}))
    names = "stackelberg|lspi-kernel|best-of-a-grid"
    rows = Rows("suite", tmp_path)
    for part in ((0, 2), (1, 2)):
        text = suite.run(rows, seeds=2, methods=names, part=part)
    assert {row["seed"] for row in rows} == {0, 1}
    assert {row["method"] for row in rows} == {"Stackelberg", "LSPI kernel", GRID_NAME}
    assert "| Stackelberg | 1 |" in text
    assert "ring b" not in text
    again = Rows("suite", tmp_path, resume=True)
    assert suite.run(again, seeds=2, methods=names) == text
    text = suite.run(again, half="evaluate", seeds=1, methods="LSPI kernel")
    assert "ring b" in text
    seeds = {row["seed"] for row in again if row["problem"] == "ring b"}
    assert seeds == {FIRST_SEED["evaluate"]}
    assert {m.name for m in suite.wanted_methods(None, "ours")} <= set(OURS)


def test_the_command_takes_a_half_and_methods():
    options = parse(["suite", "--half", "evaluate", "--methods", "lspi-kernel|vi-lcb"])
    assert (options.half, options.methods) == ("evaluate", "lspi-kernel|vi-lcb")
    with pytest.raises(SystemExit):
        parse(["suite", "--half", "middle"])


# ---------------------------------------------------------------------- the roll-outs


def test_more_roll_outs_choose_better():
    rng = np.random.default_rng(0)
    returns = rng.normal(np.linspace(0.0, 1.0, 10)[:, None], 1.0, size=(10, 500))
    chosen = [upper_confidence(returns, (1, 10, 200), rng) for _ in range(100)]
    one, ten, many = returns.mean(axis=1)[np.array(chosen)].mean(axis=0)
    assert one == pytest.approx(0.5, abs=0.12)
    assert one < ten < many
    assert many > 0.8


@pytest.mark.parametrize(
    "problem", [ring("ring", 0.0), Tank(), short(TORQUE)], ids=lambda p: p.name
)
def test_single_episodes_average_to_the_value(problem):
    # Both are of a policy that does one thing.
    policy = Reference(lambda states, _: np.zeros(len(states), dtype=int))
    n = 20 if problem.name == "Pendulum" else 500
    found = episode_returns(problem, policy, n, 0)
    assert found.shape == (n,)
    value = problem.value(policy)
    error = found.std() / np.sqrt(n)
    # The ring's episodes are cut after 30 steps, when 0.95^30 = 0.21 is left.
    cut = 0.25 * abs(value) if problem.name == "ring" else 0.0
    others = 3 if problem.name == "Pendulum" else np.inf
    assert abs(found.mean() - value) < 5.0 * (error + found.std() / others) + cut


def test_a_table_of_roll_outs(tmp_path, monkeypatch):
    monkeypatch.setattr(rollouts, "HALVES", {"choose": (ring("ring a", 0.0),)})
    monkeypatch.setattr(rollouts, "GRID", ({}, {"lam": 1.0}))
    monkeypatch.setattr(rollouts, "LSPI_GRID", ({}, {"ridge": 1e-3}))
    monkeypatch.setattr(rollouts, "N_RETURNS", 5)
    monkeypatch.setattr(rollouts, "N_REPEATS", 5)
    rows = Rows("rollouts", tmp_path)
    text = rollouts.run(rows, seeds=1)
    assert "| ring a | ours |" in text
    assert "| mean | LSPI kernel |" in text
    again = Rows("rollouts", tmp_path, resume=True)
    assert rollouts.run(again, seeds=1) == text


def test_roll_outs_leave_out_what_has_none_and_lspi_where_actions_are_amounts(
    tmp_path, monkeypatch
):
    problems = {"choose": (Glucose("adult#003"), short(FORCE))}
    monkeypatch.setattr(rollouts, "HALVES", problems)
    monkeypatch.setattr(rollouts, "GRID", ({"lam": 1.0},))
    monkeypatch.setattr(rollouts, "N_RETURNS", 2)
    rows = Rows("rollouts", tmp_path)
    rollouts.run(rows, seeds=1)
    assert [(row["problem"], row["method"]) for row in rows] == [(FORCE.name, "ours")]
