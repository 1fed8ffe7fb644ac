"""The paper's experiments: rows once, tables and pictures of stored rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gymnasium")
from benchmarks.__main__ import TABLES, parse
from benchmarks.experiments import (
    NAMES,
    experiment,
    full_coverage,
    partial_coverage,
    reward_shapes,
    sensitivity,
)
from benchmarks.experiments._base import scores, share, stored
from benchmarks.families.choose import ring
from benchmarks.families.finite import severity
from benchmarks.problems import CARTPOLE_DEFAULT
from benchmarks.report import RESULTS, Rows
from benchmarks.tables import experiments
from sklearn_stackelberg.baselines import TabularValueIteration

PAGE = Path(__file__).parent.parent / "docs" / "paper_experiments.md"
small_ring = partial(ring, "ring", 0.0)


@pytest.fixture
def tiny(monkeypatch):
    """One process, one size and the process itself."""
    monkeypatch.setattr(full_coverage, "PROBLEMS", (small_ring,))
    monkeypatch.setattr(full_coverage, "SIZES", (200,))


def test_one_tiny_experiment_runs_and_is_not_run_again(tiny, tmp_path, monkeypatch):
    rows = Rows("experiments", tmp_path)
    text = experiments.run(rows, seeds=1, only="full_coverage")
    assert "## full_coverage" in text
    assert "## sensitivity" not in text
    assert len(list(rows)) == 2 * len(full_coverage.METHODS)
    # Known dynamics and full coverage: the optimum.
    found = scores(stored(rows, "full_coverage"), "method", "n")
    assert found[full_coverage.EXACT, full_coverage.KNOWN] == pytest.approx(1.0)
    assert found["Value iteration", full_coverage.KNOWN] == pytest.approx(1.0)

    monkeypatch.setattr(full_coverage, "made", None)  # cannot be computed now
    again = Rows("experiments", tmp_path, resume=True)
    assert experiments.run(again, seeds=1, only="full_coverage") == text


def test_pictures_compute_nothing_and_are_the_same_bytes(tiny, tmp_path, monkeypatch):
    rows = Rows("experiments", tmp_path)
    experiments.run(rows, seeds=1, only="full_coverage")
    monkeypatch.setattr(full_coverage, "made", None)
    drawn = []
    for name in ("one", "other"):
        folder = tmp_path / name
        experiments.run(rows, pictures=True, folder=folder)
        drawn.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert [*drawn[0]] == ["full_coverage.svg"]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_tables_and_the_picture_of_the_stored_rows(name):
    rows = [*Rows("experiments", RESULTS, resume=True)]
    page = PAGE.read_text(encoding="utf-8")
    table = experiment(name).table(stored(rows, name))
    missing = [
        line for line in table.splitlines() if line[:1] == "|" and line not in page
    ]
    assert not missing
    picture = f"_static/experiments/{name}.svg"
    assert f"]({picture})" in page
    assert (PAGE.parent / picture).exists()
    assert f"--only {name}" in page


def test_a_missing_experiment_is_named():
    with pytest.raises(ValueError, match="No experiment is called 'd4rl'"):
        experiment("d4rl")
    assert "experiments" in TABLES
    options = parse(["experiments", "--only", "sensitivity", "--pictures"])
    assert (options.only, options.pictures) == ("sensitivity", True)


@pytest.mark.parametrize("level", partial_coverage.LEVELS)
def test_a_log_of_pairs_holds_that_share_of_all_pairs(level):
    problem = partial_coverage._process(severity)
    log = partial_coverage.log_of_pairs(problem, level, 0)
    pairs = np.unique(np.column_stack([log.state, log.action]), axis=0)
    # Of 750 pairs and 2,000 rows a few are not drawn.
    wanted = round(level * problem.logger.size)
    assert 0.9 * wanted <= len(pairs) <= wanted
    assert len(log) == partial_coverage.N_ROWS


def test_exploration_is_from_the_usual_policy_to_random_actions():
    problem = partial_coverage._process(severity)
    few, all_ = (partial_coverage.explored(problem, level) for level in (0.0, 1.0))
    np.testing.assert_array_equal(few.logger.max(axis=1), 1.0)
    assert share(problem, all_.logger_value) == pytest.approx(0.0, abs=1e-9)


def test_the_process_itself_has_the_optimum_of_its_probabilities():
    problem = small_ring()
    policy = TabularValueIteration(discount=problem.discount)
    policy.fit(full_coverage.known(problem))
    assert problem.value(policy) == pytest.approx(problem.optimum)


def test_rewards_are_three_of_the_same_transitions():
    log = CARTPOLE_DEFAULT.log(0)[np.arange(300)]
    step, fall, upright = (
        reward_shapes.paid(log, shape).reward for shape in reward_shapes.SHAPES
    )
    np.testing.assert_array_equal(step, log.reward)
    np.testing.assert_array_equal(fall, -1.0 * np.asarray(log.terminated))
    falls = np.asarray(log.terminated)
    assert upright.max() <= 1.0
    assert upright[falls].max() < upright[~falls].mean()


def test_indices_of_a_sum_are_shares_of_its_variance():
    first, second, mixed = sensitivity.sample(128)
    parts = {"A": first, "B": second, **sensitivity._mixed(mixed)}
    rows = [
        {
            "problem": "sum",
            "method": sensitivity.SOBOL,
            "setting": {"part": part, "k": k},
            "score": 2.0 * unit[0] + unit[3],
        }
        for part, units in parts.items()
        for k, unit in enumerate(units.T)
    ]
    found = sensitivity.indices(rows, "sum")
    wanted = [0.8, 0.0, 0.0, 0.2, 0.0]
    np.testing.assert_allclose(found.first, wanted, atol=0.08)
    np.testing.assert_allclose(found.total, wanted, atol=0.08)
    assert np.all(found.first_interval[0] <= found.first + 1e-12)
    assert np.all(found.first <= found.first_interval[1] + 1e-12)
    assert sensitivity.indices(rows[:-1], "sum") is None
