"""Small logs, and an estimator whose every setting is given, for fits of a moment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.metrics._prepare import unwrap
from sklearn_stackelberg.solvers import ClosedForm, Stochastic
from sklearn_stackelberg.transitions import _tables

FIELDS = (
    "state",
    "action",
    "reward",
    "next_state",
    "terminated",
    "is_initial",
    "episode",
    "step",
    "propensity",
    "duration",
    "weight",
)
SETTINGS = dict(
    discount=0.9,
    lam=10.0,
    confidence_level=0.95,
    beta=1e-4,
    ridge=1e-4,
    kernel="rbf",
    bandwidth=1.0,
    kernel_params=None,
    n_components=30,
    linear_terms=False,
    # The probabilities that the game was solved for.
    deterministic=False,
    initial_states="all",
    dtype="float64",
    random_state=0,
)
SOLVER = dict(leader_gradient="total", mirror_steps=10, max_iter=10, tol=1e-3)
# The Q-function has to agree with the log and is left no other wish.
EXACT = dict(lam=1e8, beta=1e-9, ridge=0.0, tol=1e-9, max_iter=200)
EXACT |= dict(mirror_steps=40, n_components=None)
OF_SOLVERS = {*Stochastic().get_params()}

ignore_imitation = pytest.mark.filterwarnings(
    "ignore:y holds actions without rewards:UserWarning"
)
# Of logs that are small or cut, for what does not depend on it.
ignore_few_episodes = pytest.mark.filterwarnings(
    "ignore:(The importance weights leave an effe|.* are cut, not termin):UserWarning"
)
ignore_convergence = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def estimator(**settings) -> StackelbergPolicyEstimator:
    """An estimator; what is a solver's parameter goes to the solver.

    That is the one of the given name, or what "auto" stands for on these settings.
    """
    of_solver = SOLVER | {k: settings.pop(k) for k in OF_SOLVERS & {*settings}}
    solver = settings.pop("solver", "auto")
    if solver in ("auto", "closed_form", "stochastic"):
        q_function, policy = (
            settings.get(name, "kernel") for name in ("q_function", "policy")
        )
        linear = all(f in ("kernel", "linear") for f in (q_function, policy))
        same = q_function == policy
        exact = linear and (same or settings.get("action_distribution") == "gaussian")
        if solver == "closed_form" or (solver == "auto" and exact):
            of_closed_form = {*ClosedForm().get_params()}
            solver = ClosedForm(**{k: of_solver[k] for k in of_closed_form})
        else:
            solver = Stochastic(**of_solver)
    return StackelbergPolicyEstimator(**{**SETTINGS, "solver": solver, **settings})


def changed(log: Transitions, **fields) -> Transitions:
    """The log with other fields, checked anew."""
    return Transitions(**{name: getattr(log, name) for name in FIELDS} | fields)


def walk_log(n=90, seed=0, n_actions=3, offset=1.0, frame=False) -> Transitions:
    """Points that each action pushes in a direction of its own; right is rewarded."""
    rng = np.random.default_rng(seed)
    action = rng.integers(n_actions, size=n)
    angle = 2 * np.pi * action / n_actions
    state = rng.normal(size=(n, 2))
    push = 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    next_state = 0.8 * state + push + 0.1 * rng.normal(size=(n, 2))
    reward = offset + np.tanh(next_state[:, 0]) * (1 + 0.3 * action)
    if frame:
        pandas = pytest.importorskip("pandas")
        state = pandas.DataFrame(state, columns=["x", "y"])
        next_state = pandas.DataFrame(next_state, columns=["x", "y"])
    return Transitions(
        state,
        action,
        reward + 0.1 * rng.normal(size=n),
        next_state,
        rng.random(n) < 0.1,
        episode=np.arange(n) // 9,
        step=np.arange(n) % 9,
    )


def chosen_log(n=600, seed=0) -> Transitions:
    """A logger that mostly goes by the state, so that trees have several leaves."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, 2))
    usual = (state[:, 0] > 0.0) * 1 + (state[:, 1] > 0.5) * 1
    action = np.where(rng.uniform(size=n) < 0.9, usual, rng.integers(3, size=n))
    reward = state[:, 0] * action + rng.normal(size=n)
    return Transitions(state, action, reward, state, np.ones(n))


def best_dose(state, p=1):
    """What `dose_log` rewards most: one column a column of the state."""
    return 0.6 * np.stack([np.tanh(state[:, 0]), -np.tanh(state[:, 1])], axis=1)[:, :p]


def dose_log(n=200, p=1, seed=0, flat=True) -> Transitions:
    """Amounts in [-1, 1]; whoever is near `best_dose` is well, whatever came before."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, 2))
    action = rng.uniform(-1, 1, size=(n, p))
    reward = -((action - best_dose(state, p)) ** 2).sum(axis=1)
    return Transitions(
        state,
        action[:, 0] if flat and p == 1 else action,
        reward + 0.05 * rng.normal(size=n),
        0.5 * state + 0.3 * rng.normal(size=(n, 2)),
        episode=np.arange(n) // 10,
        step=np.arange(n) % 10,
    )


def random_mdp(seed=0, n_states=6, n_actions=3, encode="integer") -> FiniteMDP:
    rng = np.random.default_rng(seed)
    shape = (n_states, n_actions, n_states)
    return FiniteMDP(
        rng.dirichlet(np.full(n_states, 0.5), size=shape[:2]),
        rng.normal(size=shape),
        rng.dirichlet(np.ones(n_states)),
        np.full(shape, 0.1),
        encode=encode,
    )


def uniform_log(mdp: FiniteMDP, n: int, seed=0) -> Transitions:
    """A log in which every action was taken in every state that goes on."""
    probabilities = np.full((mdp.n_states, mdp.n_actions), 1.0 / mdp.n_actions)
    return mdp.sample(probabilities, n, seed, horizon=100)


LOGGED: dict[tuple[str, int], Transitions] = {}


def logged(problem, seed: int) -> Transitions:
    """A log of a problem of the benchmarks that several tests look at."""
    key = problem.name, seed
    if key not in LOGGED:
        LOGGED[key] = problem.log(seed)  # some take seconds
    return LOGGED[key]


def counts_of(log: Transitions, mdp: FiniteMDP) -> FiniteMDP:
    """The process that the log counts, all of its states initial."""
    return FiniteMDP.from_counts(
        changed(log, is_initial=np.ones(len(log))),
        n_states=mdp.n_states,
        n_actions=mdp.n_actions,
        encode=mdp.encode,
    )


def held_out_value(policy, X, y=None, sample_weight=None) -> float:
    """The estimator's score, in plain numpy, a row at a time."""
    policy, log, rows, n_given = unwrap(policy, X, y)
    learned = policy.evaluation_
    weight = np.ones(n_given) if sample_weight is None else np.asarray(sample_weight)
    times = weight[rows]
    weight = times / times.sum()

    def values(states):
        phi = learned.features.transform(np.asarray(states, dtype=float))
        return phi, phi @ learned.weight.T + learned.anchor

    def mean(q, states):
        return (q * policy.predict_proba(states)).sum(axis=1)

    ended = log.terminated
    # What follows a terminated row may be anything, and is not used.
    after = log.next_state
    if ended.any():
        after = np.where(ended[:, None], np.asarray(log.state), np.asarray(after))
        if hasattr(log.state, "columns"):
            after = type(log.state)(after, columns=log.state.columns)
    phi, q = values(log.state)
    next_value = np.where(ended, 0.0, mean(values(after)[1], after))
    value = mean(q, log.state)
    ratio, residual = np.empty(len(log)), np.empty(len(log))
    for i, action in enumerate(log.action):
        a = list(policy.classes_).index(action)
        ratio[i] = phi[i] @ learned.dual[a]
        residual[i] = log.reward[i] + learned.discount * next_value[i] - q[i, a]
    # As of rows that stand so often: the values at two places, and what is between.
    order = np.argsort(np.abs(ratio))
    place = 0.9 * (times.sum() - 1.0)
    low, high = (
        np.abs(ratio[order])[np.cumsum(times[order]) > k + 1e-6][:1]
        for k in (np.floor(place), np.floor(place) + 1)
    )
    largest = float((low + (place % 1.0) * (high - low))[0])
    ratio = np.clip(ratio, -largest, largest)
    start = log.is_initial & (weight > 0)
    if not start.any():
        start = weight > 0
    first = np.average(value[start], weights=weight[start])
    value = first + weight @ (ratio * residual)
    return min(value, 2 * learned.highest - value)


def staged_rule(states):
    """a and b in the first stage, c and d in the second."""
    second = np.asarray(states)[:, 0] > 0.5
    return np.column_stack([~second, ~second, second, second])


def staged_log(n=100, seed=0, labels="abcd", **fields) -> Transitions:
    """Episodes of two stages, each with two treatments of its own."""
    rng = np.random.default_rng(seed)
    stage, code = np.tile([0, 1], n), rng.integers(2, size=2 * n)
    x = rng.integers(2, size=2 * n)
    # The second stage's x is mostly what was done in the first.
    x[1::2] = np.where(rng.random(n) < 0.8, code[::2], x[1::2])
    state = np.column_stack([stage, x]).astype(float)
    reward = (code == x) * (1.0 + stage) + 0.1 * rng.normal(size=2 * n)
    given = dict(
        state=state,
        action=np.array([*labels])[2 * stage + code],
        reward=reward,
        next_state=np.concatenate([state[1:], state[-1:]]),
        terminated=stage == 1,
        episode=np.arange(2 * n) // 2,
        step=stage,
        available=staged_rule,
    )
    return Transitions(**given | fields)


def assert_identical(left, right):
    """The same in every field, but for the library that a table of states is of."""
    for name in _tables.FIELDS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None), name
        if a is None:
            continue
        if _tables.is_frame(a):
            assert _tables.column_names(a) == _tables.column_names(b)
            for column in _tables.column_names(a):
                values = [pd.Series(np.asarray(frame[column])) for frame in (a, b)]
                # What is missing is None or NaN, and of numbers NaN.
                gone = values[0].isna()
                assert_array_equal(gone, values[1].isna(), err_msg=column)
                assert_array_equal(*(v[~gone] for v in values), err_msg=column)
            continue
        assert a.dtype == b.dtype, name
        assert_array_equal(a, b, err_msg=name)
    assert left.left_out == right.left_out
    assert left.action_names == right.action_names


def barred_log(n=3000, n_actions=6):
    """States, codes, and which actions are ever taken: those of large columns."""
    rng = np.random.default_rng(0)
    states = rng.uniform(size=(n, n_actions))
    states[:, 0] = 1.0
    allowed = states > 0.5
    weight = allowed * rng.exponential(size=states.shape)
    return states, weight.argmax(axis=1), allowed
