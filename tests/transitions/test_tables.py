"""The same log, whichever library its table is of."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from _logs import assert_identical
from numpy.testing import assert_array_equal
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_stackelberg import (
    EpisodeKFold,
    OnStates,
    StackelbergPolicyEstimator,
    Transitions,
)
from sklearn_stackelberg.metrics import fitted_q_value
from sklearn_stackelberg.transitions import as_transitions
from sklearn_stackelberg.transitions._tables import (
    choose_rows,
    comparable,
    stack,
    take_rows,
)

pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

# Before 1.9 scikit-learn itself does not take rows of Arrow's tables.
OLD = tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9)


def visits(n_episodes=30, n_steps=6, seed=0):
    """Patients, of whom every third dies and of the others one row holds the end.

    Integers, floats with holes, text and flags, with rows in any order.
    """
    rng = np.random.default_rng(seed)
    n = n_episodes * n_steps
    last = np.tile(np.arange(n_steps) == n_steps - 1, n_episodes)
    patient = np.repeat(np.arange(n_episodes), n_steps)
    dies = last & (patient % 3 == 0)
    df = pd.DataFrame(
        {
            "patient": patient + 7,
            "visit": np.tile(np.arange(n_steps), n_episodes),
            "pulse": rng.integers(60, 100, n),
            "sugar": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "ward": rng.choice(["a", "b", "c"], n),
            "dose": pd.array(rng.integers(0, 3, n), dtype="Int64"),
            "outcome": rng.normal(size=n),
            "died": dies,
            "chance": rng.uniform(0.2, 1.0, n),
        }
    )
    closing = last & ~dies
    df.loc[closing, "dose"] = pd.NA
    df.loc[closing, "outcome"] = np.nan
    return df.sample(frac=1.0, random_state=seed).reset_index(drop=True)


STATES = ["pulse", "sugar", "ward"]
ROLES = {"state": STATES, "action": "dose", "reward": "outcome", "episode": "patient"}
ROLES |= {"step": "visit", "terminated": "died", "propensity": "chance"}


def as_polars(df):
    return pl.from_pandas(df)


def as_arrow(df):
    return as_polars(df).to_arrow()


def as_parquet(df, folder):
    path = folder / "log.parquet"
    as_polars(df).with_columns(unused=pl.lit("never read")).write_parquet(path)
    return path


WAYS = {
    "polars": lambda df, folder: as_polars(df),
    "arrow": lambda df, folder: as_arrow(df),
    "lazy": lambda df, folder: as_polars(df).lazy(),
    "parquet": as_parquet,
    "parquet text": lambda df, folder: str(as_parquet(df, folder)),
    "scan": lambda df, folder: pl.scan_parquet(as_parquet(df, folder)),
    "pandas Arrow types": lambda df, folder: df.convert_dtypes(dtype_backend="pyarrow"),
    "pandas nullable types": lambda df, folder: df.convert_dtypes(),
}
FRAMES = {"pandas": lambda df: df, "polars": as_polars, "arrow": as_arrow}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_log_from_any_table(way, tmp_path):
    df = visits()
    expected = Transitions.from_frame(df, **ROLES)
    found = Transitions.from_frame(WAYS[way](df, tmp_path), **ROLES)
    assert_identical(found, expected)
    assert_array_equal(found.action, expected.action)
    assert found.action.dtype == np.int64


@pytest.mark.parametrize("dose", ["text", "whole floats", "floats", "two columns"])
@pytest.mark.parametrize("way", ["polars", "arrow", "parquet"])
def test_actions_of_any_kind_from_any_table(way, dose, tmp_path):
    df, roles = visits(), dict(ROLES)
    level = df["dose"].astype("float64")
    if dose == "text":
        df["dose"] = level.map({0.0: "none", 1.0: "low", 2.0: "high"})
    elif dose == "two columns":
        df["dose"], df["other"] = level + 0.25, -level
        roles["action"] = ["dose", "other"]
    else:
        df["dose"] = level + (0.25 if dose == "floats" else 0.0)
    expected = Transitions.from_frame(df, **roles)
    assert_identical(Transitions.from_frame(WAYS[way](df, tmp_path), **roles), expected)


def test_masks_and_one_state_column_from_polars():
    df = visits().assign(can_0=True, can_1=True, can_2=True)
    roles = ROLES | {"state": "pulse", "available": {k: f"can_{k}" for k in range(3)}}
    expected = Transitions.from_frame(df, **roles)
    for make in (as_polars, as_arrow):
        found = Transitions.from_frame(make(df), **roles)
        assert_identical(found, expected)
        assert_array_equal(found.available_actions, [0, 1, 2])


def test_states_stay_what_was_given():
    states = as_polars(visits()[STATES])
    n = len(states)
    log = Transitions(states, [0, 1] * (n // 2), np.zeros(n), states)
    assert log.state is states
    fold = log[[3, 1, -1]]
    assert isinstance(fold.state, pl.DataFrame)
    assert_array_equal(fold.state["pulse"], states["pulse"].to_numpy()[[3, 1, -1]])
    assert log[::-50].state["pulse"].to_list() == states["pulse"].to_list()[::-50]
    assert isinstance(
        Transitions(states.lazy(), [0] * n, [0] * n, states).state, pl.DataFrame
    )
    assert Transitions.from_frame(as_arrow(visits()), **ROLES).state.num_columns == 3


@pytest.mark.parametrize("library", FRAMES)
def test_logs_are_joined_described_and_written_whatever_their_library(library):
    df = visits()
    expected = Transitions.from_frame(df, **ROLES)
    log = Transitions.from_frame(FRAMES[library](df), **ROLES)
    assert str(log.describe()) == str(expected.describe())
    both = Transitions.concatenate(log, log)
    assert_identical(both, Transitions.concatenate(expected, expected))
    assert_identical(log.episodes[[2, 0]], expected.episodes[[2, 0]])
    written = log.to_frame()
    assert isinstance(written, pd.DataFrame)
    names = ["action", "reward", "episode", "step", "terminated", "propensity"]
    roles = {"state": STATES} | dict(zip(names, names, strict=True))
    assert_identical(Transitions.from_frame(written, **roles), expected)


def test_episodes_of_tables_are_stacked_with_numbers_of_one_type():
    seen = [pl.DataFrame({"x": [1, 2, 3]}), pl.DataFrame({"x": [0.5, 1.5]})]
    log = Transitions.from_episodes(seen, [[0, 1], [1]], [[0, 1], [2]], [True, False])
    assert log.state["x"].to_list() == [1.0, 2.0, 0.5]
    assert log.next_state["x"].to_list() == [2.0, 3.0, 1.5]


@pytest.mark.parametrize("library", FRAMES)
def test_pieces_of_tables(library):
    left = FRAMES[library](pd.DataFrame({"x": [1.0, 2.0, np.nan], "y": [*"abc"]}))
    right = FRAMES[library](pd.DataFrame({"x": [4.0, np.nan, 6.0], "y": [*"def"]}))
    chosen = choose_rows(np.array([True, False, False]), left, right)
    assert list(chosen["x"][:2].__array__()) == [4.0, 2.0]
    assert [str(y) for y in chosen["y"]] == ["d", "b", "c"]
    whole = comparable(stack([left, right]))
    assert whole.shape == (6, 2)
    assert whole[3:, 1].tolist() == [*"def"]
    assert comparable(take_rows(whole, slice(1, 3))).shape == (2, 2)


# ---------------------------------------------------------------- learning from them


def decision_table(df):
    names = {"patient": "episode", "visit": "step", "dose": "action"}
    names |= {"outcome": "reward", "died": "terminated", "chance": "propensity"}
    return df[[*names]].rename(columns=names)


@pytest.mark.parametrize("library", ["polars", "arrow", "lazy"])
def test_decision_tables_of_any_library(library):
    df = visits()
    X, y = df[STATES], decision_table(df)
    expected, rows = as_transitions(X, y, return_rows=True)
    make = WAYS[library]
    found, found_rows = as_transitions(make(X, None), make(y, None), return_rows=True)
    assert_identical(found, expected)
    assert_array_equal(found_rows, rows)
    # One of one library and the other of another is nothing to the log.
    assert_identical(as_transitions(X, make(y, None)), expected)


def policy(**parameters):
    return StackelbergPolicyEstimator(random_state=0, n_components=20, **parameters)


def prepared():
    return ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), STATES[:2]),
            ("text", OneHotEncoder(sparse_output=False), ["ward"]),
        ],
        verbose_feature_names_out=False,
    )


@pytest.mark.parametrize(
    "library",
    ["polars", pytest.param("arrow", marks=pytest.mark.skipif(OLD, reason="1.9"))],
)
def test_both_routes_learn_the_same_from_any_library(library):
    df = visits()
    new = df[STATES][:20]
    make = FRAMES[library]
    by_log = make_pipeline(OnStates(prepared()), policy())
    expected = by_log.fit(Transitions.from_frame(df, **ROLES)).predict_proba(new)
    by_log.fit(Transitions.from_frame(make(df), **ROLES))
    np.testing.assert_allclose(by_log.predict_proba(make(new)), expected, atol=1e-9)
    assert by_log[0].feature_names_in_.tolist() == STATES

    by_table = make_pipeline(prepared(), policy())
    X, y = make(df[STATES]), make(decision_table(df))
    folds = EpisodeKFold(3)
    scores = cross_val_score(by_table, X, y, cv=folds, error_score="raise")
    expected = cross_val_score(by_table, df[STATES], decision_table(df), cv=folds)
    np.testing.assert_allclose(scores, expected, atol=1e-9)


@pytest.mark.parametrize("container", ["polars", "pandas"])
def test_pipelines_whose_steps_give_out_tables(container):
    df = visits()
    log = Transitions.from_frame(as_polars(df), **ROLES)
    expected = make_pipeline(OnStates(prepared()), policy()).fit(log)
    step = OnStates(prepared()).set_output(transform=container)
    given = make_pipeline(step, policy()).fit(log)
    inside = step.fit_transform(log)
    assert type(inside.next_state).__module__.split(".")[0] == container
    names = ["pulse", "sugar", "ward_a", "ward_b", "ward_c"]
    assert given[-1].feature_names_in_.tolist() == names
    new = as_polars(df[STATES][:20])
    found = given.predict_proba(new)
    np.testing.assert_allclose(found, expected.predict_proba(new), atol=1e-9)
    assert given.score(log) == pytest.approx(expected.score(log))
    value = fitted_q_value(given, log, discount=0.9).value
    assert value == pytest.approx(fitted_q_value(expected, log, discount=0.9).value)
    search = GridSearchCV(given, {"onstates__transformer": [prepared()]}, cv=2)
    search.set_params(cv=EpisodeKFold(2), error_score="raise").fit(log)

    # Transformers that are not wrapped, and states whose y says what was done.
    plain = make_pipeline(prepared(), policy()).set_output(transform=container)
    plain.fit(as_polars(df[STATES]), as_polars(decision_table(df)))
    assert plain[-1].feature_names_in_.tolist() == names
    np.testing.assert_allclose(plain.predict_proba(new), found, atol=1e-9)


def test_states_of_any_library_at_predict():
    df = visits().drop(columns=["ward", "sugar"]).assign(sugar=0.5)
    roles = ROLES | {"state": ["pulse", "visit"]}
    log = Transitions.from_frame(as_polars(df), **roles)
    fitted = policy().fit(log)
    assert fitted.feature_names_in_.tolist() == ["pulse", "visit"]
    new = df[["pulse", "visit"]][:9]
    expected = fitted.predict_proba(new)
    for make in (as_polars, as_arrow, lambda df: as_polars(df).lazy()):
        assert_array_equal(fitted.predict_proba(make(new)), expected)
        assert fitted.q_values(make(new)).shape == (9, 3)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(as_polars(new).select("visit", "pulse"))
    mask = pl.DataFrame({"2": [1] * 9, "0": [0] * 9, "1": [0] * 9})
    assert fitted.predict(new, available=mask).tolist() == [2] * 9
    assert fitted.score(log) == pytest.approx(
        policy().fit(Transitions.from_frame(df, **roles)).score(log)
    )


# ---------------------------------------------------------------- messages, imports


def test_what_cannot_be_read_is_said_in_the_same_words(tmp_path):
    df = visits()
    cases = [
        (df, {"reward": "outcom"}, r"no column 'outcom' \(did you mean 'outcome'\?\)"),
        (df, {"episode": "chance"}, "holds values of type float"),
        (df.assign(outcome=np.nan), {}, "NaN or infinite at row"),
        (df.assign(visit=0), {}, "must name one row"),
        (df.assign(died=7), {}, "died.*must be True or False"),
        (df.assign(dose=None), {}, "no row has an action"),
        (df[:0], {}, "no rows"),
    ]
    for table, changes, words in cases:
        said = []
        for make in (*FRAMES.values(), lambda df: as_parquet(df, tmp_path)):
            with pytest.raises(ValueError, match=words) as error:
                Transitions.from_frame(make(table), **{**ROLES, **changes})
            said.append(str(error.value).split(". It has")[0])
        assert len(set(said)) == 1


def test_only_the_named_columns_of_a_file_are_read(tmp_path, monkeypatch):
    read = []
    collect = pl.LazyFrame.collect

    def spy(self, *args, **options):
        read.append(collect(self, *args, **options))
        return read[-1]

    monkeypatch.setattr(pl.LazyFrame, "collect", spy)
    Transitions.from_frame(as_parquet(visits(), tmp_path), **ROLES)
    assert {name for part in read for name in part.columns} == {*visits().columns}
    # Of states one column at a time, so that no more is held beside the log.
    assert [part.columns for part in read[1:]] == [[name] for name in STATES]


def test_a_query_runs_once():
    # What it draws is not drawn again for the states.
    rows = []

    def draw(frame):
        rows.append(len(rows))
        return frame.with_columns(pulse=pl.col("pulse") + 1000 * len(rows))

    lazy = as_polars(visits()).lazy().map_batches(draw, validate_output_schema=False)
    log = Transitions.from_frame(lazy, **ROLES)
    assert rows == [0]
    assert log.state["pulse"].min() > 1000


def test_arrow_reads_files_where_polars_is_not_installed(tmp_path, monkeypatch):
    path = as_parquet(visits(), tmp_path)
    expected = Transitions.from_frame(visits(), **ROLES)
    monkeypatch.setitem(sys.modules, "polars", None)
    found = Transitions.from_frame(path, **ROLES)
    assert isinstance(found.state, pa.Table)
    assert_identical(found, expected)
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(ModuleNotFoundError, match="needs polars or pyarrow"):
        Transitions.from_frame(path, **ROLES)


def test_other_things_than_tables_are_refused():
    class Foreign:
        columns = ("x",)

    with pytest.raises(ValueError, match=r"df is a .*Foreign; .*\.to_pandas\(\)"):
        Transitions.from_frame(Foreign(), **ROLES)
    with pytest.raises(TypeError, match="got list"):
        Transitions.from_frame([1, 2], **ROLES)


@pytest.mark.slow
def test_no_library_of_tables_is_imported_until_it_is_brought():
    code = (
        "import sys\n"
        # scikit-learn itself imports pandas where it is installed.
        "sys.modules['pandas'] = sys.modules['pyarrow'] = None\n"
        "import sklearn_stackelberg\n"
        "assert not {'polars', 'gymnasium'} & {*sys.modules}\n"
        "import polars as pl\n"
        "from sklearn_stackelberg import Transitions\n"
        "df = pl.DataFrame({'e': [1, 1, 1], 'x': [1.0, 2.0, 4.0], 'a': [0, 1, None]})\n"
        "df = df.with_columns(r=pl.col('x'))\n"
        "log = Transitions.from_frame(df, state='x', action='a', reward='r',\n"
        "                             episode='e')\n"
        "log = Transitions.concatenate(log, log).episodes[[0, 0]]\n"
        "assert log.next_state['x'].to_list() == [2.0, 4.0] * 2\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
