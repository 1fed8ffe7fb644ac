"""States and a table of decisions are the log that the joined table is."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from _logs import estimator, ignore_convergence
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import shuffle

from sklearn_stackelberg import EpisodeKFold, Transitions, as_transitions
from sklearn_stackelberg.transitions._decision_table import ROLES
from sklearn_stackelberg.transitions._tables import FIELDS

STATES = ["x", "y"]
ignore_use = pytest.mark.filterwarnings("ignore:Of .* rows with:UserWarning")
ignore_gaps = pytest.mark.filterwarnings("ignore:Gaps in the steps:UserWarning")


def assert_identical(left, right):
    """Same values of the same types in every field."""
    for name in FIELDS:
        a, b = getattr(left, name), getattr(right, name)
        assert type(a) is type(b), name
        if isinstance(a, pd.DataFrame):
            pd.testing.assert_frame_equal(a, b)
        elif a is not None:
            assert a.dtype == b.dtype, name
            assert_array_equal(a, b, err_msg=name)
    assert left.left_out == right.left_out
    assert left._n_without_action == right._n_without_action


def joined(table, y, given=()):
    """The log of the table with states and decisions side by side."""
    roles = {role: role for role in ROLES if role in y or role in given}
    return Transitions.from_frame(table, state=STATES, **roles)


def read_or_refuse(read, *args):
    try:
        return read(*args)
    except ValueError as error:
        return str(error)


@st.composite
def tables(draw):
    """Episodes with gaps, rows without an action, ends, in any order of rows."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    names = np.repeat([*"bdaec"][: len(lengths)], lengths)
    steps = np.concatenate([np.arange(m) for m in lengths]) - 1
    pairs = [*zip(names.tolist(), steps.tolist(), strict=True)]
    gaps = draw(st.sets(st.integers(1, len(pairs) - 1), max_size=3))
    pairs = [pair for row, pair in enumerate(pairs) if row not in gaps]
    pairs = draw(st.one_of(st.just(pairs), st.permutations(pairs)))
    n = len(pairs)
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    table = pd.DataFrame(pairs, columns=["episode", "step"])
    table.insert(0, "x", np.arange(n))
    table.insert(1, "y", 0.5 - np.arange(n))
    low, high = draw(st.sampled_from([(0, 1), (0.5, 2.5), ("l", "h"), (False, True)]))
    action = pd.Series(np.where(draw(flags), high, low).tolist())
    idle = draw(st.sets(st.integers(0, 20), max_size=5))
    table["action"] = action.where(~np.isin(range(n), [*idle]))
    table["reward"] = np.arange(n) ** 2.0
    optional = {
        "terminated": draw(flags),
        "is_initial": np.array(draw(flags), dtype=int),
        "propensity": np.linspace(0.1, 1.0, n),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(optional))))
    table = table.assign(**{name: optional[name] for name in sorted(chosen)})
    if draw(st.booleans()):  # in order, and then steps need not be given
        table = table.sort_values(["episode", "step"])
        if draw(st.booleans()):
            table = table.drop(columns="step")
    return table


def as_given(table, frame, records):
    """X and y, as a user may hold them: the table's index is lost on the way."""
    decisions = table[[name for name in ROLES if name in table]]
    X = table[STATES]
    y = decisions.to_records(index=False) if records else decisions
    return X if frame else X.to_numpy(), y


@pytest.mark.slow
@ignore_gaps
@settings(max_examples=30)
@given(table=tables(), frame=st.booleans(), records=st.booleans())
def test_a_decision_table_is_the_joined_table(table, frame, records):
    X, y = as_given(table, frame, records)
    expected = read_or_refuse(joined, table, table)
    found = read_or_refuse(as_transitions, X, y)
    event(expected[:12] if isinstance(expected, str) else "log")
    if isinstance(expected, str):
        # The same sentence, but for what the columns are called.
        assert found.split(" at rows ")[-1] == expected.split(" at rows ")[-1]
        return
    if not frame:
        expected = expected.with_states(
            expected.state.to_numpy(), expected.next_state.to_numpy()
        )
    assert_identical(found, expected)
    log, rows = as_transitions(X, y, return_rows=True)
    assert_array_equal(np.asarray(log.state), np.asarray(X)[rows])


@pytest.mark.slow
@ignore_gaps
@settings(max_examples=30)
@given(table=tables(), shuffled=st.booleans(), n_splits=st.integers(2, 3))
def test_both_routes_have_the_same_folds(table, shuffled, n_splits):
    X, y = as_given(table, frame=True, records=False)
    log = read_or_refuse(joined, table, table)
    assume(not isinstance(log, str) and len(log.episodes) >= n_splits)
    folds = EpisodeKFold(
        n_splits, shuffle=shuffled, random_state=0 if shuffled else None
    )
    _, rows = as_transitions(X, y, return_rows=True)
    tests = []
    for ours, theirs in zip(folds.split(log), folds.split(X, y), strict=True):
        tests.append(theirs[1])
        for part, of_table in zip(ours, theirs, strict=True):
            # The rows of the table that make the rows of the log, and none besides.
            assert_array_equal(np.intersect1d(of_table, rows), rows[part])
            fold = read_or_refuse(as_transitions, X.iloc[of_table], y.iloc[of_table])
            assume(not isinstance(fold, str) or "backwards" not in fold)
            for name in FIELDS:
                a, b = getattr(fold, name), getattr(log[part], name)
                if a is not None:
                    assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(len(table)))


# ---------------------------------------------------------------- what is read


def decisions(**changes):
    table = pd.DataFrame(
        {
            "action": ["low", "high", None, "low", "low", "high"],
            "reward": [0.0, 1.0, None, 0.0, -1.0, 2.0],
            "episode": ["a", "a", "a", "b", "b", "b"],
            "step": [1, 2, 3, 1, 2, 3],
            "terminated": [False, False, None, False, False, True],
        }
    )
    for name, values in changes.items():
        table = table.drop(columns=name, errors="ignore")
        if values is not None:
            table[name] = values
    return table


X = np.array([[80.0], [75.0], [70.0], [90.0], [95.0], [85.0]])


def test_what_the_log_holds():
    log, rows = as_transitions(X, decisions(), return_rows=True)
    assert log.state.ravel().tolist() == [80, 75, 90, 95, 85]
    assert log.next_state.ravel()[:4].tolist() == [75, 70, 95, 85]
    assert log.terminated.tolist() == [False] * 4 + [True]
    assert log.is_initial.tolist() == [True, False, True, False, False]
    assert rows.tolist() == [0, 1, 3, 4, 5]
    assert log.n_left_out == 0
    cut = as_transitions(X, decisions(terminated=None))
    assert (len(cut), cut.n_left_out) == (4, 1)


def test_rows_of_logs_and_of_actions_alone():
    log = as_transitions(X, decisions())
    for thing in (log, log.episodes):
        same, rows = as_transitions(thing, return_rows=True)
        assert same is log
        assert rows.tolist() == [0, 1, 2, 3, 4]
    with pytest.warns(UserWarning, match="pessimistic imitation"):
        _, rows = as_transitions(X, [0, 1] * 3, return_rows=True)
    assert rows.tolist() == [0, 1, 2, 3, 4, 5]


def test_positions_count_and_indexes_that_say_otherwise_are_refused():
    frame = pd.DataFrame(X, columns=["pulse"], index=[5, 4, 3, 2, 1, 0])
    with pytest.raises(ValueError, match="X and y have different indexes"):
        as_transitions(frame, decisions())
    found = as_transitions(frame, decisions().set_axis(frame.index))
    assert_array_equal(found.state, as_transitions(X, decisions()).state)
    moved = as_transitions(X, decisions().set_index(np.array([9, 9, 1, 0, 0, 7])))
    assert_identical(moved, as_transitions(X, decisions()))


def test_other_columns_are_nothing_to_the_log():
    table = decisions(truncated=False, ward="3b", actions=0, done=0, stop=2, t=1)
    table[7] = 0.0
    assert_identical(as_transitions(X, table), as_transitions(X, decisions()))


def test_without_episode_each_row_is_an_episode():
    y = pd.DataFrame({"action": [0, 1, 0], "reward": [1.0, 0.0, 0.5]})
    states = np.arange(3.0).reshape(-1, 1)
    log = as_transitions(states, y)
    table = y.assign(x=[0.0, 1.0, 2.0], y=0.0, episode=range(3), terminated=True)
    expected = joined(table.assign(step=0), table, given=["step"])
    for name in set(FIELDS) - {"state", "next_state"}:
        assert_array_equal(getattr(log, name), getattr(expected, name))
    assert log.state is log.next_state is states
    assert_identical(as_transitions(states, y.assign(terminated=1)), log)
    roles = {"state": "x", "action": "action", "reward": "reward"}
    read = Transitions.from_frame(y.assign(x=states), **roles)
    assert_identical(read.with_states(states, states), log)
    timed = y.assign(x=states, day=[0, 7, 14])
    with pytest.raises(ValueError, match="was given without an episode column"):
        Transitions.from_frame(timed, **roles, step="day", step_unit=7)
    with pytest.warns(UserWarning, match=r"no column 'episode'.*discount=0\.9 has no"):
        estimator(discount=0.9).fit(read)
    holes, rows = as_transitions(
        states, y.assign(action=["a", None, "b"]), return_rows=True
    )
    assert rows.tolist() == [0, 2]
    assert holes.n_left_out == 1
    assert (holes.is_initial & holes.terminated).all()
    assert "1 have no action" in str(holes.describe())


@pytest.mark.slow
def test_logs_and_structured_arrays_do_without_pandas():
    code = (
        # sys.modules['pandas'] = None is a module to scikit-learn before 1.9.
        "import sys\n"
        "class NoPandas:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'pandas': raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoPandas)\n"
        "import numpy as np\n"
        "from sklearn_stackelberg.transitions import Transitions, as_transitions\n"
        "kinds = zip(['action', 'reward', 'episode', 'step'], 'Ofii')\n"
        "rows = [('a', 0, 0, 0), ('b', 1, 0, 1), (None, 0, 0, 2)]\n"
        "y = np.array(rows, dtype=list(kinds))\n"
        "log = as_transitions([[0], [1], [2]], y)\n"
        "assert log.next_state.ravel().tolist() == [1, 2]\n"
        "log = Transitions([[0], [1]], [*'ab'], [0, 1], [[1], [2]], episode=[7, 7])\n"
        "as_transitions(Transitions.concatenate(log, log[:1]).episodes[[0, 0]])\n"
        "print(log.describe())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# ---------------------------------------------------------------- several numbers


def vectors(log):
    """The decisions of the test's table, with an action of two numbers."""
    rng = np.random.default_rng(0)
    table = decisions()
    action = rng.normal(size=(len(table), 2))
    action[table["action"].isna()] = np.nan
    return table.drop(columns="action").assign(
        action_0=action[:, 0], action_1=action[:, 1]
    ), action


def as_records(table, action):
    """The same as a structured array, the action a field with a shape."""
    kinds = [(n, table[n].to_numpy().dtype) for n in table if "action" not in n]
    y = np.zeros(len(table), dtype=[*kinds, ("action", float, (2,))])
    for name, _ in kinds:
        y[name] = table[name]
    y["action"] = action
    return y


def test_actions_of_several_numbers_in_columns_and_in_fields():
    table, action = vectors(decisions())
    frame, rows = as_transitions(X, table, return_rows=True)
    assert_array_equal(frame.action, action[rows])
    columns = ["action_0", "action_1"]
    roles = {role: role for role in ROLES if role in table}
    joined_ = table.assign(x=X)
    log = Transitions.from_frame(joined_, state="x", action=columns, **roles)
    for name in FIELDS:
        left, right = getattr(frame, name), getattr(log, name)
        assert_array_equal(np.asarray(left), np.asarray(right), err_msg=name)
    assert_identical(as_transitions(X, as_records(table, action)), frame)
    records = np.rec.fromrecords([*table.itertuples(index=False)], names=[*table])
    assert_array_equal(as_transitions(X, records).action, frame.action)
    one = table.drop(columns="action_1")
    assert_array_equal(as_transitions(X, one).action, frame.action[:, 0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action_2": 0.0}, r"some of its numbers.*lacks others at row 2"),
        ({"action_3": 0.0}, r"'action_0' and 'action_1' and 'action_2'"),
        ({"action_1": "high"}, "some of its numbers|not all hold numbers"),
        ({"Reward": 1.0, "reward": None}, "did you mean 'Reward'"),
    ],
)
def test_bad_columns_of_vectors(change, words):
    table = vectors(decisions())[0].assign(**change).dropna(axis=1, how="all")
    with pytest.raises(ValueError, match=words):
        as_transitions(X, table)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (
            decisions(reward=None, Rewards=0),
            r"y has no 'reward' \(did you mean 'Rewards' for 'reward'\?\). Its columns "
            r"are 'action', 'episode', 'step', 'terminated', 'Rewards'\. To imitate",
        ),
        (decisions(action=None, dose=1), "y has no 'action'.* 'reward', .*, 'dose'"),
        (decisions(action=None, reward=None), "no 'action' and no 'reward'"),
        (decisions(episode=None, episodes=1), "did you mean 'episodes' for 'episode'"),
        (decisions(episode=None, episode_id=1), "'episode_id' for 'episode'"),
        (decisions(step=None, Step=1), "did you mean 'Step' for 'step'"),
        (decisions(step=None, timestep=1), "did you mean 'timestep' for 'step'"),
        (decisions(terminated=None, terminal=1), "'terminal' for 'terminated'"),
        (decisions(terminated=None, Done=1), "'Done', which does not say.*truncated"),
        (decisions(propensities=1), "'propensities' for 'propensity'"),
        (decisions(propensity_score=1), "'propensity_score' for 'propensity'"),
        (decisions(initial=1), "'initial' for 'is_initial'"),
        (
            decisions().set_index(["episode", "step"]),
            r"'episode' and 'step' in its index.*reset_index\(\)",
        ),
        (
            pd.concat([decisions(), decisions()[["reward"]]], axis=1),
            "more than one column 'reward'",
        ),
        (decisions(episode=None), r"y\['step'\] was given without an episode"),
        (
            decisions(episode=None, step=None, terminated=[1, 1, 1, 0, 1, 1]),
            r"y\['terminated'\] is False at row 3, but there is no column 'episode'",
        ),
        (decisions(propensity=[1, 1, None, 1, 0, 1.0]), r"\(0, 1\].*not at row 4\."),
        (decisions(propensity=[1, 1, None, 1, 1, 1.5]), r"\(0, 1\].*not at row 5\."),
        (decisions(reward=[0, 0, None, 0, np.inf, 0]), r"y\['reward'\].*row 4;"),
        (decisions(terminated=[0, 0, None, 2, 0, 1]), r"y\['terminated'\].*row 3"),
        (decisions(episode=["a", "a", "a", "b", None, "b"]), r"y\['episode'\].*row 4"),
        (decisions(step=[1, 2, 3, 1, 1, 2]), r"\('b', 1\) at rows 3 and 4"),
        (decisions(step=[1, 2, 3, 1, 1.5, 2]), r"y\['step'\] is not a whole.*row 4"),
        (decisions(step=None, episode=[*"aabbab"]), "'a' appears in two places"),
        (
            decisions(step=[3, 2, 1, 3, 2, 1]),
            "from 3 to 2 at rows 0 and 1, and.*row 5,",
        ),
        (decisions(action=None).assign(action=[None] * 6), "no row has an action"),
        (decisions(terminated=None)[:1], r"1 rows with an action, 1 are.*Name"),
        (decisions().to_dict("list"), "y has 0 dimensions|inconsistent"),
        (decisions().to_numpy(), "y has 2 dimensions and no names of columns"),
        (decisions().to_numpy().tolist(), "y has 2 dimensions"),
        (
            np.array([[(0, 0)]] * 6, [("action", int), ("reward", int)]),
            r"\(6, 1\).*rav",
        ),
        (decisions()[:5], "inconsistent numbers of samples"),
        (decisions()[:0], "inconsistent|no rows"),
    ],
)
def test_bad_tables(y, words):
    states = X[: len(y)] if len(y) == 1 else X
    with pytest.raises((ValueError, TypeError), match=words):
        as_transitions(states, y)


def test_tables_of_other_libraries_and_without_rows():
    class Foreign:
        columns = ("action", "reward")

        def __len__(self):
            return 6

    with pytest.raises(ValueError, match=r"\.to_pandas\(\) first"):
        as_transitions(X, Foreign())
    with pytest.raises(ValueError, match="no rows"):
        as_transitions(X[:0], decisions()[:0])


# ---------------------------------------------------------------- order of rows


def long_table(n_episodes=3, n_steps=5, **changes):
    steps = np.tile(np.arange(n_steps), n_episodes)
    table = pd.DataFrame(
        {
            "action": steps % 2,
            "reward": np.arange(steps.size) / 7,
            "episode": np.repeat(np.arange(n_episodes), n_steps),
            "step": steps,
        }
    )
    return table.assign(x=np.arange(steps.size), y=0.5).assign(**changes)


@ignore_gaps
def test_any_order_of_rows_gives_the_same_transitions_and_none_is_refused():
    table = long_table(terminated=np.tile([0, 0, 0, 0, 1], 3))
    whole = joined(table, table)
    for seed in range(50):
        mixed = shuffle(table, random_state=seed)
        log = joined(mixed, table)
        moved = log[np.argsort(log.state["x"].to_numpy())]
        assert_array_equal(moved.next_state, whole.next_state)
        as_transitions(mixed[STATES], mixed)
        # Nor is any part of it, however small.
        part = mixed[: 2 + seed % 12]
        message = read_or_refuse(as_transitions, part[STATES], part)
        assert isinstance(message, Transitions) or message.startswith("No transition")


def test_tables_newest_first_are_read_where_their_ends_say_so():
    table = long_table(terminated=np.tile([0, 0, 0, 0, 1], 3))
    expected = joined(table, table)[::-1]
    found = as_transitions(table[STATES][::-1], table[::-1])
    assert_array_equal(found.next_state, expected.next_state)
    closing = long_table(action=np.tile([0, 1, 0, 1, None], 3))
    assert len(as_transitions(closing[STATES][::-1], closing[::-1])) == 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # A countdown whose end is known to be one, or is not known.
        (dict(terminated=np.tile([0, 0, 0, 0, 1], 3)), "terminates it, row 4, has"),
        ({}, "no end shows whether the largest or the smallest"),
        (dict(terminated=0), "no end shows"),
        (dict(terminated=[0, 1] * 7 + [0]), "no end shows"),
    ],
)
def test_steps_that_count_down_are_refused(change, words):
    table = long_table(**change)
    table["step"] = 4 - table["step"]
    for read in (
        lambda: joined(table, table),
        lambda: as_transitions(table[STATES], table),
        lambda: next(EpisodeKFold(2).split(table[STATES], table)),
    ):
        with pytest.raises(ValueError, match=f"run backwards.*from 4 to 3.*{words}"):
            read()
    # Of three rows nothing can be said for sure, if no end shows.
    few = table[:3]
    if not any(few.get("terminated", [0])):
        assert len(as_transitions(few[STATES], few)) == 2


# ---------------------------------------------------------------- gaps


def test_gaps_are_said_in_the_same_words_for_all_folds():
    table = long_table()
    folds = [*KFold(3, shuffle=True, random_state=1).split(table)]
    words = r"Gaps in the steps: .*missing in the table, or.*EpisodeKFold\(5\)"
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for fold in (table.iloc[rows] for pair in folds for rows in pair):
            as_transitions(fold[STATES], fold)
    assert len(shown) > 1
    assert len({str(warning.message) for warning in shown}) == 1
    # Another table of the same columns is another cause, and nothing here remembers.
    for seed in range(2):
        fold = table.sample(frac=0.7, random_state=seed)
        with pytest.warns(UserWarning, match=words):
            as_transitions(fold[STATES], fold)


def test_the_end_of_a_table_is_no_gap():
    table = long_table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log = as_transitions(table[STATES][:7], table[:7])
    assert list(log.left_out.values()) == [2]


# ---------------------------------------------------------------- scikit-learn


FAST = dict(mirror_steps=2, max_iter=2, n_components=10, kernel="rbf")


@pytest.fixture(scope="module")
def walk():
    rng = np.random.default_rng(3)
    table = long_table(12, 6)
    table["action"] = rng.integers(2, size=len(table))
    table[STATES] = rng.normal(size=(len(table), 2))
    table["reward"] = table["x"] * table["action"] + rng.normal(size=len(table))
    return table


FORMS = {
    "frame": lambda y: y,
    "records": lambda y: y.to_records(index=False),
    "structured": lambda y: y.to_records(index=False).view(np.ndarray),
}


@ignore_use
@ignore_convergence
@pytest.mark.parametrize("form", FORMS)
def test_searches_and_predictions_are_those_of_the_log(form, walk):
    decided = FORMS[form](walk[["action", "reward", "episode", "step"]])
    states = walk[STATES].to_numpy()
    log = joined(walk, walk).with_states(*(
        getattr(joined(walk, walk), name).to_numpy() for name in ("state", "next_state")
    ))  # fmt: skip
    grid = {"lam": [0.1, 10.0]}
    cv = EpisodeKFold(3, shuffle=True, random_state=0)
    ours = GridSearchCV(estimator(**FAST), grid, cv=cv, error_score="raise")
    theirs = GridSearchCV(estimator(**FAST), grid, cv=cv, error_score="raise")
    ours.fit(states, decided)
    theirs.fit(log)
    for k in range(3):
        name = f"split{k}_test_score"
        assert_array_equal(ours.cv_results_[name], theirs.cv_results_[name])
        assert len(set(ours.cv_results_[name])) == 2
    assert_array_equal(ours.predict_proba(states), theirs.predict_proba(states))
    found = cross_val_predict(estimator(**FAST), states, decided, cv=cv)
    _, rows = as_transitions(states, decided, return_rows=True)
    assert_array_equal(found[rows], cross_val_predict(estimator(**FAST), log, cv=cv))


@ignore_use
@ignore_gaps
@ignore_convergence
@pytest.mark.parametrize("form", FORMS)
def test_row_wise_splits_work_too(form, walk):
    decided = FORMS[form](walk[["action", "reward", "episode", "step"]])
    states = walk[STATES].to_numpy()
    pipeline = make_pipeline(StandardScaler(), estimator(**FAST))
    split = train_test_split(states, decided, random_state=0)
    pipeline.fit(split[0], split[2])
    value = pipeline.score(split[1], split[3])
    scaled = StandardScaler().fit(split[0])
    alone = estimator(**FAST).fit(scaled.transform(split[0]), split[2])
    assert value == alone.score(scaled.transform(split[1]), split[3])
    # Linked by episode and step, whatever rows the split has put side by side.
    log = as_transitions(split[0], split[2])
    whole = as_transitions(states, decided)
    for k in range(len(log)):
        same = (whole.episode == log.episode[k]) & (whole.step == log.step[k])
        assert_array_equal(log.next_state[[k]], whole.next_state[same])
    assert 10 < len(log) < len(split[0])
    assert log.left_out
    search = GridSearchCV(pipeline, {"stackelbergpolicyestimator__lam": [1.0]}, cv=3)
    search.fit(states, decided)
    expected = [
        pipeline.set_params(stackelbergpolicyestimator__lam=1.0)
        .fit(states[a], decided.iloc[a] if form == "frame" else decided[a])
        .score(states[b], decided.iloc[b] if form == "frame" else decided[b])
        for a, b in KFold(3).split(states)
    ]
    assert search.cv_results_["mean_test_score"][0] == np.mean(expected)
