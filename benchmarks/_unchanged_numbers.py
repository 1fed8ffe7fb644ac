"""The numbers that `benchmarks.unchanged` compares between two revisions.

Runs as a script, ``python -P _unchanged_numbers.py FOLDER FILE [PROBLEM ...]``, with
the package of either revision on the path: whatever it imports of the package is
public. FOLDER is the checkout that the package must come from. Logs are small: one run
is to take about a minute.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.gaussian_process.kernels import Matern
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

import sklearn_stackelberg
from sklearn_stackelberg import (
    EpisodeKFold,
    OnStates,
    StackelbergPolicyEstimator,
    Transitions,
    as_transitions,
    solvers,
)
from sklearn_stackelberg.datasets import (
    FiniteMDP,
    load_glucose,
    log_episodes,
    rollout_returns,
)
from sklearn_stackelberg.inspection import (
    CoverageDisplay,
    TuningDisplay,
    coverage_report,
)
from sklearn_stackelberg.kernels import LandmarkFeatures, delta_kernel, median_bandwidth
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)
from sklearn_stackelberg.model_selection import (
    BellmanErrorScorer,
    DoublyRobustScorer,
    FittedQScorer,
    ImportanceSamplingScorer,
    PessimisticRefit,
)
from sklearn_stackelberg.networks import MLP

Quantities = dict[str, Any]
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
)
FITTED = (
    "policy_value_",
    "pessimism_",
    "lam_",
    "reward_scale_",
    "anchor_",
    "n_iter_",
)
COVERAGE = (
    "value",
    "row",
    "ratio",
    "support",
    "effective_rows",
    "effective_episodes",
    "effective_share",
    "n_rows",
    "n_episodes",
    "share_unseen",
    "share_unseen_logged",
    "share_followed",
)
# Of the stochastic solver: steps of either kind, with an evaluation on the way.
SHORT = {"mirror_steps": 3, "max_iter": 7, "batch_size": 120}
PROBLEMS: dict[str, Callable[[], Quantities]] = {}

# --------------------------------------------- names that differ between revisions


def solver_arguments(solver: str | None, **params: Any) -> dict[str, Any]:
    """The estimator's arguments that say how it is solved."""
    if solver is None:
        return {}
    device = {"device": "cpu"} if solver == "stochastic" else {}
    if hasattr(solvers, "ClosedForm"):
        kinds = {"closed_form": "ClosedForm", "stochastic": "Stochastic"}
        return {"solver": getattr(solvers, kinds[solver])(**params)} | device
    return {"solver": solver} | params | device


def make_estimator(
    solver: str | None = None,
    solver_params: Mapping[str, Any] | None = None,
    **other: Any,
) -> StackelbergPolicyEstimator:
    """An estimator, whose solver's parameters are its own or those of an object."""
    if solver_params and solver is None:
        raise ValueError("solver_params need a solver to belong to.")
    arguments = solver_arguments(solver, **(solver_params or {}))
    return StackelbergPolicyEstimator(random_state=0, **arguments, **other)


def lower_bound(fitted: StackelbergPolicyEstimator) -> list[float]:
    """The lower bound of `lam="calibrated"`, with its parts."""
    found = getattr(fitted, "floor_", None) or fitted.lower_bound_
    limit = found.limit if hasattr(found, "limit") else found.value
    return [limit, found.standard_error, found.quantile]


def n_warnings(report: Any) -> int:
    """How many warnings a coverage report holds."""
    return len(report.concerns if hasattr(report, "concerns") else report.warnings)


# ------------------------------------------------------------------------- logs


def _episodes(
    act: Callable[[np.random.Generator, NDArray[Any]], tuple[Any, ...]],
    n_episodes: int,
    n_steps: int,
    seed: int,
) -> Transitions:
    """Episodes in the plane, half of which end for good; ``act`` pushes and rewards."""
    rng = np.random.default_rng(seed)
    now, columns = rng.normal(size=(n_episodes, 2)), []
    for step in range(n_steps):
        action, push, cost, propensity = act(rng, now)
        after = 0.8 * now + push + 0.1 * rng.normal(size=now.shape)
        ended = (rng.random(n_episodes) < 0.5) & (step == n_steps - 1)
        columns.append((now, action, after[:, 0] - cost, after, ended, propensity))
        now = after
    state, action, reward, after, ended, propensity = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    return Transitions(
        state,
        action,
        reward,
        after,
        ended,
        episode=np.tile(np.arange(n_episodes), n_steps),
        step=np.repeat(np.arange(n_steps), n_episodes),
        propensity=None if np.isnan(propensity).any() else propensity,
    )


def walk_log(n_episodes: int = 40, seed: int = 0) -> Transitions:
    """Three discrete actions, each of which pushes in a direction of its own."""

    def act(rng: np.random.Generator, now: NDArray[Any]) -> tuple[Any, ...]:
        probabilities = np.stack(
            [np.full(len(now), 0.3), 0.35 + 0.2 * np.tanh(now[:, 0])], 1
        )
        probabilities = np.column_stack(
            [probabilities, 1.0 - probabilities.sum(axis=1)]
        )
        drawn = rng.random((len(now), 1))
        action = np.minimum((np.cumsum(probabilities, axis=1) < drawn).sum(axis=1), 2)
        angle = 2 * np.pi * action / 3
        push = 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return action, push, 0.1 * action, probabilities[np.arange(len(now)), action]

    return _episodes(act, n_episodes, 8, seed)


def dose_log(p: int = 1, n_episodes: int = 40, seed: int = 0) -> Transitions:
    """Continuous actions of p columns, at a quadratic cost."""

    def act(rng: np.random.Generator, now: NDArray[Any]) -> tuple[Any, ...]:
        # Cut, so that logs of other seeds have the same bounds.
        dose = np.clip(rng.uniform(-1, 1, size=(len(now), p)), -0.9, 0.9)
        cost = ((dose - 0.5 * np.tanh(now[:, :p])) ** 2).sum(axis=1)
        propensity = np.full(len(now), np.nan)
        return (
            dose if p > 1 else dose[:, 0],
            0.3 * dose @ np.eye(p, 2),
            cost,
            propensity,
        )

    return _episodes(act, n_episodes, 8, seed)


def lake() -> FiniteMDP:
    """The slippery FrozenLake."""
    return FiniteMDP.from_gymnasium(gym.make("FrozenLake-v1", is_slippery=True))


def lake_log(n: int = 1_500) -> Transitions:
    """A log of a uniform policy there."""
    return lake().sample(np.full((16, 4), 0.25), n, 0, horizon=100)


def glucose(n_days: int = 15) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first days of the glucose log."""
    X, y = load_glucose(return_X_y=True)
    return X[: 49 * n_days], y[: 49 * n_days]


# ------------------------------------------------- what is recorded of each thing


def of_log(log: Transitions) -> Quantities:
    """Every field of a log."""
    fields = {name: getattr(log, name) for name in FIELDS}
    return {name: value for name, value in fields.items() if value is not None}


def of_frame(frame: pd.DataFrame) -> Quantities:
    """Every column of a table."""
    return {str(name): frame[name].to_numpy() for name in frame}


def of_search(search: GridSearchCV) -> Quantities:
    """The results of a search, without its times."""
    found = {
        name: value
        for name, value in search.cv_results_.items()
        if "time" not in name and name != "params"
    }
    return found | {"best_index": search.best_index_}


def of_estimate(estimate: Any) -> Quantities:
    """An off-policy estimate."""
    return {
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "effective_sample_size": estimate.effective_sample_size,
        "interval": estimate.confidence_interval,
        "counts": [estimate.n_episodes, estimate.n_transitions],
    }


def of_coverage(report: Any) -> Quantities:
    """A coverage report, and the contents of its display."""
    display = CoverageDisplay.from_report(report)
    return {name: getattr(report, name) for name in COVERAGE} | {
        "top_rows": [[row["row"], row["share"]] for row in report.top_rows],
        "top_episodes": [row["share"] for row in report.top_episodes],
        "n_warnings": n_warnings(report),
        "share_of_rows": display.share_of_rows,
        "share_of_weight": display.share_of_weight,
    }


def of_fit(
    fitted: StackelbergPolicyEstimator, log: Transitions, held_out: Transitions
) -> Quantities:
    """All attributes and predictions of a fitted estimator."""
    states, logged = held_out.state, held_out.action
    found: Quantities = {name: getattr(fitted, name) for name in FITTED}
    for name in ("bandwidth_", "candidates_", "action_bounds_", "classes_"):
        if getattr(fitted, name, None) is not None:
            found[name] = getattr(fitted, name)
    for name, column in fitted.history_.items():
        if name != "seconds":
            found[f"history_{name}"] = column
    if hasattr(fitted, "equilibrium_"):
        found["equilibrium_"] = dataclasses.astuple(fitted.equilibrium_)
    found["predict"] = fitted.predict(states)
    found["sample"] = fitted.sample(states, random_state=0)
    found["q_values_logged"] = fitted.q_values(states, logged)
    if hasattr(fitted, "classes_") or hasattr(fitted, "candidates_"):
        found["predict_proba"] = fitted.predict_proba(states)
        found["q_values"] = fitted.q_values(states)
    if hasattr(fitted, "action_nodes"):
        found["action_nodes"], found["node_weights"] = fitted.action_nodes(states)
    found["score"] = fitted.score(held_out)
    found["score_weighted"] = fitted.score(
        log, sample_weight=np.linspace(0.0, 1.0, len(log))
    )
    return found


def named(**parts: Quantities) -> Quantities:
    """Quantities of several things, each under the thing's name."""
    return {
        f"{part}.{name}": value
        for part, quantities in parts.items()
        for name, value in quantities.items()
    }


def problem(function: Callable[[], Quantities]) -> Callable[[], Quantities]:
    """Make a function one of the problems, under its name."""
    PROBLEMS[function.__name__] = function
    return function


def fits(
    log: Callable[[int], Transitions], settings: Mapping[str, Mapping[str, Any]]
) -> Quantities:
    """Fits of the same log, by name; held out is a log of another seed."""
    train, held_out = log(0), log(1)
    return named(
        **{
            name: of_fit(make_estimator(**kw).fit(train), train, held_out)
            for name, kw in settings.items()
        }
    )


def walks(**settings: Mapping[str, Any]) -> Quantities:
    """Fits of discrete actions."""
    common = {"discount": 0.9, "n_components": 50}
    return fits(
        lambda seed: walk_log(seed=seed),
        {name: common | kw for name, kw in settings.items()},
    )


def doses(p: int = 1, **settings: Mapping[str, Any]) -> Quantities:
    """Fits of continuous actions."""
    common = {"discount": 0.8, "n_components": 50}
    return fits(
        lambda seed: dose_log(p, seed=seed),
        {name: common | kw for name, kw in settings.items()},
    )


# ------------------------------------------------- discrete actions, closed form


@problem
def closed_form_rbf() -> Quantities:
    return walks(
        default={},
        tight={
            "bandwidth": [0.7, 1.5],
            "beta": 1e-2,
            "lam": 30.0,
            "solver": "closed_form",
            "solver_params": {"tol": 1e-4, "mirror_steps": 5, "max_iter": 20},
        },
        every_landmark={"n_components": None},
    )


@problem
def closed_form_individual() -> Quantities:
    params = {"leader_gradient": "individual", "max_iter": 10}
    return walks(individual={"solver": "closed_form", "solver_params": params})


@problem
def closed_form_ridge_float32_initial() -> Quantities:
    return walks(
        ridge={"ridge": 1e-3},
        float32={"dtype": "float32"},
        first={"initial_states": "first"},
        all={"initial_states": "all", "ridge": 1e-4},
    )


@problem
def calibrated() -> Quantities:
    log, held_out = walk_log(), walk_log(seed=1)
    parts = {}
    for level in (0.8, 0.95):
        fitted = make_estimator(
            lam="calibrated", confidence_level=level, discount=0.9, n_components=50
        ).fit(log)
        parts[f"level_{level}"] = of_fit(fitted, log, held_out) | {
            "lower_bound": lower_bound(fitted)
        }
    return named(**parts)


def _callable_kernel(X: NDArray[Any], Y: NDArray[Any]) -> NDArray[Any]:
    return rbf_kernel(X, Y, gamma=0.7)


@problem
def kernels_of_states() -> Quantities:
    found = walks(
        polynomial={"kernel": "polynomial", "kernel_params": {"degree": 2}},
        laplacian={"kernel": "laplacian"},
        callable={"kernel": _callable_kernel},
        gaussian_process={"kernel": Matern(nu=1.5)},
        cosine={"kernel": "cosine"},
    )

    def positive(seed: int) -> Transitions:
        log = walk_log(seed=seed)
        return OnStates(MinMaxScaler(clip=True)).fit(log).transform(log)

    chi2 = {"kernel": "chi2", "discount": 0.9, "n_components": 50}
    return found | fits(positive, {"chi2": chi2})


@problem
def kernels_alone() -> Quantities:
    X = np.random.default_rng(0).normal(size=(300, 3))
    whole = np.random.default_rng(0).integers(4, size=(100, 2))
    found: Quantities = {
        "delta": delta_kernel(whole, whole[:20]),
        "median": median_bandwidth(X, "euclidean", np.random.RandomState(0)),
    }
    for kernel in ("rbf", "laplacian", "linear"):
        features = LandmarkFeatures(kernel, n_components=40, random_state=0).fit(X)
        found[f"features_{kernel}"] = features.transform(X)
    fitted = make_estimator(n_components=30).fit(dose_log())
    found["features_joint"] = fitted.features_.transform(
        X[:, :2], np.clip(X[:, 2:], -0.9, 0.9)
    )
    return found


@problem
def finite_states() -> Quantities:
    mdp, log = lake(), lake_log()
    fitted = make_estimator(kernel="delta", lam=100.0).fit(log)
    held_out = mdp.sample(np.full((16, 4), 0.25), 500, 1, horizon=100)
    optimal = mdp.optimal_policy(0.99)
    counted = FiniteMDP.from_counts(log, n_states=16, n_actions=4)
    return named(
        fit=of_fit(fitted, log, held_out),
        log=of_log(log),
        mdp={
            "states": mdp.states(),
            "optimal_policy": optimal,
            "optimal_value": mdp.optimal_value(0.99),
            "state_values": mdp.state_values(optimal, 0.95),
            "q_values": mdp.q_values(optimal, 0.9),
            "success": mdp.policy_value(fitted, discount=1.0, horizon=100),
            "undiscounted": mdp.state_values(optimal, 1.0),
        },
        counted={
            "transition": counted.transition,
            "reward": counted.expected_reward,
            "optimal_value": counted.optimal_value(0.9),
        },
    )


@problem
def linear_policies() -> Quantities:
    linear = {"q_function": "linear", "policy": "linear"}
    return walks(both=linear, stochastic=linear | _stochastic())


@problem
def cart_pole() -> Quantities:
    def noisy(observation: Any, rng: np.random.Generator) -> int:
        lean = observation[2] + 0.2 * observation[3] > 0
        return int(rng.integers(2)) if rng.random() < 0.6 else int(lean)

    log = log_episodes("CartPole-v1", noisy, 1_200, random_state=0)
    fitted = make_estimator(n_components=80, ridge=1e-4, lam=100.0).fit(log)
    held_out = log_episodes("CartPole-v1", noisy, 400, random_state=1)
    returns = rollout_returns("CartPole-v1", fitted, 5, random_state=3, horizon=60)
    return named(
        log=of_log(log),
        fit=of_fit(fitted, log, held_out),
        own_log=of_log(log_episodes("CartPole-v1", fitted, 60, random_state=2)),
        returns={"returns": returns},
    )


# ----------------------------------------------- continuous actions, closed form


@problem
def doses_closed_form() -> Quantities:
    return doses(
        product={},
        total={
            "ridge": 0.0,
            "bandwidth": 0.8,
            "solver": "closed_form",
            "solver_params": {"max_iter": 8, "mirror_steps": 10},
        },
        individual={
            "solver": "closed_form",
            "solver_params": {"max_iter": 4, "leader_gradient": "individual"},
        },
        laplacian={"kernel": "laplacian", "candidates": [-0.5, 0.0, 0.25]},
        not_product={"kernel": "polynomial", "kernel_params": {"degree": 2}},
        matern={"kernel": Matern(nu=2.5), "candidates": 7},
        callable={"kernel": _callable_kernel, "bandwidth": "median"},
        float32={"dtype": "float32"},
    )


@problem
def doses_gaussian_closed_form() -> Quantities:
    gaussian = {"action_distribution": "gaussian"}
    return doses(
        product=gaussian,
        not_product=gaussian
        | {"kernel": "polynomial", "action_bounds": (-1.2, 1.1)}
        | {"solver": "closed_form", "solver_params": {"max_iter": 3}},
    )


@problem
def doses_of_two_columns() -> Quantities:
    return doses(
        2,
        candidates={"candidates": 9},
        calibrated={"lam": "calibrated"},
        gaussian={
            "action_distribution": "gaussian",
            "solver": "closed_form",
            "solver_params": {"mirror_steps": 10},
        },
    )


# -------------------------------------------------------------- stochastic solver


def _stochastic(**params: Any) -> dict[str, Any]:
    return {"solver": "stochastic", "solver_params": SHORT | params}


@problem
def stochastic_kernel() -> Quantities:
    return walks(
        gauss_newton=_stochastic(),
        adam=_stochastic(optimizer="adam", learning_rate=3e-3, follower_steps=3),
        sgd=_stochastic(optimizer="sgd", leader_steps=2, leader_learning_rate=0.05),
        individual=_stochastic(leader_gradient="individual", batch_size=None),
        ridge=_stochastic() | {"ridge": 1e-3, "initial_states": "first"},
    )


def _tanh_layers(n_inputs: int, n_outputs: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(n_inputs, 6), torch.nn.Tanh(), torch.nn.Linear(6, n_outputs)
    )


@problem
def stochastic_networks() -> Quantities:
    small = MLP(hidden_layer_sizes=(12,), activation="tanh")
    return walks(
        mlp={"q_function": "mlp", "policy": "mlp"} | _stochastic(max_iter=4),
        small={"q_function": small, "policy": small} | _stochastic(),
        adam={"q_function": small, "policy": small} | _stochastic(optimizer="adam"),
        mixed={"q_function": small, "policy": "kernel", "dtype": "float32"}
        | _stochastic(leader_gradient="individual"),
        callable={"q_function": _tanh_layers, "policy": _tanh_layers} | _stochastic(),
    )


@problem
def stochastic_doses() -> Quantities:
    small = MLP(hidden_layer_sizes=(12,), activation="tanh")
    networks = {"q_function": small, "policy": small}
    gaussian = {"action_distribution": "gaussian"}
    return doses(
        kernel=_stochastic(),
        kernel_gaussian=gaussian | _stochastic(),
        candidates=networks | _stochastic(),
        gaussian=networks | gaussian | _stochastic(),
        gaussian_adam=networks | gaussian | _stochastic(optimizer="adam"),
        linear={"q_function": small, "policy": "linear"} | _stochastic(),
    ) | named(
        two=doses(
            2,
            gaussian=networks | gaussian | _stochastic(),
            candidates=networks | {"candidates": 6} | _stochastic(),
        )
    )


@problem
def resumed() -> Quantities:
    log, held_out = walk_log(), walk_log(seed=1)
    half = len(log.episodes) // 2
    small = MLP(hidden_layer_sizes=(8,), activation="tanh")
    networks = {"q_function": small, "policy": small}
    parts = {}
    for name, players in {"kernel": {"n_components": 40}, "mlp": networks}.items():
        common = {"discount": 0.9, **players}
        fitted = make_estimator(**_stochastic(), warm_start=True, **common).fit(log)
        longer = solver_arguments("stochastic", **SHORT | {"max_iter": 12})
        parts[f"{name}_warm"] = of_fit(
            fitted.set_params(**longer).fit(log), log, held_out
        )
        fitted = make_estimator(**_stochastic(batch_size=80), **common)
        for part in (log[log.episode < half], log[log.episode >= half], log):
            fitted.partial_fit(part)
        parts[f"{name}_partial"] = of_fit(fitted, log, held_out)
    fitted = make_estimator(discount=0.9, n_components=40, warm_start=True).fit(log)
    parts["closed_form"] = of_fit(fitted.set_params(lam=30.0).fit(log), log, held_out)
    stopped = make_estimator(
        callback=lambda entry: entry["value"] > -np.inf and next(calls) == 1,
        discount=0.9,
        **_stochastic(max_iter=30),
    )
    calls: Iterator[int] = iter(range(100))
    parts["stopped"] = of_fit(stopped.fit(log), log, held_out)
    return named(**parts)


@problem
def equilibria() -> Quantities:
    small = MLP(hidden_layer_sizes=(4,), activation="tanh")
    networks = {"q_function": small, "policy": small}
    found: Quantities = {}
    for name, log, settings in (
        ("closed_form", walk_log(15), {}),
        ("kernel", walk_log(15), _stochastic()),
        ("networks", walk_log(15), networks | _stochastic()),
        ("doses", dose_log(1, 15), {}),
        ("gaussian", dose_log(1, 15), {"action_distribution": "gaussian"}),
        ("dose_networks", dose_log(1, 15), networks | _stochastic()),
    ):
        fitted = make_estimator(discount=0.8, n_components=20, **settings).fit(log)
        found[name] = dataclasses.astuple(fitted.measure_equilibrium(log))
    return found


# --------------------------------------------------------------- decision tables


def _glucose_pipeline(**settings: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        remainder=OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
    )
    return make_pipeline(columns, make_estimator(discount=0.9, **settings))


@problem
def glucose_pipeline() -> Quantities:
    X, y = glucose()
    found: Quantities = {}
    for name, settings in {
        "discrete": {"action_type": "discrete"},
        "continuous": {"action_type": "continuous", "candidates": 4},
    }.items():
        pipe = _glucose_pipeline(n_components=60, **settings).fit(X, y)
        found |= named(
            **{
                name: {
                    "predict": pipe.predict(X),
                    "predict_proba": pipe.predict_proba(X),
                    "value": pipe[-1].policy_value_,
                    "score": pipe.score(X, y),
                    "fqe": fitted_q_value(pipe, X, y, discount=0.9).value,
                    "folds": cross_val_score(pipe, X, y, cv=EpisodeKFold(3)),
                }
            }
        )
    return found | named(log=of_log(as_transitions(X, y)))


# ------------------------------------------------------------ estimates and reports


@problem
def estimates_of_discrete_actions() -> Quantities:
    train, log = walk_log(), walk_log(60, seed=1)
    # Importance weights of a policy that has one action a state are soon all zero.
    policy = make_estimator(discount=0.9, n_components=50, deterministic=False).fit(
        train
    )
    fields = of_log(log)
    del fields["propensity"]
    without = Transitions(**fields)
    tree = DecisionTreeRegressor(max_depth=4, random_state=0)
    model = LogisticRegression()
    weight = np.linspace(0.1, 1.0, len(log))
    estimates = {
        "fqe": (fitted_q_value, log, {}),
        "fqe_greedy": (fitted_q_value, log, {"greedy": True}),
        "fqe_settings": (
            fitted_q_value,
            log,
            {"kernel": "rbf", "bandwidth": 1.0, "n_components": 40, "ridge": 0.3}
            | {"sample_weight": weight, "confidence_level": 0.8},
        ),
        "fqe_bootstrap": (
            fitted_q_value,
            log,
            {"standard_error": "bootstrap", "n_bootstrap": 15},
        ),
        "fqe_tree": (fitted_q_value, log, {"regressor": tree, "n_bootstrap": 3}),
        "dr": (doubly_robust_value, log, {"n_folds": 4}),
        "dr_clipped": (
            doubly_robust_value,
            log,
            {"clip": 3.0, "weighted": False, "regressor": tree, "n_folds": 3},
        ),
        "dr_importance": (
            doubly_robust_value,
            log,
            {"ratios": "importance", "n_folds": 4},
        ),
        "dr_modelled": (
            doubly_robust_value,
            without,
            {"ratios": "importance", "propensity_model": model, "n_folds": 3},
        ),
        "is_modelled": (
            importance_sampling_value,
            without,
            {"propensity_model": model},
        ),
        "is_default_model": (importance_sampling_value, without, {"n_folds": 3}),
        "is_clipped": (importance_sampling_value, log, {"clip": 5.0}),
        "bellman": (bellman_error, log, {}),
        "bellman_biased": (bellman_error, log, {"unbiased": False, "greedy": True}),
        "bellman_given": (
            bellman_error,
            log,
            {"q_function": lambda s: np.asarray(s) @ np.ones((2, 3)), "kernel": "rbf"},
        ),
    }
    for per_decision in (True, False):
        for weighted in (True, False):
            estimates[f"is_{per_decision}_{weighted}"] = (
                importance_sampling_value,
                log,
                {"per_decision": per_decision, "weighted": weighted},
            )
    return named(
        **{
            name: of_estimate(metric(policy, on, discount=0.9, **settings))
            for name, (metric, on, settings) in estimates.items()
        },
        coverage=of_coverage(coverage_report(policy, log, discount=0.9)),
        coverage_greedy=of_coverage(
            coverage_report(policy, log, discount=0.9, greedy=True, n_rows=3)
        ),
    )


@problem
def estimates_on_finite_states() -> Quantities:
    log = lake_log()
    policy = make_estimator(kernel="delta", lam=100.0).fit(log)
    return named(
        fqe=of_estimate(fitted_q_value(policy, log, discount=0.99)),
        dr=of_estimate(doubly_robust_value(policy, log, discount=0.99)),
        bellman=of_estimate(bellman_error(policy, log, discount=0.99)),
        coverage=of_coverage(coverage_report(policy, log, discount=0.99)),
    )


@problem
def estimates_of_continuous_actions() -> Quantities:
    found: Quantities = {}
    tree = DecisionTreeRegressor(max_depth=4, random_state=0)
    for p, distribution in ((1, "candidates"), (1, "gaussian"), (2, "candidates")):
        train, log = dose_log(p), dose_log(p, 30, seed=1)
        policy = make_estimator(
            discount=0.8, n_components=40, action_distribution=distribution
        ).fit(train)
        small = {"discount": 0.8, "n_components": 50}
        parts = {
            "fqe": fitted_q_value(policy, log, **small),
            "fqe_greedy": fitted_q_value(policy, log, greedy=True, **small),
            "fqe_rbf": fitted_q_value(policy, log, kernel="rbf", **small),
            "fqe_bootstrap": fitted_q_value(
                policy, log, standard_error="bootstrap", n_bootstrap=10, **small
            ),
            "fqe_tree": fitted_q_value(
                policy, log, regressor=tree, n_bootstrap=2, **small
            ),
            "dr": doubly_robust_value(policy, log, n_folds=3, **small),
            "dr_tree": doubly_robust_value(
                policy, log, regressor=tree, clip=4.0, n_folds=3, **small
            ),
            "bellman": bellman_error(policy, log, **small),
        }
        found |= named(
            **{f"{distribution}_{p}_{k}": of_estimate(v) for k, v in parts.items()},
            **{
                f"{distribution}_{p}_coverage": of_coverage(
                    coverage_report(policy, log, **small)
                )
            },
        )
    return found


# ------------------------------------------------------------------ model selection


@problem
def searches() -> Quantities:
    log, held_out = walk_log(), walk_log(seed=1)
    grid = {"lam": [0.3, 3.0, 30.0]}
    policy = make_estimator(discount=0.9, n_components=30)
    folds = EpisodeKFold(3, shuffle=True, random_state=0)
    scored = {
        "fqe": FittedQScorer(),
        "dr": DoublyRobustScorer(n_folds=3),
        "is": ImportanceSamplingScorer(clip=10.0),
        "bellman": BellmanErrorScorer(),
        "reference": FittedQScorer(reference=log, greedy=True),
    }
    default = GridSearchCV(policy, grid, cv=folds, refit=PessimisticRefit()).fit(log)
    multiple = GridSearchCV(policy, grid, cv=folds, scoring=scored, refit="fqe")
    reported = GridSearchCV(
        policy,
        grid,
        cv=EpisodeKFold(3),
        scoring=FittedQScorer(report=True),
        refit=PessimisticRefit("value", n_standard_errors=2.0),
    ).fit(log)
    shown = TuningDisplay.from_search(default, "lam")
    reports = {
        name: kind(report=True, discount=0.8)(default, held_out)
        for name, kind in {
            "fqe": FittedQScorer,
            "dr": DoublyRobustScorer,
            "is": ImportanceSamplingScorer,
            "bellman": BellmanErrorScorer,
        }.items()
    }
    on_episodes = GridSearchCV(policy, grid, cv=3).fit(log.episodes)
    return named(
        default=of_search(default),
        multiple=of_search(multiple.fit(log)),
        reported=of_search(reported),
        on_episodes=of_search(on_episodes),
        shown={"mean": shown.mean, "standard_error": shown.standard_error},
        **{f"report_{name}": values for name, values in reports.items()},
    )


@problem
def folds() -> Quantities:
    log, (X, y) = walk_log(), glucose(7)
    found: Quantities = {}
    for name, splitter, parts in (
        ("log", EpisodeKFold(4), (log,)),
        ("shuffled", EpisodeKFold(4, shuffle=True, random_state=3), (log,)),
        ("episodes", EpisodeKFold(3), (log.episodes,)),
        ("table", EpisodeKFold(3, shuffle=True, random_state=0), (X, y)),
    ):
        for number, (train, test) in enumerate(splitter.split(*parts)):
            found |= {f"{name}.{number}.train": train, f"{name}.{number}.test": test}
    return found


# ----------------------------------------------------------------------------- logs


@problem
def logs() -> Quantities:
    walk, dose = walk_log(10), dose_log(2, 6)
    frame = load_glucose().frame
    read = Transitions.from_frame(
        frame,
        state=["hour", "glucose", "insulin_on_board"],
        action="dose",
        reward="in_range",
        episode="day",
        step="step",
        propensity="propensity",
    )
    rng = np.random.default_rng(0)
    lengths = (4, 2, 6)
    listed = Transitions.from_episodes(
        [rng.normal(size=(n + 1, 2)) for n in lengths],
        [rng.integers(2, size=n) for n in lengths],
        [rng.normal(size=n) for n in lengths],
        [True, False, True],
    )
    gaps = frame[(frame["step"] % 7 != 3) & (frame["day"] < 5)]
    linked = Transitions.from_frame(
        gaps,
        state="hour",
        action="dose",
        reward="in_range",
        episode="day",
        step="step",
    )
    scaled = OnStates(StandardScaler()).fit(walk)
    return named(
        walk=of_log(walk),
        dose=of_log(dose),
        dose_frame=of_frame(dose.to_frame()),
        walk_frame=of_frame(walk.to_frame()),
        read=of_log(read),
        read_frame=of_frame(read.to_frame()),
        listed=of_log(listed),
        linked=of_log(linked) | {"n_left_out": linked.n_left_out},
        joined=of_log(Transitions.concatenate(walk, walk_log(5, seed=4))),
        part=of_log(walk[np.flatnonzero(walk.action == 1)]),
        episodes=of_log(as_transitions(walk.episodes[[3, 1, 3]])),
        scaled=of_log(scaled.transform(walk)),
    )


# ------------------------------------------------------------------------------ run


def as_array(value: Any) -> NDArray[Any]:
    """An array that can be saved: numbers as they are, all else as text."""
    array = np.ma.getdata(np.asanyarray(value))
    return array.astype(str) if array.dtype.kind == "O" else array


def main(folder: str, file: str, *names: str) -> int:
    """Save the quantities of the named problems, of all by default."""
    found = Path(sklearn_stackelberg.__file__).resolve()
    if not found.is_relative_to(Path(folder).resolve()):
        raise RuntimeError(f"The package was imported from {found}, not from {folder}.")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    arrays, failed = {}, []
    for name in names or PROBLEMS:
        try:
            for quantity, value in PROBLEMS[name]().items():
                arrays[f"{name}/{quantity}"] = as_array(value)
        except Exception:
            traceback.print_exc()
            failed.append(name)
    np.savez(file, **arrays)
    if failed:
        print(f"These problems failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
