"""Logs that were read wrongly without a word: what is right, or the sentence."""

import datetime
import warnings
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import (
    EpisodeKFold,
    StackelbergPolicyEstimator,
    Transitions,
    as_transitions,
)
from sklearn_stackelberg.metrics import fitted_q_value
from sklearn_stackelberg.transitions import _usage

ROLES = {name: name for name in ("action", "reward", "episode", "step")}
CUTS = ["truncated", "timeouts", "truncations", "TimeLimit.truncated", "done", "Dones"]


@pytest.fixture(autouse=True)
def nothing_reported():
    """Each test reads its tables for the first time."""
    _usage._reported.clear()


def estimator(**params):
    defaults = {"n_components": 10, "random_state": 0, "kernel": "rbf"}
    return StackelbergPolicyEstimator(**(defaults | {"bandwidth": "median"} | params))


def visits(n=60, length=4, seed=0, **columns):
    """Episodes of `length` visits each; the last of each is terminated."""
    rng, i = np.random.default_rng(seed), np.arange(n)
    table = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "action": rng.integers(2, size=n),
            "reward": rng.normal(size=n),
            "episode": i // length,
            "step": i % length,
            "terminated": i % length == length - 1,
        }
    )
    return table.assign(**columns)


def fit(table, **params):
    return estimator(**params).fit(table[["x"]], table.drop(columns="x"))


# ---------------------------------------------------------------- cut episodes


def runs(**columns):
    """Two runs of a machine, under one name: the first cut at 2, the second at 5."""
    table = pd.DataFrame(
        {
            "x": [0.0, 1.0, 2.0, 100.0, 101.0, 102.0],
            "action": [0, 1, 0, 1, 0, 1],
            "reward": 1.0,
            "episode": "machine 1",
            "step": range(6),
            "terminated": False,
        }
    )
    return table.assign(**columns)


CUT = [False, False, True, False, False, True]
LINKS = [[0, 1], [1, 2], [100, 101], [101, 102]]


def links(log):
    return np.c_[np.ravel(log.state), np.ravel(log.next_state)].tolist()


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("steps", [False, True])
def test_episodes_are_cut_where_they_are_truncated(name, records, steps):
    table = runs(**{name: CUT})
    X, y = table[["x"]].to_numpy(), table.drop(columns="x")
    y = y if steps else y.drop(columns="step")
    log = as_transitions(X, y.to_records(index=False) if records else y)
    assert links(log) == LINKS
    assert log.episode.tolist() == [0, 0, 1, 1]
    assert log.is_initial.tolist() == [True, False, True, False]
    assert log.n_left_out == 2
    roles = ROLES if steps else {k: v for k, v in ROLES.items() if k != "step"}
    of_frame = Transitions.from_frame(
        table, state="x", **roles, terminated="terminated", truncated=name
    )
    assert links(of_frame) == LINKS
    assert_array_equal(of_frame.episode, log.episode)


def test_cuts_in_any_order_of_rows_and_by_ones():
    table = runs(truncated=np.array(CUT, dtype=float)).sample(frac=1, random_state=1)
    log = Transitions.from_frame(table, state="x", **ROLES, truncated="truncated")
    assert sorted(links(log)) == LINKS


def test_a_row_without_action_holds_the_state_of_a_cut():
    table = runs(truncated=CUT, action=[0, 1, 1, None, 0, 1]).astype({"action": float})
    log = Transitions.from_frame(table, state="x", **ROLES, truncated="truncated")
    assert links(log) == [[0, 1], [1, 2], [2, 100], [101, 102]]
    assert log.episode.tolist() == [0, 0, 0, 1]
    assert log.action.dtype == np.int64


def test_where_cuts_are_marked_an_episode_begins_behind_either_end():
    ends = {"terminated": [False, True, False, False, False, False]}
    table = runs(**ends, truncated=[False, False, False, True, False, False])
    y = table.drop(columns="x")
    log = as_transitions(table[["x"]], y)
    assert links(log)[:1] + links(log)[2:] == [[0, 1], [2, 100], [101, 102]]
    assert log.terminated.tolist() == [False, True, False, False]
    assert log.episode.tolist() == [0, 0, 1, 2]
    # Without cuts, the names are the user's.
    same = as_transitions(table[["x"]], y.assign(truncated=False))
    assert set(same.episode) == {"machine 1"}


def test_cuts_at_the_ends_of_episodes_change_nothing():
    table = visits()
    X, y = table[["x"]], table.drop(columns="x")
    last = y["terminated"] & (y["episode"] % 2 == 0)
    cut = as_transitions(X, y.assign(terminated=last, truncated=~last))
    # Each row but the terminated ends its episode: no link is left.
    assert len(cut) == last.sum()
    done = as_transitions(X, y.assign(terminated=last, done=y["terminated"]))
    plain = as_transitions(X, y.assign(terminated=last))
    assert_array_equal(done.episode, plain.episode)
    assert_array_equal(done.next_state, plain.next_state)


def test_folds_are_of_the_parts_of_cut_episodes():
    table = runs(truncated=CUT)
    X, y = table[["x"]], table.drop(columns="x")
    folds = [test.tolist() for _, test in EpisodeKFold(2).split(X, y)]
    assert folds == [[0, 1, 2], [3, 4, 5]]


def test_repeated_steps_are_refused_at_a_cut_too():
    table = pd.concat([runs(truncated=CUT), runs(truncated=CUT)[2:3]])
    with pytest.raises(ValueError, match="must name one row"):
        Transitions.from_frame(table, state="x", **ROLES, truncated="truncated")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"is_last": CUT}, "'is_last', which looks like the end of an episode and"),
        ({"terminals": CUT}, "'terminals', which looks like the end"),
        ({"truncate": CUT}, "'truncate' for 'truncated'"),
    ],
)
def test_ends_that_are_not_read_are_refused_in_a_decision_table(columns, words):
    table = runs(**columns)
    with pytest.raises(ValueError, match=words):
        as_transitions(table[["x"]], table.drop(columns="x"))


@pytest.mark.parametrize("name", [*CUTS, "is_last", "terminal"])
def test_ends_that_are_not_named_are_refused_in_from_frame(name):
    table = runs().drop(columns="terminated")
    with pytest.raises(ValueError, match=f"{name}' looks like the end of.*truncated="):
        Transitions.from_frame(table.assign(**{name: CUT}), state="x", **ROLES)
    # False everywhere, it says nothing; part of the state, it is used.
    Transitions.from_frame(table.assign(**{name: False}), state="x", **ROLES)
    Transitions.from_frame(table.assign(**{name: CUT}), state=["x", name], **ROLES)


def test_cuts_without_episodes_are_refused():
    table = runs(truncated=CUT).drop(columns=["episode", "step", "terminated"])
    with pytest.raises(ValueError, match=r"True at rows 2, 5, but there is no column"):
        as_transitions(table[["x"]], table.drop(columns="x"))


# ---------------------------------------------------------------- names and steps


@pytest.mark.parametrize(
    "episode",
    [
        np.array([2.0**53, 2.0**53 + 2]),
        np.array([1e19, 2e19]),
        np.array([-(2.0**60), 1.0]) - 2.0**53,
        np.array([2**24, 2**24 + 1], dtype=np.float32),
        np.array([2**63, 2**63 + 1], dtype=np.uint64),
        np.array([2**63, -1], dtype=object),
        np.array([2**70, 2**70 + 1], dtype=object),
        np.array([Decimal(2**53), Decimal(2**53 + 1)], dtype=object),
    ],
)
def test_names_that_would_merge_are_refused(episode):
    table = runs(episode=np.repeat(episode, 3)).drop(columns="terminated")
    with pytest.raises(ValueError, match=r"episode.*cannot be kept apart at rows 0, 1"):
        Transitions.from_frame(table, state="x", **ROLES)


@pytest.mark.parametrize("first", [2**53, 2**63 - 2, -(2**63), 2**40])
@pytest.mark.parametrize("kind", [np.int64, object, "Int64", str])
def test_names_that_fit_stay_apart(first, kind):
    names = [first] * 3 + [first + 1] * 3
    table = runs(episode=pd.Series(names, dtype="int64").astype(kind))
    table = table.drop(columns="terminated")
    log = Transitions.from_frame(table, state="x", **ROLES)
    assert len(log.episodes) == 2
    assert links(log) == LINKS


@pytest.mark.parametrize(
    "step",
    [
        np.arange(6, dtype=np.uint64) + np.uint64(2**63),
        np.arange(6) + 2.0**53,
        np.arange(6, dtype=np.float32) + 2**24,
        np.array([2**64 + k for k in range(6)], dtype=object),
    ],
)
def test_steps_that_would_merge_are_refused(step):
    table = runs(step=step)
    with pytest.raises(ValueError, match=r"step.*cannot be kept apart at rows 0, 1, 2"):
        as_transitions(table[["x"]], table.drop(columns="x"))


@pytest.mark.parametrize("kind", [object, np.uint64, "Int64"])
def test_large_steps_that_fit_are_exact(kind):
    table = runs(step=pd.Series(range(6)).astype("int64") + 2**60)
    table["step"] = table["step"].astype(kind)
    log = as_transitions(table[["x"]], table.drop(columns="x"))
    assert log.step.tolist() == [2**60 + k for k in range(5)]


def test_large_actions_of_a_table_with_holes_do_not_merge():
    action = [1e19, 2e19, 1e19, 2e19, 1e19, np.nan]
    log = as_transitions(np.zeros((6, 1)), runs(action=action).drop(columns="x"))
    assert sorted(set(log.action.tolist())) == [1e19, 2e19]


# ---------------------------------------------------------------- what is not used


def test_a_table_without_episodes_says_what_is_not_learned():
    table = visits().drop(columns=["episode", "step", "terminated"])
    with pytest.warns(UserWarning, match=r"no column 'episode'.*discount=0\.9 has no"):
        fit(table, discount=0.9)
    fit(table, discount=0)
    fit(table.assign(terminated=True), discount=0.9)
    fit(visits(), discount=0.9)


def test_last_rows_that_are_left_out_are_said_once_with_shares():
    table = visits(length=3, terminated=False, reward=[0.5, 1.5, 2.0] * 20)
    words = r"Of 60 rows with an action 40 \(67 %\) are used, with 50 % of the rewards"
    with pytest.warns(UserWarning, match=words):
        fit(table)
    fit(table)  # read anew, it is the same log
    train = EpisodeKFold(5).split(table[["x"]], table.drop(columns="x"))
    for rows, _ in train:
        fit(table.iloc[rows])
    # Another log with the same columns is another log.
    with pytest.warns(UserWarning, match="are used"):
        fit(table.assign(reward=table["reward"] + 1.0))


def test_the_first_of_folds_says_it_for_all():
    table = visits(length=3, terminated=False)
    X, y = table[["x"]], table.drop(columns="x")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for rows, _ in EpisodeKFold(5).split(X, y):
            fit(table.iloc[rows])
        fit(table)
    assert len(said) == 1


def test_a_log_says_it_once_and_its_folds_do_not():
    table = visits(length=3, terminated=False)
    log = Transitions.from_frame(table, state="x", **ROLES)
    policy = estimator()
    with pytest.warns(UserWarning, match=r"40 \(67 %\) are used"):
        policy.fit(log)
    clone(policy).fit(log)
    policy.fit(log[np.arange(20)])


def test_a_fold_says_what_its_table_lost():
    log = Transitions.from_frame(visits(length=3, terminated=False), state="x", **ROLES)
    train = log[np.arange(20)]
    with pytest.warns(UserWarning, match=r"Of 60 rows.*40 \(67 %\) are used"):
        estimator().fit(train)
    estimator().fit(log)
    left_out = train.describe().lines()["left out"]
    assert left_out.startswith("0 rows, of the table that these are from 20\n")
    assert "from" not in log.describe().lines()["left out"].splitlines()[0]
    # What is refused whole is refused in part.
    late = visits(length=3, terminated=False, reward=[0.0, 0.0, 1.0] * 20)
    log = Transitions.from_frame(late, state="x", **ROLES)
    with pytest.raises(ValueError, match="No reward is left"):
        estimator().fit(log[:20])


def test_rows_without_an_action_are_said_where_each_is_a_decision():
    table = visits(length=1).drop(columns=["episode", "step", "terminated"])
    table["action"] = table["action"].where(np.arange(len(table)) % 3 > 0)
    with pytest.warns(UserWarning, match=r"Of \d+ rows \d+ \(.*have no action"):
        fit(table, discount=0.0)


def test_little_that_is_left_out_is_not_said():
    table = visits(n=90, length=30, terminated=False)
    fit(table)
    sparse = table.assign(reward=np.where(table["step"] == 29, 1.0, 0.01))
    sparse.loc[0, "reward"] = 0.14
    with pytest.warns(UserWarning, match=r"87 \(97 %\) are used, with 25 % of the rew"):
        fit(sparse)


@pytest.mark.parametrize("early", [0.0, -0.1])
def test_a_log_without_any_reward_left_is_refused(early):
    table = visits(length=3, terminated=False)
    table["reward"] = np.where(table["step"] == 2, 1.0, early)
    words = rf"No reward is left.*60 rows.*20 are the last.*differs from {early:g}\."
    with pytest.raises(ValueError, match=words):
        fit(table)
    log = Transitions.from_frame(table, state="x", **ROLES)
    with pytest.raises(ValueError, match="No reward is left"):
        estimator().fit(log)
    both = Transitions.concatenate(log, log)
    with pytest.raises(ValueError, match=r"120 rows.*40 are the last"):
        estimator().fit(both)
    share = 100.0 if early == 0.0 else 83.3
    assert f"20 rows, with {share:g} % of the rewards" in str(log.describe())
    policy = estimator().fit(table[["x"]], visits().drop(columns="x"))
    if early == 0.0:
        with pytest.raises(ValueError, match="No reward is left"):
            fitted_q_value(policy, log, discount=0.9)


def test_the_outcome_of_a_terminated_row_is_used():
    table = visits(length=3)
    table["reward"] = np.where(table["step"] == 2, 1.0, 0.0)
    log = as_transitions(table[["x"]], table.drop(columns="x"))
    assert (len(log), log.reward.sum(), log.n_left_out) == (60, 20.0, 0)
    fit(table)


def test_unknown_rewards_of_rows_left_out_count_nothing():
    table = visits(length=3, terminated=False)
    table.loc[table["step"] == 2, "reward"] = np.nan
    log = Transitions.from_frame(table, state="x", **ROLES)
    assert "20 rows\n" in str(log.describe())


@pytest.mark.parametrize("unit", [10, 7])
def test_steps_that_count_in_tens_are_refused(unit):
    table = visits(n=300, length=20)
    table["step"] *= unit
    words = (
        r"of 300 rows 15 can be used, and 285 have no row at step \+ 1.*as in 0 from "
        rf"0 to {unit} at rows 0 and 1\. If steps.*cumcount"
    )
    with (
        pytest.warns(UserWarning, match="Gaps"),
        pytest.raises(ValueError, match=words),
    ):
        fit(table)
    with pytest.raises(ValueError, match=words):
        Transitions.from_frame(table, state="x", **ROLES, terminated="terminated")


def test_fewer_gaps_are_said_with_their_number():
    table = visits(n=300, length=20)
    table["step"] += table["step"] // 4
    log = Transitions.from_frame(table, state="x", **ROLES, terminated="terminated")
    with pytest.warns(UserWarning, match=r"240 \(80 %\) are used.*60 have no row at"):
        estimator().fit(log)


def test_what_is_left_out_is_nothing_to_a_logs_hash():
    joblib = pytest.importorskip("joblib")
    table = visits(length=3, terminated=False)
    logs = [Transitions.from_frame(table, state="x", **ROLES) for _ in range(2)]
    with pytest.warns(UserWarning, match="are used"):
        estimator().fit(logs[0])
    assert joblib.hash(logs[0]) == joblib.hash(logs[1])


# ---------------------------------------------------------------- indexes and masks


def test_indexes_that_disagree_are_refused():
    table = visits()
    X, y = table[["x"]], table.drop(columns="x")
    mixed = X.sample(frac=1, random_state=0)
    with pytest.raises(ValueError, match=r"different indexes.*y\.loc\[X\.index\]"):
        estimator().fit(mixed, y)
    right = estimator().fit(mixed, y.loc[mixed.index])
    assert_array_equal(right.fit(X, y).predict(X), right.predict(X))
    with pytest.raises(ValueError, match="different indexes"):
        as_transitions(X[1:], y[:-1])
    with pytest.raises(ValueError, match="different indexes"):
        estimator().fit(mixed, y["action"])
    # No index, or one that a transformer made, says nothing.
    as_transitions(X.to_numpy(), y.loc[mixed.index])
    as_transitions(X[:4], y[:4].set_axis([*"abcd"]))


@pytest.mark.parametrize(
    "name", ["state", "next_state", "action", "reward", "terminated", "step"]
)
def test_masked_entries_are_refused(name):
    table = visits()
    given = {key: table[key].to_numpy() for key in table if key != "x"}
    given |= {"state": table[["x"]].to_numpy(), "next_state": table[["x"]].to_numpy()}
    mask = np.zeros(len(table), dtype=bool)
    Transitions(**(given | {name: np.ma.array(given[name], mask=False)}))
    mask[[3, 5]] = True
    wide = mask.reshape(given[name].shape)
    with pytest.raises(ValueError, match=rf"^{name} is masked .*row.* [35]"):
        Transitions(**(given | {name: np.ma.array(given[name], mask=wide)}))


def test_masked_actions_of_a_structured_array_are_refused():
    y = visits().drop(columns="x").to_records(index=False)
    y = np.ma.array(y.view(np.ndarray))
    y["action"][4] = np.ma.masked
    with pytest.raises(ValueError, match=r"y\['action'\] is masked at row 4"):
        as_transitions(np.zeros((60, 1)), y)


def test_decimals_are_numbers():
    half = [Decimal("0.5"), Decimal(2)] * 30
    table = visits(action=half)
    log = as_transitions(table[["x"]], table.drop(columns="x"))
    assert log.action.dtype == np.float64
    assert log.action.tolist() == [0.5, 2.0] * 30
    names = as_transitions(
        table[["x"]], visits(episode=[Decimal(7)] * 60, step=range(60))
    )
    assert names.episode.dtype == np.int64
    with pytest.raises(ValueError, match="missing"):
        Transitions([[0]], [Decimal("NaN")], [0], [[0]])


# ---------------------------------------------------------------- warm starts


@pytest.mark.parametrize(
    "changed",
    [
        {"kernel": "laplacian"},
        {"bandwidth": 2.0},
        {"bandwidth": [1.0]},
        {"dtype": "float32"},
        {"n_components": 5},
        {"kernel_params": {"gamma": 1.0}},
        {"action_type": "discrete"},
        {"linear_terms": False},
    ],
)
def test_a_warm_start_refuses_changed_features(changed):
    table = visits()
    policy = fit(table, warm_start=True)
    before = policy.predict(table[["x"]])
    name = next(iter(changed))
    with pytest.raises(ValueError, match=rf"since then {name}=.*warm_start=False"):
        policy.set_params(**changed).fit(table[["x"]], table.drop(columns="x"))
    assert_array_equal(policy.predict(table[["x"]]), before)
    policy.set_params(warm_start=False).fit(table[["x"]], table.drop(columns="x"))


def test_a_warm_start_goes_on_with_equal_settings():
    table = visits()
    policy = fit(table, warm_start=True, bandwidth=np.array([1.5]))
    policy.set_params(bandwidth=[1.5], lam=3.0)
    policy.fit(table[["x"]], table.drop(columns="x"))


# ---------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (["m", "f"] * 30, r"text that is no number in the columns 'odd' \(for.*'m'\)"),
        (
            pd.Categorical(["m", "f"] * 30),
            "text that is no number in the columns 'odd'",
        ),
        (pd.date_range("2020", periods=60), r"dates or times in the columns \['odd'\]"),
        (pd.date_range("2020", periods=60, tz="UTC"), "dates or times in the columns"),
        (pd.timedelta_range("1h", periods=60), "dates or times in the columns"),
        (
            pd.period_range("2020", periods=60, freq="D"),
            "dates or times in the columns",
        ),
        ([datetime.date(2020, 1, 1)] * 60, "dates or times in the columns"),
    ],
)
def test_states_that_are_no_numbers_name_their_columns(column, words):
    table = visits()
    X, y = table[["x"]].assign(odd=column), table.drop(columns="x")
    with pytest.raises(ValueError, match=words):
        estimator().fit(X, y)
    with pytest.raises(ValueError, match=words):
        estimator().fit(X[["odd"]], y)
    policy = estimator().fit(X.assign(odd=1.0), y)
    with pytest.raises(ValueError, match=words):
        policy.predict(X)
    with pytest.raises(ValueError, match=words):
        fitted_q_value(policy, X, y, discount=0.9)


def test_text_that_spells_numbers_is_read():
    table = visits()
    X, y = table[["x"]], table.drop(columns="x")
    texts = X.astype(str).astype(object)
    expected = estimator().fit(X, y).predict(X)
    assert_array_equal(estimator().fit(texts, y).predict(texts), expected)


def test_columns_can_be_given_as_an_index():
    table = visits().rename(columns={"terminated": "end"})
    table.insert(1, "z", 1.0)
    log = Transitions.from_frame(
        table, state=table.columns[:2], **ROLES, terminated="end"
    )
    assert [*log.state.columns] == ["x", "z"]
    both = Transitions.from_frame(
        table, state="x", **(ROLES | {"action": pd.Index(["action", "z"])})
    )
    assert both.action.shape[1] == 2


EPISODES = {
    "observations": [[[0.0], [1.0], [2.0]], [[5.0], [6.0]]],
    "actions": [[0, 1], [1]],
    "rewards": [[0.0, 1.0], [0.5]],
    "terminated": [True, False],
}


def test_generators_and_flags_per_step_make_episodes():
    expected = Transitions.from_episodes(**EPISODES)
    lazily = {name: (part for part in parts) for name, parts in EPISODES.items()}
    stepwise = {"terminated": [[False, True], np.array([False])]}
    cut = {"truncated": [[0, 0], [1]]}
    weights = {"weight": [[1.0, 2.0], [3.0]]}
    for given in (lazily, EPISODES | stepwise, EPISODES | stepwise | cut):
        log = Transitions.from_episodes(**given)
        for name in ("state", "next_state", "terminated", "episode", "step"):
            assert_array_equal(getattr(log, name), getattr(expected, name))
    lazily = {name: (part for part in parts) for name, parts in EPISODES.items()}
    weighted = Transitions.from_episodes(**lazily, **weights)
    assert weighted.weight.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        (
            {"terminated": [[True, True], False]},
            ValueError,
            "0 is terminated at step 0",
        ),
        (
            {"truncated": [[1, 0], [0]]},
            ValueError,
            "is truncated at step 0 and goes on",
        ),
        ({"terminated": [[0, 0, 1], 0]}, ValueError, "3 entries for 2 actions"),
        ({"truncated": [True]}, ValueError, "truncated 1"),
        ({"rewards": None}, TypeError, "needs rewards, or episodes alone"),
        ({"autoreset": "never"}, ValueError, "autoreset must be one of"),
    ],
)
def test_ends_inside_an_episode_are_refused(changed, error, words):
    with pytest.raises(error, match=words):
        Transitions.from_episodes(**(EPISODES | changed))


def minari_episode(number):
    flags = np.zeros(len(EPISODES["actions"][number]), dtype=bool)
    last = np.arange(len(flags)) == len(flags) - 1
    return SimpleNamespace(
        id=number,
        observations=np.array(EPISODES["observations"][number]),
        actions=np.array(EPISODES["actions"][number]),
        rewards=np.array(EPISODES["rewards"][number]),
        terminations=last if EPISODES["terminated"][number] else flags,
        truncations=flags if EPISODES["terminated"][number] else last,
        infos={},
    )


def test_minaris_episodes_are_read():
    expected = Transitions.from_episodes(**EPISODES)
    log = Transitions.from_episodes(minari_episode(k) for k in range(2))
    for name in ("state", "next_state", "action", "reward", "terminated", "episode"):
        assert_array_equal(getattr(log, name), getattr(expected, name))
    alone = Transitions.from_episodes(minari_episode(0))
    assert alone.terminated.tolist() == [False, True]
    with pytest.raises(TypeError, match="Entry 0 is a list, which has no obs"):
        Transitions.from_episodes(EPISODES["observations"])


def test_observations_in_parts_are_refused_in_a_sentence():
    parts = {"position": np.zeros((3, 2)), "speed": np.zeros((3, 2))}
    words = (
        r"observations\[0\] is of dictionaries with the keys \['position', 'speed'\]"
    )
    given = EPISODES | {"observations": [parts, [[5.0], [6.0]]]}
    with pytest.raises(ValueError, match=words):
        Transitions.from_episodes(**given)
    rows = [dict(zip(parts, values, strict=True)) for values in [(0, 1)] * 3]
    for wrong in (rows, np.array(rows)):
        given = EPISODES | {"observations": [wrong, [[5.0], [6.0]]]}
        with pytest.raises(ValueError, match=words):
            Transitions.from_episodes(**given)


def vector_steps():
    """Two environments: the first terminates at step 1, the second is cut at step 2."""
    gymnasium = pytest.importorskip("gymnasium")

    class Count(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
        action_space = gymnasium.spaces.Discrete(2)

        def __init__(self, first, length, terminates):
            self.first, self.length, self.terminates = first, length, terminates
            self.starts = 0

        def reset(self, *, seed=None, options=None):
            self.t, self.starts = 0, self.starts + 1
            self.at = self.first + 100.0 * self.starts
            return np.array([self.at], dtype=np.float32), {}

        def step(self, action):
            self.t, self.at = self.t + 1, self.at + 1.0
            over = self.t == self.length
            ends = (self.terminates and over, not self.terminates and over)
            return np.array([self.at], dtype=np.float32), self.at, *ends, {}

    return gymnasium, [lambda: Count(0.0, 2, True), lambda: Count(1000.0, 3, False)]


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_what_vector_environments_return_is_cut_at_their_resets(mode):
    gymnasium, makers = vector_steps()
    modes = getattr(gymnasium.vector, "AutoresetMode", None)
    if modes is None:
        pytest.skip("this gymnasium has one way to reset")
    given = modes.NEXT_STEP if mode == "next_step" else modes.SAME_STEP
    envs = gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=given)
    seen, rest = [envs.reset()[0].copy()], []
    for t in range(6):
        action = np.array([t % 2, 1])
        state, reward, terminated, truncated, _ = envs.step(action)
        seen.append(state.copy())
        rest.append((action, reward.copy(), terminated.copy(), truncated.copy()))
    actions, rewards, ends, cuts = zip(*rest, strict=True)
    log = Transitions.from_episodes(
        seen, actions, rewards, ends, truncated=cuts, autoreset=given
    )
    # Of every transition the next state is one more, and the reward says the same.
    going = ~log.terminated
    assert_array_equal(log.next_state[going], log.state[going] + 1)
    assert_array_equal(log.reward, log.state[:, 0] + 1)
    first = log.state[log.state[:, 0] < 1000, 0]
    second = log.state[log.state[:, 0] >= 1000, 0]
    if mode == "next_step":
        assert first.tolist() == [100, 101, 200, 201]
        assert second.tolist() == [1100, 1101, 1102, 1200, 1201]
        assert log.n_left_out == 0
    else:
        assert first.tolist() == [100, 101, 200, 201, 300, 301]
        assert second.tolist() == [1100, 1101, 1200, 1201]
        assert log.n_left_out == 2  # cut, their last states were not returned
    assert log.is_initial.sum() == len(log.episodes)
    # By default, in the step after; there, no reward can be.
    with pytest.raises(ValueError, match="autoreset='same_step' if"):
        Transitions.from_episodes(seen, actions, np.ones((6, 2)), ends, truncated=cuts)


def test_chi2_names_negative_columns():
    table = visits().assign(z=1.0)
    X, y = table[["x", "z"]], table.drop(columns=["x", "z"])
    words = r"kernel='chi2' is for numbers that are not negative.*columns \[0\] of the"
    with pytest.raises(ValueError, match=words):
        estimator(kernel="chi2").fit(X, y)
    policy = estimator(kernel="chi2").fit(X.abs(), y)
    with pytest.raises(ValueError, match=words):
        policy.predict(X)


@pytest.mark.parametrize(
    "step",
    [
        pd.date_range("2020", periods=60),
        pd.date_range("2020", periods=60, tz="Europe/Paris"),
        pd.period_range("2020", periods=60, freq="D"),
        [datetime.date(2020, 1, 1) + datetime.timedelta(k) for k in range(60)],
        [datetime.time(k % 24) for k in range(60)],
    ],
)
def test_dates_as_steps_get_a_sentence(step):
    table = visits(step=step)
    words = r"y\['step'\] has .*whole numbers were expected.*cumcount"
    with pytest.raises(ValueError, match=words):
        as_transitions(table[["x"]], table.drop(columns="x"))


def test_words_as_flags_are_named():
    table = visits(terminated=["alive", "alive", "alive", "dead"] * 15)
    words = r"text \('alive', 'dead'\).*\.isin\(\['dead'\]\)"
    with pytest.raises(ValueError, match=words):
        as_transitions(table[["x"]], table.drop(columns="x"))
    died = table["terminated"].isin(["dead"])
    assert as_transitions(table[["x"]], visits(terminated=died)).terminated.sum() == 15


@pytest.mark.filterwarnings("ignore:The policy was learned from:UserWarning")
def test_frozen_policies_are_evaluated_as_they_are():
    frozen = pytest.importorskip("sklearn.frozen").FrozenEstimator
    table = visits()
    X, y = table[["x"]], table.drop(columns="x")
    policy = make_pipeline(StandardScaler().set_output(transform="pandas"), estimator())
    policy.fit(X, y)
    expected = fitted_q_value(policy, X, y, discount=0.9).value
    for given in (
        frozen(policy),
        make_pipeline(frozen(policy[0]), frozen(policy[1])).fit(X, y),
    ):
        assert fitted_q_value(given, X, y, discount=0.9).value == expected


def test_a_class_is_no_policy():
    table = visits()
    words = r"is the class StackelbergPolicyEstimator.*\(\.\.\.\)\.fit\(log\)"
    with pytest.raises(ValueError, match=words):
        fitted_q_value(
            StackelbergPolicyEstimator,
            table[["x"]],
            table.drop(columns="x"),
            discount=0.9,
        )
