"""What the log's actions are to a game: labels with codes, or amounts within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._typing import Floats
from ..transitions._actions import action_type, check_action_names, check_bounds
from ..transitions._transitions import Transitions

LINEAR_IN_AMOUNTS = (
    "q_function='linear' with amounts as actions would be linear in the amount, whose "
    "best is then always one of the bounds. Use q_function='kernel' "
    "(kernel='polynomial' for a curve of low degree), or 'mlp'."
)


@dataclass(frozen=True, eq=False)
class DiscreteActions:
    """Actions that are told apart and no more.

    Parameters
    ----------
    classes : array of shape (n_actions,)
        Sorted.
    """

    classes: NDArray[Any]

    type = "discrete"

    @classmethod
    def of(cls, action: NDArray[Any]) -> DiscreteActions:
        """Those of a log.

        Raises
        ------
        ValueError
            If there is one label: nothing to choose from.
        """
        classes = np.unique(action)
        if len(classes) < 2:
            raise ValueError(
                f"The log holds one class of action, {classes.tolist()[0]!r}, in all "
                f"of its {len(action)} rows; a policy needs at least two to choose "
                "from. Log another action too, or leave the decision as it is."
            )
        return cls(classes)

    def read(self, log: Transitions) -> NDArray[np.intp]:
        """Codes of logged labels, (n,).

        Raises
        ------
        ValueError
            If a label is new.
        """
        action = log.action
        new = np.setdiff1d(action, self.classes)
        if len(new):
            raise ValueError(
                f"The log holds actions that the policy was not begun with: "
                f"{new[:5].tolist()}; it knows {self.classes.tolist()}. Begin with a "
                "log that has them all (fit, without warm_start), or leave these rows "
                "out."
            )
        return np.searchsorted(self.classes, action)


@dataclass(frozen=True, eq=False)
class ContinuousActions:
    """Actions that are measured.

    Parameters
    ----------
    low, high : array of shape (p,)
        Bounds that no action crosses.
    is_flat : bool
        Whether the log has them as (n,), not (n, 1).
    names : tuple of str or None
        Of the columns, where the log has any.
    """

    low: Floats
    high: Floats
    is_flat: bool
    names: tuple[str, ...] | None = None

    type = "continuous"

    @classmethod
    def of(cls, log: Transitions, bounds: Any) -> ContinuousActions:
        """Those of a log, within its bounds or the user's."""
        low, high = check_bounds(log.action, bounds)
        return cls(low, high, log.action.ndim == 1, log.action_names)

    def read(self, log: Transitions) -> Floats:
        """Logged amounts, (n, p).

        Raises
        ------
        ValueError
            If there are other columns, or amounts beyond the bounds.
        """
        action = log.action
        if action.dtype.kind not in "iuf":
            raise ValueError(
                f"The logged actions are labels, such as {action[0].item()!r}; the "
                "policy was begun with amounts. Begin anew to learn from labels."
            )
        check_action_names(self.names, log.action_names)
        amounts = np.asarray(action, dtype=np.float64).reshape(len(action), -1)
        if amounts.shape[1] != len(self.low):
            raise ValueError(
                f"The logged actions have {amounts.shape[1]} columns; the policy was "
                f"begun with {len(self.low)}."
            )
        check_bounds(amounts, (self.low, self.high))
        return np.clip(amounts, self.low, self.high)

    def given(self, amounts: Floats) -> Floats:
        """Amounts (n, p) in the shape of the log's."""
        return amounts[:, 0] if self.is_flat else amounts


def read_actions(
    log: Transitions, params: dict[str, Any]
) -> tuple[DiscreteActions | ContinuousActions, str]:
    """What the actions are, and what is to be said of it.

    Parameters
    ----------
    log : Transitions
    params : dict
        The estimator's hyperparameters.

    Returns
    -------
    Labels or Amounts
    note : str
        A warning, empty if nothing is ambiguous.
    """
    kind, note = action_type(log.action, params["action_type"])
    if kind == "continuous":
        return ContinuousActions.of(log, params["action_bounds"]), note
    if params["action_bounds"] is not None:
        raise ValueError(
            f"action_bounds={params['action_bounds']!r} were given, but the logged "
            "actions are taken as labels, which have none. Set "
            "action_type='continuous', or leave action_bounds=None."
        )
    return DiscreteActions.of(log.action), note
