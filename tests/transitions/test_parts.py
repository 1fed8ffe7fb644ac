"""Predictions of states that are read part by part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg import _stored_rows as stored_rows
from sklearn_stackelberg.transitions import _parts

N = 120
METHODS = ["predict", "predict_proba", "q_values", "predict_set"]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    dose = rng.choice(["high", "low"], size=N)
    x = rng.normal(size=(N, 2))
    table = pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "dose": dose})
    gain = x[:, 0] * (dose == "low")
    return table.assign(gain=gain, patient=np.arange(N) // 4)


@pytest.fixture(scope="module")
def policy(table):
    states = table[["x", "y"]]
    log = Transitions(states, table.dose, table.gain, states, np.ones(N))
    return StackelbergPolicyEstimator(
        discount=0.0, n_components=10, random_state=0
    ).fit(log)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(_parts, "_FEWEST_ROWS", 20)
    monkeypatch.setattr(stored_rows, "_BATCH_BYTES", 512)


def source(kind, table, folder):
    if kind == "log":
        roles = {"state": ["x", "y"], "action": "dose", "reward": "gain"}
        return Transitions.from_blocks([table], episode="patient", **roles)
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.dataset as ds

    arrow = pa.Table.from_pandas(table)
    if kind == "dataset":
        return ds.dataset(arrow)
    if kind == "stream":
        return pa.RecordBatchReader.from_batches(
            arrow.schema, arrow.to_batches(max_chunksize=7)
        )
    for k in range(3):
        part = table[k::3].sort_values("x") if kind == "folder" else table
        part.to_parquet(folder / f"{k}.parquet", row_group_size=16)
        if kind == "path":
            break
    return folder if kind == "folder" else folder / "0.parquet"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["log", "dataset", "stream", "path", "folder"])
def test_parts_are_the_whole(kind, method, table, policy, tmp_path):
    given = source(kind, table, tmp_path)
    if kind == "folder":
        table = pd.concat([table[k::3].sort_values("x") for k in range(3)])
    elif kind == "log":
        table = pd.DataFrame(np.asarray(given.state), columns=["x", "y"])
    found = getattr(policy, method)(given)
    assert_allclose_or_equal(found, getattr(policy, method)(table[["x", "y"]]))


@pytest.mark.parametrize("kind", ["log", "path", "dask"])
def test_what_is_drawn_in_parts_is_drawn_of_the_whole(kind, table, tmp_path):
    states = table[["x", "y"]]
    log = Transitions(states, table.dose, table.gain, states, np.ones(N))
    drawing = StackelbergPolicyEstimator(
        discount=0.0, n_components=10, deterministic=False, random_state=0
    ).fit(log)
    if kind == "dask":
        dd = pytest.importorskip("dask.dataframe", reason="Dask is not installed")
        given = dd.from_pandas(states, npartitions=3)
    else:
        given = source(kind, table, tmp_path)
    if kind == "log":
        states = pd.DataFrame(np.asarray(given.state), columns=["x", "y"])
    expected = drawing.sample(states, random_state=0)
    assert len(np.unique(expected)) == 2
    assert_array_equal(drawing.sample(given, random_state=0), expected)


def assert_allclose_or_equal(found, expected):
    if expected.dtype.kind == "f":
        assert_allclose(found, expected, rtol=1e-10)
    else:
        assert_array_equal(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_dask_table_stays_one(method, table, policy):
    dd = pytest.importorskip("dask.dataframe", reason="Dask is not installed")
    found = getattr(policy, method)(dd.from_pandas(table, npartitions=3))
    assert type(found).__module__.startswith("dask.")
    expected = getattr(policy, method)(table[["x", "y"]])
    assert_allclose_or_equal(found.compute(scheduler="synchronous"), expected)
    with pytest.raises(ValueError, match="Give a callable of states, or call"):
        policy.predict(dd.from_pandas(table, npartitions=3), np.ones((N, 2), bool))


def test_what_is_given_for_each_row_is_cut_alike(table, policy):
    available = np.zeros((N, 2), dtype=bool)
    available[np.arange(N), np.arange(N) % 2] = True
    given = source("dataset", table, None)
    expected = np.array(["high", "low"])[np.arange(N) % 2]
    assert_array_equal(policy.predict(given, available), expected)
    assert_array_equal(
        policy.predict(
            given, available=lambda states: available[:1].repeat(len(states), axis=0)
        ),
        "high",
    )
    q = policy.q_values(table[["x", "y"]], expected)
    assert_allclose(policy.q_values(given, expected), q, rtol=1e-10)
    assert [part.shape for part in policy.q_values(given, return_std=True)] == [
        (N, 2)
    ] * 2
    with pytest.raises(ValueError, match="121 rows were given beside 120 states"):
        policy.q_values(given, [*expected, "low"])


def test_columns_that_are_missing_are_said(table, policy):
    given = source("stream", table.drop(columns="y"), None)
    with pytest.raises(ValueError, match="no column 'y'"):
        policy.predict(given)


def test_a_policy_without_names_takes_all_columns(table, tmp_path):
    x = table[["x", "y"]].to_numpy()
    log = Transitions(x, table.dose, table.gain, x, np.ones(N))
    policy = StackelbergPolicyEstimator(discount=0.0, n_components=10).fit(log)
    given = source("path", table[["x", "y"]], tmp_path)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        assert_array_equal(policy.predict(given), policy.predict(x))


def test_no_rows_are_said(table, policy, tmp_path):
    table[["x", "y"]].head(0).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="X holds no rows"):
        policy.predict(tmp_path / "none.parquet")


def test_a_dask_table_without_a_column_is_refused_at_once(table, policy):
    dd = pytest.importorskip("dask.dataframe", reason="tables of Dask")
    short = dd.from_pandas(table[["x", "dose"]], npartitions=2)
    with pytest.raises(ValueError, match="'y'"):
        policy.predict(short)
