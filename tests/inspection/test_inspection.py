"""Coverage: exact where states are finite; pictures that show what the search found."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from _logs import changed, estimator, ignore_convergence, random_mdp, uniform_log
from matplotlib import pyplot
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import EpisodeKFold, OnStates, Transitions
from sklearn_stackelberg.inspection import (
    CoverageDisplay,
    CoverageReport,
    TuningDisplay,
    coverage_report,
)
from sklearn_stackelberg.metrics import fitted_q_value
from sklearn_stackelberg.model_selection import FittedQScorer, PessimisticRefit

pytestmark = ignore_convergence


class Table:
    """A policy over states 0, 1, ..., given by its probabilities, (S, A)."""

    def __init__(self, probabilities):
        self.probabilities = np.asarray(probabilities, dtype=float)
        self.classes_ = np.arange(self.probabilities.shape[1])

    def predict_proba(self, states):
        return self.probabilities[np.asarray(states)[:, 0].astype(int)]


class Always(BaseEstimator):
    """A policy that does the same everywhere."""

    def __init__(self, action, classes=(0, 1, 2)):
        self.action, self.classes = action, classes
        self.classes_ = np.asarray(classes)
        self.probabilities = 1.0 * (self.classes_ == action)

    def fit(self, X, y=None):  # needed, as of any last step of a pipeline
        return self

    def predict_proba(self, states):
        return np.tile(self.probabilities, (len(states), 1))


def report_of(policy, log, y=None, **settings) -> CoverageReport:
    """Without the pull of the ridge, and without warnings unless wanted."""
    quiet = dict.fromkeys(
        ("min_effective_rows", "min_effective_episodes", "min_followed"), 0.0
    )
    quiet["max_unsupported"] = 1.0
    defaults = {"discount": 0.9, "ridge": 1e-7, **quiet}
    return coverage_report(policy, log, y, **defaults | settings)


def random_table(mdp, seed=0):
    rng = np.random.default_rng(seed)
    return Table(rng.dirichlet(np.full(mdp.n_actions, 0.5), size=mdp.n_states))


def count(log, mdp):
    """Logged rows of each state and action, (S, A)."""
    out = np.zeros((mdp.n_states, mdp.n_actions))
    np.add.at(out, (log.state[:, 0], log.action), 1)
    return out


def flow(log, policy, mdp, discount):
    """Discounted visits of states by the rows' moves; what is not logged ends, (S,)."""
    counts = count(log, mdp)
    first = np.bincount(log.state[log.is_initial, 0], minlength=mdp.n_states)
    moves = np.zeros((mdp.n_states, mdp.n_states))
    for s, a, after, ended in zip(
        log.state[:, 0], log.action, log.next_state[:, 0], log.terminated, strict=True
    ):
        moves[s, after] += (1 - ended) * policy.probabilities[s, a] / counts[s, a]
    matrix = np.eye(mdp.n_states) - discount * moves.T
    return np.linalg.solve(matrix, first / first.sum())


# ---------------------------------------------------------------- ratios


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95])
def test_ratios_are_exact_ratios_of_visits_on_the_counts(seed, discount):
    mdp = random_mdp(seed)
    log, policy = uniform_log(mdp, 1500, seed), random_table(mdp, seed)
    report = report_of(policy, log, discount=discount)
    counts = count(log, mdp)
    visits = flow(log, policy, mdp, discount)[:, None] * policy.probabilities
    ratio = (visits / counts)[log.state[:, 0], log.action]
    assert_allclose(report.ratio, ratio / ratio.mean(), rtol=1e-4, atol=1e-6)
    assert_allclose(report.ratio.mean(), 1.0)
    assert_array_equal(report.row, np.arange(1500))
    expected = ratio.sum() ** 2 / (ratio**2).sum()
    assert_allclose(report.effective_rows, expected, rtol=1e-4)
    episodes = np.bincount(log.episode, ratio)
    expected = episodes.sum() ** 2 / (episodes**2).sum()
    assert_allclose(report.effective_episodes, expected, rtol=1e-4)
    assert_allclose(report.share_followed, 1.0, atol=1e-4)
    assert report.share_unseen == report.share_unseen_logged == 0.0
    value = fitted_q_value(policy, log, discount=discount, ridge=1e-7)
    assert report.value == value.value
    assert report.effective_rows == pytest.approx(value.effective_sample_size)


def test_the_logger_itself_rests_on_every_row_alike():
    mdp = random_mdp(0)
    log = uniform_log(mdp, 2000)
    ended = np.isin(log.episode, log.episode[log.terminated])
    log = changed(log[np.flatnonzero(ended)])  # whole episodes
    counts = count(log, mdp)
    logger = Table(counts / counts.sum(axis=1, keepdims=True))
    report = report_of(logger, log, discount=1 - 1e-7, ridge=1e-9)
    assert_allclose(report.ratio, 1.0, rtol=1e-3)
    assert_allclose(report.effective_share, 1.0, rtol=1e-5)
    # A step later counts less: fewer rows carry the discounted value.
    assert report_of(logger, log, discount=0.5).effective_share < 0.99


def test_ratios_of_smooth_features_average_to_one():
    mdp = random_mdp(1)
    log, policy = uniform_log(mdp, 900), random_table(mdp, 1)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(900, 2))
    report = report_of(
        policy,
        changed(
            log,
            state=log.state + 0.5 + np.clip(noise[:, :1], -0.4, 0.4),
            next_state=log.next_state + 0.5 + np.clip(noise[:, 1:], -0.4, 0.4),
        ),
        ridge=0.03,
    )
    assert_allclose(report.ratio.mean(), 1.0)
    exact = report_of(policy, log)
    assert np.corrcoef(report.ratio, exact.ratio)[0, 1] > 0.9
    assert report.share_followed > 0.9


def test_greedy_is_the_most_probable_action():
    mdp = random_mdp(2)
    log, policy = uniform_log(mdp, 900), random_table(mdp, 2)
    greedy = Table(np.eye(3)[policy.probabilities.argmax(axis=1)])
    found, expected = report_of(policy, log, greedy=True), report_of(greedy, log)
    assert_array_equal(found.ratio, expected.ratio)
    assert found.effective_rows < report_of(policy, log).effective_rows


# ---------------------------------------------------------------- what is not seen


@pytest.mark.parametrize("encode", ["integer", "one-hot"])
def test_support_is_the_count_of_the_state_and_action(encode):
    mdp = random_mdp(3, encode=encode)
    log = uniform_log(mdp, 700)
    codes = log.state[:, 0] if encode == "integer" else log.state.argmax(axis=1)
    counts = np.zeros((mdp.n_states, mdp.n_actions))
    np.add.at(counts, (codes, log.action), 1)
    report = report_of(Always(1), log)
    assert_allclose(report.support, counts[codes], rtol=1e-6)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_support_of_rows_at_one_state_is_their_number(kernel):
    """Points that no kernel thinks alike: far apart, or at right angles."""
    states = 100.0 * np.eye(3) if kernel == "rbf" else np.diag([1.0, 5.0, 0.1])
    state, action = states[[0] * 5 + [1] * 9], np.arange(14) % 2
    log = Transitions(state, action, np.ones(14), state, np.ones(14))
    report = report_of(
        Always(1, (0, 1)),
        log,
        kernel=kernel,
        bandwidth=np.ones(3) if kernel == "rbf" else "median",
    )
    assert_allclose(report.support[0], [3, 2], rtol=1e-5)
    assert_allclose(report.support[-1], [4, 5], rtol=1e-5)


def test_support_falls_with_the_distance_and_grows_with_rows():
    state = np.linspace(0, 10, 41)[:, None]
    action = 1 * (state[:, 0] < 3)
    log = Transitions(state, action, np.ones(41), state, np.ones(41))
    right = report_of(Always(1, (0, 1)), log).support[:, 1]
    assert (np.diff(right[12:]) < 0).all()
    assert right[0] > 1 > right[-1] >= 0
    twice = report_of(Always(1, (0, 1)), log[np.repeat(np.arange(41), 2)])
    assert (twice.support[::2, 1] > right).all()
    # A row is near itself, even where landmarks are too few to show it.
    few = report_of(
        Always(1, (0, 1)), log, n_components=2, kernel="rbf", bandwidth=[0.1]
    )
    assert (few.support[np.arange(41), action] >= 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_unseen_shares_are_those_of_the_counts(seed, monkeypatch):
    # Of all that is unseen, however little of it in a state.
    monkeypatch.setattr("sklearn_stackelberg.metrics._unsupported._TAILS", 0.0)
    mdp, discount = random_mdp(seed), 0.9
    log, policy = uniform_log(mdp, 1500, seed), random_table(mdp, seed)
    barred = np.random.default_rng(seed).integers(3, size=mdp.n_states)
    lost = (log.action == barred[log.state[:, 0]]) & (log.state[:, 0] < 3)
    log = changed(log[np.flatnonzero(~lost)])
    report = report_of(policy, log, ridge=1e-9)
    unseen = (policy.probabilities * (count(log, mdp) == 0)).sum(axis=1)  # (S,)
    visits = flow(log, policy, mdp, discount)
    assert unseen.max() > 0.01
    assert_allclose(report.share_unseen, visits @ unseen / visits.sum(), rtol=1e-4)
    assert_allclose(
        report.share_unseen_logged, unseen[log.state[:, 0]].mean(), rtol=1e-9
    )
    # Of the walks that stop with probability 1 - discount a step, those not lost.
    assert_allclose(report.share_followed, 1 - visits @ unseen, rtol=1e-3)
    assert_allclose(report.unsupported_share, visits @ unseen, rtol=1e-3)
    assert report.share_followed < 1 - report.share_unseen
    assert_allclose(report.ratio.mean(), 1.0)


def test_min_rows_is_how_many_make_an_action_seen():
    state = np.repeat([[0.0], [1.0]], [30, 20], axis=0)
    action = np.r_[np.zeros(26), np.ones(4), np.zeros(8), np.ones(12)].astype(int)
    log = Transitions(state, action, np.ones(50), state, np.ones(50))
    shares = [
        report_of(Always(1, (0, 1)), log, min_rows=m).share_unseen
        for m in (0, 1, 4, 5, 12, 13)
    ]
    assert_allclose(shares, [0, 0, 0, 0.6, 0.6, 1.0])


# ---------------------------------------------------------------- warnings


RARE = [17, 80, 133]


def rare_log(n=150):
    """One-step visits in which the third action was chosen three times."""
    rng = np.random.default_rng(0)
    action = rng.integers(2, size=n)
    action[RARE] = 2
    state = rng.integers(2, size=(n, 1))
    names = np.array([f"p{number:03d}" for number in range(n)])
    return Transitions(
        state,
        action,
        rng.normal(size=n),
        state,
        np.ones(n),
        episode=names,
        step=np.zeros(n, dtype=int),
    )


def test_a_value_that_rests_on_three_rows_is_warned_of_and_they_are_named():
    log = rare_log()
    words = (
        r"rests on a handful of rows: on no more than 2\.\d rows and 2\.\d episodes of "
        r"equal weight, where at least 30 and 10 were expected\. The heaviest rows: "
        r"row \d+ \(episode p\d+, step 0, action 2: \d\d % of the weight\)"
    )
    with pytest.warns(UserWarning, match=words) as caught:
        report = coverage_report(Always(2), log, discount=0.9)
    assert caught[0].filename == __file__
    assert {row["row"] for row in report.top_rows[:3]} == {*RARE}
    for number in RARE:
        assert f"row {number} (episode p{number:03d}, step 0" in report.warnings[0]
        assert f"row {number} (episode p{number:03d}, step 0" in str(report)
    assert 2 < report.effective_rows <= 3
    assert sum(row["share"] for row in report.top_rows[:3]) == pytest.approx(1.0)
    assert all(row["probability"] == 1.0 for row in report.top_rows[:3])
    first = report.top_rows[0]
    assert_allclose(first["ratio"], report.ratio[first["row"]])
    assert_allclose(first["share"], abs(first["ratio"]) / abs(report.ratio).sum())
    assert {row["episode"] for row in report.top_episodes[:3]} == {
        "p017",
        "p080",
        "p133",
    }


def test_a_covered_policy_is_not_warned_of():
    log = rare_log()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = coverage_report(Always(1), log, discount=0.9, n_rows=4)
    assert report.warnings == []
    assert "Warning" not in str(report)
    assert len(report.top_rows) == len(report.top_episodes) == 4
    with pytest.warns(UserWarning, match="handful of rows"):
        coverage_report(Always(1), log, discount=0.9, min_effective_rows=100)
    with pytest.warns(UserWarning, match="handful of episodes"):
        coverage_report(Always(1), log, discount=0.9, min_effective_episodes=100)


def test_few_episodes_of_many_rows_are_warned_of():
    log = rare_log()
    log = changed(log, episode=np.arange(150) % 3, step=np.arange(150) // 3)
    log = changed(log, terminated=log.step == 49)
    with pytest.warns(UserWarning, match=r"handful of episodes: .* and [23]\.\d epi"):
        report = coverage_report(Always(1), log, discount=0.5)
    assert report.n_episodes == 3
    assert report.effective_rows > 30
    alone = Transitions(log.state, log.action, log.reward, log.state, np.ones(150))
    report = coverage_report(Always(1), alone, discount=0.9)
    assert report.effective_episodes is None
    assert report.top_episodes == []
    assert {*report.top_rows[0]} == {"row", "action", "probability", "ratio", "share"}
    assert "episode" not in str(report)


def test_a_policy_that_leaves_the_log_at_once():
    """State 0 leads to 1; action 1 was logged in state 1 alone."""
    state = np.repeat([[0], [1]], 60, axis=0)
    action = np.r_[np.zeros(60), np.tile([0, 1], 30)].astype(int)
    log = Transitions(
        state,
        action,
        np.ones(120),
        np.ones((120, 1)),
        np.arange(120) >= 60,
        is_initial=np.arange(120) < 60,
    )
    with pytest.warns(UserWarning, match="rests on no row") as caught:
        report = coverage_report(Always(1, (0, 1)), log, discount=0.9)
    assert len(caught) == 1
    assert not report.ratio.any()
    assert report.top_rows == []
    assert report.effective_rows == report.share_followed == 0.0
    assert report.share_unseen == 1.0
    assert report.share_unseen_logged == pytest.approx(0.5)
    assert "accounts for 0 %" in str(report)
    with pytest.raises(ValueError, match="All density ratios of this report are 0"):
        CoverageDisplay.from_report(report)
    # Half of the time it stays: then half of what it is worth is not from the log.
    half = Table([[0.3, 0.7], [0.5, 0.5]])
    words = r"account for 30 % of the policy's discounted visits"
    unsupported = r"70 % of the policy's value is after actions"
    with (
        pytest.warns(UserWarning, match=words),
        pytest.warns(UserWarning, match=unsupported),
    ):
        report = coverage_report(half, log, discount=0.9)
    assert report.share_followed == pytest.approx(0.3, abs=1e-3)
    # 0.7 at the first step, and what is left is supported.
    assert report.unsupported_share == pytest.approx(0.7, abs=1e-3)


# ---------------------------------------------------------------- the user's rows


def clinic(n_episodes=12, n_steps=6, seed=0):
    """A table with closing rows; the rare action stands in three of its rows."""
    rng = np.random.default_rng(seed)
    n = n_episodes * (n_steps + 1)
    table = pd.DataFrame(rng.normal(size=(n, 2)), columns=["x", "y"])
    table["episode"] = np.repeat(np.arange(n_episodes), n_steps + 1)
    table["step"] = np.tile(np.arange(n_steps + 1), n_episodes)
    closing = table["step"] == n_steps
    action = rng.choice(["half", "none"], n).astype(object)
    rare = np.array([9, 31, 66])
    assert not closing[rare].any()
    action[rare] = "full"
    table["action"] = np.where(closing, None, action)
    table["reward"] = np.where(closing, np.nan, rng.normal(size=n))
    return table, rare


def test_both_routes_and_searches_name_the_rows_of_the_users_table():
    table, rare = clinic()
    states, decisions = table[["x", "y"]], table.drop(columns=["x", "y"])
    always = Always("full", ["full", "half", "none"])
    settings = {"discount": 0.9, "n_rows": 3, "min_followed": 0, "max_unsupported": 1}
    by_table = make_pipeline(StandardScaler().fit(states), always)
    with pytest.warns(UserWarning, match="handful of rows"):
        report = coverage_report(by_table, states, decisions, **settings)
    assert {row["row"] for row in report.top_rows} == {*rare}
    assert_array_equal(report.row, np.flatnonzero(table["step"] < 6))
    for row in report.top_rows:
        assert row["action"] == "full"
        assert (row["episode"], row["step"]) == divmod(row["row"], 7)
    # A log has no closing rows: the same rows have other numbers there.
    log = Transitions.from_frame(
        table,
        state=["x", "y"],
        **{k: k for k in ("action", "reward", "episode", "step")},
    )
    by_log = make_pipeline(OnStates(StandardScaler()).fit(log), always)
    with pytest.warns(UserWarning, match="handful of rows"):
        same = coverage_report(by_log, log, **settings)
    assert {row["row"] for row in same.top_rows} == {*(rare - rare // 7)}
    assert_array_equal(log.action[[row["row"] for row in same.top_rows]], "full")
    assert_allclose(same.ratio, report.ratio, rtol=1e-6, atol=1e-9)
    assert [row["episode"] for row in same.top_rows] == [
        row["episode"] for row in report.top_rows
    ]

    class Search:
        best_estimator_ = by_log

    with pytest.warns(UserWarning, match="handful of rows"):
        found = coverage_report(Search(), log, **settings)
    assert found.top_rows == same.top_rows


def test_reports_travel_and_become_tables():
    log = rare_log()
    report = report_of(Always(2), log, n_rows=5)
    again = pickle.loads(pickle.dumps(report))
    assert str(again) == str(report)
    assert_array_equal(again.ratio, report.ratio)
    frame = report.to_frame()
    assert list(frame.columns) == [
        "row",
        "episode",
        "step",
        "action",
        "probability",
        "ratio",
        "share",
    ]
    assert frame["share"].is_monotonic_decreasing
    assert {*frame["row"][:3]} == {*RARE}


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"discount": 1.1}, r"discount must be a number in \[0, 1\]"),
        ({"n_rows": 0}, "n_rows must be an integer >= 1, got 0"),
        ({"n_rows": 2.5}, "n_rows must be an integer >= 1"),
        ({"n_rows": True}, "n_rows must be an integer >= 1"),
        ({"min_rows": -1}, "min_rows must be a number >= 0, got -1"),
        ({"min_rows": np.nan}, "min_rows must be a number >= 0"),
        ({"min_effective_rows": "many"}, "min_effective_rows must be a number >= 0"),
        ({"min_effective_episodes": None}, "min_effective_episodes must be a number"),
        ({"min_followed": np.inf}, "min_followed must be a number >= 0"),
        ({"ridge": 0}, "ridge must be a positive finite number"),
        ({"kernel": "rfb"}, "kernel='rfb' is unknown"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        report_of(Always(1), rare_log(), **settings)


def test_bad_policies():
    log = rare_log()
    with pytest.raises(ValueError, match=r"actions that the log never holds: \[3\]"):
        report_of(Always(3, (0, 1, 2, 3)), log)
    with pytest.raises(ValueError, match="has no predict_proba"):
        report_of(StandardScaler(), log)


# ---------------------------------------------------------------- displays


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def search():
    table, _ = clinic(15, seed=1)
    names = {k: k for k in ("action", "reward", "episode", "step")}
    log = Transitions.from_frame(table, state=["x", "y"], **names)
    log = log[np.flatnonzero(log.action != "full")]
    log = changed(log, terminated=log.step == 5)
    return GridSearchCV(
        estimator(mirror_steps=2, max_iter=2, n_components=10),
        {"lam": [100.0, 1.0, 10.0], "bandwidth": ["median", 0.7]},
        scoring=FittedQScorer(report=True),
        cv=EpisodeKFold(3),
        refit=PessimisticRefit("value"),
    ).fit(log)


def drawn(display):
    """What the picture shows: (x, y) of the line, low and high of the band."""
    (path,) = display.band_.get_paths()
    x, y = display.line_.get_data()
    ends = [path.vertices[path.vertices[:, 0] == at, 1] for at in x]
    return x, y, [e.min() for e in ends], [e.max() for e in ends]


def test_the_line_and_its_band_are_the_searchs_own_numbers(search):
    display = TuningDisplay.from_search(search, "lam", metric="value")
    results = pd.DataFrame(search.cv_results_)
    best = search.best_params_
    results = results[results["param_bandwidth"] == best["bandwidth"]]
    results = results.sort_values("param_lam", key=lambda c: c.astype(float))
    splits = results[[f"split{k}_test_value" for k in range(3)]]
    error = splits.sem(axis=1)
    x, y, low, high = drawn(display)
    assert_array_equal(x, [1.0, 10.0, 100.0])
    assert_allclose(y, results["mean_test_value"])
    assert_allclose(low, results["mean_test_value"] - error)
    assert_allclose(high, results["mean_test_value"] + error)
    assert error.min() > 0
    (at,), (score,) = display.chosen_.get_data()
    assert at == best["lam"]
    assert score == search.cv_results_["mean_test_value"][search.best_index_]
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlabel() == "lam"
    assert display.ax_.get_ylabel() == "held-out value"
    assert display.figure_ is display.ax_.figure
    assert display.truth_ is None


def test_the_best_of_the_other_parameters(search):
    display = TuningDisplay.from_search(search, "lam", metric="value", others="best")
    results = pd.DataFrame(search.cv_results_)
    results["lam"] = results["param_lam"].astype(float)
    assert_allclose(
        display.line_.get_ydata(), results.groupby("lam")["mean_test_value"].max()
    )
    # The chosen candidate is marked where it is, on the line or below it.
    (score,) = display.chosen_.get_ydata()
    assert score == search.cv_results_["mean_test_value"][search.best_index_]


def test_values_that_are_no_numbers_stand_side_by_side(search):
    display = TuningDisplay.from_search(search, "bandwidth", metric="standard_error")
    assert_array_equal(display.line_.get_xdata(), [0, 1])
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["median", "0.7"]
    assert display.ax_.get_xscale() == "linear"


def test_truth_is_laid_over_on_axes_that_are_given(search):
    axes = Figure().subplots()
    display = TuningDisplay.from_search(
        search, "lam", metric="value", ax=axes, truth=np.log10, color="green"
    )
    assert display.ax_ is axes
    assert display.line_.get_color() == "green"
    assert_array_equal(display.truth_.get_ydata(), [0, 1, 2])
    assert_array_equal(display.truth_.get_xdata(), [1, 10, 100])
    again = display.plot(ax=Figure().subplots())
    assert again is display
    assert display.ax_ is not axes
    given = TuningDisplay.from_search(search, "lam", metric="value", truth=[3, 2, 1])
    assert_array_equal(given.truth_.get_ydata(), [3, 2, 1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"param_name": "lambda"}, r"did not vary 'lambda'; it varied \['bandwidth', "),
        ({"metric": "score"}, r"has no metric 'score'; it has \['value', "),
        ({"others": "all"}, "others must be 'chosen' or 'best', got 'all'"),
        (
            {"truth": [1.0, 2.0]},
            r"truth has shape \(2,\); one number for each of the 3",
        ),
    ],
)
def test_bad_arguments_of_the_display(search, arguments, words):
    with pytest.raises(ValueError, match=words):
        TuningDisplay.from_search(
            search, **{"param_name": "lam", "metric": "value"} | arguments
        )
    with pytest.raises(ValueError, match="GridSearchCV has no cv_results_"):
        TuningDisplay.from_search(GridSearchCV(estimator(), {"lam": [1.0]}), "lam")


def test_searches_of_which_no_line_can_be_drawn():
    class Search:
        best_index_ = 1
        cv_results_ = {  # noqa: RUF012
            "params": [{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 3}],
            "mean_test_score": np.array([1.0, 3.0, np.nan]),
            "split0_test_score": np.array([1.0, 3.0, np.nan]),
        }

    with pytest.raises(ValueError, match="Set others='best'"):
        TuningDisplay.from_search(Search(), "a")
    # Failed candidates are left out; one fold has no standard error.
    display = TuningDisplay.from_search(Search(), "a", others="best")
    assert_array_equal(display.line_.get_xydata(), [[1, 1], [2, 3]])
    assert np.isnan(display.standard_error).all()
    assert display.ax_.get_xscale() == "linear"


def test_the_curve_of_coverage_is_that_of_the_ratios():
    report = report_of(random_table(random_mdp(0)), uniform_log(random_mdp(0), 400))
    display = CoverageDisplay.from_report(report, label="policy")
    x, y = display.line_.get_data()
    assert_allclose(x, np.arange(401) / 400)
    for k in (0, 1, 10, 200, 400):
        heaviest = sorted(report.ratio, reverse=True)[:k]
        assert y[k] == pytest.approx(sum(heaviest) / 400)
    assert y[10] == pytest.approx(sum(row["share"] for row in report.top_rows))
    assert display.line_.get_label() == "policy"
    assert display.figure_ is display.ax_.figure
