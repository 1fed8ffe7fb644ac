"""Hyperparameters that no game can be played with, refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from .._validation import _is_real, _is_whole, check_discount, check_level
from ..kernels._registry import check_kernel


def check_parameters(estimator: Any) -> None:
    """Refuse hyperparameters out of range.

    Parameters
    ----------
    estimator : StackelbergPolicyEstimator

    Raises
    ------
    ValueError
        In a sentence that says what was given and what was expected.
    """
    params = estimator.get_params(deep=False)
    check_discount(params["discount"])
    for name, other in (("lam", " or 'calibrated'"), ("beta", "")):
        if isinstance(params[name], str) and repr(params[name]) in other:
            continue
        if not _is_real(params[name]) or not 0 < params[name] < np.inf:
            raise ValueError(
                f"{name} must be a positive finite number{other}, got {params[name]!r}."
            )
    check_level(params["confidence_level"])
    for name, other in (("ridge", " or None"), ("tol", "")):
        if params[name] is None and other:
            continue
        if not _is_real(params[name]) or not 0 <= params[name] < np.inf:
            raise ValueError(
                f"{name} must be a number >= 0{other}, got {params[name]!r}."
            )
    if not _is_whole(params["mirror_steps"]) or params["mirror_steps"] < 0:
        raise ValueError(
            f"mirror_steps must be an integer >= 0, got {params['mirror_steps']!r}."
        )
    _check_iterations(params)
    for name, other in (("learning_rate", ""), ("leader_learning_rate", " or None")):
        if params[name] is None and other:
            continue
        if not _is_real(params[name]) or not 0 < params[name] < np.inf:
            raise ValueError(
                f"{name} must be a positive finite number{other}, got {params[name]!r}."
            )
    components = params["n_components"]
    if components is not None and (not _is_whole(components) or components < 1):
        raise ValueError(
            f"n_components must be an integer >= 1, or None for every distinct state, "
            f"got {components!r}."
        )
    _check_bandwidth(params["bandwidth"])
    if not isinstance(params["kernel_params"], dict | None):
        raise ValueError(
            "kernel_params must be a dict of the kernel's parameters or None, got "
            f"{params['kernel_params']!r}."
        )
    for name, options in (
        ("initial_states", ("first", "all")),
        ("leader_gradient", ("total", "individual")),
        ("action_type", ("auto", "discrete", "continuous")),
        ("action_distribution", ("candidates", "gaussian")),
        ("solver", ("auto", "closed_form", "stochastic")),
        ("device", ("auto", "cpu", "cuda")),
        ("dtype", ("float64", "float32")),
    ):
        if params[name] not in options:
            raise ValueError(
                f"{name} must be one of {list(options)}, got {params[name]!r}."
            )
    for name in ("q_function", "policy"):
        _check_function_class(name, params[name])
    if params["callback"] is not None and not callable(params["callback"]):
        raise ValueError(
            "callback must be a callable that takes the newest entry of the history, "
            f"or None, got {params['callback']!r}."
        )
    if not isinstance(params["warm_start"], bool | np.bool_):
        raise ValueError(
            f"warm_start must be True or False, got {params['warm_start']!r}."
        )
    check_kernel(params["kernel"])


def choose_solver(params: dict[str, Any], action_type: str) -> str:
    """The solver that ``solver="auto"`` stands for, or the one asked for.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    action_type : {"discrete", "continuous"}

    Returns
    -------
    {"closed_form", "stochastic"}

    Raises
    ------
    ValueError
        If the closed form is asked for where there is none.
    """
    asked = params["solver"]
    networks = [name for name in ("q_function", "policy") if is_network(params[name])]
    if asked == "closed_form" and networks:
        raise ValueError(
            f"solver='closed_form' needs a Q-function and a policy that are linear in "
            f"their weights, and {' and '.join(networks)} "
            f"{'are networks' if len(networks) > 1 else 'is a network'}: its best "
            "response is no linear system. Set solver='auto' or 'stochastic', or "
            + " and ".join(f"{name}='kernel'" for name in networks)
            + "."
        )
    same = params["q_function"] == params["policy"]
    # The mean of a Gaussian has features of its own.
    gaussian = (
        action_type == "continuous" and params["action_distribution"] == "gaussian"
    )
    if asked == "closed_form" and not (same or gaussian):
        raise ValueError(
            f"solver='closed_form' needs both players in the same features, but "
            f"q_function={params['q_function']!r} and policy={params['policy']!r}. "
            "Make them equal, or set solver='auto' or 'stochastic'."
        )
    if asked != "auto":
        return asked
    return "stochastic" if networks or not (same or gaussian) else "closed_form"


def resolve_defaults(
    params: dict[str, Any], action_type: str, solver: str
) -> dict[str, Any]:
    """The hyperparameters, with numbers where the user left None.

    Parameters
    ----------
    params : dict
    action_type : {"discrete", "continuous"}
    solver : {"closed_form", "stochastic"}

    Returns
    -------
    dict
    """
    amounts = action_type == "continuous"
    closed = solver == "closed_form"
    # Joint features of state and amount are many for the rows that there are, and
    # without a ridge values run away where a log is thin. Steps along the derivative
    # raise v there, and lower the return of the policy.
    chosen = {
        "ridge": 1e-4 if amounts and not is_network(params["q_function"]) else 0.0,
        "max_iter": (0 if amounts else 50) if closed else params["mirror_steps"] + 20,
        "batch_size": 5_000,
        # Logits linear in whitened features need longer steps than weights of layers.
        "leader_learning_rate": 3e-3 if is_network(params["policy"]) else 0.1,
    }
    given = {name: params[name] for name in chosen if params[name] is not None}
    return params | chosen | given


def may_be_stochastic(params: dict[str, Any]) -> bool:
    """Whether a fit would be by gradient steps, as far as parameters tell.

    Parameters
    ----------
    params : dict

    Returns
    -------
    bool
    """
    if params["solver"] != "auto":
        return params["solver"] == "stochastic"
    return any(is_network(params[name]) for name in ("q_function", "policy"))


def is_network(function_class: Any) -> bool:
    """Whether a `q_function` or `policy` is a neural network.

    Parameters
    ----------
    function_class : str or callable

    Returns
    -------
    bool
    """
    return function_class == "mlp" or not isinstance(function_class, str)


def _check_iterations(params: dict[str, Any]) -> None:
    """Refuse counts of steps, rows and lines that count nothing."""
    for name, least in (
        ("max_iter", 0),
        ("batch_size", 1),
        ("follower_steps", 1),
        ("leader_steps", 1),
        ("verbose", 0),
    ):
        value = params[name]
        if value is None and name in {"max_iter", "batch_size"}:
            continue
        if name == "verbose" and isinstance(value, bool | np.bool_):
            continue
        if not _is_whole(value) or value < least:
            or_none = " or None" if name in {"max_iter", "batch_size"} else ""
            raise ValueError(
                f"{name} must be an integer >= {least}{or_none}, got {value!r}."
            )


def _check_function_class(name: str, value: Any) -> None:
    """Refuse what is no class of functions."""
    if isinstance(value, nn.Module):
        raise ValueError(
            f"{name} is a module, a {type(value).__name__}, which a fit would change: "
            "give what makes one, a callable that takes the numbers of inputs and "
            "outputs and returns a torch.nn.Module (the class itself, perhaps)."
        )
    known = value in ("kernel", "linear", "mlp") if isinstance(value, str) else None
    if known is False or (known is None and not callable(value)):
        raise ValueError(
            f"{name} must be 'kernel', 'linear', 'mlp', an MLP(...), or a callable "
            "that takes the numbers of inputs and outputs and returns a "
            f"torch.nn.Module, got {value!r}."
        )
    if isinstance(value, type) and not issubclass(value, nn.Module):
        raise ValueError(
            f"{name} is the class {value.__name__}, which makes no torch.nn.Module of "
            f"numbers of inputs and outputs. Give an instance: {value.__name__}()."
        )


def _check_bandwidth(bandwidth: Any) -> None:
    if isinstance(bandwidth, str) and bandwidth == "median":
        return
    if _is_real(bandwidth) or np.ndim(bandwidth) == 1:
        lengths = np.atleast_1d(bandwidth)
        if lengths.dtype.kind in "iuf" and np.all((lengths > 0) & (lengths < np.inf)):
            return
    raise ValueError(
        "bandwidth must be a positive finite number, one such number for each column, "
        f"or 'median', got {bandwidth!r}."
    )
