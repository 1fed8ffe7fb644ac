"""Pictures show the numbers that they are of, and text as it stands."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from _logs import changed, dose_log, estimator, ignore_convergence, walk_log
from matplotlib import pyplot
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import is_classifier
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import PartialDependenceDisplay, partial_dependence
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.benchmark import compare_methods
from sklearn_stackelberg.inspection import (
    FrozenPolicy,
    HistoryDisplay,
    PolicyDisplay,
    TuningDisplay,
    ValueDisplay,
    coverage_report,
)
from sklearn_stackelberg.metrics import compare_policies, fitted_q_value

pytestmark = ignore_convergence


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def drawn(display):
    """The picture as a file would have it: text that cannot be drawn fails here."""
    display.figure_.canvas.draw()
    return display


def texts(display):
    legend = display.ax_.get_legend()
    return [text.get_text() for text in legend.get_texts()]


# ---------------------------------------------------------------- policies


@pytest.fixture(scope="module")
def walk():
    log = walk_log(180, frame=True)
    return log, estimator(deterministic=True).fit(log)


def test_shares_are_those_of_what_is_predicted_and_logged(walk):
    log, policy = walk
    display = drawn(PolicyDisplay.from_estimator(policy, log))
    assert display.actions == ("0", "1", "2")
    done = policy.predict(log)
    assert_allclose(display.policy, np.bincount(done, minlength=3) / 180)
    assert_allclose(display.logger, np.bincount(log.action) / 180)
    widths = [bar.get_width() for bar in display.ax_.patches]
    assert_allclose(widths[:3], display.decided)
    assert_allclose(widths[3:6], display.policy - display.decided)
    assert_allclose(widths[6:], display.logger)
    assert display.figure_ is display.ax_.figure
    axes = Figure().subplots()
    assert display.plot(ax=axes) is display
    assert display.ax_ is axes
    with pytest.raises(TypeError, match="unexpected keyword"):
        display.plot(color="red")


def test_cells_add_up_to_the_whole(walk):
    log, policy = walk
    whole = PolicyDisplay.from_estimator(policy, log)
    for columns in (1, "certainty", ["certainty", 0]):
        display = drawn(PolicyDisplay.from_estimator(policy, log, columns=columns))
        cells = tuple(range(len(display.columns)))
        known = np.isfinite(display.policy[..., :1])
        assert_allclose(np.where(known, display.policy, 1 / 3).sum(axis=-1), 1.0)
        if len(cells) == 1:  # as many states in each
            for found, all_of_it in (
                (display.policy, whole.policy),
                (display.logger, whole.logger),
                (display.decided, whole.decided),
            ):
                assert_allclose(found.mean(axis=0), all_of_it, atol=0.02)
    assert len(display.columns[0].labels) == len(display.columns[1].labels) == 8


def test_what_is_decided_is_what_predict_set_says():
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(240, 2)), rng.integers(3, size=240)
    reward = (action - 1) * x[:, 0] + 0.5 * rng.normal(size=240)
    log = Transitions(x, action, reward, x, np.ones(240))
    policy = estimator(discount=0.0, deterministic=True, bandwidth="median").fit(log)
    for level in (0.5, 0.95):
        chosen = policy.predict_set(log, level)
        own = chosen[np.arange(len(log)), policy.predict(log)] & (chosen.sum(1) == 1)
        display = PolicyDisplay.from_estimator(policy, log, confidence_level=level)
        assert_allclose(display.decided.sum(), own.mean())
    assert 0 < own.sum() < 240
    ahead = PolicyDisplay.from_estimator(policy, log, columns="certainty")
    assert ahead.decided[0].sum() == 0.0
    assert ahead.decided[-1].sum() > 0.0
    assert (np.diff(ahead.columns[0].edges) > 0).all()
    left_out = PolicyDisplay.from_estimator(policy, log, confidence_level=None)
    assert left_out.decided is None
    other = DummyClassifier(strategy="prior").fit(log.state, log.action)
    display = drawn(PolicyDisplay.from_estimator(other, log, columns=0))
    assert display.decided is None
    assert_allclose(display.policy, np.tile(np.bincount(log.action) / 240, (8, 1)))


def test_weights_are_repetition(walk):
    log, policy = walk
    weight = np.arange(len(log)) % 3
    heavy = changed(log, weight=weight.astype(float))
    again = log[np.repeat(np.arange(len(log)), weight)]
    again = changed(again, episode=None, step=None, is_initial=np.ones(len(again)))
    one, other = (PolicyDisplay.from_estimator(policy, each) for each in (heavy, again))
    assert_allclose(one.policy, other.policy)
    assert_allclose(one.logger, other.logger)


def ward(n=240, seed=0):
    """A table with text, missing values and names that look like mathematics."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"$pulse_1$": rng.normal(80, 10, n), "ward": "B"})
    X.loc[rng.uniform(size=n) < 0.2, "$pulse_1$"] = np.nan
    X["ward"] = rng.choice([*"ABC"], n)
    y = pd.DataFrame({"action": rng.choice(["$x_1$", "<b>"], n)})
    y["reward"] = (y["action"] == "<b>") * (X["ward"] == "A") + rng.normal(size=n)
    return X, y.assign(episode=range(n), step=0, terminated=True)


def test_columns_are_those_of_the_table_and_text_is_drawn_as_it_stands():
    X, y = ward()
    prepare = make_column_transformer(
        (SimpleImputer(), ["$pulse_1$"]),
        (OneHotEncoder(sparse_output=False), ["ward"]),
    )
    policy = make_pipeline(prepare, estimator(deterministic=True)).fit(X, y)
    columns = ["$pulse_1$", "ward"]
    display = drawn(PolicyDisplay.from_estimator(policy, X, y, columns=columns))
    pulse, letters = display.columns
    assert letters.labels == ("A", "B", "C")
    assert pulse.labels[-1] == "missing"
    assert len(pulse.labels) == 9
    assert len(pulse.edges) == 9
    assert display.policy.shape == (9, 3, 2)
    assert display.ax_.get_xlabel() == r"\$pulse_1\$"
    assert display.ax_.get_yticklabels()[0].get_text() == "A"
    by_ward = PolicyDisplay.from_estimator(policy, X, y, columns="ward", of="logger")
    expected = pd.crosstab(X["ward"], y["action"], normalize="index").to_numpy()
    assert_allclose(by_ward.logger, expected[:, [0, 1]])
    heights = np.array([bar.get_height() for bar in drawn(by_ward).ax_.patches])
    assert_allclose(heights.reshape(2, 3).T, by_ward.logger)
    assert "no other as good" not in texts(by_ward)
    few = PolicyDisplay.from_estimator(policy, X, y, columns="ward", n_bins=2)
    assert len(few.columns[0].labels) == 2
    assert few.columns[0].labels[-1] == "others"


def test_cells_without_a_logged_state_stay_empty():
    state = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]] * 20)
    log = Transitions(state, np.arange(60) % 2, np.ones(60), state, np.ones(60))
    policy = DummyClassifier(strategy="prior").fit(state, log.action)
    display = drawn(PolicyDisplay.from_estimator(policy, log, columns=[0, 1]))
    assert np.isnan(display.policy[1, 1]).all()
    assert np.isfinite(display.policy[0]).all()
    (image,) = display.ax_.get_images()
    assert_array_equal(np.ma.getmaskarray(image.get_array()), [[0, 0], [0, 1]])
    marks = sum(len(line.get_xdata()) for line in display.ax_.get_lines())
    assert marks == 3


def test_the_rarest_of_many_actions_are_drawn_together():
    rng = np.random.default_rng(0)
    action = np.minimum(rng.geometric(0.1, size=400), 20)
    X = rng.normal(size=(400, 1))
    log = Transitions(X, action, np.ones(400), X, np.ones(400))
    policy = DummyClassifier(strategy="prior").fit(X, action)
    display = drawn(PolicyDisplay.from_estimator(policy, log))
    assert len(display.actions) == 12
    assert display.actions[-1] == "others"
    assert_allclose(display.policy, display.logger)
    counts = np.sort(np.bincount(action)[1:])[::-1]
    assert_allclose(np.sort(display.logger[:-1])[::-1], counts[:11] / 400)
    assert_allclose(display.logger.sum(), 1.0)
    drawn(PolicyDisplay.from_estimator(policy, log, columns=[0, 0]))


@pytest.mark.parametrize("p", [1, 2])
def test_continuous_actions_are_drawn_by_levels(p):
    log = dose_log(200, p=p)
    policy = estimator(action_type="continuous", bandwidth="median").fit(log)
    column = p - 1
    display = drawn(PolicyDisplay.from_estimator(policy, log, action=column))
    assert len(display.actions) == 5
    amount = log.action.reshape(200, p)[:, column]
    done = np.reshape(policy.predict(log), (200, p))[:, column]
    ends = np.quantile(
        np.append(amount, done), np.linspace(0, 1, 6)[1:-1], method="inverted_cdf"
    )
    expected = np.bincount(np.searchsorted(ends, done, "right"), minlength=5) / 200
    assert_allclose(display.policy, expected)
    assert display.ordered
    assert (display.decided <= display.policy).all()
    drawn(PolicyDisplay.from_estimator(policy, log, columns=[0, 1], action=column))
    with pytest.raises(ValueError, match="at most two"):
        PolicyDisplay.from_estimator(policy, log, columns="certainty")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": "z"}, r"'z' was given; at most two were expected, of \['x', 'y'"),
        ({"columns": ["x", "y", "x"]}, "at most two were expected"),
        ({"columns": 2}, "2 was given; at most two were expected"),
        ({"of": "nurse"}, "of must be one of"),
        ({"n_bins": 1}, "n_bins must be an integer >= 2"),
        ({"confidence_level": 1.0}, "confidence_level must be"),
    ],
)
def test_bad_arguments(walk, settings, words):
    log, policy = walk
    with pytest.raises(ValueError, match=words):
        PolicyDisplay.from_estimator(policy, log, **settings)


# ---------------------------------------------------------------- values


@pytest.fixture(scope="module")
def comparison():
    log = walk_log(180)
    settings = {"discount": 0.5, "kernel": "rbf", "n_components": 10}
    policies = {
        "even": DummyClassifier(strategy="prior").fit(log.state, log.action),
        "always $0$": DummyClassifier(strategy="constant", constant=0).fit(
            log.state, log.action
        ),
    }
    groups = np.where(log.episode % 2, "odd", "even days")
    return [
        compare_policies(policies, log, groups=given, **settings)
        for given in (None, groups)
    ]


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_values_are_those_of_the_table(comparison, difference, grouped):
    found = comparison[int(grouped)]
    table = pd.DataFrame(found.to_dicts())
    display = drawn(ValueDisplay.from_estimates(found, difference=difference))
    start = "difference_" if difference else ""
    assert_array_equal(display.value, table["difference" if difference else "value"])
    assert_array_equal(display.low, table[start + "low"])
    assert_array_equal(display.high, table[start + "high"])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels[1] == r"always \$0\$"
    assert len(labels) == len(table)
    assert "intervals that hold all at once" in display.ax_.get_xlabel()
    if difference or not grouped:
        at = 0.0 if difference else found.rows[0].difference.baseline.value
        assert display.baseline[1] == at
        marks = [line for line in display.ax_.get_lines() if len(line.get_xdata()) == 1]
        hollow = [mark.get_markerfacecolor() == "white" for mark in marks[::3]]
        assert hollow == [
            low <= at <= high
            for low, high in zip(display.low, display.high, strict=True)
        ]
    else:
        assert display.baseline is None


def test_values_of_methods_and_of_single_estimates():
    log = walk_log(180)
    found = compare_methods(log, discount=0.5, methods=["bc-logistic"], cv=2)
    display = drawn(ValueDisplay.from_estimates(found))
    assert len(display.names) == len(found.rows)
    assert_allclose(display.value, [row.estimate.value for row in found.rows])
    policy = DummyClassifier(strategy="prior").fit(log.state, log.action)
    one = fitted_q_value(policy, log, discount=0.5)
    display = drawn(ValueDisplay.from_estimates({"one": one, "more": one + 1.0}))
    assert_allclose(np.diff(display.value), 1.0)
    assert (display.low[0], display.high[0]) == one.confidence_interval
    assert display.baseline is None
    with pytest.raises(ValueError, match="There are no differences"):
        ValueDisplay.from_estimates({"one": one}, difference=True)


def test_the_lower_bounds_of_a_fit_are_drawn_over_lambda():
    log = walk_log(180)
    policy = estimator(lam="calibrated", mirror_steps=2, max_iter=1).fit(log)
    display = drawn(TuningDisplay.from_estimator(make_pipeline("passthrough", policy)))
    bound = policy.lower_bound_
    lams, mean, error = np.array(bound.tried).T
    assert_array_equal(display.line_.get_xdata(), lams)
    assert_array_equal(display.line_.get_ydata(), mean)
    assert_allclose(display.bound_.get_ydata(), mean - bound.quantile * error)
    (at,), (value,) = display.chosen_.get_data()
    assert at == policy.lam_ == lams[np.argmax(display.bound)]
    assert value == bound.estimate
    assert policy.policy_value_ <= display.bound.max() + 1e-12
    fixed = estimator(mirror_steps=2, max_iter=1).fit(log)
    with pytest.raises(ValueError, match="did not choose λ by a lower bound"):
        TuningDisplay.from_estimator(fixed)


def test_a_history_is_drawn_as_it_is(walk):
    _, policy = walk
    display = drawn(HistoryDisplay.from_estimator(policy, label="a fit"))
    assert_array_equal(display.line_.get_ydata(), policy.history_["value"])
    assert texts(display)[0] == "a fit"
    added = np.subtract(display.above, display.figure)
    assert_allclose(added, policy.history_["pessimism"])
    norm = drawn(HistoryDisplay.from_estimator(policy, "bellman_error"))
    assert norm.ax_.get_ylabel() == "bellman error"
    assert norm.above is None
    # What a solver does not compute has no line, and no warning.
    drawn(HistoryDisplay.from_estimator(policy, "cg_residual"))
    with pytest.raises(ValueError, match=r"has no history of 'loss'; it has \['value'"):
        HistoryDisplay.from_estimator(policy, "loss")


# ---------------------------------------------------------------- scikit-learn's


def test_partial_dependence_is_how_often_an_action_is_chosen(walk):
    log, policy = walk
    frozen, states = FrozenPolicy(policy), log.state.astype(float)
    settings = {"grid_resolution": 4, "kind": "average"}
    found = partial_dependence(frozen, states, [0], **settings)
    for value, *shares in zip(found["grid_values"][0], *found["average"], strict=True):
        moved = states.copy()
        moved.isetitem(0, np.full(len(moved), value))
        done = policy.predict(moved)
        assert_allclose(shares, [(done == one).mean() for one in policy.classes_])
    assert not is_classifier(policy)  # or searches would split rows by class
    assert fitted_q_value(frozen, log, discount=0.9) == fitted_q_value(
        policy, log, discount=0.9
    )
    # Of all rows a column's decisions, by a pipeline as well.
    display = PartialDependenceDisplay.from_estimator(
        FrozenPolicy(make_pipeline("passthrough", policy)), states, [0], target=1
    )
    assert display.pd_results[0]["average"].max() <= 1.0


def test_partial_dependence_of_amounts_is_their_mean():
    log = dose_log(60)
    policy = estimator(discount=0.0).fit(log)
    found = partial_dependence(
        FrozenPolicy(policy), log.state, [0], grid_resolution=3, kind="average"
    )
    moved = np.array(log.state)
    moved[:, 0] = found["grid_values"][0][1]
    assert_allclose(found["average"][0, 1], policy.predict(moved).mean())


# ---------------------------------------------------------------- notebooks


def test_a_report_of_coverage_is_a_table_of_its_heaviest_rows():
    names = ["<i>", "b", "<i>", "b"]
    log = Transitions(np.zeros((4, 1)), names, [0, 1, 1, 1], np.zeros((4, 1)), [1] * 4)
    policy = DummyClassifier(strategy="prior").fit(log.state, log.action)
    with pytest.warns(UserWarning, match="handful of rows"):
        report = coverage_report(policy, log, discount=0.0)
    html = report._repr_html_()
    assert html.count("<tr>") == 1 + len(report.top_rows)
    assert "<i>" not in html
    assert "&lt;i&gt;" in html
    assert html.count('<p class="warning">') == len(report.warnings) > 0
    assert str(report).split("\n")[0] in html


def test_no_estimates_are_no_picture():
    with pytest.raises(ValueError, match="No estimates were given"):
        ValueDisplay.from_estimates({})
