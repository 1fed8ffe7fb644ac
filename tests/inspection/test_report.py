"""A report that opens anywhere, decisions one by one, and the tree as a picture."""

from __future__ import annotations

import html.parser
import warnings

import numpy as np
import pandas as pd
import pytest
from _logs import dose_log, estimator, ignore_convergence
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.inspection import (
    PolicyTreeDisplay,
    explain_decisions,
    explain_policy,
    report,
)
from sklearn_stackelberg.inspection._displays import FILLS
from sklearn_stackelberg.inspection._explanation import Rule
from sklearn_stackelberg.inspection._tree_display import _fills
from sklearn_stackelberg.metrics import logged_value

pytestmark = ignore_convergence

HOSTILE = "<script>alert('$x_1$ | *')</script>"


def drug_log(n=160, seed=0, names=("pulse", "age")):
    """Drug B where the pulse is above 90, which is worth 1; one step each."""
    rng = np.random.default_rng(seed)
    state = pd.DataFrame(rng.integers(60, 120, (n, 2)) * 1.0, columns=[*names])
    drug = rng.choice(["A", "B"], n)
    reward = ((state.iloc[:, 0] > 90) == (drug == "B")) + 0.1 * rng.normal(size=n)
    return Transitions(state, drug, reward, state, np.ones(n), episode=np.arange(n))


@pytest.fixture(scope="module")
def hostile():
    log = drug_log(names=(HOSTILE, "<img src=x>"))
    policy = make_pipeline(StandardScaler(), estimator(discount=0.0, lam="calibrated"))
    y = pd.DataFrame({"action": log.action, "reward": log.reward})
    policy.fit(log.state, y)
    other = drug_log(seed=1, names=(HOSTILE, "<img src=x>"))
    y = pd.DataFrame({"action": other.action, "reward": other.reward})
    y["action"] = other.action
    found = report(policy, other.state, y, title=HOSTILE, cv=2, max_depth=1)
    return policy, other, found


class Page(html.parser.HTMLParser):
    """What a page has of tags, and what these refer to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


# ------------------------------------------------------------------- report


def test_a_page_needs_nothing_else_and_hostile_names_are_text(hostile, tmp_path):
    found = hostile[2]
    path = tmp_path / "report.html"
    page = Page(found.to_html(path))
    assert path.read_text(encoding="utf-8") == found.to_html()
    assert page.open == []
    assert "script" not in page.tags
    assert page.tags.count("img") == 2
    assert all(src.startswith("data:image/png;base64,") for src in page.sources)
    assert page.text.count(HOSTILE) >= 4
    assert "http" not in found.to_html()


def test_markdown_has_the_same_and_no_html(hostile, tmp_path):
    found = hostile[2]
    text = found.to_markdown(tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text == str(found)
    assert "<" not in text
    tables = [line for line in text.split("\n") if line.startswith("| ")]
    cells = {line.replace("\\|", "").count("|") for line in tables}
    assert cells == {3, 4, 5, 8}
    for section in found.sections:
        assert f"## {section.title}" in text


def test_the_figures_are_those_of_the_functions(hostile):
    policy, other, found = hostile
    logger = logged_value(other, discount=0.0)
    assert_allclose(found.difference.baseline.value, logger.value)
    assert found.difference.value > 0.3
    bound = policy[-1].lower_bound_
    assert found.lower_bound is bound
    text = found.to_markdown()
    assert f"{bound.value:.4g}" in text
    assert f"p = {found.difference.p_value():.2g}" in text
    assert found.explanation.rules[0].conditions[0].startswith(f"{HOSTILE} <= ")
    assert "| lam | 'calibrated' |" in text
    assert "| transitions | 160 |" in text
    assert "scikit-learn" in text


def test_warnings_are_in_the_report_and_nowhere_else():
    log = drug_log(60)
    policy = estimator(discount=0.0, lam=10.0).fit(log)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = report(policy, log, cv=2, max_depth=1)
    assert any("was learned from" in text for text in found.warnings)
    assert len({*found.warnings}) == len(found.warnings)
    assert "was learned from" in Page(found.to_html()).text
    assert "<h2>Warnings</h2>" in found._repr_html_()


def test_weights_are_repetition():
    log, weight = drug_log(60), np.arange(60) % 3
    policy = estimator(discount=0.0, lam=10.0).fit(drug_log(60, seed=1))
    rows = np.repeat(np.arange(60), weight)
    copies = log[rows]
    copies.episode = np.arange(len(rows))  # each on its own
    one = report(policy, log, cv=2, max_depth=1, sample_weight=weight)
    other = report(policy, copies, cv=2, max_depth=1)
    assert_allclose(one.difference.value, other.difference.value, rtol=1e-6)
    assert_allclose(one.coverage.share_unseen, other.coverage.share_unseen)
    of_actions = [page.sections[3].lines for page in (one, other)]
    assert of_actions[0] == of_actions[1]


def test_the_same_page_twice():
    opened = pyplot.get_fignums()  # by examples, perhaps
    log = drug_log(60)
    policy = estimator(discount=0.0, lam=10.0).fit(log)
    texts = [
        report(policy, log, cv=2, max_depth=1, random_state=1).to_html()
        for _ in range(2)
    ]
    one, two = (text.split("Made on")[0] for text in texts)
    assert one == two
    assert pyplot.get_fignums() == opened


def test_a_report_on_amounts():
    log = dose_log(120, p=2)
    policy = estimator(deterministic=True).fit(log)
    text = report(policy, log, cv=2, max_depth=1).to_markdown()
    assert "| action | of | least | 25 % | median | 75 % | most |" in text
    assert "| action\\_1 | the logger |" in text


# ---------------------------------------------------------------- decisions


def test_advantages_are_those_of_the_policy_and_its_log():
    log = drug_log()
    policy = estimator(discount=0.0, lam=10.0, deterministic=True).fit(log)
    found = explain_decisions(policy, log.state.iloc[:4], log)
    q, _ = policy.q_values(log.state.iloc[:4], return_std=True)
    for one, values in zip(found.decisions, q, strict=True):
        chosen = [part.chosen for part in one.alternatives].index(True)
        assert one.alternatives[chosen].action == one.action
        assert one.alternatives[chosen][2:4] == (0.0, 0.0)
        more = [part.advantage for part in one.alternatives]
        assert_allclose(more, values - values[chosen], atol=1e-6)
        assert sum(part.logged_share for part in one.alternatives) == pytest.approx(1)
        # A logged state is nearest to itself.
        assert one.neighbors[0].distance == 0.0
        assert len(one.neighbors) == 5
    predicted = policy.predict(log.state.iloc[:4])
    assert [one.action for one in found.decisions] == predicted.tolist()
    frame = found.to_frame()
    assert len(frame) == 8
    assert found.to_frame("neighbors").shape == (20, 7)
    assert "Decision 3: take" in str(found)
    with pytest.raises(ValueError, match="what must be 'alternatives' or"):
        found.to_frame("rows")


def test_returns_of_the_rows_nearby_are_to_the_end_of_their_episodes():
    rows = np.arange(60)
    log = Transitions(
        rows[:, None] % 3,
        rows % 2,
        np.ones(60),
        (rows[:, None] + 1) % 3,
        rows % 3 == 2,
        episode=rows // 3,
        step=rows % 3,
    )
    policy = estimator(discount=0.5, deterministic=True).fit(log)
    order = np.random.default_rng(0).permutation(60)
    found = explain_decisions(policy, [[0], [1], [2]], log[order], n_neighbors=2)
    for one, expected in zip(found.decisions, (1.75, 1.5, 1.0), strict=True):
        for row in one.neighbors:
            assert row.episode_return == expected
            assert row.terminated
            assert row.distance == 0.0
            assert log.action[order][row.row] == row.action


def test_amounts_are_beside_those_of_the_nearest_rows():
    log = dose_log(120, p=1)
    policy = make_pipeline(StandardScaler(), estimator(deterministic=True))
    y = pd.DataFrame({"action": log.action, "reward": log.reward})
    y["terminated"] = True
    policy.fit(log.state, y)
    found = explain_decisions(policy, log.state[:2], (log.state, y), n_neighbors=3)
    one = found.decisions[0]
    assert one.action == policy.predict(log.state[:1])[0]
    nearby = [row.action for row in one.neighbors]
    assert [part.action for part in one.alternatives] == [one.action, *nearby]
    low, high = one.logged_range
    assert low < high
    assert "Four of five logged there are between" in str(found)


def test_what_cannot_be_explained_is_refused():
    log = drug_log(40)
    policy = estimator(discount=0.0, lam=10.0).fit(log)
    with pytest.raises(ValueError, match="n_neighbors must be an integer >= 1"):
        explain_decisions(policy, log.state, log, 0)
    only = log[np.flatnonzero(log.action == "A")]
    with pytest.raises(ValueError, match=r"never holds the actions \['B'\]"):
        explain_decisions(policy, log.state, only)


# ----------------------------------------------------------------- pictures


def test_the_picture_says_what_the_rules_say(hostile):
    explanation = hostile[2].explanation
    display = PolicyTreeDisplay.from_explanation(explanation)
    texts = [text.get_text() for text in display.texts_]
    assert len(texts) == 3
    for rule, text in zip(explanation.rules, texts[1:], strict=True):
        words = f"take {rule.action!r}\n{rule.advantage:+.2g} vs. logged\n"
        assert text.startswith(words)
        assert f"\n{rule.n_rows} rows, " in text
    # Names with signs of mathematics are text, too.
    display.figure_.canvas.draw()
    assert display.figure_ is display.ax_.figure
    ax = pyplot.figure().subplots()
    assert PolicyTreeDisplay(explanation=explanation).plot(ax=ax).ax_ is ax
    pyplot.close("all")


def test_a_picture_of_an_estimator():
    log = drug_log(60)
    policy = estimator(discount=0.0, lam=10.0).fit(log)
    display = PolicyTreeDisplay.from_estimator(policy, log, cv=2, max_depth=1)
    found = explain_policy(policy, log, cv=2, max_depth=1)
    assert display.explanation.to_text() == found.to_text()
    pyplot.close("all")


def contrast_with_black(fill):
    linear = [
        c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(fill)
    ]
    return (np.dot(linear, [0.2126, 0.7152, 0.0722]) + 0.05) / 0.05


def test_black_text_can_be_read_on_every_colour():
    amounts = [2.0, -1.0, 7.5, 2.0]
    shades = _fills([Rule((), amount, 1, 1.0, 1.0, 1.0, 0.0) for amount in amounts])
    contrasts = [contrast_with_black(fill) for fill in (*FILLS, *shades.values())]
    # WCAG: contrast of 4.5 at least.
    assert min(contrasts) > 4.5
    # More of an amount is darker.
    dark = [contrast_with_black(shades[f"{amount:g}"]) for amount in sorted({*amounts})]
    assert dark == sorted(dark, reverse=True)
    assert len(set(dark)) == 3
