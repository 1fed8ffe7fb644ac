"""A continuous policy, as a few actions in each state with weights that sum to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._log.actions import action_type

Floats = NDArray[np.floating]

# A policy that gives more than _LARGEST_FAR_SHARE of its probability to actions farther
# outside the logged range than _FAR times that range is not judged.
_LARGEST_FAR_SHARE = 0.05
_FAR = 0.1


def is_continuous(policy: Any) -> bool:
    """Whether a policy's actions are numbers, not labels."""
    return hasattr(policy, "action_nodes") and not hasattr(policy, "classes_")


def as_numbers(action: NDArray[Any]) -> Floats:
    """Logged actions as (n, p) floats."""
    return np.asarray(action, dtype=np.float64).reshape(len(action), -1)


def check_numbers(action: NDArray[Any]) -> None:
    """Refuse a log of labels."""
    if action.dtype.kind not in "iuf":
        shown = np.unique(action)[:5].tolist()
        raise ValueError(
            f"The policy's actions are continuous, and those of the log are labels: "
            f"{shown}. Judge it on a log of numbers, or a policy that was fitted on "
            "these labels."
        )


def refuse_labels_of(action: NDArray[Any], classes: NDArray[Any]) -> None:
    """Refuse a log of amounts for a policy that chooses among labels."""
    vectors = action.ndim == 2
    numbers = vectors or (
        action.dtype.kind == "f" and action_type(action)[0] == "continuous"
    )
    if vectors or (numbers and not np.isin(action, classes).all()):
        width = f"{action.shape[1]} numbers each" if vectors else "continuous"
        raise ValueError(
            f"The policy chooses among {len(classes)} labels, and the log's actions "
            f"are {width}. Judge it on a log of its labels, or fit a policy with "
            "action_type='continuous'."
        )


def action_nodes(
    policy: Any, states: Any, logged: Floats, greedy: bool
) -> tuple[Floats, Floats]:
    """The actions that stand for a policy in each state, and their weights.

    Parameters
    ----------
    policy : object with ``action_nodes``
    states : array or DataFrame of shape (N, d)
    logged : array of shape (n, p)
    greedy : bool
        Take what ``predict`` returns, or without one the node of the largest weight.

    Returns
    -------
    actions : array of shape (N, S, p)
    weights : array of shape (N, S)
    """
    p = logged.shape[1]
    if greedy and hasattr(policy, "predict"):
        chosen = np.asarray(policy.predict(states), dtype=np.float64)
        if chosen.size != len(states) * p:
            raise ValueError(
                f"predict returned an array of shape {chosen.shape} for {len(states)} "
                f"states; actions of {p} number{'s' * (p > 1)} were expected, as in "
                "the log."
            )
        return chosen.reshape(len(states), 1, p), np.ones((len(states), 1))
    actions, weights = (
        np.asarray(part, dtype=np.float64) for part in policy.action_nodes(states)
    )
    shape = (len(states), weights.shape[-1] if weights.ndim else 0)
    if actions.ndim == 3 and actions.shape[2] != p:
        raise ValueError(
            f"The policy chooses amounts of {actions.shape[2]} columns, and the log's "
            f"actions have {p}. Judge it on a log of the same actions."
        )
    if weights.shape != shape or actions.shape != (*shape, p):
        raise ValueError(
            f"action_nodes returned actions of shape {actions.shape} and weights of "
            f"shape {weights.shape} for {len(states)} states and logged actions of {p} "
            f"number{'s' * (p > 1)}; ({len(states)}, S, {p}) and ({len(states)}, S) "
            "were expected."
        )
    if not np.isfinite(actions).all():
        raise ValueError("action_nodes returned actions that are NaN or infinite.")
    check_chances(weights, "action_nodes", states)
    if greedy:
        best = weights.argmax(axis=1)[:, None, None]
        return np.take_along_axis(actions, best, axis=1), np.ones((len(states), 1))
    return actions, weights


def check_chances(chances: Floats, name: str, states: Any) -> None:
    """Refuse what are not probabilities, (N, A)."""
    wrong = ~np.isfinite(chances).all(axis=1) | (chances < -1e-9).any(axis=1)
    wrong |= np.abs(chances.sum(axis=1) - 1.0) > 1e-4
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} returned {chances[row].tolist()} for the state "
            f"{np.asarray(states)[row].tolist()}; probabilities that sum to 1 were "
            "expected."
        )


def far_share(logged: Floats, nodes: Floats, weights: Floats) -> Floats:
    """Probability of actions far outside the logged range, in each state, (N,)."""
    low, high = logged.min(axis=0), logged.max(axis=0)
    reach = _FAR * (high - low)
    far = np.zeros(weights.shape, dtype=bool)
    for j in range(logged.shape[1]):
        far |= nodes[:, :, j] < low[j] - reach[j]
        far |= nodes[:, :, j] > high[j] + reach[j]
    return (weights * far).sum(axis=1)


def refuse_far(share: float, logged: Floats) -> None:
    """Refuse to judge actions of which nothing is known."""
    if share > _LARGEST_FAR_SHARE:
        low, high = logged.min(axis=0).tolist(), logged.max(axis=0).tolist()
        raise ValueError(
            f"The policy gives {100 * share:.0f} % of its probability to actions far "
            f"outside those of the log, which lie between {low} and {high}; nothing is "
            "known of their rewards, so its value cannot be estimated. Judge it on a "
            "log that goes as far, or bound it by action_bounds."
        )
