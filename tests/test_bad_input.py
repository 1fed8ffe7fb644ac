"""What cannot be fitted is refused in a sentence, and nothing is left half-fitted."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from _logs import (
    OF_SOLVERS,
    changed,
    estimator,
    ignore_convergence,
    ignore_imitation,
    walk_log,
)
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.gaussian_process.kernels import DotProduct
from sklearn.utils.validation import check_is_fitted

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.solvers import ClosedForm

pytestmark = ignore_convergence

LOG = walk_log(n=40)
STATES = LOG.state[:10]


def assert_unfitted(policy):
    assert [name for name in vars(policy) if name.endswith("_")] == []
    for method in ("predict", "predict_proba", "q_values", "sample", "score"):
        with pytest.raises(NotFittedError):
            getattr(policy, method)(LOG)


def refuse(policy, words, *data, ours=True):
    """Fit, and see it refused in a sentence; return the message."""
    with pytest.raises(ValueError, match=words) as error:
        policy.fit(*(data or (LOG,)))
    message = str(error.value)
    assert len(message.split()) > 5
    assert not ours or message.endswith(".")
    assert_unfitted(policy)
    return message


# ---------------------------------------------------------------- parameters

NUMBERS = ["1", None, True, np.True_, np.nan, 1j, [0.5], np.array([0.5])]
SOME = [number for number in NUMBERS if number is not None]
BAD = {
    "discount": (r"discount must be a number in \[0, 1\]", [*NUMBERS, -0.1, 1.01, 2]),
    "lam": ("lam must be a positive finite number", [*NUMBERS, 0, -1.0, np.inf]),
    "beta": ("beta must be a positive finite number", [*SOME, 0.0, -1e-9, np.inf]),
    "ridge": ("ridge must be a number >= 0 or None", [*SOME, -1e-9, np.inf]),
    "support": (r"support must be a number in \[0, 1\)", [*NUMBERS, -0.1, 1.0]),
    "tol": ("tol must be a number >= 0", [*NUMBERS, -1e-9, np.inf]),
    "mirror_steps": ("mirror_steps must be an integer >= 0", [*NUMBERS, -1, 2.0]),
    "max_iter": ("max_iter must be an integer >= 0 or None", [*SOME, -1, 50.0]),
    "batch_size": ("batch_size must be an integer >= 1 or None", [*SOME, 0, 2.0]),
    "follower_steps": ("follower_steps must be an integer >= 1", [*NUMBERS, 0, 2.0]),
    "leader_steps": ("leader_steps must be an integer >= 1", [*NUMBERS, 0, 2.0]),
    "learning_rate": ("learning_rate must be a positive", [*NUMBERS, 0, np.inf]),
    "leader_learning_rate": (
        "leader_learning_rate must be a positive finite number or None",
        [*SOME, 0.0, -1.0],
    ),
    "verbose": ("verbose must be an integer >= 0", ["1", None, 0.5, -1]),
    "warm_start": ("warm_start must be True or False", ["yes", None, 1]),
    "callback": ("callback must be a callable", ["print", 3, [print]]),
    "q_function": (
        "q_function must be 'kernel', 'linear', 'mlp', an MLP",
        ["rbf", None, 3, ["mlp"]],
    ),
    "policy": (
        "policy must be 'kernel', 'linear', 'mlp', an MLP",
        ["softmax", None, True],
    ),
    "action_type": (
        r"action_type must be one of \['auto', 'discrete', 'continuous'\]",
        ["dose", None, float],
    ),
    "action_distribution": (
        r"action_distribution must be one of \['candidates', 'gaussian'\]",
        ["normal", None, 0],
    ),
    "solver": (
        r"solver must be one of \['auto', 'closed_form', 'stochastic'\]",
        ["sgd", None, 1],
    ),
    "device": (
        r"device must be one of \['auto', 'cpu', 'cuda'\]",
        ["gpu", None, 0],
    ),
    "n_components": (
        "n_components must be an integer >= 1, or None",
        [*SOME, 0, -3, 2.5],
    ),
    "bandwidth": (
        "bandwidth must be a positive finite multiple of the median lengths",
        [0, -1.0, np.nan, np.inf, True, None, "mean", "1.0", 1j, [1.0, 0.0]],
    ),
    "initial_states": (
        r"initial_states must be one of \['first', 'all'\]",
        ["last", None, 0, True, "FIRST", ["first"]],
    ),
    "leader_gradient": (
        r"leader_gradient must be one of \['total', 'individual'\]",
        ["partial", None, 1],
    ),
    "dtype": (
        r"dtype must be one of \['float64', 'float32'\]",
        ["float16", float, np.float64, None, 64],
    ),
    "kernel": (
        "kernel=.* is unknown. Use one of .*'rbf'.*callable",
        ["gauss", None, 3, True, ["rbf"], "RBF"],
    ),
    "linear_terms": ("linear_terms must be True or False", [None, "yes", 1]),
    "deterministic": ("deterministic must be True or False", [None, "yes", 1]),
    "kernel_params": ("kernel_params must be a dict", ["gamma", 3, [("gamma", 1.0)]]),
}
BAD["bandwidth"][1].extend([[1.0, np.nan], ["a", "b"], [[1.0, 2.0]], [True, True]])
CASES = [(name, value) for name, (_, values) in BAD.items() for value in values]


OF_CLOSED_FORM = {*ClosedForm().get_params()}


@pytest.mark.parametrize(("name", "value"), CASES)
def test_parameters_out_of_range(name, value):
    of_either = {"solver": "stochastic"} if name in OF_SOLVERS else {}
    messages = [refuse(estimator(**{name: value}, **of_either), BAD[name][0])]
    if name in OF_CLOSED_FORM:
        messages.append(
            refuse(estimator(**{name: value}, solver="closed_form"), BAD[name][0])
        )
    assert all(repr(value) in message for message in messages)  # what was given


def test_every_parameter_is_checked():
    own = {*estimator().get_params(deep=False)}
    unchecked = (own | OF_SOLVERS) - set(BAD)
    # What a confidence level must be is in test_calibration; what depends on the log or
    # on the solver is checked beside them.
    elsewhere = {"confidence_level", "candidates", "action_bounds", "optimizer"}
    assert unchecked == {"random_state"} | elsewhere
    refuse(estimator(random_state="zero"), "cannot be used to seed", ours=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("discount", 0),
        ("discount", np.float32(0.5)),
        ("lam", np.int64(3)),
        ("n_components", np.int64(7)),
        ("n_components", 10**9),
        ("max_iter", np.int32(30)),
        ("bandwidth", np.float32(0.5)),
        ("bandwidth", (1, 2)),
        ("kernel_params", {}),
        ("tol", 1),
    ],
)
def test_parameters_at_the_edge_of_their_range(name, value):
    assert len(estimator(**{name: value}).fit(LOG).predict(STATES)) == 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(kernel="sigmoid"), "'sigmoid' cannot be used.*positive semi-definite"),
        (dict(kernel="additive_chi2"), "'additive_chi2' cannot be used.*use 'chi2'"),
        (
            dict(kernel="linear", bandwidth=[1.0, 2.0]),
            "kernel='linear' has no bandwidth.*leave|Leave",
        ),
        (dict(kernel=DotProduct(), bandwidth=2.0), "has no bandwidth"),
        (dict(kernel_params={"gamma": 2.0}), "gamma=2.0 and bandwidth=1.0"),
        (dict(bandwidth=[1.0, 2.0, 3.0]), r"shape \(3,\), but the states have 2 col"),
        (
            dict(kernel="delta", bandwidth="median", n_components=5),
            "more than n_components=5 distinct states",
        ),
        (
            dict(kernel=lambda X, Y: -X @ Y.T, bandwidth="median"),
            "is not positive semi-definite",
        ),
        (
            dict(kernel=lambda X, Y: X @ Y[:1].T, bandwidth="median"),
            r"returned an array of shape \(30, 1\)",
        ),
        (
            dict(kernel=lambda X, Y: np.nan * X @ Y.T, bandwidth="median"),
            "gave NaN or infinity",
        ),
        (
            dict(kernel=lambda X, Y: 0.0 * X @ Y.T, bandwidth="median"),
            "is zero on all logged states",
        ),
    ],
)
def test_kernels_that_cannot_be_used(settings, words):
    refuse(estimator(**settings), words)


# ---------------------------------------------------------------- logs


def spoiled(name, value, row=3):
    values = getattr(LOG, name).copy().astype(float)
    values[row] = value
    return {name: values}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["state", "next_state"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_missing_states_are_named(name, value, dtype):
    log = changed(LOG, **spoiled(name, value), terminated=np.zeros(40))
    kind = "NaN" if np.isnan(value) else "infinity"
    refuse(
        estimator(dtype=dtype), f"{name} contains {kind} in 1 of 40 rows .rows 3.", log
    )


def test_many_missing_states_are_counted():
    log = changed(LOG, **spoiled("state", np.nan, slice(2, 9)))
    refuse(estimator(), r"NaN in 7 of 40 rows \(rows 2, 3, 4, 5, 6, \.\.\.\)", log)


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_missing_states_of_tables_are_named(missing):
    frame = walk_log(n=40, frame=True)
    state = frame.state.astype("Float64" if missing is pd.NA else float)
    state.loc[5, "y"] = missing
    refuse(estimator(), "state contains NaN in 1 .*rows 5", changed(frame, state=state))


@ignore_imitation
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_states_with_actions_alone(value):
    state = spoiled("state", value)["state"]
    refuse(estimator(), "state contains .* in 1 of 40 rows", state, LOG.action)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, -7.0])
def test_what_follows_a_terminated_row_is_never_used(value):
    rows = np.flatnonzero(LOG.terminated)
    assert len(rows) > 1
    next_state = LOG.next_state.copy()
    next_state[rows] = value
    left, right = (
        estimator().fit(LOG),
        estimator().fit(changed(LOG, next_state=next_state)),
    )
    assert_array_equal(left.predict_proba(LOG), right.predict_proba(LOG))
    assert_array_equal(left.q_values(LOG), right.q_values(LOG))
    assert left.policy_value_ == right.policy_value_
    assert left.score(LOG) == right.score(changed(LOG, next_state=next_state))


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
@pytest.mark.parametrize(
    "name", ["reward", "action", "terminated", "is_initial", "episode", "propensity"]
)
def test_missing_fields_are_named(name, value):
    values = np.full(40, 1.0, dtype=object)
    values[3] = value
    with pytest.raises(ValueError, match=rf"{name}.*row 3\b"):
        changed(LOG, **{name: values.tolist()})


@pytest.mark.parametrize("name", ["action", "reward", "next_state", "terminated"])
def test_lengths_that_differ(name):
    with pytest.raises(ValueError, match=f"one entry per transition.*{name} 39"):
        changed(LOG, **{name: getattr(LOG, name)[:-1]})


@ignore_imitation
def test_lengths_of_states_and_actions_that_differ():
    words = r"inconsistent numbers of samples: \[40, 39\]"
    refuse(estimator(), words, LOG.state, LOG.action[:-1], ours=False)


@pytest.mark.parametrize("action", ["wait", 3, True, 0.5])
def test_one_action_is_nothing_to_choose_from(action):
    log = changed(LOG, action=[action] * 40)
    refuse(estimator(), f"one class of action, {action!r}, in all of its 40 rows", log)


def test_one_row_is_one_sample():
    refuse(estimator(), "1 sample.*minimum of 2 is required", changed(LOG[:1]))
    with pytest.raises(ValueError, match="no rows"):
        estimator().fit(LOG[:0])


@ignore_imitation
def test_one_row_of_states_is_one_sample():
    refuse(estimator(), "1 sample", LOG.state[:1], LOG.action[:1])


@pytest.mark.parametrize("sparse", [csr_array, csr_matrix])
def test_sparse_states(sparse):
    refuse(estimator(), r"sparse.*toarray\(\)", sparse(LOG.state), LOG.action)
    with pytest.raises(ValueError, match=r"sparse.*toarray\(\)"):
        changed(LOG, state=sparse(LOG.state), next_state=sparse(LOG.state))
    # scikit-learn's own refusal, which is a TypeError.
    with pytest.raises(TypeError, match="Sparse data was passed"):
        estimator().fit(LOG).predict(sparse(LOG.state))


def test_complex_states():
    refuse(estimator(), "Complex data not supported", LOG.state + 1j, LOG.action)
    with pytest.raises(ValueError, match="Complex data not supported: next_state"):
        changed(LOG, next_state=LOG.next_state + 1j)
    with pytest.raises(ValueError, match="Complex data not supported"):
        estimator().fit(LOG).predict(LOG.state + 1j)


def test_states_of_text():
    words = LOG.state.astype(object)
    words[3, 1] = "high"
    log = changed(LOG, state=words, next_state=words)
    refuse(estimator(), r"text that is no number in the columns 1 \(for.*'high'", log)


@pytest.mark.parametrize("other", ["a", 1.5, True, None])
def test_actions_of_mixed_types(other):
    action = LOG.action.tolist()
    action[3] = other
    if other == 1.5:  # numbers all
        assert len(changed(LOG, action=action)) == 40
        return
    with pytest.raises(ValueError, match=r"action (mixes the types|is missing)"):
        changed(LOG, action=action)
    with pytest.raises(ValueError, match=r"y (mixes the types|is missing)"):
        estimator().fit(LOG.state, action)


def test_measurements_are_too_many_actions():
    log = walk_log(n=400)
    log = changed(log, action=np.random.default_rng(0).normal(size=400))
    words = r"400 actions times 60 features need .* GiB.*n_components lower.*round them"
    settings = {"bandwidth": 0.1, "n_components": 60, "action_type": "discrete"}
    # With a ridge, M has more directions than the log has rows.
    refuse(estimator(**settings, ridge=1e-4), words, log)
    # Rounded as it says, they can be fitted.
    rounded = changed(log, action=np.round(np.clip(log.action, -1, 1)))
    assert len(estimator(n_components=60).fit(rounded).classes_) == 3


def test_landmarks_that_would_not_fit():
    state = np.random.default_rng(0).normal(size=(17_000, 1))
    action = np.arange(17_000) % 2
    log = Transitions(state, action, np.ones(17_000), state, np.ones(17_000))
    words = "17000 landmarks need a Gram matrix of 2.2 GiB.*a few hundred"
    refuse(estimator(n_components=None), words, log)


def test_states_alone_and_actions_twice():
    refuse(estimator(), "requires y to be passed, but the target y is None", LOG.state)
    refuse(estimator(), "y must be None with a Transitions", LOG, LOG.action)


DECISIONS = pd.DataFrame(
    {
        name: getattr(LOG, name)
        for name in ("action", "reward", "episode", "step", "terminated")
    }
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(reward=None), "y has no 'reward'.*columns are 'action', 'episode'"),
        (dict(step=0), r"Each \(episode, step\) must name one row; 35 repeat another"),
        (dict(propensity=np.linspace(0, 1, 40)), r"y\['propensity'\] must lie.* row 0"),
        (dict(propensity=1.5), r"y\['propensity'\] must lie in \(0, 1\].*rows 0, 1,"),
        (dict(reward=np.nan), r"y\['reward'\] is NaN or infinite at rows 0, 1,"),
        (dict(step=-DECISIONS["step"]), "steps run backwards: they fall"),
        (dict(step=None, episode=LOG.episode % 2), "0 appears in two places"),
        (dict(episode=None), r"y\['step'\] was given without an episode"),
        (dict(action=None), "y has no 'action'"),
    ],
)
def test_tables_of_decisions_that_cannot_be_read(change, words):
    table = DECISIONS.assign(**change)
    table = table.drop(columns=[name for name, v in change.items() if v is None])
    refuse(estimator(), words, LOG.state, table)
    refuse(estimator(), words, LOG.state, table.to_records(index=False))


def test_tables_without_names():
    refuse(estimator(), "y has 2 dim.*decision table", LOG.state, np.ones((40, 2)))


# ---------------------------------------------------------------- at predict


@pytest.mark.parametrize("method", ["predict", "predict_proba", "q_values", "sample"])
def test_other_columns_at_predict(method):
    policy = estimator().fit(LOG)
    for width in (1, 3):
        with pytest.raises(
            ValueError, match=f"X has {width} features, but .* expecting 2"
        ):
            getattr(policy, method)(np.zeros((5, width)))
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        getattr(policy, method)(np.zeros(2))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="Input X contains"):
            getattr(policy, method)(np.full((3, 2), value))
    with pytest.raises(ValueError, match="0 sample"):
        getattr(policy, method)(np.zeros((0, 2)))


# ---------------------------------------------------------------- half-fitted


class Broken(Exception):
    pass


def broken(*args, **kwargs):
    raise Broken


@pytest.mark.parametrize(
    "name",
    [
        "estimator.weighted_log_of",
        "_fitting.state_inputs.LandmarkFeatures",
        "_fitting.discrete_players.DiscreteLSTD",
        "solvers._closed_form.BestResponse",
        "_fitting.fits.measure_equilibrium",
        "estimator.validate_data",
    ],
)
def test_a_fit_that_breaks_anywhere_leaves_nothing(name, monkeypatch):
    fitted = estimator().fit(LOG)
    before = copy.deepcopy(vars(fitted))
    monkeypatch.setattr(f"sklearn_stackelberg.{name}", broken)
    policy = estimator()
    with pytest.raises(Broken):
        policy.fit(LOG)
    with pytest.raises(Broken):
        fitted.fit(walk_log(seed=1))
    monkeypatch.undo()
    assert_unfitted(policy)
    assert_still(fitted, before)


def assert_still(fitted, before):
    """Fitted as before, though a later fit failed."""
    check_is_fitted(fitted)
    assert set(vars(fitted)) == set(before)
    assert fitted.policy_value_ == before["policy_value_"]
    assert fitted.n_features_in_ == before["n_features_in_"]
    weight = before["policy_"].weight.numpy()
    assert_array_equal(fitted.policy_.weight.numpy(), weight)
    assert len(fitted.predict(STATES)) == 10


@ignore_imitation
def test_a_refit_that_fails_keeps_the_old_fit():
    fitted = estimator().fit(LOG)
    before = copy.deepcopy(vars(fitted))
    wide = np.zeros((40, 5))
    with pytest.raises(ValueError, match="one class of action"):
        fitted.fit(wide, np.zeros(40))
    wide[3] = np.nan
    with pytest.raises(ValueError, match="state contains NaN"):
        fitted.fit(wide, LOG.action)
    assert_still(fitted, before)
    with pytest.raises(ValueError, match="lam must be"):
        fitted.set_params(lam=-1.0).fit(walk_log(seed=1))
    assert_still(fitted, before)


def test_names_of_mixed_types_leave_nothing():
    frame = walk_log(n=40, frame=True)
    mixed = {"x": "x", "y": 7}
    state = frame.state.rename(columns=mixed)
    log = changed(frame, state=state, next_state=frame.next_state.rename(columns=mixed))
    policy = estimator()
    with pytest.raises(TypeError, match="Feature names are only supported"):
        policy.fit(log)
    assert_unfitted(policy)


def test_a_warning_turned_into_an_error_leaves_nothing():
    policy = estimator(mirror_steps=1, max_iter=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            policy.fit(LOG)
    assert_unfitted(policy)
