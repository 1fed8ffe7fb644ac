"""The problems that trust is measured on: true values, logs, and tables of two logs."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import logged

pytest.importorskip("gymnasium")
import benchmarks.tables.ranks as ranks
from benchmarks.__main__ import parse
from benchmarks.report import Rows
from benchmarks.tables import differences, floors, held_out, published
from benchmarks.trust import PROBLEMS, by_name
from benchmarks.trust.policies import Gaussian, tabular, uniform
from benchmarks.trust.processes import LinearQuadratic, chain
from benchmarks.trust.published import (
    MEAN_UTILITY,
    N_PATIENTS,
    TREAT_ALL,
    TREATED,
    RStream,
    sim_two_stage,
)
from benchmarks.trust.statistics import bootstrap, wilson
from sklearn_stackelberg.metrics import fitted_q_value

INSTALLED = [problem for problem in PROBLEMS if problem.is_installed]
each_problem = pytest.mark.parametrize("problem", INSTALLED, ids=lambda p: p.name)


@each_problem
def test_a_log_follows_its_seed_and_its_steps(problem):
    log, again, other = logged(problem, 0), problem.log(0), logged(problem, 3)
    np.testing.assert_array_equal(log.reward, again.reward)
    assert len(log) != len(other) or not np.array_equal(log.reward, other.reward)
    follows = log.episode[1:] == log.episode[:-1]
    np.testing.assert_array_equal(log.step[1:][follows], log.step[:-1][follows] + 1)
    np.testing.assert_array_equal(log.next_state[:-1][follows], log.state[1:][follows])
    if problem.tenfold is not None:
        n_episodes = [
            len(np.unique(one.episode)) for one in (log, problem.log(0, True))
        ]
        assert n_episodes[1] == 10 * n_episodes[0]


@each_problem
def test_the_logger_takes_the_actions_that_its_probabilities_say(problem):
    log = logged(problem, 3)
    if problem.continuous:
        nodes, weight = problem.logger.action_nodes(log.state)
        mean = (nodes[:, :, 0] * weight).sum(axis=1)
        spread = np.sqrt((((nodes[:, :, 0] - mean[:, None]) ** 2) * weight).sum(axis=1))
        off = (log.action - mean) / spread
    else:
        taken = problem.logger.predict_proba(log.state)
        hit = np.eye(taken.shape[1])[log.action]
        off = ((hit - taken) / np.sqrt(taken * (1.0 - taken)))[:, 0]
    # A mean of zero and a variance of one, to within five standard errors.
    assert abs(off.mean()) * np.sqrt(len(off)) < 5.0
    error = off.std() ** 2 / np.sqrt(len(off) / 2.0)
    assert off.var() == pytest.approx(1.0, abs=5.0 * error)


@pytest.mark.parametrize(
    "problem", [p for p in INSTALLED if p.discount < 0.92], ids=lambda p: p.name
)
def test_returns_of_long_logs_are_the_logger_s_value(problem):
    logs = [logged(problem, seed) for seed in range(5)]
    for log in logs:
        assert (log.step[log.is_initial] == 0).all()
    episodes = [
        np.bincount(log.episode, problem.discount**log.step * log.reward)
        for log in logs
    ]
    every = np.concatenate(episodes)
    # What an episode that is cut would still have earned at most.
    cut = problem.discount ** (logs[0].step.max() + 1) * abs(problem.logger_value)
    if problem.discount == 0.0 or logs[0].terminated.any():
        cut = 0.0
    elif problem.name == "random intercepts":
        cut = abs(problem.logger_value)
    error = every.std() / np.sqrt(len(every))
    assert abs(every.mean() - problem.logger_value) < 5.0 * error + 2.0 * cut


def test_the_value_of_a_linear_policy_is_that_of_its_simulation():
    process = LinearQuadratic("test", 10)
    process.value_episodes = 20_000
    policy = Gaussian(lambda s: -0.3 - 0.6 * s[:, 0], 0.4)
    exact = process.exact(-0.6, -0.3, 0.4)
    assert process.value_stochastic(policy) == pytest.approx(exact, rel=0.01)
    greedy = process.exact(-0.6, -0.3, 0.0)
    assert process.value(policy) == pytest.approx(greedy, rel=0.01)


def test_a_chain_that_is_walked_blindly_is_worth_nothing():
    process = chain(15)
    assert process.value_stochastic(uniform(2)) == pytest.approx(0.0, abs=1e-9)
    right = tabular(np.tile([0.0, 1.0], (8, 1)), process.codes)
    assert process.value(right) == pytest.approx(process.optimum)
    assert process.optimum > 0.8
    assert len(np.unique(process.log(0).episode)) == 15


def test_problems_span_discounts_and_sizes():
    discounts = [problem.discount for problem in INSTALLED]
    sizes = [len(np.unique(logged(problem, 0).episode)) for problem in INSTALLED]
    assert (min(discounts), max(discounts)) == (0.0, 1.0)
    assert (min(sizes), max(sizes)) == (15, 2_000)
    assert [p.name for p in by_name("noise, 2|chain")] == ["noise, 2 col.", "chain"]
    with pytest.raises(ValueError, match="No problem's name holds 'cheese'"):
        by_name("cheese")


def test_numbers_are_those_of_r():
    # set.seed(1); rnorm(3) of R 4.
    np.testing.assert_allclose(
        RStream(1).normal(3), [-0.6264538, 0.1836433, -0.8356286], atol=1e-7
    )
    trial = sim_two_stage(N_PATIENTS, seed=1)
    assert tuple(int(a.sum()) for a in trial.treated) == TREATED
    assert trial.utility.mean() == pytest.approx(MEAN_UTILITY, abs=0.005)


def test_the_published_value_is_within_its_error():
    log = sim_two_stage(N_PATIENTS, seed=1).log
    found = fitted_q_value(published.ALWAYS, log, discount=published.DISCOUNT)
    combined = np.hypot(found.standard_error, TREAT_ALL.standard_error)
    assert abs(found.value - TREAT_ALL.value) < 0.5 * combined


def test_a_share_has_wilson_s_interval():
    # Its ends are the chances that 190 of 200 is 1.96 standard errors away from.
    for end in wilson(190, 200):
        score = (0.95 - end) / np.sqrt(end * (1.0 - end) / 200)
        assert abs(score) == pytest.approx(1.959964, abs=1e-6)
    low, high = bootstrap([0.0, 1.0] * 50, lambda rows: float(np.mean(rows)))
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.05, rel=0.1)


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (floors, ["chain"]),
        (held_out, ["chain", "noise, 1 col."]),
        (differences, ["chain", "noise, 1 col."]),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_tables_of_two_logs(table, names, tmp_path):
    rows, problems = Rows("table", tmp_path), "|".join(names)
    # Two processes that share the work leave what one would.
    for part in ((0, 2), (1, 2)):
        text = table.run(rows, seeds=2, problems=problems, part=part)
    assert {row["seed"] for row in rows} == {0, 1}
    assert all(f"| {name} |" in text for name in names)
    again = Rows("table", tmp_path, resume=True)
    assert table.run(again, seeds=2, problems=problems) == text
    assert table.run(rows, side="peers") == text


def test_a_search_is_ranked_by_every_rule(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "CANDIDATES", ({"lam": 0.01}, {"lam": 100.0}))
    rows = Rows("ranks", tmp_path)
    text = ranks.run(rows, seeds=1, problems="ring, rewards less 10")
    assert all(f"| {rule} |" in text for rule in ranks.RULES)
    (row,) = rows
    assert len(row["truth"]) == 2
    assert np.shape(row["figures"]["score"]) == (2, ranks.N_FOLDS)
    assert len(ranks.PROBLEMS) == 14


def made_up(scores, truth, logger=0.5):
    """A row of three candidates and two folds, all figures alike."""
    values = np.repeat(np.array(scores)[:, None], 2, axis=1).tolist()
    errors = np.full((len(scores), 2), 0.1).tolist()
    figures = {"score": values}
    for name in ("drawn", "fitted", "robust"):
        figures |= {name: values, f"{name}_error": errors}
    return {"truth": truth, "logger": logger, "figures": figures}


def test_rules_take_the_best_and_leave_out_what_could_not_be_evaluated():
    row = made_up([1.0, 3.0, 2.0], [0.5, 1.0, 0.9])
    for rule in ranks.RULES:
        assert ranks.chosen(row, rule) == pytest.approx(1.0)
        assert ranks.correlation(row, rule) == pytest.approx(1.0)
    for name in ("score", "drawn", "fitted", "robust"):
        row["figures"][name][1] = [None, 3.0]
    for name in ("drawn", "fitted", "robust"):
        row["figures"][f"{name}_error"][1] = [None, 0.1]
    for rule in ranks.RULES:
        assert ranks.chosen(row, rule) == pytest.approx(0.9)


def test_costs_are_compared_by_what_the_logger_costs():
    row = made_up([1.0, 2.0], [-153.0, -130.0], logger=-200.0)
    assert ranks.attained(row, -130.0) == 1.0
    assert ranks.attained(row, -153.0) == pytest.approx(1.0 - 23.0 / 200.0)


def test_the_command_takes_a_part_of_the_logs():
    options = parse(["floors", "--logs", "20", "--problems", "noise", "--part", "2/2"])
    assert (options.seeds, options.problems, options.part) == (20, "noise", (1, 2))
    with pytest.raises(SystemExit):
        parse(["floors", "--part", "3/2"])
