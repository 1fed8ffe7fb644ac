"""The glucose log: what ships is what its description, logger and simulator say."""

from __future__ import annotations

import sys
import tomllib
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.utils import Bunch

from benchmarks.glucose import logger, uva_padova
from benchmarks.glucose.make_log import N_DAYS, SEED
from benchmarks.glucose.simulator import PATIENT, STATE, make_log, rollout
from sklearn_stackelberg import Transitions, as_transitions
from sklearn_stackelberg.datasets import load_glucose

needs_simulator = pytest.mark.skipif(
    find_spec("simglucose") is None, reason="simglucose, the simulator, is optional"
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def frame():
    return load_glucose().frame


@pytest.fixture
def acted(frame):
    return frame[frame["step"] < 48]


def successors(frame):
    """The rows at step + 1, in the order of those with a step below 48."""
    return frame[frame["step"] > 0].reset_index(drop=True)


# ---------------------------------------------------------------- the table


def test_days_are_whole_and_end_with_a_closing_row(frame, acted):
    assert_array_equal(frame["day"], np.repeat(np.arange(N_DAYS), 49))
    assert_array_equal(frame["step"], np.tile(np.arange(49), N_DAYS))
    assert_array_equal(frame["hour"], frame["step"] % 48 / 2)
    decided = ["dose", "in_range", "propensity"]
    assert frame.loc[frame["step"] == 48, decided].isna().all(axis=None)
    assert acted[decided].notna().all(axis=None)
    minutes = 30 * acted["in_range"]  # rounded at the fourth digit
    assert_allclose(minutes, minutes.round(), atol=30 * 0.5e-4 + 1e-9)
    assert acted["in_range"].between(0, 1).all()


def test_propensities_are_those_of_the_logger_described(acted):
    probabilities = logger.logger_chances(acted)
    assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert probabilities.min() >= 0.1 - 1e-12
    place = np.searchsorted(logger.DOSES, acted["dose"])
    assert_array_equal(np.take(logger.DOSES, place), acted["dose"])
    assert_allclose(acted["propensity"], probabilities[np.arange(len(acted)), place])
    # Each dose was given as often as its chances say.
    given = place[:, None] == np.arange(5)
    error = np.sqrt((probabilities * (1 - probabilities)).sum(axis=0))
    assert (abs((given - probabilities).sum(axis=0)) < 4 * error).all()


def test_the_rule_is_the_one_described():
    def dose(glucose, trend=0.0, meal="none"):
        states = {"glucose": [glucose], "trend": [trend], "meal": [meal]}
        return logger.DOSES[logger.rule(states)[0]]

    levels = [79, 80, 109, 110, 159, 160, 219, 220]
    assert [dose(level) for level in levels] == [0, 0.5, 0.5, 1, 1, 2, 2, 4]
    assert dose(np.nan, np.nan) == dose(np.nan, np.nan, "snack") == 1
    assert [dose(120, trend) for trend in (-31, -30, np.nan, 30, 31)] == [
        0.5,
        1,
        1,
        1,
        2,
    ]
    assert [dose(120, meal=name) for name in ("breakfast", "lunch", "dinner")] == [
        2
    ] * 3
    assert dose(79, -31) == 0
    assert dose(220, 31, "dinner") == 4


def test_draws_follow_the_chances():
    probabilities = np.tile([0.1, 0.2, 0.3, 0.4], (1000, 1))
    place = logger.draw(probabilities, (np.arange(1000) + 0.5) / 1000)
    assert np.bincount(place).tolist() == [100, 200, 300, 400]
    assert logger.draw(np.array([[0.5, 0.5 - 1e-9]]), np.array([1 - 1e-10])) == [1]


def test_state_columns_follow_from_what_was_done(frame, acted):
    now, then = acted.reset_index(drop=True), successors(frame)
    change = then["glucose"] - now["glucose"]  # NaN where either reading is missing
    assert_array_equal(then["trend"], change)
    # 1.37 U/h is the basal rate, to the second digit.
    units = now["dose"] * 1.37 / 2
    expected = np.exp(-0.25) * (now["insulin_on_board"] + units)
    assert_allclose(then["insulin_on_board"], expected, atol=0.025)
    eaten = then["carbs_on_board"] - np.exp(-0.5) * now["carbs_on_board"]
    assert (eaten > -1).all()  # both are rounded
    started = eaten > 1.5
    assert (then.loc[started, "meal"] != "none").all()
    assert not started[then["meal"] == "none"].any()
    assert eaten[started].between(1, 120).all()


def test_a_meal_is_remembered_for_two_hours(frame):
    assert set(frame["meal"]) == {"none", "snack", "breakfast", "lunch", "dinner"}
    for _, day in frame.groupby("day"):
        for name in ("breakfast", "lunch", "dinner"):
            steps = day.loc[day["meal"] == name, "step"].to_numpy()
            assert len(steps) <= 4
            assert (np.diff(steps) == 1).all()  # another may cut it short


def test_the_sensor_has_gaps_that_do_not_depend_on_the_glucose(frame):
    missing = frame["glucose"].isna()
    assert 0.04 < missing.mean() < 0.06
    assert frame["trend"][missing].isna().all()
    holes = frame.columns[frame[frame["step"] < 48].isna().any()]
    assert set(holes) == {"glucose", "trend"}
    # In runs: a missing reading follows another far more often than a shown one.
    same_day = frame["step"] > 0
    follows = missing.shift(fill_value=False) & same_day
    assert missing[follows].mean() > 0.4
    assert missing[~follows].mean() < 0.04
    hours = frame["step"][missing & (frame["step"] < 48)] // 12
    assert np.bincount(hours).min() > 30  # at any time of day


def test_the_description_is_of_this_table(frame):
    text = load_glucose().DESCR
    for column in frame.columns:
        assert f"- {column}: " in text
    for number in (f"{48 * N_DAYS:,}", f"{N_DAYS} days", PATIENT):
        assert number in text
    shares = frame[["glucose", "trend"]].isna().mean() * 100
    assert "``glucose`` (5 %) and ``trend`` (7 %)" in text
    assert shares.round().tolist() == [5, 7]
    for dose in logger.DOSES:
        assert f"{dose:g}" in text


# ---------------------------------------------------------------- the loader


def test_the_bunch_holds_states_and_decisions(frame):
    glucose = load_glucose()
    assert isinstance(glucose, Bunch)
    assert glucose.feature_names == STATE
    assert_frame_equal(glucose.data, frame[STATE])
    assert [*glucose.target] == glucose.target_names
    names = {"action": "dose", "reward": "in_range", "episode": "day"}
    expected = frame[["dose", "in_range", "day", "step", "propensity"]]
    assert_frame_equal(glucose.target.rename(columns=names), expected)
    assert Path(glucose.filename).name == "glucose.csv"
    X, y = load_glucose(return_X_y=True)
    assert_frame_equal(X, glucose.data)
    assert_frame_equal(y, glucose.target)


def test_what_is_loaded_is_the_users_own():
    first = load_glucose()
    first.data.loc[:, "glucose"] = 0.0
    first.target.loc[:, "reward"] = 0.0
    first.feature_names.clear()
    assert_frame_equal(first.frame, load_glucose().frame)
    assert load_glucose().feature_names == STATE


def test_both_ways_in_make_the_same_log(frame):
    log = Transitions.from_frame(
        frame,
        state=STATE,
        action="dose",
        reward="in_range",
        episode="day",
        step="step",
        propensity="propensity",
    )
    assert len(log) == 48 * N_DAYS
    assert log.n_left_out == 0
    assert len(log.episodes) == N_DAYS
    assert_array_equal(log.is_initial, log.step == 0)
    assert not log.terminated.any()
    assert_array_equal(np.unique(log.action), logger.DOSES)
    for as_frame in (True, False):
        X, y = load_glucose(return_X_y=True, as_frame=as_frame)
        other = as_transitions(X, y)
        for name in ("action", "reward", "episode", "step", "propensity"):
            assert_array_equal(getattr(log, name), getattr(other, name))
        for name in ("state", "next_state"):
            ours = pd.DataFrame(np.asarray(getattr(log, name), dtype=object))
            theirs = pd.DataFrame(np.asarray(getattr(other, name), dtype=object))
            assert_frame_equal(ours, theirs)
    assert load_glucose(as_frame=False).frame is None


def test_without_pandas_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"needs pandas .* pip install pandas"):
        load_glucose()


def test_the_files_are_part_of_the_package():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    patterns = tools["setuptools"]["package-data"]["sklearn_stackelberg"]
    package = Path(load_glucose().filename).parents[1]
    for path in (package / "data").iterdir():
        name = path.relative_to(package).as_posix()
        assert any(fnmatch(name, pattern) for pattern in patterns), name


# ---------------------------------------------------------------- the simulator


@needs_simulator
def test_the_simulator_gives_the_shipped_days(frame):
    assert_frame_equal(make_log(1, SEED, own=True), frame[frame["day"] == 0])


@needs_simulator
def test_a_day_is_the_same_in_logs_of_any_length():
    log = make_log(2, seed=7)
    day = make_log(1, seed=7)
    assert_frame_equal(log[log["day"] < 1], day)
    assert not day.equals(make_log(1, seed=8))


@needs_simulator
def test_plain_parameters_change_nothing_and_one_batch_is_many_patients():
    params = uva_padova.parameters(PATIENT)
    states = uva_padova.start(params, np.array([90.0, 210.0]))
    series = uva_padova.OwnPatients(params, states, plain=False)
    plain = uva_padova.OwnPatients(params, states)
    batch = uva_padova.BatchPatients(params, states)
    assert plain.basal == batch.basal
    for minute in range(90):
        insulin = plain.basal * np.array([1.0, 4.0])
        carbs = np.array([60.0 * (minute == 10), 20.0 * (minute in (5, 40))])
        level = plain.minute(insulin, carbs)
        assert_allclose(batch.minute(insulin, carbs), level, rtol=0, atol=0.05)
        if minute < 15:
            assert_array_equal(series.minute(insulin, carbs), level)
    assert_allclose(batch.states, plain.states, rtol=1e-3, atol=1e-2)
    assert abs(level - [90, 210]).min() > 5


@needs_simulator
def test_the_equations_are_the_simulators():
    module = uva_padova.submodule("patient.t1dpatient")
    params = SimpleNamespace(**uva_padova.parameters(PATIENT).to_dict())
    rng = np.random.default_rng(0)
    scale = [5e4, 5e4, 5e4, 600, 300, 10, 100, 200, 200, 10, 200, 200, 400]
    for held, eaten in ((0.0, 0.0), (0.0, 40.0), (2e4, 10.0)):
        x = rng.uniform(-0.2, 1.0, size=(20, 13)) * scale
        action = module.Action(CHO=3.0, insulin=0.05)
        theirs = [module.T1DPatient.model(0, s, action, params, held, eaten) for s in x]
        same = np.ones(len(x))
        ours = uva_padova.derivative(
            params, x.T, 0.05 * same, 3.0 * same, (held + 1000 * eaten) * same
        )
        assert_allclose(ours.T, theirs, rtol=1e-12, atol=1e-12)


@needs_simulator
def test_estimators_and_functions_live_the_same_days():
    class Always:
        def predict(self, states):
            assert [*states] == STATE
            return np.full(len(states), 2.0)

    shares = rollout(Always(), n_days=2)
    assert shares.shape == (2,)
    assert_array_equal(shares, rollout(lambda states, rng: [2.0] * len(states), 2))
    assert rollout(lambda states, rng: [0.0] * len(states), 2).mean() < shares.mean()


@needs_simulator
def test_a_dose_that_the_pump_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"2 doses, .* with \[3\.0\] among them"):
        rollout(lambda states, rng: [3.0] * len(states), n_days=2)
    with pytest.raises(ValueError, match=r"got shape \(1,\)"):
        rollout(lambda states, rng: [2.0], n_days=2)
