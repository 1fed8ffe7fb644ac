"""The command line: what it reads, writes and refuses."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pandas as pd
import pytest

from sklearn_stackelberg.benchmark.__main__ import _parser, _read, main


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    n = 90
    age, drug = rng.normal(60, 9, n).round(1), rng.choice(["none", "low"], n)
    outcome = 2.0 * (drug == "low") * (age > 60) + rng.normal(size=n)
    return pd.DataFrame(
        {"patient": np.arange(n), "age": age, "drug": drug, "outcome": outcome}
    )


@pytest.fixture
def visits():
    rng = np.random.default_rng(0)
    rows = [
        (patient, day, rng.normal(), rng.integers(2), rng.normal())
        for patient in range(20)
        for day in (2, 1, 3)
    ]
    return pd.DataFrame(rows, columns=["patient", "day", "pulse", "dose", "gain"])


ONE_STEP = ["--state", "age", "--action", "drug", "--reward", "outcome"]
METHOD = ["--methods", "direct-ridge"]
VISITS = ["--state", "pulse", "--action", "dose", "--reward", "gain"]
VISITS += ["--episode", "patient", "--step", "day"]


def read(path, *options):
    return _read(_parser().parse_args([str(path), *options]))


def test_as_a_program(frame, tmp_path, monkeypatch, capsys):
    path, name = tmp_path / "log.csv", "sklearn_stackelberg.benchmark"
    frame.to_csv(path, index=False)
    # As `python -m` does, without another process that imports torch.
    monkeypatch.delitem(sys.modules, f"{name}.__main__")
    monkeypatch.setattr(sys, "argv", [name, str(path), *ONE_STEP, *METHOD])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    found = capsys.readouterr()
    assert found.out.startswith("| method | value | 95 % interval |")
    assert "[1/1] Direct ridge ... " in found.err


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_files(frame, tmp_path, suffix):
    path = tmp_path / f"log{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    log = read(path, *ONE_STEP, "--episode", "patient")
    # "none" is an action, not a missing value.
    assert sorted(set(log.action)) == ["low", "none"]
    assert log.terminated.all()
    assert len(log) == 90


def test_without_pandas(frame, tmp_path, monkeypatch):
    frame.to_csv(tmp_path / "log.csv", index=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    log = read(tmp_path / "log.csv", *ONE_STEP)
    assert len(log) == 90
    assert log.terminated.all()


def test_episodes(visits, tmp_path):
    path = tmp_path / "log.csv"
    visits.to_csv(path, index=False)
    # Whether the last rows are ends is not known: what follows them is not there.
    assert len(read(path, *VISITS)) == 40
    log = read(path, *VISITS, "--episodes-end")
    assert len(log) == 60
    assert (log.terminated == (log.step == 3)).all()


@pytest.mark.parametrize(
    ("name", "kind"), [("t.md", "| ---"), ("t.tex", "booktabs"), ("t.csv", "method,")]
)
def test_formats_by_suffix(frame, tmp_path, capsys, name, kind):
    frame.to_csv(tmp_path / "log.csv", index=False)
    out = tmp_path / name
    options = [*ONE_STEP, "--methods", "best single action", "--out", str(out)]
    assert main([str(tmp_path / "log.csv"), *options]) == 0
    assert kind in out.read_text(encoding="utf-8")
    assert capsys.readouterr().out == ""


def test_methods_are_listed(capsys):
    assert main(["--list-methods"]) == 0
    text = capsys.readouterr().out
    assert "direct-ridge" in text
    assert "Stackelberg calibrated" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--state, --action, --reward is missing"),
        (
            ["--state", "agee", *ONE_STEP[2:]],
            "no column 'agee' (did you mean 'age'?). It has 'patient', 'age'",
        ),
        ([*ONE_STEP, "--methods", "direct-rigde"], "Did you mean direct-ridge"),
        ([*ONE_STEP, "--discount", "7"], "discount must be a number in [0, 1]"),
        ([*ONE_STEP, "--folds", "1"], "cv must be an integer >= 2"),
        ([*ONE_STEP, "--out", "no/such/folder.md"], "there is no folder no/such"),
        (
            [*ONE_STEP, "--terminated", "patient", "--episodes-end"],
            "both say where episodes end",
        ),
    ],
)
def test_refusals_are_sentences(frame, tmp_path, capsys, options, message):
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False)
    assert main([str(path), *options]) == 2
    found = capsys.readouterr()
    assert message in found.err
    assert not found.out


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone.csv", "There is no file"), ("log.xlsx", "neither a CSV")],
)
def test_files_that_cannot_be_read(tmp_path, capsys, name, message):
    (tmp_path / "log.xlsx").write_text("")
    assert main([str(tmp_path / name), *ONE_STEP]) == 2
    assert message in capsys.readouterr().err
