"""A log must say what it was given, in folds and tables as in one piece."""

from __future__ import annotations

import pickle
from html import escape

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    ShuffleSplit,
    cross_val_score,
    learning_curve,
    train_test_split,
)
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing, resample, shuffle

from sklearn_stackelberg import EpisodeKFold
from sklearn_stackelberg.transitions import Transitions, as_transitions
from sklearn_stackelberg.transitions._linking import encode, link
from sklearn_stackelberg.transitions._tables import FIELDS, shared_next_rows

COLUMNS = {
    name: name for name in ("action", "reward", "episode", "step", "terminated")
} | {"is_initial": "is_initial"}


def assert_same(left, right, but=()):
    """Same values in every field, whatever the containers."""
    for name in set(FIELDS) - set(but):
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)


def make_log(lengths=(4, 1, 3, 5), frame=False, actions=("a", "b"), seed=0):
    """Whole episodes: the first terminates, the second is cut, and so on."""
    rng = np.random.default_rng(seed)
    log = Transitions.from_episodes(
        [rng.normal(size=(n + 1, 2)) for n in lengths],
        [rng.choice(actions, n) for n in lengths],
        [rng.normal(size=n) for n in lengths],
        [k % 2 == 0 for k in range(len(lengths))],
    )
    if frame:
        names = ["x", "y"]
        log = log.with_states(
            pd.DataFrame(log.state, columns=names),
            pd.DataFrame(log.next_state, columns=names),
        )
    return log


def read_csv(path):
    """Numbers as they were written, which pandas 3.1 does by default."""
    old = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
    return pd.read_csv(path, **{"float_precision": "round_trip"} if old else {})


def read_or_refuse(read, *args, **options):
    """What was read, or the message of the refusal."""
    try:
        return read(*args, **options)
    except ValueError as error:
        return str(error)


@pytest.fixture(params=[False, True], ids=["array", "frame"])
def log(request):
    return make_log(frame=request.param)


class MeanReward(BaseEstimator):
    """The least that takes part in a search over logs."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y=None):
        self.mean_ = as_transitions(X, y).reward.mean() + self.shift
        return self

    def score(self, X, y=None):
        return -abs(as_transitions(X, y).reward.mean() - self.mean_)


# ---------------------------------------------------------------- what a log holds


def test_defaults_of_terminated_and_is_initial():
    arrays = [[0.0]] * 5, [0, 1, 0, 1, 0], [0.0] * 5, [[0.0]] * 5
    bare = Transitions(*arrays)
    assert not (bare.terminated | bare.is_initial).any()
    assert {bare.episode, bare.step, bare.propensity} == {None}
    runs = Transitions(*arrays, episode=["p", "p", "q", "q", "p"])
    assert runs.is_initial.tolist() == [True, False, True, False, True]
    stepped = Transitions(*arrays, episode=[1, 1, 2, 2, 2], step=[9, 4, 3, 2, 7])
    assert stepped.is_initial.tolist() == [False, True, False, True, False]
    given_ = Transitions(*arrays, episode=[1] * 5, is_initial=[0, 0, 1, 0, 0])
    assert given_.is_initial.tolist() == [False, False, True, False, False]


def test_states_are_kept_as_given():
    array = np.zeros((3, 2), dtype=np.float32)
    frame = pd.DataFrame({"x": [1, 2, 3], "y": ["a", "b", None]}, index=[7, 8, 9])
    rest = [0, 1, 0], [0, 0, 0]
    assert Transitions(array, *rest, array).state is array
    log = Transitions(frame, *rest, frame)
    assert log.state is frame
    assert log.next_state is frame
    assert log[[2, 0]].state.index.tolist() == [9, 7]
    fold = log[[2, 0]]
    assert fold.state is fold.next_state


def test_missing_states_pass_and_missing_pandas_values_too():
    states = np.array([[np.nan], [1.0]])
    assert np.isnan(Transitions(states, [0, 1], [0, 0], states).state[0, 0])


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ([0, 1, 2], "i"),
        (["a", "b", "b"], "U"),
        (np.array(["a", "b", "b"], dtype=object), "U"),
        (pd.Series(["a", "b", "b"]), "U"),
        (pd.Series(["a", "b", "b"], dtype="category"), "U"),
        ([True, False, True], "b"),
        ([0.5, 1, 2], "f"),
        (pd.Series([0, 1, 2], dtype="Int64"), "i"),
        (np.array([0, 1, 2], dtype=np.uint8), "u"),
    ],
)
def test_actions_become_one_plain_type(action, kind):
    log = Transitions([[0]] * 3, action, [0, 0, 0], [[0]] * 3)
    assert log.action.dtype.kind == kind
    assert log.action.tolist() == list(action)


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy 1")
def test_numpys_own_strings_are_strings():
    action = np.array(["a", "b", "b"], dtype=np.dtypes.StringDType())
    log = Transitions([[0]] * 3, action, [0, 0, 0], [[0]] * 3)
    assert log.action.tolist() == ["a", "b", "b"]


def test_repr_is_one_line(log):
    assert repr(log) == (
        "<Transitions: 13 rows, 2 state columns, str actions; with episode, step>"
    )
    assert repr(log.episodes).startswith("<4 episodes of <Transitions")


# ---------------------------------------------------------------- indexing


ROWS = np.array([5, 0, 12, 5])
KEYS = [
    ROWS,
    ROWS.astype(np.int32),
    ROWS.tolist(),
    pd.Series(ROWS),
    slice(2, 9, 3),
    slice(None),
    np.arange(13) % 3 == 0,
    (np.arange(13) % 3 == 0).tolist(),
    (ROWS, ...),
    (ROWS, slice(None)),
    [],
    np.array([-1, -13]),
    ...,
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_folds_transitions_are_the_transitions_of_the_fold(log, key):
    fold = log[key]
    rows = key[0] if isinstance(key, tuple) else key
    everything = np.arange(13)
    chosen = everything[:0] if isinstance(rows, list) and not rows else everything[rows]
    assert len(fold) == len(chosen)
    assert fold.shape == (len(chosen), 2)
    for name in FIELDS:
        whole, part = getattr(log, name), getattr(fold, name)
        if whole is not None:
            np.testing.assert_array_equal(part, np.asarray(whole)[chosen])
            assert type(part) is type(whole)


def test_a_fold_equals_the_log_made_of_its_rows(log):
    fold = log[ROWS[:3]]
    made = Transitions(**{name: getattr(fold, name) for name in FIELDS})
    assert_same(fold, made)


def test_an_integer_gives_one_row_and_rows_can_be_walked(log):
    assert len(log[3]) == len(log[np.int64(-1)]) == 1
    assert_same(log[-1], log[[12]])
    assert [float(row.reward[0]) for row in log] == log.reward.tolist()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("reward", "attributes, such as log.reward"),
        ((slice(None), 0), "rows only"),
        ((), "rows only"),
        ([0.5], "1-D array of integers"),
        (True, "1-D array of integers"),
        ([[0, 1]], "1-D array of integers"),
        ([True, False], "mask has 2 entries"),
        (13, "out.of.bounds"),
        ([0, 99], "out.of.bounds"),
    ],
)
def test_bad_keys(log, key, words):
    with pytest.raises(IndexError, match=words):
        log[key]


def test_scikit_learn_can_index_split_and_resample(log):
    assert_same(_safe_indexing(log, ROWS), log[ROWS])
    assert_same(_safe_indexing(log, slice(2, 5)), log[2:5])
    train, test = train_test_split(log, test_size=4, random_state=0)
    assert (len(train), len(test)) == (9, 4)
    assert len(resample(log, random_state=0)) == 13
    assert len(shuffle(log, random_state=0)) == 13
    folds = [log[test] for _, test in KFold(3).split(log)]
    assert_same(Transitions.concatenate(*folds), log, but=["episode"])


def test_scikit_learn_can_search(log):
    grid = {"shift": [0.0, 5.0]}
    for X, cv in ((log, EpisodeKFold(2)), (log.episodes, 2)):
        assert cross_val_score(MeanReward(), X, cv=cv).shape == (2,)
        search = GridSearchCV(MeanReward(), grid, cv=cv).fit(X)
        assert search.best_params_ == {"shift": 0.0}
        assert search.best_estimator_.mean_ == log.reward.mean()


class Keeper(MeanReward):
    """Keeps the logs that it was fitted to, whatever becomes of it."""

    seen = []  # noqa: RUF012

    def fit(self, X, y=None):
        self.seen.append(as_transitions(X, y))
        return super().fit(X, y)


def assert_drawn_whole(part, log):
    """Each episode of the part is some episode of the log, row by row."""
    known = [log.episodes[k].reward.tolist() for k in range(len(log.episodes))]
    view = part.episodes
    for k in range(len(view)):
        assert view[k].reward.tolist() in known
    np.testing.assert_array_equal(view[:].reward, part.reward)


def test_halving_learning_curves_and_bootstraps_draw_whole_episodes():
    rng = np.random.default_rng(0)
    log = make_log(rng.integers(1, 6, size=40))
    Keeper.seen.clear()
    halving = HalvingGridSearchCV(
        Keeper(),
        {"shift": [0.0, 1.0, 5.0, 9.0]},
        cv=KFold(2),
        min_resources=10,
        factor=2,
        random_state=0,
    ).fit(log.episodes)
    assert halving.best_params_ == {"shift": 0.0}
    assert halving.n_resources_ == [10, 20, 40]
    sizes, *_ = learning_curve(
        Keeper(), log.episodes, None, cv=ShuffleSplit(2, random_state=0)
    )
    assert sizes.tolist() == [3, 11, 19, 27, 36]
    counts = [len(part.episodes) for part in Keeper.seen]
    # Halves of 10, 20 and 40 for four, two and one candidates, the refit, the curves.
    expected = [5] * 8 + [10] * 4 + [20] * 2 + [40] + [3, 11, 19, 27, 36] * 2
    assert sorted(counts) == sorted(expected)
    drawn = resample(log.episodes, random_state=1)
    assert len(np.unique(resample(np.arange(40), random_state=1))) < 40
    assert len(drawn.episodes) == 40
    for part in [*Keeper.seen, drawn, drawn.episodes[[0, 0, 3]]]:
        assert_drawn_whole(part, log)
        as_transitions(part)  # and nothing is said
    with pytest.raises(AssertionError):
        assert_drawn_whole(log[1:], log)


def test_transformers_refuse_logs_as_arrays(log):
    for thing in (log, log.episodes):
        with pytest.raises(TypeError, match="OnStates"):
            np.asarray(thing)
        with pytest.raises(TypeError, match="OnStates"):
            StandardScaler().fit(thing)


def test_hash_is_stable_and_pickles(log):
    before = joblib.hash(log), joblib.hash(log.episodes)
    log.shape, log.episodes[[0, 0]], log[3:], repr(log), log.describe()
    shared_next_rows(log.state, log.next_state), log.to_frame(), as_transitions(log)
    GridSearchCV(MeanReward(), {"shift": [0.0]}, cv=EpisodeKFold(2)).fit(log)
    assert (joblib.hash(log), joblib.hash(log.episodes)) == before
    copy = pickle.loads(pickle.dumps(log))
    assert_same(copy, log)
    assert joblib.hash(copy) == before[0]
    assert joblib.hash(copy.episodes) == before[1]
    assert joblib.hash(log[:5]) == joblib.hash(copy[:5]) != before[0]
    made = Transitions(**{name: getattr(log, name) for name in FIELDS})
    assert joblib.hash(made) == before[0]
    kept = joblib.hash(log.with_states(log.state, log.next_state))
    assert kept == before[0]


def test_memory_maps_stay_on_disk(tmp_path):
    path = tmp_path / "states.npy"
    np.save(path, np.zeros((6, 2)))
    states = np.load(path, mmap_mode="r")
    log = Transitions(states, [0, 1] * 3, np.zeros(6), states)
    assert isinstance(log.state, np.memmap)


# ---------------------------------------------------------------- bad input


GOOD = {
    "state": np.zeros((6, 2)),
    "action": [0, 1, 0, 1, 0, 1],
    "reward": np.zeros(6),
    "next_state": np.zeros((6, 2)),
}
FRAME = pd.DataFrame({"x": np.zeros(6), "y": np.zeros(6)})


def other(name, rows, value, start=0.0):
    values = np.full(6, start, dtype=object)
    values[rows] = value
    return {name: values.tolist()}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"state": np.zeros(6)}, r"state has 1 dimension.*reshape\(-1, 1\)"),
        ({"next_state": np.zeros(6)}, r"next_state has 1 dimension"),
        ({"state": np.zeros((6, 2, 1))}, r"3 dimension.*flatten"),
        ({"state": np.zeros((6, 2)) + 1j}, "Complex data not supported: state"),
        ({"state": FRAME + 1j, "next_state": FRAME}, "Complex data not supported"),
        ({"next_state": np.zeros((6, 3))}, "state has 2 columns and next_state has 3"),
        ({"next_state": FRAME}, "state is an array and next_state is a DataFrame"),
        (
            {"state": FRAME, "next_state": FRAME[["y", "x"]]},
            "same columns in the same order.*'x' against 'y'",
        ),
        ({"reward": np.zeros(5)}, "state 6, action 6, reward 5"),
        ({"episode": [0]}, "episode 1"),
        (other("reward", [1, 3], np.nan), "reward is NaN or infinite at rows 1, 3;"),
        (other("reward", [2], np.inf), "reward is NaN or infinite at row 2;"),
        (other("reward", [2], None), "reward is NaN or infinite at row 2;"),
        (other("reward", [2], pd.NA), "reward is NaN or infinite at row 2;"),
        (other("reward", [2], "3"), "reward is not a number at row 2.*'3'"),
        ({"reward": np.array(["1"] * 6)}, "reward has dtype <U1; real numbers"),
        ({"reward": np.zeros(6) + 1j}, "Complex data not supported: reward"),
        ({"reward": np.zeros((6, 1))}, r"reward must be 1-D.*\.ravel\(\)"),
        (other("terminated", [4], 2), "terminated must be True or False.*2 at row 4"),
        (other("terminated", [4], np.nan), "terminated must be.*nan at row 4"),
        (other("terminated", [4], "yes"), "terminated is not a number at row 4"),
        (other("is_initial", [4], -1), "is_initial must be True or False"),
        (other("action", [0, 5], np.nan), "action is missing.*at rows 0, 5;"),
        (other("action", [0, 5], None, "a"), "action is missing.*at rows 0, 5;"),
        ({"action": [0.0, 1, np.nan, 0, 0, 0]}, "action is missing.*at row 2;"),
        ({"action": np.array([0, np.inf, 0, 1, 0, 1])}, "NaN or infinite at row 1;"),
        (other("action", [1], "a", 1), "action mixes the types int and str"),
        (other("action", [1], True, 1), "action mixes the types bool and int"),
        ({"action": np.array(["2020-01-01"] * 6, "M8[D]")}, "values of type datetime"),
        ({"action": np.zeros((6, 2, 2))}, "action must be 1-D"),
        ({"action": np.zeros((6, 0))}, "action has no columns"),
        ({"action": [(1, "a")] * 6}, r"not all hold numbers.*type str.*join discrete"),
        ({"action": [(1.5, True)] * 6}, "type bool"),
        ({"action": [(1, 2)] * 5 + [(1, np.nan)]}, "NaN or infinite at row 5;"),
        ({"action": np.array([(1, 2)] * 5 + [(np.inf, 0)])}, "infinite at row 5;"),
        ({"action": [(1, 2)] * 5 + [(1, 2, 3)]}, r"list or an array at rows 0, 1"),
        ({"action": [(1, 2)] * 5}, "state 6, action 5"),
        ({"action": [b"a"] * 6}, "action holds values of type bytes"),
        ({"action": np.zeros(6) + 1j}, "action holds values of type complex"),
        ({"propensity": [0.0] + [1.0] * 5}, r"\(0, 1\].*at row 0"),
        ({"propensity": [1.5] * 6}, r"rows 0, 1, 2, 3, 4, \.\.\. \(6 in all\)"),
        ({"propensity": [np.nan] + [1.0] * 5}, "propensity is NaN or infinite"),
        ({"episode": [0.5] * 6}, "episode holds values of type float; int or str"),
        ({"episode": [None] + [1] * 5}, "episode is missing.*row 0"),
        ({"step": range(6)}, "step was given without episode"),
        ({"episode": [0] * 6, "step": [0, 1, 2, 3, 4, 4.5]}, "whole number at row 5"),
        ({"episode": [0] * 6, "step": ["a"] * 6}, "step is not a number"),
        (
            {"episode": [0] * 6, "step": np.arange(6).astype("M8[D]")},
            "step has dtype.*cumcount",
        ),
        ({"episode": [0] * 6, "step": np.ones(6, bool)}, "dtype bool; integers"),
        (
            {"episode": [7] * 6, "step": [0, 1, 2, 3, 1, 0]},
            r"2 repeat another: \(7, 0\) at rows 0 and 5; \(7, 1\) at rows 1 and 4",
        ),
        ({"state": np.zeros((0, 2))}, "state 0, action 6"),
    ],
)
def test_bad_fields_are_refused_in_a_sentence(bad, words):
    with pytest.raises(ValueError, match=words) as error:
        Transitions(**{**GOOD, **bad})
    assert str(error.value).endswith(".")


def test_sparse_empty_and_foreign_tables_are_refused():
    from scipy.sparse import csr_array

    with pytest.raises(ValueError, match=r"sparse matrix.*sparse_output=False"):
        Transitions(csr_array((2, 2)), [0, 1], [0, 0], csr_array((2, 2)))
    with pytest.raises(ValueError, match="no rows"):
        Transitions(np.zeros((0, 2)), [], [], np.zeros((0, 2)))

    class Foreign:
        columns = ("x",)

    with pytest.raises(ValueError, match=r"\.to_pandas\(\)"):
        Transitions(Foreign(), [0], [0], Foreign())


def test_whole_floats_serve_as_episodes_and_steps():
    log = Transitions(**GOOD, episode=[1.0] * 6, step=np.arange(6.0))
    assert log.episode.dtype.kind == log.step.dtype.kind == "i"


def test_with_states_refuses_other_lengths(log):
    with pytest.raises(ValueError, match="state 2, next_state 2, action 13"):
        log.with_states(np.zeros((2, 1)), np.zeros((2, 1)))
    assert log.with_states(np.zeros((13, 5)), np.zeros((13, 5))).n_features == 5


# ---------------------------------------------------------------- episodes


def test_episodes_can_be_chosen(log):
    view = log.episodes
    assert view.shape == (4, 2)
    assert len(view) == 4
    assert view.lengths.tolist() == [4, 1, 3, 5]
    assert view.labels.tolist() == [0, 1, 2, 3]
    assert_same(view[:], log)
    assert_same(view[[2, 0]], log[[5, 6, 7, 0, 1, 2, 3]])
    assert_same(view[np.array([False, True, False, False])], log[4])
    assert_same(view[-1], log[8:])
    assert_same(_safe_indexing(view, [1, 3]), log[[4, 8, 9, 10, 11, 12]])


def test_an_episode_drawn_twice_appears_twice(log):
    drawn = log.episodes[[2, 1, 2]]
    rows = [5, 6, 7, 4, 5, 6, 7]
    assert_same(drawn, log[rows], but=["episode"])
    assert drawn.episode.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert drawn.is_initial.sum() == 3
    Transitions(**{name: getattr(drawn, name) for name in FIELDS})  # still valid
    assert len(resample(log.episodes, random_state=0).episodes) == 4


def test_episodes_stand_in_order_of_appearance_even_when_mixed():
    log = Transitions(**GOOD, episode=["z", "a", "z", "m", "a", "z"])
    assert log.episodes.labels.tolist() == ["z", "a", "m"]
    assert_same(log.episodes[0], log[[0, 2, 5]])
    with pytest.raises(ValueError, match="pass episode="):
        Transitions(**GOOD).episodes  # noqa: B018


# ---------------------------------------------------------------- cut episodes


CUTS = {
    "fold": lambda log: log[next(KFold(2).split(log))[0]],
    "split": lambda log: train_test_split(log, random_state=0)[0],
    "bootstrap": lambda log: resample(log, random_state=0),
    "head": lambda log: log[:3],
    "mask": lambda log: log[log.action == "a"],
    "twice": lambda log: log[np.repeat(np.arange(13), 2)],
    "of a fold": lambda log: log.episodes[[0, 2, 3]][1:],
    "pickled": lambda log: pickle.loads(pickle.dumps(log[1:])),
    "transformed": lambda log: log.with_states(2 * log.state, log.state)[:3],
    "transformed fold": lambda log: log[:3].with_states(*2 * [log.state[:3]]),
    "its episodes": lambda log: log[:3].episodes,
    "drawn again": lambda log: log[1:].episodes[[0, 0, 1]],
}
WHOLE = {
    "log": lambda log: log,
    "slice": lambda log: log[:],
    "shuffled": lambda log: shuffle(log, random_state=0),
    "episodes": lambda log: log.episodes,
    "chosen": lambda log: log.episodes[[3, 1]],
    "chosen by rows": lambda log: log[5:],
    "drawn twice": lambda log: log.episodes[[1, 2, 1, 0, 0]],
    "bootstrap": lambda log: resample(log.episodes, random_state=0),
    "fold": lambda log: log[next(EpisodeKFold(3).split(log))[0]],
    "fold of a fold": lambda log: log.episodes[[0, 2, 3]].episodes[[2, 0]],
    "pickled": lambda log: pickle.loads(pickle.dumps(log)).episodes[[2]],
    "joined": lambda log: Transitions.concatenate(log, log),
    "made anew": lambda log: Transitions(
        **{name: getattr(log[2:7], name) for name in FIELDS}
    ),
    "without": lambda log: Transitions(*[getattr(log, n) for n in FIELDS[:4]])[:3],
}


@pytest.mark.parametrize("draw", CUTS)
def test_cut_episodes_are_said_once_for_each_log(draw):
    log, other = make_log(), make_log(seed=1)
    for source in (log, other, make_log()):
        part = CUTS[draw](source)
        with pytest.warns(UserWarning, match=r"^Cut episodes: .*EpisodeKFold\(5\), or"):
            as_transitions(part)
        as_transitions(part)
        if draw != "pickled":  # which makes a log of its own
            as_transitions(source[3:])


def test_logs_of_equal_rewards_are_not_taken_for_one():
    """As those of CartPole are, where every reward is 1."""
    for seed in range(3):
        log = make_log(seed=seed)
        log = Transitions(
            **{name: getattr(log, name) for name in FIELDS} | {"reward": np.ones(13)}
        )
        with pytest.warns(UserWarning, match="Cut episodes"):
            as_transitions(log[3:])
        as_transitions(log[4:])


def test_a_warning_changes_no_hash():
    log = make_log()
    part = log[3:]
    before = joblib.hash(log), joblib.hash(part), pickle.dumps(log)
    with pytest.warns(UserWarning, match="Cut episodes"):
        as_transitions(part)
    assert (joblib.hash(log), joblib.hash(part), pickle.dumps(log)) == before
    assert joblib.hash(make_log()) == before[0]


@pytest.mark.parametrize("draw", WHOLE)
def test_whole_episodes_pass_without_a_word(draw):
    log = make_log()
    as_transitions(WHOLE[draw](log))
    if draw != "without":
        with pytest.warns(UserWarning, match="of 4 episodes, 1 has fewer or more"):
            as_transitions(log[1:])


def test_a_search_says_it_once_and_where_it_was_called():
    log = make_log([5] * 6)
    with pytest.warns(UserWarning, match="Cut episodes") as caught:
        GridSearchCV(MeanReward(), {"shift": range(5)}, cv=KFold(4)).fit(log)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="Cut episodes") as caught:
        MeanReward().fit(make_log(seed=4)[1:])
    assert caught[0].filename == __file__
    # Turned into an error it is raised each time, as an error must.
    for _ in range(2):
        with pytest.raises(UserWarning, match="Cut episodes"):
            MeanReward().fit(make_log(seed=5)[1:])


# ---------------------------------------------------------------- tables


def visits(**changes):
    return pd.DataFrame(
        {
            "patient": ["a", "a", "a", "b", "b", "b"],
            "visit": [1, 2, 3, 1, 2, 3],
            "pulse": [80, 75, 70, 90, 95, 85],
            "dose": ["low", "high", None, "low", "low", "high"],
            "outcome": [0.0, 1.0, None, 0.0, -1.0, 2.0],
            "died": [False, False, None, False, False, True],
        }
        | changes
    )


ROLES = {
    "state": ["pulse"],
    "action": "dose",
    "reward": "outcome",
    "episode": "patient",
    "step": "visit",
}


def test_from_frame_links_by_episode_and_step():
    log = Transitions.from_frame(visits(), **ROLES, terminated="died")
    assert log.state["pulse"].tolist() == [80, 75, 90, 95, 85]
    assert log.next_state["pulse"].tolist() == [75, 70, 95, 85, 85]
    assert log.terminated.tolist() == [False] * 4 + [True]
    assert log.is_initial.tolist() == [True, False, True, False, False]
    assert log.n_left_out == 0
    assert log.next_state.index.equals(log.state.index)


def test_without_terminated_every_end_is_a_truncation():
    log = Transitions.from_frame(visits(), **ROLES)
    assert not log.terminated.any()
    assert len(log) == 4
    assert log.n_left_out == 1
    assert "1 are the last of an episode" in str(log.describe())


def test_one_state_column_may_be_named_alone():
    log = Transitions.from_frame(visits(), **{**ROLES, "state": "pulse"})
    assert_same(log, Transitions.from_frame(visits(), **ROLES))


def test_gaps_are_left_out_and_not_taken_for_ends():
    table = visits(visit=[1, 3, 4, 1, 2, 3])
    log = Transitions.from_frame(table, **ROLES, terminated="died")
    assert log.state["pulse"].tolist() == [75, 90, 95, 85]
    assert log.left_out == {next(iter(log.left_out)): 1}
    assert "gap in the steps" in next(iter(log.left_out))
    # The first visit is left out; the second did not become the initial one.
    assert log.is_initial.tolist() == [False, True, False, False]


def test_without_step_the_order_of_rows_within_the_episode_is_the_step():
    swapped = visits().iloc[[3, 4, 5, 0, 1, 2]]
    roles = {name: column for name, column in ROLES.items() if name != "step"}
    log = Transitions.from_frame(swapped, **roles, terminated="died")
    expected = Transitions.from_frame(swapped, **ROLES, terminated="died")
    assert_same(log, expected, but=["step"])
    assert log.step.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([3, 0, 1, 4, 2, 5], r"'b' appears in two places, at row 0 and again from row 3"
         r" on \(2 episodes do\)"),
        ([0, 1, 3, 4, 5, 2], r"column 'patient'\) 'a' .*rows 0 to 1 and .*row 5 on;"),
    ],
)  # fmt: skip
def test_without_step_an_episode_stands_in_one_place(order, words):
    roles = {name: column for name, column in ROLES.items() if name != "step"}
    with pytest.raises(ValueError, match=words):
        Transitions.from_frame(visits().iloc[order], **roles)
    assert len(Transitions.from_frame(visits().iloc[order], **ROLES)) == 4


def test_a_missing_action_inside_an_episode_gives_a_next_state_only():
    table = visits(dose=["low", None, "high", "low", "low", "high"])
    table["outcome"] = table["outcome"].fillna(0.0)
    log = Transitions.from_frame(table, **ROLES)
    assert log.state["pulse"].tolist() == [80, 90, 95]
    assert "1 rows inside an episode" in str(log.describe())


def test_integers_that_closing_rows_turned_into_floats_are_integers_again():
    holes = Transitions.from_frame(visits(dose=[0, 1, None, 0, 0, 1]), **ROLES)
    assert holes.action.dtype.kind == "i"
    for dose in ([0.5, 1, None, 0, 0, 1], [0.0, 1, 0, 0, 0, 1]):
        table = visits(dose=dose, outcome=0.0)
        assert Transitions.from_frame(table, **ROLES).action.dtype.kind == "f"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": ["puls"]}, r"no column 'puls' \(did you mean 'pulse'\?\)"),
        ({"action": "DOSE", "step": "week"}, "did you mean 'dose'.*nor 'week'"),
        ({"state": []}, "at least one column"),
        ({"state": ["pulse", "pulse"]}, "occurs more than once"),
        ({"state": ["pulse", "dose"]}, "both the action and part of the state"),
        ({"state": ["outcome"]}, "both the reward and part of the state"),
        ({"terminated": "pulse"}, r"column 'pulse'\) must be True or False"),
        ({"propensity": "pulse"}, r"must lie in \(0, 1\]"),
        ({"step": "patient"}, r"step \(column 'patient'\)"),
    ],
)
def test_bad_columns(changes, words):
    with pytest.raises(ValueError, match=words):
        Transitions.from_frame(visits(), **{**ROLES, **changes})


def test_bad_tables():
    with pytest.raises(TypeError, match=r"DataFrame .* was expected; got dict"):
        Transitions.from_frame({"pulse": [1]}, **ROLES)
    with pytest.raises(ValueError, match="no rows"):
        Transitions.from_frame(visits().iloc[:0], **ROLES)
    with pytest.raises(
        ValueError, match=r"2 rows with an action, 2 are the last.*Name"
    ):
        Transitions.from_frame(visits().iloc[[0, 5]], **ROLES)
    with pytest.raises(ValueError, match=r"1 have no row at step .*Check that"):
        Transitions.from_frame(
            visits(died=False).iloc[[0, 2]], **ROLES, terminated="died"
        )
    with pytest.raises(ValueError, match="no row has an action"):
        Transitions.from_frame(visits(dose=None), **ROLES)
    with pytest.raises(ValueError, match=r"\('a', 1\) at rows 0 and 1"):
        Transitions.from_frame(visits(visit=[1, 1, 2, 1, 2, 3]), **ROLES)
    # Rows are those of the table, though row 2 is no transition.
    with pytest.raises(ValueError, match=r"'outcome'.*NaN or infinite at row 3;"):
        Transitions.from_frame(visits(outcome=[0, 0, None, None, 0, 0]), **ROLES)


@pytest.mark.parametrize(
    "actions", [("a", "b"), (0, 1), (0.0, 2.0), (True, False)], ids=repr
)
@pytest.mark.parametrize("rows", [slice(None), [0, 2, 3, 9, 11], [12]], ids=repr)
@pytest.mark.parametrize("frame", [False, True])
def test_tables_round_trip(actions, rows, frame):
    log = make_log(frame=frame, actions=actions)[rows]
    log.propensity = np.linspace(0.1, 1, len(log))
    table = log.to_frame()
    names = ["x", "y"] if frame else ["state_0", "state_1"]
    read = Transitions.from_frame(
        table, state=names, **COLUMNS, propensity="propensity"
    )
    assert_same(read, log)
    assert read.action.dtype == log.action.dtype
    assert read.n_left_out == 0
    pd.testing.assert_frame_equal(read.to_frame()[list(table)[2:]], table.iloc[:, 2:])


def test_tables_of_whole_logs_round_trip_through_csv(tmp_path):
    log = make_log(frame=True, actions=(0, 1))
    log.to_frame().to_csv(tmp_path / "log.csv", index=False)
    table = read_csv(tmp_path / "log.csv")
    assert_same(Transitions.from_frame(table, state=["x", "y"], **COLUMNS), log)


def test_logs_without_episodes_or_steps_become_tables_too():
    chained = np.arange(6.0).reshape(-1, 1)
    log = Transitions(chained, [0, 1] * 3, np.zeros(6), chained + 1)
    read = Transitions.from_frame(log.to_frame(), state=["state_0"], **COLUMNS)
    assert_same(read, log, but=["episode", "step"])
    for order in ([0, 1, 2, 3, 4, 5], [4, 1, 2, 0, 3, 5]):
        log = Transitions(
            chained[order],
            [0, 1] * 3,
            np.zeros(6),
            chained[order] + 1,
            terminated=[0, 0, 1, 0, 0, 0],
            episode=["p", "p", "p", "q", "q", "q"],
        )
        read = Transitions.from_frame(log.to_frame(), state=["state_0"], **COLUMNS)
        assert_same(read, log, but=["step"])


def test_to_frame_refuses_what_a_table_cannot_hold():
    log = Transitions(
        [[0.0], [9.0]], [0, 1], [0, 0], [[1.0], [2.0]], episode=[5, 5], step=[0, 1]
    )
    with pytest.raises(ValueError, match=r"step . 1 at row 0"):
        log.to_frame()
    states = pd.DataFrame({"reward": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"\['reward'\] bear the names"):
        Transitions(states, [0, 1], [0, 0], states).to_frame()


def test_missing_states_and_mixed_columns_round_trip():
    states = pd.DataFrame({"x": [1.0, np.nan, 3.0, 4.0], "ward": ["a", None, "b", "b"]})
    log = Transitions(
        states.iloc[:3],
        [0, 1, 0],
        [0, 0, 0],
        states.iloc[1:],
        episode=[0, 0, 0],
        step=[0, 1, 2],
    )
    read = Transitions.from_frame(log.to_frame(), state=["x", "ward"], **COLUMNS)
    pd.testing.assert_frame_equal(read.state, log.state)
    assert shared_next_rows(log.state, log.next_state).tolist() == [1, 2, -1]


# ---------------------------------------------------------------- linking


logs = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-3, 9)),
    min_size=1,
    max_size=25,
    unique=True,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(pairs=logs, data=st.data())
def test_linking_follows_a_permutation_of_the_rows(pairs, data):
    episode, step = np.array(pairs).T
    order = np.array(data.draw(st.permutations(range(len(pairs)))))
    links, moved = link(episode, step), link(episode[order], step[order])
    for name in ("first", "last"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(links, name)[order])
    place = np.append(np.argsort(order), -1)  # -1, no next row, stays -1
    np.testing.assert_array_equal(moved.next_row, place[links.next_row[order]])
    # And it is what it says: the row of that pair, wherever it stands.
    where = {pair: row for row, pair in enumerate(pairs)}
    expected = [where.get((e, s + 1), -1) for e, s in pairs]
    assert links.next_row.tolist() == expected


@settings(max_examples=40, deadline=None)
@given(pairs=logs, data=st.data())
def test_from_frame_follows_a_permutation_of_the_table(pairs, data):
    n = len(pairs)
    table = pd.DataFrame(pairs, columns=["episode", "step"])
    table["x"] = np.arange(n)
    table["reward"] = 0.5 * table["x"]
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    table["terminated"] = data.draw(flags)
    table["action"] = np.where(data.draw(flags), "go", None)
    roles = {name: name for name in ("action", "reward", "episode", "step")}
    roles |= {"state": "x", "terminated": "terminated"}
    moved = table.iloc[data.draw(st.permutations(range(n)))]
    read = [read_or_refuse(Transitions.from_frame, t, **roles) for t in (table, moved)]
    assume("backwards" not in str(read))  # the one refusal that is about the order
    if isinstance(read[0], str):
        assert read[0] == read[1]
        assert "No transition can be made" in read[0]
        return
    log, again = read
    assert again.left_out == log.left_out
    assert_same(again[np.argsort(again.state["x"].to_numpy())], log)


@given(names=st.lists(st.sampled_from(["b", "a", "ab", ""]), max_size=12))
def test_episodes_are_numbered_as_they_appear(names):
    order = list(dict.fromkeys(names))
    expected = [order.index(name) for name in names]
    assert encode(np.array(names, dtype=str)).tolist() == expected


def test_extreme_steps_do_not_wrap_around():
    big = np.iinfo(np.int64)
    links = link(np.zeros(4, int), np.array([big.max, big.min, big.max - 1, 0]))
    assert links.next_row.tolist() == [-1, -1, 0, -1]


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(
        st.sampled_from([0.0, 1.0, np.nan]), min_size=2, max_size=12
    ).filter(lambda v: len(v) % 2 == 0),
    data=st.data(),
)
def test_shared_next_rows_compares_by_value(values, data):
    state = np.array(values).reshape(-1, 2)
    n = len(state)
    rows = data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    log = Transitions(state, np.arange(n), np.zeros(n), state[rows])
    same = [
        i + 1 < n and np.array_equal(log.next_state[i], state[i + 1], equal_nan=True)
        for i in range(n)
    ]
    expected = np.where(same, np.arange(1, n + 1), -1)
    np.testing.assert_array_equal(shared_next_rows(log.state, log.next_state), expected)


def test_shared_next_rows_finds_the_steps_of_an_episode(log):
    inside = np.append(log.episode[1:] == log.episode[:-1], False)
    expected = np.where(inside, np.arange(1, 14), -1)
    np.testing.assert_array_equal(shared_next_rows(log.state, log.next_state), expected)


# ---------------------------------------------------------------- joining


def test_from_episodes_keeps_the_last_observation():
    log = Transitions.from_episodes(
        [[[0.0], [1.0], [2.0]], [[5.0], [6.0]]], [[0, 1], [1]], [[0, 1], [2]], [1, 0]
    )
    assert log.next_state.ravel().tolist() == [1, 2, 6]
    assert log.terminated.tolist() == [False, True, False]
    assert log.is_initial.tolist() == [True, False, True]
    assert (log.episode.tolist(), log.step.tolist()) == ([0, 0, 1], [0, 1, 0])


def test_from_episodes_takes_frames_and_episodes_without_actions():
    one = pd.DataFrame({"x": [0.0, 1.0]})
    log = Transitions.from_episodes(
        [one, one[:1], one], [["a"], [], ["b"]], [[0], [], [1]], [False] * 3
    )
    assert log.state["x"].tolist() == [0.0, 0.0]
    assert log.episode.tolist() == [0, 2]
    assert log.action.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"actions": [[0, 1]]}, "observations 2, actions 1"),
        ({"terminated": [0, 0, 1]}, "not per step"),
        ({"terminated": [0, 3]}, "3 at episode 1"),
        (
            {"rewards": [[0, 1], [2, 3]]},
            "Episode 1 has 2 observations, 1 actions and 2",
        ),
        ({"observations": [[[0], [1]], [[5], [6]]]}, "Episode 0 has 2 observations"),
        ({"observations": [[0, 1, 2], [5, 6]]}, r"observations\[0\].*reshape\(-1, 1\)"),
        ({"observations": [[[0]] * 3, [[5, 6]] * 2]}, r"observations\[1\] has 2"),
        ({"actions": [[0, 1], ["a"]]}, "mixes the types int and str"),
        ({"rewards": [[0, np.nan], [2]]}, r"rewards\[0\] is NaN or infinite at row 1"),
        (
            {"observations": [[[0]]] * 2, "actions": [[], []], "rewards": [[], []]},
            "No episode has an action",
        ),
    ],
)
def test_bad_episodes(change, words):
    good = {
        "observations": [[[0], [1], [2]], [[5], [6]]],
        "actions": [[0, 1], [1]],
        "rewards": [[0, 1], [2]],
        "terminated": [True, False],
    }
    with pytest.raises(ValueError, match=words):
        Transitions.from_episodes(**{**good, **change})


def test_concatenate_keeps_episodes_distinct(log):
    both = Transitions.concatenate(log, log)
    assert len(both.episodes) == 8
    assert_same(both.episodes[:4], log)
    assert_same(both.episodes[4:], log, but=["episode"])
    assert_same(Transitions.concatenate(log), log)
    assert both.is_initial.sum() == 8
    bare = Transitions(**GOOD)
    assert Transitions.concatenate(bare, bare).episode is None


def test_concatenate_adds_up_what_was_left_out():
    log = Transitions.from_frame(visits(), **ROLES)
    assert Transitions.concatenate(log, log, log[:2]).n_left_out == 2


def test_bad_concatenations(log):
    with pytest.raises(ValueError, match="at least one"):
        Transitions.concatenate()
    with pytest.raises(TypeError, match="argument 0 is a list"):
        Transitions.concatenate([log])
    numbers = make_log(actions=(0, 1))
    with pytest.raises(ValueError, match="mixes the types int and str"):
        Transitions.concatenate(make_log(), numbers)
    with pytest.raises(
        ValueError, match=r"have episode and others \(arguments \[1\]\)"
    ):
        Transitions.concatenate(numbers, Transitions(**GOOD))
    wide = numbers.with_states(np.zeros((13, 3)), np.zeros((13, 3)))
    with pytest.raises(ValueError, match="those of log 1 has 3"):
        Transitions.concatenate(numbers, wide)


# ---------------------------------------------------------------- describe


def test_describe_counts(log):
    summary = log.describe()
    assert (summary.n_transitions, summary.n_episodes) == (13, 4)
    assert summary.episode_lengths == (1, 3.5, 5)
    assert (summary.n_terminated, summary.n_truncated) == (2, 2)
    assert sum(summary.action_counts.values()) == 13
    low, mean, high = summary.reward_range
    assert low <= mean <= high
    text = str(summary)
    assert "2 terminated, 2 truncated" in text
    assert text == repr(summary)
    assert len(summary.state_columns) == 2
    with pytest.raises(ValueError, match="no rows"):
        log[[]].describe()


def test_describe_counts_episodes_that_go_on_after_their_end():
    log = Transitions(**GOOD, terminated=[0, 1, 0, 0, 0, 1], episode=[0] * 6)
    assert log.describe().n_terminated_inside == 1
    assert "not the last" in str(log.describe())


def test_describe_shortens_many_actions():
    log = Transitions([[0]] * 50, np.arange(50), np.zeros(50), [[0]] * 50)
    assert "(50 in all)" in str(log.describe())
    amounts = Transitions([[0]] * 50, np.linspace(0, 1, 50), np.zeros(50), [[0]] * 50)
    assert "0 to 1, mean 0.5" in str(amounts.describe())


def test_a_terminated_rows_own_state_stands_for_its_next(log):
    used = log.next_or_own_state()
    assert type(used) is type(log.state)
    expected = np.where(log.terminated[:, None], log.state, log.next_state)
    np.testing.assert_array_equal(np.asarray(used), expected)
    going = log[~log.terminated]
    assert going.next_or_own_state() is going.next_state


# ---------------------------------------------------------------- several numbers


def make_vectors(lengths=(4, 1, 3, 5), seed=0):
    """The log of `make_log`, with actions of two numbers."""
    rng = np.random.default_rng(seed)
    log = make_log(lengths, seed=seed)
    fields = {name: getattr(log, name) for name in FIELDS}
    return Transitions(**fields | {"action": rng.normal(size=(len(log), 2))})


DOSES = ["insulin", "carbs"]
DOSE_ROLES = {
    name: name for name in ("reward", "episode", "step", "terminated", "is_initial")
}


def dose_frame():
    return pd.DataFrame(
        {
            "x": [0.0, 1, 2, 3, 4, 5],
            "insulin": [1.0, 2, None, 3, 4, None],
            "carbs": [10, 20, None, 30, 40.5, None],
            "reward": [0.0, 1, None, 2, 3, None],
            "episode": [*"aaabbb"],
            "step": [0, 1, 2] * 2,
        }
    )


@pytest.mark.parametrize(
    "given_",
    [
        np.array([[1.0, 2], [3, 4], [5, 6]]),
        np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int8),
        [[1, 2], [3.0, 4], [5, 6]],
        [np.array([1, 2]), np.array([3, 4]), np.array([5, 6])],
        pd.DataFrame({"a": [1.0, 3, 5], "b": [2, 4, 6]}),
        pd.DataFrame({"a": [1.0, 3, 5], "b": [2, 4, 6]}, dtype="Float64"),
    ],
)
def test_actions_of_several_numbers_are_floats(given_):
    states = np.zeros((3, 1))
    log = Transitions(states, given_, [0, 0, 0], states)
    assert log.action.dtype == np.float64
    np.testing.assert_array_equal(log.action, [[1, 2], [3, 4], [5, 6]])
    assert log.action_names == (("a", "b") if hasattr(given_, "columns") else None)


@pytest.mark.parametrize("values", [[0.5, 1.5], [3, 4], ["a", "b"], [True, False]])
def test_one_column_of_actions_is_that_column(values):
    states = np.zeros((2, 1))
    flat = Transitions(states, values, [0, 0], states)
    for table in (
        np.array(values)[:, None],
        pd.DataFrame(values),
        [[v] for v in values],
    ):
        log = Transitions(states, table, [0, 0], states)
        assert log.action.dtype == flat.action.dtype
        assert_same(log, flat)
        assert joblib.hash(log) == joblib.hash(flat)


def test_vectors_are_indexed_split_and_shown_as_rows():
    log = make_vectors()
    assert "2-column float64 actions" in repr(log)
    for key in ([2, 0], slice(1, 5), log.reward > 0, 3):
        rows = np.atleast_1d(np.arange(len(log))[key])
        np.testing.assert_array_equal(log[key].action, log.action[rows])
    train, _ = train_test_split(log, random_state=0)
    assert train.action.shape == (len(train), 2)
    np.testing.assert_array_equal(log.episodes[[3]].action, log.action[-5:])
    assert joblib.hash(log) == joblib.hash(make_vectors())
    assert_same(pickle.loads(pickle.dumps(log)), log)
    flat = make_log()
    pairs = zip(EpisodeKFold(2).split(log), EpisodeKFold(2).split(flat), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(np.concatenate(ours), np.concatenate(theirs))


def test_from_frame_reads_actions_of_several_columns():
    log = Transitions.from_frame(
        dose_frame(),
        state="x",
        action=DOSES,
        **{"reward": "reward", "episode": "episode", "step": "step"},
    )
    np.testing.assert_array_equal(log.action, [[1, 10], [2, 20], [3, 30], [4, 40.5]])
    assert log.next_state["x"].tolist() == [1, 2, 4, 5]
    assert log.action_names == ("insulin", "carbs")
    assert log[:2].action_names == log.action_names
    one = Transitions.from_frame(
        dose_frame(),
        state="x",
        action=["insulin"],
        **{"reward": "reward", "episode": "episode", "step": "step"},
    )
    assert one.action.shape == (4,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"carbs": [10, None, None, 30, 40, None]},
            "some of its.*lacks others at row 1",
        ),
        ({"carbs": [10, np.inf, None, 30, 40, None]}, "NaN or infinite at row 1;"),
        ({"carbs": [*"abcdef"]}, r"some of its numbers.*rows 2, 5"),
        ({"carbs": [*"ab", None, *"cd", None]}, "not all hold numbers"),
        ({"action": ["insulin", "dose"]}, "no column 'dose'"),
        ({"action": ["insulin", "insulin"]}, "occurs more than once"),
        ({"action": ["insulin", "x"]}, "'x' is both the action and part of the state"),
        ({"action": []}, "action must name at least one column"),
    ],
)
def test_bad_columns_of_vectors(change, words):
    table, action = dose_frame(), change.pop("action", DOSES)
    with pytest.raises(ValueError, match=words):
        Transitions.from_frame(
            table.assign(**change),
            state="x",
            action=action,
            **{"reward": "reward", "episode": "episode", "step": "step"},
        )


@pytest.mark.parametrize("named", [False, True])
def test_tables_of_vectors_round_trip(named, tmp_path):
    log = make_vectors()
    names = ["action_0", "action_1"]
    if named:
        names = DOSES
        fields = {name: getattr(log, name) for name in FIELDS}
        log = Transitions(
            **fields | {"action": pd.DataFrame(log.action, columns=DOSES)}
        )
    table = log.to_frame()
    assert [*table.columns[2:4]] == names
    again = Transitions.from_frame(
        table, state=["state_0", "state_1"], action=names, **DOSE_ROLES
    )
    assert_same(again, log)
    table.to_csv(tmp_path / "log.csv", index=False)
    read = read_csv(tmp_path / "log.csv")
    again = Transitions.from_frame(
        read, state=["state_0", "state_1"], action=names, **DOSE_ROLES
    )
    assert_same(again, log)


def test_to_frame_refuses_actions_that_bear_names_of_fields():
    log = make_vectors()
    fields = {name: getattr(log, name) for name in FIELDS}
    named = pd.DataFrame(log.action, columns=["reward", "dose"])
    with pytest.raises(ValueError, match=r"action's columns \['reward'\]"):
        Transitions(**fields | {"action": named}).to_frame()


def test_episodes_and_logs_of_vectors_are_joined():
    log = make_vectors()
    ends = np.cumsum([4, 1, 3, 5])[:-1]
    states = [
        np.concatenate([now, then[-1:]])
        for now, then in zip(
            np.split(log.state, ends), np.split(log.next_state, ends), strict=True
        )
    ]
    again = Transitions.from_episodes(
        [*states, np.zeros((1, 2))],
        [*np.split(log.action, ends), []],
        [*np.split(log.reward, ends), []],
        [True, False] * 2 + [False],
    )
    assert_same(again, log)
    both = Transitions.concatenate(log, log[:3])
    np.testing.assert_array_equal(
        both.action, np.concatenate([log.action, log.action[:3]])
    )
    with pytest.raises(ValueError, match="some of 1 and of 2 numbers"):
        Transitions.concatenate(log, make_log(actions=(0.5, 1.5)))
    fields = {name: getattr(log, name) for name in FIELDS}
    one, other_ = (
        Transitions(**fields | {"action": pd.DataFrame(log.action, columns=[*names])})
        for names in ("ab", "ba")
    )
    assert Transitions.concatenate(one, log).action_names == ("a", "b")
    with pytest.raises(ValueError, match="different columns"):
        Transitions.concatenate(one, other_)


def test_describe_gives_the_ranges_of_vectors():
    log = make_vectors()
    summary = log.describe()
    low, mean, high = summary.action_ranges["action_1"]
    column = log.action[:, 1]
    assert (low, mean, high) == (column.min(), column.mean(), column.max())
    assert summary.action_counts == {}
    assert "action_0: " in str(summary)
    assert make_log().describe().action_ranges is None


# ---------------------------------------------------------------- as_transitions


def test_as_transitions_passes_logs_through(log):
    assert as_transitions(log) is log
    assert as_transitions(log.episodes) is log
    for thing in (log, log.episodes):
        with pytest.raises(ValueError, match="y must be None with a Transitions"):
            as_transitions(thing, [0] * len(thing))
    with pytest.raises(ValueError, match="no rows"):
        as_transitions(log[[]])


@pytest.mark.parametrize("X", [np.zeros((3, 2)), FRAME[:3], [[0.0, 1.0]] * 3])
@pytest.mark.parametrize("y", [[0, 1, 1], pd.Series(["a", "b", "a"]), np.ones(3)])
def test_actions_alone_are_imitated_with_a_warning(X, y):
    with pytest.warns(UserWarning, match="pessimistic imitation"):
        log = as_transitions(X, y)
    assert log.action.tolist() == list(y)
    assert (log.terminated & log.is_initial & (log.reward == 1)).all()
    assert log.next_state is log.state
    assert len(log.episodes) == 3
    assert isinstance(log.state, pd.DataFrame) == isinstance(X, pd.DataFrame)


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (GOOD["state"], None, "requires y to be passed, but the target y is None"),
        (FRAME, None, "pass a Transitions"),
        (GOOD["state"], [0, 1], "inconsistent numbers of samples"),
        (GOOD["state"], np.zeros((6, 2)), "y has 2 dimensions and no names"),
        (GOOD["state"], np.zeros((6, 2)).tolist(), "y has 2 dimensions and no names"),
        (np.zeros(6), np.zeros(6), r"X has 1 dimension.*reshape\(-1, 1\)"),
        (np.zeros((6, 1)) + 1j, np.zeros(6), "Complex data not supported"),
        (GOOD["state"], [0, 1, 0, None, 0, 1], "y is missing.*row 3"),
        (GOOD["state"], [0, 1, 0, "a", 0, 1], "y mixes the types int and str"),
        (np.zeros((0, 2)), [], "0 samples"),
    ],
)
def test_bad_arguments(X, y, words):
    with pytest.raises(ValueError, match=words):
        as_transitions(X, y)


def test_a_log_in_a_notebook_is_a_table_of_what_it_holds():
    log = make_log()
    html = log._repr_html_()
    for name, text in log.describe().lines().items():
        assert f"<th>{name}</th><td>{escape(text)}</td>" in html
    caption = f"<caption>{repr(log)[1:-1]}</caption>"
    assert html.replace(caption, "") == log.describe()._repr_html_() != html
    assert "<tr>" not in log[[]]._repr_html_()
    frame = pd.DataFrame({"<script>": [0.0, 1.0]})
    hostile = Transitions(frame, ["<b>", "a"], [0, 1], frame, propensity=[0.2, 0.6])
    html = hostile._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<th>propensity</th><td>0.2 to 0.6, mean 0.4</td>" in html
