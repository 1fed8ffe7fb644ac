"""A wide table, a row for each patient, must give the log of the long one."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from _logs import assert_identical
from numpy.testing import assert_array_equal

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

STAGES = [
    {"state": {"mood": "mood_1"}, "action": "a1", "reward": "y1"},
    {"state": {"mood": "mood_2", "slept": "slept"}, "action": "a2", "reward": "y2"},
    {"state": {"mood": "mood_3"}, "action": "a3", "reward": "y3"},
]


def trial(n=60, seed=0):
    """Three stages, of which a patient may have one, two or all."""
    rng = np.random.default_rng(seed)
    reached = rng.integers(1, 4, n)
    df = pd.DataFrame(
        {"id": rng.permutation(n) + 100, "age": rng.integers(20, 80, n).astype(float)}
    )
    for k in (1, 2, 3):
        there = reached >= k
        df[f"mood_{k}"] = np.where(there, rng.normal(size=n), np.nan)
        df[f"a{k}"] = pd.array(rng.integers(0, 3, n), dtype="Int64")
        df.loc[~there, f"a{k}"] = pd.NA
        df[f"y{k}"] = np.where(there, rng.normal(size=n), np.nan)
    df["slept"] = np.where(reached >= 2, rng.normal(size=n), np.nan)
    return df


def long_form(df):
    """The same trial with a row for each decision, made by pandas."""
    parts = []
    for k in (1, 2, 3):
        part = pd.DataFrame({"id": df["id"], "visit": k, "stage": k, "age": df["age"]})
        part["mood"], part["slept"] = df[f"mood_{k}"], df["slept"] if k == 2 else 0.0
        part["action"], part["reward"] = df[f"a{k}"], df[f"y{k}"]
        goes_on = df[f"a{k + 1}"].notna() if k < 3 else False
        part["ended"] = ~(goes_on & df[f"a{k}"].notna())
        parts.append(part[df[f"a{k}"].notna()])
    long = pd.concat(parts)
    place = {name: row for row, name in enumerate(df["id"])}
    order = np.lexsort((long["visit"], long["id"].map(place)))
    return long.iloc[order].reset_index(drop=True)


LIBRARIES = {
    "pandas": lambda df, folder: df,
    "polars": lambda df, folder: pl.from_pandas(df),
    "lazy": lambda df, folder: pl.from_pandas(df).lazy(),
    "arrow": lambda df, folder: pl.from_pandas(df).to_arrow(),
    "parquet": lambda df, folder: write(df, folder / "trial.parquet"),
}


def write(df, path):
    pl.from_pandas(df).write_parquet(path)
    return path


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_wide_table_is_the_log_of_the_long_one(library, tmp_path):
    df = trial()
    roles = {"action": "action", "reward": "reward", "episode": "id", "step": "visit"}
    states = ["age", "mood", "slept", "stage"]
    expected = Transitions.from_frame(
        long_form(df), state=states, terminated="ended", **roles
    )
    found = Transitions.from_wide(
        LIBRARIES[library](df, tmp_path), stages=STAGES, state="age", episode="id"
    )
    assert_identical(found, expected)
    assert len(found) == df[["a1", "a2", "a3"]].notna().sum().sum()


def two_stages(**changes):
    """Six patients: two end after stage 1; of the second stage one was not measured."""
    df = pd.DataFrame(
        {
            "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "a1": ["drug", "talk", "drug", "talk", "drug", "talk"],
            "x2": [0.1, 0.2, 0.3, None, 0.5, None],
            "a2": ["both", "more", "both", None, None, None],
            "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    return df.assign(**changes)


def stages(one=(), two=()):
    return [
        {"state": ["x"], "action": "a1", **dict(one)},
        {"state": ["x2"], "action": "a2", **dict(two)},
    ]


def test_an_outcome_at_the_end_is_the_reward_of_the_last_action():
    log = Transitions.from_wide(two_stages(), stages=stages(), reward="y")
    assert log.reward.tolist() == [0, 1, 0, 2, 0, 3, 4, 5, 6]
    assert log.episode.tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 5]
    assert log.step.tolist() == [1, 2, 1, 2, 1, 2, 1, 1, 1]
    assert log.terminated.tolist() == [0, 1, 0, 1, 0, 1, 1, 1, 1]
    assert log.is_initial.tolist() == (log.step == 1).tolist()
    assert_array_equal(log.state["x2"], [0, 0.1, 0, 0.2, 0, 0.3, 0, 0, 0])
    assert not log.left_out
    both = Transitions.from_wide(
        two_stages(bonus=10.0), stages=stages({"reward": "bonus"}), reward="y"
    )
    assert both.reward.tolist() == [10, 1, 10, 2, 10, 3, 14, 15, 16]


def test_patients_who_were_lost_are_truncated_and_not_ended():
    done = two_stages(done=[True, True, False, False, False, True])
    log = Transitions.from_wide(done, stages=stages(), reward="y", terminated="done")
    # Row 2 was lost after stage 2 and row 3 after stage 1, neither seen again; row 4
    # was seen at stage 2, without an action.
    assert log.episode.tolist() == [0, 0, 1, 1, 2, 4, 5]
    assert log.terminated.tolist() == [0, 1, 0, 1, 0, 0, 1]
    assert log.next_state["x2"].tolist()[-2:] == [0.5, 0.0]
    assert list(log.left_out.values()) == [2]
    assert "was not measured" in next(iter(log.left_out))


def test_patients_without_any_action_are_counted():
    df = two_stages()
    df.loc[[1, 3], ["a1", "a2"]] = None
    log = Transitions.from_wide(df, stages=stages(), reward="y")
    assert log.left_out == {"are patients without an action at any stage": 2}
    assert set(log.episode) == {0, 2, 4, 5}


def test_earlier_actions_can_be_remembered():
    later = {"state": ["x2", "a1"]}
    with pytest.raises(ValueError, match=r"'a1' holds no numbers.*fill=\{'a1': 'none'"):
        Transitions.from_wide(two_stages(), stages=stages(two=later), reward="y")
    log = Transitions.from_wide(
        two_stages(), stages=stages(two=later), reward="y", fill={"a1": "none"}
    )
    assert log.state["a1"].tolist()[:4] == ["none", "drug", "none", "talk"]
    assert log.state["x2"].tolist()[:2] == [0.0, 0.1]
    gone = Transitions.from_wide(
        two_stages(), stages=stages(two=later), reward="y", fill=None
    )
    assert gone.state.isna().sum().sum() == 3 + 6 + 6


def test_treatments_are_available_at_their_stage_alone():
    log = Transitions.from_wide(two_stages(), stages=stages(), reward="y")
    assert log.available_actions.tolist() == ["both", "drug", "more", "talk"]
    first, second = [False, True, False, True], [True, False, True, False]
    assert log.available.tolist() == [[first, second][k - 1] for k in log.step]
    ended = log.next_available[log.terminated]
    assert_array_equal(ended, log.available[log.terminated])
    policy = StackelbergPolicyEstimator(random_state=0, n_components=5).fit(log)
    assert {*policy.predict(log)[log.step == 1]} <= {"drug", "talk"}
    new = log.state.iloc[[1, 0]]
    assert policy.predict(new)[0] in ("both", "more")
    assert policy.predict(new)[1] in ("drug", "talk")
    again = pickle.loads(pickle.dumps(log.available_rule))
    assert_array_equal(again(new.to_numpy()), [second, first])
    bare = Transitions.from_wide(two_stages(), stages=stages(), reward="y", stage=None)
    assert bare.available is None
    assert [*bare.state.columns] == ["x", "x2"]


def test_listed_actions_and_propensities():
    listed = stages(
        {"available": ["drug", "talk"], "propensity": 0.5},
        {"available": ["both", "more", "drug"], "propensity": "p"},
    )
    df = two_stages(p=[0.2, 0.4, 0.8, np.nan, np.nan, np.nan])
    log = Transitions.from_wide(df, stages=listed, reward="y")
    assert log.propensity.tolist() == [0.5, 0.2, 0.5, 0.4, 0.5, 0.8, 0.5, 0.5, 0.5]
    assert log.available[1].tolist() == [True, True, True, False]
    numbers = df.assign(a1=[0, 1] * 3, a2=[1, 0, 1, None, None, None])
    assert Transitions.from_wide(numbers, stages=stages(), reward="y").available is None


def test_actions_of_several_numbers():
    df = two_stages(b1=0.5, b2=[1.5, 2.5, 3.5, None, None, None])
    df["a1"], df["a2"] = np.arange(6.0), [0.1, 0.2, 0.3, None, None, None]
    wide = stages({"action": ["a1", "b1"]}, {"action": ["a2", "b2"]})
    log = Transitions.from_wide(df, stages=wide, reward="y")
    assert log.action.tolist()[:3] == [[0.0, 0.5], [0.1, 1.5], [1.0, 0.5]]


LETTERS = two_stages(a1=[*"aaabbb"], a2=[*"aaa", None, None, None])

BAD = [
    ({"stages": []}, "a list with a dict for each stage"),
    ({"stages": {"action": "a1"}}, "a list with a dict"),
    ({"stages": ["a1"]}, r"Stage 1 must be a dict with the column of its 'action'"),
    ({"stages": stages({"acton": 1})}, "Stage 1 says 'acton', which is nothing"),
    ({"stages": stages({"state": ["X"]})}, r"no column 'X' \(did you mean 'x' or"),
    ({"reward": "z"}, "no column 'z'"),
    ({"reward": None}, "There is no reward"),
    ({"stages": stages({"state": ["a2"]})}, "'a2' is the action or the reward of st"),
    ({"state": "y"}, "'y' is the reward at the end and part of a state"),
    ({"stages": stages({"propensity": 0.5})}, r"Stages \[2\] have no 'propensity'"),
    (
        {"stages": stages({"propensity": 2})},
        r"propensity of stage 1 must lie in",
    ),
    ({"stages": stages({"available": ["drug"]})}, r"Stages \[2\] have no 'available'"),
    ({"stages": stages({"available": "drug"})}, "must list the actions"),
    (
        {"stages": stages({"available": ["pill"]}, {"available": ["both"]})},
        r"'available' of stage 1 lists \['pill'\], and \['drug', 'talk'\] was done",
    ),
    (
        {
            "stages": stages({"available": [*"ab"]}, {"available": ["a"]}),
            "df": LETTERS,
            "stage": None,
        },
        "'available' of the stages was given with stage=None",
    ),
    ({"stages": [{"action": "a1"}]}, "There is no state"),
    ({"fill": "none"}, r"'x' holds numbers.*fill=\{'x': 0\}"),
    ({"stage": "x"}, "a column 'x' already"),
    ({"df": two_stages(a1=["drug", None] * 3)}, "Say what was done at the earlier st"),
    (
        {"df": two_stages(y=[1, 2, 3, 4, None, 6])},
        r"reward \(column 'y'\) is NaN ",
    ),
    ({"df": two_stages(a1=[1, 0] * 3)}, "action mixes the types int and str"),
    ({"df": two_stages()[:0]}, "no rows"),
    ({"df": two_stages(a1=None, a2=None)}, "No transition can be made"),
    (
        {"df": two_stages(k=[1, 2, 3, 4, 2, 6]), "episode": "k"},
        "names 2 at rows 1 and",
    ),
    ({"df": 3}, "got int"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_wide_tables_are_refused_in_a_sentence(change, words):
    given = {"df": two_stages(), "stages": stages(), "reward": "y"} | change
    with pytest.raises((ValueError, TypeError), match=words) as error:
        Transitions.from_wide(given.pop("df"), **given)
    assert str(error.value).endswith(".")
