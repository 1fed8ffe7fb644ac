"""The estimator's hyperparameters, checked, as one frozen record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from torch import nn

from .._typing import Floats
from .._validation import (
    Rule,
    _is_real,
    check_discount,
    check_level,
    check_rules,
    flag,
    integer,
    is_flag,
    non_negative,
    one_of,
    positive,
)
from ..kernels._registry import check_kernel
from ..networks import Factory
from ..policies._base import CONTINUOUS_POLICIES
from ..solvers._base import Solver

FunctionClass = str | Factory

# What ``support="auto"`` begins with.
SUPPORT = 0.2


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """Those of `StackelbergPolicyEstimator`, by their names there."""

    discount: float
    lam: float | str
    confidence_level: float
    beta: float | None
    ridge: float | None
    kernel: str | Callable[..., Floats] | Kernel
    bandwidth: float | Floats | str
    kernel_params: dict[str, object] | None
    n_components: int | None
    linear_terms: bool
    initial_states: str
    support: float | str
    deterministic: bool
    q_function: FunctionClass
    policy: FunctionClass
    action_type: str
    action_distribution: str
    candidates: int | ArrayLike | None
    action_bounds: tuple[ArrayLike, ArrayLike] | None
    solver: str | Solver
    device: str
    dtype: str
    random_state: int | RandomState | None
    warm_start: bool
    verbose: int
    callback: Callable[[dict[str, float]], object] | None

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator) -> Hyperparameters:
        """Those of an estimator, or a sentence about the first one out of range."""
        params = estimator.get_params(deep=False)
        check_discount(params["discount"])
        check_level(params["confidence_level"])
        check_rules(params, RULES)
        for name in ("q_function", "policy"):
            _check_function_class(name, params[name])
        _check_bandwidth(params["bandwidth"])
        if not (isinstance(params["kernel"], str) and params["kernel"] == "auto"):
            check_kernel(params["kernel"])
        return cls(**{field.name: params[field.name] for field in fields(cls)})

    def beta_for(self, action_type: str, discount: float) -> float:
        """β, a number where None stands for one; of the discount of a row."""
        if self.beta is not None:
            return float(self.beta)
        if not self._is_joint(action_type):
            return 0.1
        # What is drawn to zero of joint features is what Q bends along, Eq. (84) of
        # docs/game.md.
        return min(0.1, 1e-4 / (1.0 - discount) ** 2)

    def ridge_for(self, action_type: str, discount: float) -> float:
        """ρ, a number where None stands for one; of the discount of a row."""
        if self.ridge is not None:
            return float(self.ridge)
        # Joint features are many for the rows that there are, and without a ridge
        # values that follow from one another run away where a log is thin.
        return 1e-4 if self._is_joint(action_type) and discount > 0.0 else 0.0

    def _is_joint(self, action_type: str) -> bool:
        return action_type == "continuous" and not self.q_is_network

    @property
    def least_support(self) -> float:
        """The threshold of `support` that a fit begins with."""
        return SUPPORT if isinstance(self.support, str) else float(self.support)

    @property
    def q_is_network(self) -> bool:
        return is_network(self.q_function)

    @property
    def policy_is_network(self) -> bool:
        return is_network(self.policy)

    def kernel_settings(self) -> dict[str, Any]:
        """What a kernel's features are made with, their generator apart."""
        names = ("bandwidth", "kernel_params", "n_components", "dtype")
        return {name: getattr(self, name) for name in names}


def _is_solver(value: object) -> bool:
    if isinstance(value, str):
        return value in ("auto", "closed_form", "stochastic")
    # Not the class itself, which has the methods, but no parameters.
    made = not isinstance(value, type)
    return made and all(hasattr(value, part) for part in ("needs", "resolve", "solve"))


_LINES = integer(0)
RULES: Mapping[str, Rule] = {
    "lam": positive("calibrated"),
    "beta": positive(None),
    "ridge": non_negative(None),
    "n_components": Rule(
        "an integer >= 1, or None for every distinct state", integer(1, None).holds
    ),
    "kernel_params": Rule(
        "a dict of the kernel's parameters or None",
        lambda x: isinstance(x, dict | None),
    ),
    "initial_states": one_of("first", "all"),
    "support": Rule(
        "a number in [0, 1), where 0 allows every action, or 'auto'",
        lambda x: x == "auto" if isinstance(x, str) else _is_real(x) and 0 <= x < 1,
    ),
    "action_type": one_of("auto", "discrete", "continuous"),
    # Read when it is checked: a policy class of the user's has its name by then.
    "action_distribution": Rule(
        f"one of {list(CONTINUOUS_POLICIES)}",
        lambda x: isinstance(x, str) and x in CONTINUOUS_POLICIES,
    ),
    "solver": Rule(
        "one of ['auto', 'closed_form', 'stochastic'], or a solver such as "
        "ClosedForm(tol=1e-3) or Stochastic(learning_rate=1e-2)",
        _is_solver,
    ),
    "device": one_of("auto", "cpu", "cuda"),
    "dtype": one_of("float64", "float32"),
    "callback": Rule(
        "a callable that takes the newest entry of the history, or None",
        lambda x: x is None or callable(x),
    ),
    "linear_terms": flag(),
    "deterministic": flag(),
    "warm_start": flag(),
    # True is as good as 1 here, as in scikit-learn.
    "verbose": Rule(_LINES.expected, lambda x: is_flag(x) or _LINES.holds(x)),
}


def is_network(function_class: FunctionClass) -> bool:
    """Whether a `q_function` or `policy` is a neural network."""
    return function_class == "mlp" or not isinstance(function_class, str)


def _check_function_class(name: str, value: object) -> None:
    # Callable too, so that it comes first: a module would be called as a factory.
    if isinstance(value, nn.Module):
        raise ValueError(
            f"{name} is a module, a {type(value).__name__}, which a fit would change: "
            "give a callable that makes one of the numbers of inputs and outputs."
        )
    known = value in ("kernel", "linear", "mlp") if isinstance(value, str) else None
    if known is False or (known is None and not callable(value)):
        raise ValueError(
            f"{name} must be 'kernel', 'linear', 'mlp', an MLP(...), or a callable of "
            f"n_inputs and n_outputs that returns a torch.nn.Module, got {value!r}."
        )
    # MLP for MLP(): a class that makes something else.
    if isinstance(value, type) and not issubclass(value, nn.Module):
        raise ValueError(
            f"{name} is the class {value.__name__}, which is no torch.nn.Module. Give "
            f"an instance: {value.__name__}()."
        )


def _check_bandwidth(bandwidth: Any) -> None:
    # How many there must be depends on the log, and is checked where it is read.
    if isinstance(bandwidth, str) and bandwidth in ("median", "relevance"):
        return
    if _is_real(bandwidth) or np.ndim(bandwidth) == 1:
        lengths = np.atleast_1d(bandwidth)
        if lengths.dtype.kind in "iuf" and np.all((lengths > 0) & (lengths < np.inf)):
            return
    raise ValueError(
        "bandwidth must be a positive finite multiple of the median lengths, such a "
        f"length for each column, 'median' or 'relevance', got {bandwidth!r}."
    )
