"""Our side of every table: the estimator and the grids that it may choose from."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Method, grid
from benchmarks.problems import DISCOUNT
from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.networks import MLP
from sklearn_stackelberg.solvers import ClosedForm, Stochastic

NAME = "ours"
SOLVERS = {"closed_form": ClosedForm, "stochastic": Stochastic}
MLP_NAME = "ours mlp"
# Five weights of the prior, the same for every FrozenLake cell: what counts is their
# ratio to that of the Bellman error.
FROZEN_LAKE_GRID = grid(lam=(10.0,), beta=(1.0, 10.0, 30.0, 100.0, 300.0))
# One grid of six for the three control problems.
CONTROL_GRID = (
    {"ridge": 1e-6, "bandwidth": 2.0},
    {"ridge": 1e-4, "bandwidth": 0.5},
    {"ridge": 1e-4, "bandwidth": 2.0},
    {"ridge": 3e-4, "bandwidth": 0.5},
    {"ridge": 3e-4, "bandwidth": 0.6},
    {"ridge": 3e-4, "bandwidth": 2.0},
)
# What the control problems share beside the grid: little curvature, and mirror
# steps alone (L-BFGS raises v there, and lowers the return of the policy). Their logs
# hold every action nearly everywhere, so that support would only take rare ones away.
CONTROL_SETTING = {
    **{"lam": 10.0, "beta": 0.01, "support": 0.0},
    **{"max_iter": 0, "tol": 1e-4},
}
# Networks on both sides.
MLP_GRID = grid(lam=(10.0,), beta=(10.0,))
MLP_SETTING = {
    "q_function": MLP((32, 32)),
    "policy": MLP((32, 32)),
    "dtype": "float32",
    # As with kernels: no support, and mirror steps alone.
    "support": 0.0,
    "max_iter": 40,
}
# Torque: a softmax over three of them, on the states as they are.
TORQUE = {
    "action_type": "continuous",
    "candidates": [[-2.0], [0.0], [2.0]],
    "action_bounds": [-2.0, 2.0],
    # A little more than a standard deviation of each column.
    "bandwidth": [0.8, 0.8, 3.2, 2.0],
    "ridge": 1e-4,
}
PENDULUM_GRID = ({"lam": 10.0, "beta": 10.0, "n_components": 300},)
# A force in a plane: as many candidates as k-means centres, or a squashed Gaussian.
# Three standard deviations of each column: where Q is nearly a parabola, a wide kernel
# has it in few features, which a small beta leaves free.
FORCE = {
    "action_type": "continuous",
    "action_bounds": [-1.0, 1.0],
    "bandwidth": [2.1, 2.1, 1.3, 1.3],
    "beta": 1e-5,
    "ridge": 0.0,
    # Q is nearly a parabola in the force too: what is not logged is told from what is.
    "support": 0.0,
    "max_iter": 0,
    "tol": 1e-3,
}
CANDIDATES_GRID = ({"lam": 1e4, "candidates": 49},)
GAUSSIAN_GRID = grid(
    lam=(1e4,), action_distribution=("gaussian",), policy=("linear", "kernel")
)


def estimator(**setting: Any) -> StackelbergPolicyEstimator:
    """An estimator of one flat setting, a solver's parameters among the others.

    They go to the solver that ``solver`` names, or that its default stands for.
    """
    network = not isinstance(setting.get("q_function", "kernel"), str)
    name = setting.pop("solver", "stochastic" if network else "closed_form")
    solver = SOLVERS[name]()
    own = {k: setting.pop(k) for k in {*solver.get_params()} & {*setting}}
    return StackelbergPolicyEstimator(solver=solver.set_params(**own), **setting)


def fit_frozen_lake(log: Transitions, random_state: int, **setting: Any) -> Any:
    """Fit on one-hot states, where a linear kernel is exact."""
    return estimator(
        discount=DISCOUNT,
        kernel="linear",
        n_components=None,
        random_state=random_state,
        **setting,
    ).fit(log)


def fit_control(log: Transitions, random_state: int, **setting: Any) -> Any:
    """Fit on the states as they are: the bandwidth is in medians of each column."""
    return estimator(
        discount=DISCOUNT,
        random_state=random_state,
        **{**CONTROL_SETTING, **setting},
    ).fit(log)


def fit_control_mlp(log: Transitions, random_state: int, **setting: Any) -> Any:
    """Fit networks."""
    return estimator(
        discount=DISCOUNT, random_state=random_state, **{**MLP_SETTING, **setting}
    ).fit(log)


def fit_torque(log: Transitions, random_state: int, **setting: Any) -> Any:
    """Fit a torque, by mirror steps alone."""
    return estimator(
        discount=DISCOUNT,
        random_state=random_state,
        **{**TORQUE, "max_iter": 0, "tol": 1e-3, **setting},
    ).fit(log)


def fit_force(log: Transitions, random_state: int, **setting: Any) -> Any:
    """Fit a force in a plane."""
    return estimator(
        discount=DISCOUNT, random_state=random_state, **{**FORCE, **setting}
    ).fit(log)


def fit_default(log: Transitions, random_state: int) -> Any:
    """Fit with default hyperparameters, on the states as they are."""
    return StackelbergPolicyEstimator(random_state=random_state).fit(log)


FROZEN_LAKE = Method(NAME, fit_frozen_lake, FROZEN_LAKE_GRID)
CONTROL = Method(NAME, fit_control, CONTROL_GRID)
CONTROL_MLP = Method(MLP_NAME, fit_control_mlp, MLP_GRID)
PENDULUM = Method(NAME, fit_torque, PENDULUM_GRID)
POINT_MASS = (
    Method("ours candidates", fit_force, CANDIDATES_GRID),
    Method("ours gaussian", fit_force, GAUSSIAN_GRID),
)
