"""The tables of a comparison."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from sklearn_stackelberg.benchmark import MethodComparison
from sklearn_stackelberg.benchmark._results import ComparedMethod
from sklearn_stackelberg.metrics import OffPolicyEstimate
from sklearn_stackelberg.metrics._differences import difference


def estimate(value, bias_bound=0.0):
    psi = np.linspace(-0.01, 0.01, 20)
    return OffPolicyEstimate(
        value,
        0.031,
        20.0,
        20,
        40,
        "An estimate",
        "something",
        contributions=psi * (1 + value),
        pieces=np.arange(20),
        bias_bound=bias_bound,
        limits=(-2.0, 2.0),
    )


@pytest.fixture
def found():
    logger = estimate(-0.5)
    rows = [ComparedMethod("Logger", logger, (-0.6, -0.4))]
    for name, bias in (("A_b & 50 % | c", 0.0), ("daggered", 0.2), ("lost", 3.0)):
        one = estimate(1.234, bias)
        less = difference(one, logger)
        rows.append(ComparedMethod(name, one, (1.1, 1.4), less, (1.6, 1.9), 0.25, 12.6))
    rows.append(ComparedMethod("broken", None, failure="no_luck"))
    return MethodComparison(tuple(rows), {}, 0.95, True, 0.9, 3, 20, 40)


def test_text_and_marks(found):
    text = str(found)
    assert "1.234 ± 0.031 " in text
    assert "1.234 ± 0.031†" in text
    assert "1.234 ± 0.031‡" in text
    assert "† Leads to where the log has few rows, or takes actions that it" in text
    assert "‡ The same, and the bound is half" in text
    assert "20 episodes, 40 decisions, discount 0.9." in text
    assert "all of a column at once" in text
    assert "failed: no_luck" in text


def test_no_marks_no_notes(found):
    plain = MethodComparison(found.rows[:2], {}, 0.9, False, 0.0, 3, 20, 40)
    assert "†" not in str(plain)
    assert "90 % intervals, each alone" in str(plain)


def test_markdown(found):
    lines = found.to_markdown().splitlines()
    assert lines[1].startswith("| --- | ---: |")
    # Every row has as many cells, whatever stands in a name.
    cells = {line.replace(r"\|", "").count("|") for line in lines[:7]}
    assert cells == {8}


def test_latex(found):
    text = found.to_latex()
    assert r"\toprule" in text
    assert r"\bottomrule" in text
    assert r"A\_b \& 50 \% | c & 1.234 $\pm$ 0.031 &" in text
    assert r"0.031$^{\dagger}$" in text
    assert r"Logger & $-$0.500 $\pm$ 0.031 & [$-$0.600, $-$0.400]" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {6}
    assert "†" not in text


def test_html(found):
    text = found._repr_html_()
    assert "A_b &amp; 50 % | c" in text
    assert text.count("<tr>") == 6


def test_figures(found):
    frame = found.to_frame()
    assert frame["method"].tolist()[-1] == "broken"
    assert frame["difference"][1] == pytest.approx(1.734)
    assert frame["rests_on_unsupported"].tolist() == [False, False, True, True, False]
    assert np.isnan(frame["value"].iloc[-1])
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["method"] for row in rows] == frame["method"].tolist()
    assert float(rows[1]["low"]) == 1.1


def test_without_pandas(found, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="to_dicts"):
        found.to_frame()
