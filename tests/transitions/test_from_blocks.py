"""Logs read block by block, against the same table read at once."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg._stored_rows import StoredRows, row_batches
from sklearn_stackelberg.model_selection import EpisodeKFold
from sklearn_stackelberg.transitions import _blocks, _stored_log

ROLES = {
    "state": ["x", "y"],
    "action": "drug",
    "reward": "gain",
    "episode": "patient",
    "step": "visit",
    "terminated": "died",
}


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(_blocks, "_FEWEST_ROWS", 12)


def make_table(n_patients=30, seed=0):
    """Episodes of one to six visits, cut or terminated, with unsorted steps."""
    rng = np.random.default_rng(seed)
    parts = []
    for patient in range(n_patients):
        n = rng.integers(1, 7)
        died = np.zeros(n, dtype=bool)
        died[-1] = rng.random() < 0.5
        drug = rng.choice(["A", "B"], size=n).astype(object)
        if not died[-1]:
            drug[-1] = None  # the state that the episode was cut in
        part = {"patient": f"p{patient}", "visit": np.arange(n), "died": died}
        part |= {"x": rng.normal(size=n), "y": rng.normal(size=n), "drug": drug}
        gain = np.where([d is None for d in drug], np.nan, rng.normal(size=n))
        parts.append(pd.DataFrame(part | {"gain": gain}).iloc[rng.permutation(n)])
    return pd.concat(parts, ignore_index=True)


def cut(table, size):
    return [table.iloc[start : start + size] for start in range(0, len(table), size)]


class Parts:
    def __init__(self, blocks):
        self.blocks = blocks

    def __len__(self):
        return len(self.blocks)

    def read(self, i):
        return self.blocks[i]


def assert_same_log(log, expected):
    for name in ("state", "next_state"):
        given = getattr(log, name)
        assert isinstance(given, StoredRows)
        values = np.asarray(getattr(expected, name))
        # What follows an end is never used.
        used = np.ones(len(values), dtype=bool)
        if name == "next_state":
            used = ~expected.terminated
        assert_array_equal(np.asarray(given)[used], values[used])
    for name in ("action", "reward", "terminated", "is_initial", "episode", "step"):
        assert_array_equal(getattr(log, name), getattr(expected, name))
    assert log.left_out == expected.left_out


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_blocks_of_any_size_are_the_table(size):
    table = make_table()
    log = Transitions.from_blocks(cut(table, size), **ROLES)
    assert_same_log(log, Transitions.from_frame(table, **ROLES))


@pytest.mark.parametrize(
    "kind", ["parts", "generator", "parquet", "folder", "dataset", "stream", "polars"]
)
def test_every_source_is_read(kind, tmp_path):
    table = make_table()
    blocks = cut(table, 17)
    if kind == "parts":
        source = Parts(blocks)
    elif kind == "generator":
        source = iter(blocks)
    elif kind == "polars":
        pl = pytest.importorskip("polars", reason="polars is not installed")
        source = [pl.from_pandas(block) for block in blocks]
    else:
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        import pyarrow.dataset as ds

        path = tmp_path / "log.parquet"
        table.to_parquet(path, row_group_size=20)
        if kind == "stream":
            whole = pa.Table.from_pandas(table)
            source = pa.RecordBatchReader.from_batches(
                whole.schema, whole.to_batches(max_chunksize=20)
            )
        elif kind == "folder":
            folder = tmp_path / "parts"
            folder.mkdir()
            for k, block in enumerate(blocks):
                block.to_parquet(folder / f"part-{k:03}.parquet")
            source = folder
        else:
            source = ds.dataset(path) if kind == "dataset" else path
    log = Transitions.from_blocks(source, **ROLES)
    assert_same_log(log, Transitions.from_frame(table, **ROLES))


def fit(log, **settings):
    settings = {"n_components": 15, "kernel": "rbf", "random_state": 0} | settings
    return StackelbergPolicyEstimator(discount=0.9, **settings).fit(log)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("repeated", [False, True])
def test_a_policy_is_that_of_the_table_in_memory(kernel, repeated):
    table = make_table(60)
    if repeated:
        table = pd.concat(
            [table, table.assign(patient=table.patient + "again")], ignore_index=True
        )
    stored = fit(Transitions.from_blocks(cut(table, 13), **ROLES), kernel=kernel)
    memory = fit(Transitions.from_frame(table, **ROLES), kernel=kernel)
    x = table[["x", "y"]]
    assert_array_equal(stored.q_values(x), memory.q_values(x))
    assert_array_equal(stored.predict_proba(x), memory.predict_proba(x))
    assert stored.policy_value_ == memory.policy_value_
    assert_array_equal(stored.feature_names_in_, ["x", "y"])
    assert stored.score(Transitions.from_frame(make_table(20, 1), **ROLES)) == (
        memory.score(Transitions.from_frame(make_table(20, 1), **ROLES))
    )


def test_features_that_are_never_in_memory_give_the_same_policy(monkeypatch):
    from sklearn_stackelberg._problem import rows
    from sklearn_stackelberg.solvers import _lstd_discrete

    table = make_table(60)
    memory = fit(Transitions.from_frame(table, **ROLES))
    monkeypatch.setattr(rows.feature_rows, "__defaults__", (0, 8, "cpu", None))
    monkeypatch.setattr(_lstd_discrete, "_GATHERED_BYTES", 0)
    stored = fit(Transitions.from_blocks(cut(table, 13), **ROLES))
    x = table[["x", "y"]]
    np.testing.assert_allclose(stored.q_values(x), memory.q_values(x), rtol=1e-10)
    assert stored.policy_value_ == pytest.approx(memory.policy_value_, rel=1e-10)


def test_a_fold_copies_no_states():
    table = make_table()
    log = Transitions.from_blocks(cut(table, 20), **ROLES)
    expected = Transitions.from_frame(table, **ROLES)
    for fold, other in zip(
        EpisodeKFold(3).split(log), EpisodeKFold(3).split(expected), strict=True
    ):
        part = log[fold[0]]
        assert part.state.table is log.state.table
        assert_same_log(part, expected[other[0]])
        x = expected.state
        # Of equal numbers at other addresses sums may be rounded in another order.
        np.testing.assert_allclose(
            fit(part).q_values(x), fit(expected[other[0]]).q_values(x), rtol=1e-6
        )


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_single_precision_stays(library):
    table = make_table().astype({"x": "float32", "y": "float32"})
    blocks = cut(table, 9)
    if library == "pyarrow":
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        blocks = [pa.Table.from_pandas(block) for block in blocks]
    log = Transitions.from_blocks(blocks, **ROLES)
    assert log.state.dtype == np.float32
    assert_same_log(log, Transitions.from_frame(table, **ROLES))


def test_the_file_goes_with_the_log(tmp_path):
    log = Transitions.from_blocks(cut(make_table(), 20), folder=tmp_path, **ROLES)
    part = log[:5]
    assert len(os.listdir(tmp_path)) == 1
    del log
    gc.collect()
    assert np.isfinite(np.asarray(part.state)).all()
    del part
    gc.collect()
    assert os.listdir(tmp_path) == []


def fails(call, error, match, tmp_path):
    with pytest.raises(error, match=match):
        Transitions.from_blocks(call, folder=tmp_path, **ROLES)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_read_leaves_nothing(tmp_path, monkeypatch):
    table = make_table()
    blocks = cut(table, 20)

    def broken():
        yield blocks[0]
        raise OSError("the network is gone")

    fails(broken(), OSError, r"Block 1 .* could not be read: the network", tmp_path)
    again = table.sort_values("visit")
    fails(cut(again, 20), ValueError, "'p.*' stands in block .* sort the", tmp_path)
    missing = table.copy()
    missing.loc[len(table) // 2, "x"] = np.nan
    fails(
        cut(missing, 20),
        ValueError,
        "missing or infinite in row .* of the log",
        tmp_path,
    )
    fails(table, TypeError, "Transitions.from_frame", tmp_path)
    fails([], ValueError, "no rows", tmp_path)
    wrong = table.assign(done=True)
    fails(cut(wrong, 20), ValueError, "In block 0.*'done'", tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_stored_log._Store, "add", full)
    fails(blocks, OSError, "is full.*folder=", tmp_path)


def test_a_parquet_file_that_is_none(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / "log.parquet"
    make_table().to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    folder = tmp_path / "folder"
    folder.mkdir()
    fails(path, (OSError, ValueError), "log.parquet|Parquet", folder)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no column 'dose'"):
        Transitions.from_blocks(path, **ROLES | {"action": "dose"})


def test_blocks_that_do_not_fit_together(tmp_path):
    table = make_table()
    blocks = cut(table, 20)
    other = [blocks[0], blocks[1].rename(columns={"y": "z"})]
    fails(other, ValueError, "Block 1 .* has the columns .*'z'.* the same", tmp_path)
    fails([blocks[0], 3], TypeError, "Block 1 .* is a int; a DataFrame", tmp_path)
    single = blocks[0].astype({"x": "float32", "y": "float32"})
    fails([single, *blocks[1:]], ValueError, "double precision in a later", tmp_path)
    log = Transitions.from_blocks([blocks[0], *cut(table, 20)[1:]], **ROLES)
    whole = [blocks[0].assign(x=1), *blocks[1:]]
    mixed = Transitions.from_blocks(whole, **ROLES)
    assert mixed.state.dtype == log.state.dtype == np.float64


def test_what_is_wrong_before_anything_is_read(tmp_path):
    def never():
        raise AssertionError
        yield

    with pytest.raises(TypeError, match=r"by the same names; gains is none"):
        Transitions.from_blocks(never(), gains="gain", **ROLES)
    with pytest.raises(NotADirectoryError, match=r"is no folder\. Make it first"):
        Transitions.from_blocks(never(), folder=tmp_path / "none", **ROLES)


def test_columns_that_are_missing_by_name():
    with pytest.raises(ValueError, match="needs the columns of action, reward"):
        Transitions.from_blocks([], episode="patient", state="x")


@pytest.mark.parametrize("key", [slice(2, 5), slice(None, None, -1), np.array([4, 1])])
def test_stored_rows_are_an_array(key):
    table = np.arange(20.0).reshape(10, 2)
    index = np.array([3, 4, 5, 6, 0, 9])
    rows = StoredRows(table, index)
    expected = table[index]
    assert rows.shape == expected.shape
    assert_array_equal(rows[key], expected[key])
    assert_array_equal(rows[key, 1], expected[key, 1])
    assert_array_equal(rows.take(key), expected[key])
    assert_array_equal(np.asarray(rows, dtype=np.float32), expected)
    parts = [rows[some] for some in row_batches(rows)]
    assert_array_equal(np.concatenate(parts), expected)
    with pytest.raises(ValueError, match="copied"):
        np.array(rows, copy=False)


def test_no_file_is_left_behind_by_a_fit(tmp_path, monkeypatch):
    log = Transitions.from_blocks(cut(make_table(), 20), folder=tmp_path, **ROLES)
    before = sorted(Path(tmp_path).rglob("*"))
    fit(log)
    assert sorted(Path(tmp_path).rglob("*")) == before


def test_a_stored_log_is_shown_without_reading_its_states(monkeypatch):
    table = make_table()
    log = Transitions.from_blocks(cut(table, 7), **ROLES)
    expected = Transitions.from_frame(table, **ROLES)

    def read(self, *_, **__):
        raise AssertionError("States were read.")

    monkeypatch.setattr(StoredRows, "__getitem__", read)
    monkeypatch.setattr(StoredRows, "__array__", read)
    assert log._repr_html_() == expected._repr_html_()
    assert "2 (x, y)" in log._repr_html_()


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_changed_in_a_mapped_array_stays(mode, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5000, 8)))
    table = np.load(tmp_path / "x.npy", mmap_mode=mode)
    table[3] = 7.0
    rows = StoredRows(table, np.arange(5000))
    assert (rows[:2000][3] == 7.0).all()
    assert (table[3] == 7.0).all()
    assert (rows[3:4] == 7.0).all()
