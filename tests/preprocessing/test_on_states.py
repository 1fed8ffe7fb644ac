"""OnStates: what it fits on, that a log and its states are transformed alike, and how
it behaves as a scikit-learn meta-estimator."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from _logs import FIELDS, changed, estimator, ignore_convergence, walk_log
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags, resample

from sklearn_stackelberg import OnStates, Transitions
from sklearn_stackelberg.preprocessing._recorded_states import recorded_states

STATE = ["x", "y", "z"]
COLUMNS = dict(
    state=STATE,
    action="dose",
    reward="gain",
    episode="who",
    step="visit",
    terminated="died",
)


def table(n_episodes=40, seed=0) -> pd.DataFrame:
    """A table in order of which every row is a state of a transition.

    Episodes end for good, or with a row without an action, or are cut after a row whose
    next state is unknown; some have a gap, of at least two rows on either side.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for who in range(n_episodes):
        length, end = int(rng.integers(4, 9)), ("died", "closed", "lost")[who % 3]
        visits = np.arange(length) + 3
        if who % 4 == 0:
            visits[2:] += 2
        for k, visit in enumerate(visits):
            last = k == length - 1
            dose = None if last and end == "closed" else ["low", "high"][k % 2]
            rows.append((who, visit, dose, float(k), last and end == "died"))
    df = pd.DataFrame(rows, columns=["who", "visit", "dose", "gain", "died"])
    df.loc[df["dose"].isna(), "gain"] = np.nan
    for j, name in enumerate(STATE):
        df[name] = rng.normal(j, 10.0**j, size=len(df))
    return df


def chain(states, n_episodes=1, terminated=None, **fields) -> Transitions:
    """Episodes of equal length that stand one behind the other, cut at their ends."""
    states = np.asarray(states, dtype=float).reshape(n_episodes, -1, 1)
    n = states[:, :-1].size
    length = n // n_episodes
    given = dict(episode=np.arange(n) // length, step=np.arange(n) % length)
    return Transitions(
        states[:, :-1].reshape(-1, 1),
        np.arange(n) % 2,
        np.zeros(n),
        states[:, 1:].reshape(-1, 1),
        terminated,
        **(given | fields),
    )


def recorded(log) -> list:
    return np.asarray(recorded_states(log).states).ravel().tolist()


def assert_same_log(left, right, but=()):
    for name in set(FIELDS) - set(but):
        assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert left.left_out == right.left_out


# ---------------------------------------------------------------- what is recorded


def test_a_cut_episode_records_the_state_in_which_it_was_cut_behind_its_last_row():
    log = chain([1, 2, 3, 4, 5, 6], n_episodes=2)
    assert recorded(log) == [1, 2, 3, 4, 5, 6]
    found = recorded_states(log)
    assert found.state_rows.tolist() == [0, 1, 3, 4]
    assert found.next_rows.tolist() == [1, 2, 4, 5]
    assert found.log_rows.tolist() == [0, 1, 1, 2, 3, 3]


def test_what_follows_a_terminated_row_is_not_recorded():
    log = chain([1, 2, 3, 4, 5, 6], n_episodes=2, terminated=[0, 1, 0, 0])
    assert recorded(log) == [1, 2, 4, 5, 6]
    # Not even where the log goes on with it.
    log = chain([1, 2, 3, 4], terminated=[0, 1, 0])
    assert recorded(log) == [1, 2, 3, 4]
    assert recorded_states(log).next_rows.tolist() == [1, 1, 3]


def test_a_next_state_that_differs_from_the_linked_row_is_recorded_too():
    log = chain([1, 2, 3, 4])
    other = changed(log, next_state=[[2], [2.5], [4]])
    assert recorded(other) == [1, 2, 2.5, 3, 4]
    assert recorded(chain([1, np.nan, 3, np.nan])) == pytest.approx(
        [1, np.nan, 3, np.nan], nan_ok=True
    )


def test_rows_are_linked_by_step_and_not_by_where_they_stand():
    log = chain([1, 2, 3, 4, 5, 6], n_episodes=2)
    order = [3, 0, 2, 1]
    assert recorded(log[order]) == [5, 6, 1, 4, 2, 3]
    # Another episode's row may stand behind a row, and bear its next state.
    log = chain([1, 2, 3, 3, 4, 5], n_episodes=2)
    assert recorded(log) == [1, 2, 3, 3, 4, 5]


def test_a_log_without_steps_is_linked_by_value_within_its_episodes():
    log = chain([1, 2, 3, 3, 4, 5], n_episodes=2, step=None)
    assert recorded(log) == [1, 2, 3, 3, 4, 5]
    assert recorded(log[[0, 2, 1, 3]]) == [1, 3, 2, 3, 4, 5]
    assert recorded(log[[0, 3]]) == [1, 2, 4, 5]
    # Without episodes, the row behind is all that there is.
    log = chain([1, 2, 3, 3, 4, 5], n_episodes=2, step=None, episode=None)
    assert recorded(log) == [1, 2, 3, 4, 5]


def test_a_row_that_a_bootstrap_drew_twice_counts_twice():
    log = chain([1, 2, 3, 4])
    assert recorded(log[[0, 0, 1]]) == [1, 1, 2, 3]
    assert recorded(log[[0, 0, 2]]) == [1, 2, 1, 2, 3, 4]
    drawn = resample(walk_log(), random_state=0)
    found = recorded_states(drawn)
    going = ~drawn.terminated
    assert_array_equal(found.states[found.state_rows], drawn.state)
    assert_array_equal(found.states[found.next_rows][going], drawn.next_state[going])
    assert len(set(found.state_rows)) == len(drawn)


@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_table_in_order_is_restored_to_the_last_bit(as_arrays):
    df = table()
    log = Transitions.from_frame(df, **COLUMNS)
    assert log.left_out
    assert log.terminated.sum() > 5
    states = df[STATE]
    if as_arrays:
        log = log.with_states(log.state.to_numpy("f8"), log.next_state.to_numpy("f8"))
        log = log[np.arange(len(log))]  # C order, as the rows below
        states = np.ascontiguousarray(states)
    fitted = OnStates(StandardScaler()).fit(log).transformer_
    expected = StandardScaler().fit(states)
    assert fitted.n_samples_seen_ == len(df) > len(log)
    assert_array_equal(fitted.mean_, expected.mean_)
    assert_array_equal(fitted.scale_, expected.scale_)
    assert_array_equal(recorded_states(log).states, states)
    # The log's own states would give something else, even taken together.
    both = np.concatenate([log.state, log.next_state])
    assert np.all(StandardScaler().fit(both).mean_ != expected.mean_)


def test_a_table_out_of_order_gives_the_same_statistics():
    df = table()
    shuffled = df.sample(frac=1.0, random_state=0)
    log = Transitions.from_frame(shuffled, **COLUMNS)
    fitted = OnStates(StandardScaler()).fit(log).transformer_
    expected = StandardScaler().fit(df[STATE])
    assert fitted.n_samples_seen_ == len(df)
    assert_allclose(fitted.mean_, expected.mean_, rtol=1e-12)
    assert_allclose(fitted.scale_, expected.scale_, rtol=1e-12)


def test_weights_of_rows_count_for_the_states_that_they_record():
    log = chain([1, 2, 3, 4, 5, 6], n_episodes=2, terminated=[0, 1, 0, 0])
    weight = np.array([1.0, 2.0, 0.0, 5.0])
    expected = np.average([1, 2, 4, 5, 6], weights=[1, 2, 0, 5, 5])
    on_states = OnStates(StandardScaler())
    assert on_states.fit(log, sample_weight=weight).transformer_.mean_[0] == expected
    on_states.fit_transform(log, sample_weight=weight)
    assert on_states.transformer_.mean_[0] == expected
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        routed = make_pipeline(OnStates(scaler), FunctionTransformer())
        routed.fit(log, sample_weight=weight)
        assert routed[0].transformer_.mean_[0] == expected
        with pytest.raises(TypeError, match=r"OnStates.*fit got unexpected.*colour"):
            OnStates(StandardScaler()).fit(log, colour=weight)


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize("frame", [False, True])
@pytest.mark.parametrize(
    "transformer", [StandardScaler(), PCA(1), make_pipeline(MinMaxScaler(), PCA())]
)
def test_states_and_next_states_are_transformed_as_by_hand(transformer, frame):
    log = walk_log(frame=frame)
    on_states = OnStates(transformer)
    for out in (on_states.fit_transform(log), on_states.transform(log)):
        by_hand = on_states.transformer_.transform
        going = ~log.terminated
        assert type(out) is Transitions
        assert_allclose(out.state, by_hand(log.state), atol=1e-12)
        expected = by_hand(log.next_state)[going]
        assert_allclose(out.next_state[going], expected, atol=1e-12)
        assert_array_equal(out.next_state[~going], out.state[~going])
        assert_same_log(out, log, but=("state", "next_state"))
    assert_array_equal(on_states.transform(log.state), by_hand(log.state))
    assert_array_equal(on_states.transform(log.episodes).state, out.state)


def test_what_was_equal_remains_so_to_the_last_bit():
    df = table()
    log = Transitions.from_frame(df, **COLUMNS)
    out = OnStates(PCA(2)).fit_transform(log)
    before, after = recorded_states(log), recorded_states(out)
    assert_array_equal(before.next_rows, after.next_rows)
    assert_array_equal(before.state_rows, after.state_rows)
    # As the states alone, in a pipeline without a log.
    assert_array_equal(after.states, PCA(2).fit_transform(df[STATE]))


def test_it_fits_the_log_of_a_view_and_ignores_no_y():
    log = walk_log()
    expected = OnStates(StandardScaler()).fit(log).transformer_.mean_
    found = OnStates(StandardScaler()).fit(log.episodes).transformer_.mean_
    assert_array_equal(found, expected)
    for X in (log, log.episodes):
        with pytest.raises(ValueError, match="y must be None with a Transitions"):
            OnStates(StandardScaler()).fit(X, log.action)
    with pytest.raises(ValueError, match="0 samples"):
        OnStates(StandardScaler()).fit(log[:0])


def test_one_table_stays_one_table():
    state = np.arange(6.0).reshape(3, 2)
    log = Transitions(state, [0, 1, 0], [0, 1, 0], state)
    out = OnStates(StandardScaler()).fit_transform(log)
    assert out.next_state is out.state
    assert_array_equal(out.state, StandardScaler().fit_transform(state))
    ended = Transitions(state, [0, 1, 0], [0, 1, 0], state + np.nan, np.ones(3))
    out = OnStates(StandardScaler()).fit_transform(ended)
    assert out.next_state is out.state


@pytest.mark.parametrize("unused", [np.nan, np.inf])
def test_what_follows_a_terminated_row_may_be_anything(unused):
    log = walk_log()
    next_state = log.next_state.copy()
    next_state[log.terminated] = unused
    spoilt = changed(log, next_state=next_state)
    out = OnStates(StandardScaler()).fit_transform(spoilt)
    assert_same_log(out, OnStates(StandardScaler()).fit_transform(log))
    assert_array_equal(OnStates("passthrough").fit_transform(spoilt).state, log.state)


def clinic() -> Transitions:
    """Text with an unseen category and missing values, and numbers with holes."""
    state = pd.DataFrame(
        {
            "pulse": [80.0, np.nan, 70.0, 90.0],
            "ward": ["A", "B", "A", None],
            "age": [30, 30, 30, 60],
        },
        index=[7, 5, 5, 9],
    )
    next_state = state.iloc[[1, 2, 2, 3]].reset_index(drop=True)
    next_state.loc[2, ["pulse", "ward"]] = [75.0, "B"]
    next_state.loc[3, "ward"] = "unseen"
    return Transitions(
        state,
        ["low", "high", "low", "low"],
        [0.0, 1.0, 0.0, 1.0],
        next_state,
        [0, 0, 0, 1],
        episode=[0, 0, 0, 1],
        step=[0, 1, 2, 0],
    )


def test_text_and_missing_values():
    log = clinic()
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["pulse", "age"]),
        (OneHotEncoder(handle_unknown="error", sparse_output=False), ["ward"]),
    )
    out = OnStates(columns).fit_transform(log)
    pulse = np.array([80, np.nan, 70, 75, 90])  # the third row's end is no row's state
    pulse = (
        StandardScaler()
        .fit_transform(np.where(np.isnan(pulse), np.nanmean(pulse), pulse)[:, None])
        .ravel()
    )
    assert_allclose(out.state[:, 0], pulse[[0, 1, 2, 4]])
    assert_allclose(out.next_state[:, 0], pulse[[1, 2, 3, 4]])
    assert out.state[:, 2:].argmax(axis=1).tolist() == [0, 1, 0, 2]
    assert out.next_state[:, 2:].argmax(axis=1).tolist() == [1, 0, 1, 2]
    assert (out.state[:, 2:].sum(axis=1) == 1).all()


def test_passthrough_leaves_states_as_they_are():
    log = Transitions.from_frame(table(), **COLUMNS)
    on_states = OnStates("passthrough").fit(log)
    out = on_states.transform(log)
    going = ~log.terminated
    pd.testing.assert_frame_equal(out.state, log.state)
    pd.testing.assert_frame_equal(out.next_state[going], log.next_state[going])
    assert on_states.transform(log.state) is log.state
    kinds = clinic()
    out = on_states.fit_transform(kinds).state
    pd.testing.assert_frame_equal(out, kinds.state)
    numbered = log.state.set_axis([0, 1, 2], axis=1)
    assert on_states.fit_transform(numbered).columns.tolist() == [0, 1, 2]
    assert isinstance(OnStates("passthrough").fit_transform([[1.0]]), np.ndarray)
    with pytest.raises(ValueError, match="reshape"):
        OnStates("passthrough").fit([1.0, 2.0])


def test_inverse_transform_where_there_is_one():
    log = walk_log()
    on_states = OnStates(StandardScaler())
    back = on_states.inverse_transform(on_states.fit_transform(log))
    assert_allclose(back.state, log.state, atol=1e-12)
    going = ~log.terminated
    assert_allclose(back.next_state[going], log.next_state[going], atol=1e-12)
    plain = on_states.inverse_transform(on_states.transform(log.state))
    assert_allclose(plain, log.state, atol=1e-12)
    assert not hasattr(OnStates(OneHotEncoder().fit_transform), "inverse_transform")
    assert not hasattr(OnStates(SelectOne()), "inverse_transform")


# ---------------------------------------------------------------- policies


@ignore_convergence
@pytest.mark.parametrize("frame", [False, True])
def test_a_policy_in_a_pipeline_is_the_policy_of_the_log_transformed_by_hand(frame):
    log = walk_log(frame=frame)
    pipeline = make_pipeline(OnStates(StandardScaler()), estimator()).fit(log)
    scaler = pipeline[0].transformer_
    by_hand = log.with_states(
        scaler.transform(log.state), scaler.transform(log.next_state)
    )
    policy = estimator().fit(by_hand)
    states = walk_log(seed=1, frame=frame).state
    scaled = scaler.transform(states)
    assert_allclose(
        pipeline.predict_proba(states), policy.predict_proba(scaled), atol=1e-6
    )
    assert_array_equal(pipeline.predict(states), policy.predict(scaled))
    assert_array_equal(pipeline.predict(log), pipeline.predict(log.state))
    assert np.unique(pipeline.predict(states)).size > 1


@ignore_convergence
def test_a_search_chooses_among_transformers_and_their_parameters(tmp_path):
    log = walk_log()
    pipeline = make_pipeline(
        OnStates(StandardScaler()),
        estimator(mirror_steps=3, max_iter=2),
        memory=str(tmp_path),
    )
    grid = [
        {"onstates__transformer": ["passthrough", MinMaxScaler(), PCA(1)]},
        {"onstates__transformer__with_mean": [True, False]},
    ]
    search = GridSearchCV(pipeline, grid, cv=KFold(2), error_score="raise").fit(log)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) >= 4
    without = make_pipeline(estimator(mirror_steps=3, max_iter=2))
    expected = [
        without.fit(log[train]).score(log[test]) for train, test in KFold(2).split(log)
    ]
    assert_allclose(scores[0], np.mean(expected), rtol=1e-6)


def test_a_cached_pipeline_gives_the_same(tmp_path):
    log = walk_log(frame=True)
    steps = OnStates(StandardScaler()), FunctionTransformer()
    expected = make_pipeline(*steps).fit_transform(log)
    for _ in range(2):
        cached = make_pipeline(*steps, memory=str(tmp_path)).fit(log)
        assert_same_log(cached.transform(log), expected)


# ---------------------------------------------------------------- scikit-learn


def test_check_estimator():
    results = checks.check_estimator(OnStates(StandardScaler()))
    assert {r["status"] for r in results} == {"passed"}
    assert any(r["check_name"] == "check_transformer_general" for r in results)


@pytest.mark.parametrize(
    "transformer",
    ["passthrough", PCA(1), OnStates(StandardScaler()), "pipeline"],
    ids=str,
)
def test_check_estimator_of_other_transformers(transformer):
    known = {}
    if transformer == "pipeline":
        transformer = make_pipeline(SimpleImputer(), StandardScaler())
        # SimpleImputer shows an inverse_transform that it does not have.
        known = {"check_array_api_input": "fails for the pipeline itself"}
    checks.check_estimator(OnStates(transformer), expected_failed_checks=known)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_set_output_transform,
        checks.check_set_output_transform_pandas,
        checks.check_global_output_transform_pandas,
        checks.check_transformer_get_feature_names_out,
        checks.check_transformer_get_feature_names_out_pandas,
        checks.check_get_feature_names_out_error,
        checks.check_n_features_in_after_fitting,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.parametrize("transformer", [StandardScaler(), PCA(1)], ids=str)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_containers_and_names(check, transformer):
    check("OnStates", OnStates(transformer))


@pytest.mark.parametrize("frame", [False, True])
@pytest.mark.parametrize("transformer", [PCA(), "passthrough", "late"])
def test_set_output_makes_the_states_of_a_log_frames(transformer, frame):
    log = walk_log(frame=frame)
    if frame:
        log.state.index = log.state.index + 100
    on_states = OnStates(StandardScaler() if transformer == "late" else transformer)
    assert on_states.set_output(transform="pandas") is on_states
    on_states = clone(on_states)
    if transformer == "late":
        on_states.set_params(transformer=PCA())  # what was asked for holds for it too
    names = {"passthrough": ["x", "y"] if frame else ["x0", "x1"]}
    names = names.get(transformer, ["pca0", "pca1"])
    for out in (on_states.fit_transform(log), on_states.transform(log)):
        assert out.state.columns.tolist() == names
        assert out.next_state.columns.tolist() == names
        assert on_states.get_feature_names_out().tolist() == names
        index = log.state.index if frame else range(len(log))
        assert out.state.index.tolist() == out.next_state.index.tolist() == [*index]
    assert on_states.transform(log.state).columns.tolist() == names
    assert isinstance(on_states.set_output(transform="default"), OnStates)
    kind = pd.DataFrame if (frame and transformer == "passthrough") else np.ndarray
    assert isinstance(on_states.transform(log).state, kind)
    with sklearn.config_context(transform_output="pandas"):
        out = OnStates(StandardScaler()).fit_transform(log)
        assert isinstance(out.next_state, pd.DataFrame)


def test_set_output_of_none_changes_nothing_and_only_the_clone_is_configured():
    inner = StandardScaler()
    on_states = OnStates(inner).set_output()
    assert not hasattr(on_states, "_sklearn_output_config")
    on_states.set_output(transform="pandas").fit(walk_log())
    assert isinstance(inner.fit_transform([[1.0], [2.0]]), np.ndarray)


def test_names_of_columns_are_kept_and_checked():
    log = walk_log(frame=True)
    for transformer in (StandardScaler(), "passthrough"):
        on_states = OnStates(transformer).fit(log)
        assert on_states.feature_names_in_.tolist() == ["x", "y"]
        assert on_states.n_features_in_ == 2
        renamed = log.state.rename(columns={"x": "pulse"})
        for X in (renamed, log.with_states(renamed, renamed)):
            with pytest.raises(ValueError, match="feature names should match"):
                on_states.transform(X)
        with pytest.warns(UserWarning, match="valid feature names") as seen:
            on_states.transform(log.state.to_numpy())
        assert len(seen) == 1
        with pytest.raises(ValueError, match="feature names should match"):
            on_states.transform(log.state[["x"]])
    on_states.fit(walk_log())
    with pytest.raises(ValueError, match="1 features, but"):
        on_states.transform(np.ones((3, 1)))
    assert not hasattr(on_states, "feature_names_in_")


class SelectOne(TransformerMixin, BaseEstimator):
    """A transformer that knows nothing of features, names or containers."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X)[:, :1].tolist()


def test_a_transformer_of_few_words():
    log = walk_log()
    on_states = OnStates(SelectOne())
    out = on_states.fit_transform(log)
    assert_array_equal(out.state, log.state[:, :1])
    assert not hasattr(on_states, "get_feature_names_out")
    with pytest.raises(ValueError, match="3 features, but OnStates is expecting 2"):
        on_states.transform(np.ones((4, 3)))
    with pytest.raises(ValueError, match="Unable to configure output"):
        on_states.set_output(transform="pandas")


def test_y_is_passed_on_with_plain_states():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    y = X[:, 1] + 0.1 * rng.normal(size=50)
    select = SelectKBest(f_regression, k=1)
    for out in (OnStates(select).fit(X, y), OnStates(select)):
        if not hasattr(out, "transformer_"):
            assert_array_equal(out.fit_transform(X, y), X[:, [1]])
        assert_array_equal(out.transform(X), X[:, [1]])
    with pytest.raises(ValueError, match="y to be passed, but the target y is None"):
        OnStates(select).fit(walk_log())


def test_tags_are_the_transformers():
    assert get_tags(OnStates(SimpleImputer())).input_tags.allow_nan
    assert get_tags(OnStates("passthrough")).input_tags.allow_nan
    imputed = make_pipeline(make_pipeline("passthrough", SimpleImputer()), PCA())
    assert get_tags(OnStates(imputed)).input_tags.allow_nan
    assert not get_tags(OnStates(PCA())).input_tags.allow_nan
    for inner in (StandardScaler(), PCA, None, "nonsense"):
        assert not get_tags(OnStates(inner)).input_tags.sparse


def test_parameters_clone_pickle_hash_and_repr():
    log = walk_log()
    on_states = OnStates(make_pipeline(StandardScaler(), PCA(1)))
    on_states.set_params(transformer__pca__n_components=2)
    assert on_states.transformer["pca"].n_components == 2
    fresh = joblib.hash(on_states)
    assert joblib.hash(clone(on_states)) == fresh
    with pytest.raises(NotFittedError):
        on_states.transform(log)
    on_states.fit(log)
    assert not hasattr(on_states.transformer["pca"], "components_")
    assert joblib.hash(on_states) == joblib.hash(clone(on_states).fit(log))
    loaded = pickle.loads(pickle.dumps(on_states))
    assert_same_log(loaded.transform(log), on_states.transform(log))
    assert joblib.hash(clone(on_states)) == fresh
    assert "StandardScaler" in on_states._repr_html_()
    assert "passthrough" in OnStates("passthrough")._repr_html_()


def test_a_fit_changes_neither_the_log_nor_its_states():
    log = Transitions.from_frame(table(), **COLUMNS)
    before = joblib.hash(log)
    OnStates(StandardScaler()).fit(log).transform(log)
    assert joblib.hash(log) == before


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (LogisticRegression(), r"got LogisticRegression\(\), which has no transform"),
        (make_pipeline(PCA(), LogisticRegression()), r"got Pipeline.*no transform"),
        (StandardScaler, r"the class StandardScaler.*OnStates\(StandardScaler\(\)\)"),
        (None, "got None, which has no fit and no transform"),
        ("drop", "'passthrough'; got 'drop'"),
    ],
)
def test_what_is_no_transformer_is_refused(transformer, message):
    for X in (walk_log(), np.ones((3, 2))):
        on_states = OnStates(transformer)
        with pytest.raises(TypeError, match=f"(?s){message}"):
            on_states.fit(X)
        assert not hasattr(on_states, "n_features_in_")


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (csr_matrix, "sparse matrix.*OneHotEncoder.sparse_output=False"),
        (lambda X: X[1:], r"returned \d+ rows for \d+ states"),
        (lambda X: X.tolist()[0], r"returned has 1 dimension"),
    ],
)
def test_states_that_no_log_can_hold_are_refused(function, message, plain):
    X = walk_log().state if plain else walk_log()
    on_states = OnStates(FunctionTransformer(function))
    with pytest.raises(ValueError, match=message):
        on_states.fit_transform(X)
    assert not hasattr(on_states, "transformer_")
    with pytest.raises(ValueError, match=message):
        on_states.fit(X).transform(X)


def test_sparse_states_are_refused():
    sparse = csr_matrix(np.eye(3))
    with pytest.raises(ValueError, match=r"X is a sparse matrix.*toarray"):
        OnStates(StandardScaler(with_mean=False)).fit(sparse)
    on_states = OnStates(StandardScaler()).fit(np.eye(3))
    with pytest.raises(ValueError, match=r"X is a sparse matrix.*toarray"):
        on_states.transform(sparse)


def test_a_frame_of_another_library_within_a_log_is_refused():
    class Frame:
        def __init__(self, X):
            self.shape, self.columns = X.shape, ["x", "y"]

        def __len__(self):
            return self.shape[0]

    log = walk_log()
    on_states = OnStates(FunctionTransformer(Frame))
    with pytest.raises(ValueError, match=r"What the transformer returned is a .*Frame"):
        on_states.fit_transform(log)
