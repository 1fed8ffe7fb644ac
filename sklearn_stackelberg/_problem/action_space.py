"""The actions of a problem: a few with codes, or measurements within bounds."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._typing import Floats, Index
from ..transitions._actions import (
    action_type,
    check_action_names,
    check_bounds,
    refuse_masks,
)
from ..transitions._tables import Log


@dataclass(frozen=True, eq=False)
class DiscreteActions:
    """Actions that are equal or not, and no more, sorted."""

    classes: NDArray[Any]  # (n_actions,)
    masked: bool = False  # whether the log said which of them are available

    type: ClassVar[Literal["discrete"]] = "discrete"

    @classmethod
    def of(cls, log: Log) -> DiscreteActions:
        """Those of a log; one alone is nothing to choose from, and is refused."""
        action = log.action
        classes = np.unique(action)
        if len(classes) < 2:
            raise ValueError(
                f"The log holds one class of action, {classes.tolist()[0]!r}, in all "
                f"of its {len(action)} rows; a policy needs two to choose from. Log "
                "another action too."
            )
        return cls(classes, log.available is not None)

    def read(self, log: Log) -> Index:
        """Codes of the logged actions, (n,); new ones are refused."""
        action = log.action
        # Of a part that is gone on with: weights have a column for each known action.
        new = np.setdiff1d(action, self.classes)
        if len(new):
            raise ValueError(
                "The log holds actions that the policy was not begun with: "
                f"{new[:5].tolist()}; it knows {self.classes.tolist()}. Fit anew, "
                "without warm_start, or leave these rows out."
            )
        if self.masked != (log.available is not None):
            has, had = ("no ", "") if self.masked else ("", "out")
            raise ValueError(
                f"The log has {has}masks of available actions, and the policy was "
                f"begun with{had} them. Give available= to both logs or to neither, or "
                "fit anew."
            )
        return np.searchsorted(self.classes, action)

    def codes(self, action: ArrayLike, n: int) -> Index:
        """Codes of actions that a user gives for n states, (n,)."""
        given = np.asarray(action)
        unknown = np.setdiff1d(given, self.classes)
        if len(unknown) or given.shape != (n,):
            raise ValueError(
                f"action must be one label of {self.classes.tolist()} for each of the "
                f"{n} states; got shape {given.shape}, unknown {unknown[:5].tolist()}."
            )
        return np.searchsorted(self.classes, given)


@dataclass(frozen=True, eq=False)
class ContinuousActions:
    """Actions that are measured, within bounds that none crosses."""

    low: Floats  # (p,)
    high: Floats
    is_flat: bool  # whether the log has them as (n,), not (n, 1)
    names: tuple[Hashable, ...] | None = None  # of the columns, where the log has any

    type: ClassVar[Literal["continuous"]] = "continuous"

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """The smallest and the largest actions, (p,) each."""
        return self.low, self.high

    @classmethod
    def of(cls, log: Log, bounds: Any) -> ContinuousActions:
        """Those of a log, within its bounds or the user's."""
        low, high = check_bounds(log.action, bounds)
        return cls(low, high, log.action.ndim == 1, log.action_names)

    def read(self, log: Log) -> Floats:
        """Logged actions, (n, p); other columns and a crossed bound are refused."""
        action = log.action
        refuse_masks(log.available)
        if action.dtype.kind not in "iuf":
            raise ValueError(
                f"The logged actions are labels, such as {action[0].item()!r}; the "
                "policy was begun with numbers. Begin anew to learn from labels."
            )
        # Columns in another order would be taken for one another.
        check_action_names(self.names, log.action_names)
        measured = np.asarray(action, dtype=np.float64).reshape(len(action), -1)
        if measured.shape[1] != len(self.low):
            raise ValueError(
                f"The logged actions have {measured.shape[1]} columns; the policy was "
                f"begun with {len(self.low)}."
            )
        check_bounds(measured, self.bounds)
        # check_bounds lets rounding pass, to which the bounds are held here.
        return np.clip(measured, self.low, self.high)

    def measurements(self, action: ArrayLike, n: int) -> Floats:
        """Actions that a user gives for n states, (n, p)."""
        check_action_names(self.names, tuple(getattr(action, "columns", ())))
        try:
            given = np.asarray(action, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"action must be numbers, one row for each of the {n} states; got "
                f"{action!r:.80}."
            ) from None
        if given.ndim <= 1 and len(self.low) == 1:
            given = given.reshape(-1, 1)
        if given.ndim != 2 or given.shape != (n, len(self.low)):
            raise ValueError(
                f"action has shape {np.shape(action)}; one row of {len(self.low)} "
                f"numbers for each of the {n} states was expected."
            )
        if not np.isfinite(given).all():
            rows = np.flatnonzero(~np.isfinite(given).all(axis=1))[:5].tolist()
            raise ValueError(f"action is NaN or infinite in rows {rows}; give numbers.")
        check_bounds(given, self.bounds)
        return given

    def as_logged(self, measured: Floats) -> Floats:
        """Actions (n, p) in the shape of the log's."""
        return measured[:, 0] if self.is_flat else measured


Actions = DiscreteActions | ContinuousActions


def read_actions(log: Log, requested: str, bounds: Any) -> tuple[Actions, str]:
    """What the actions are, and a warning, empty if nothing is ambiguous.

    ``requested`` and ``bounds`` are the estimator's `action_type` and `action_bounds`.
    """
    # Whole numbers may be doses: the note says what they were taken for.
    kind, note = action_type(log.action, requested)
    if kind == "continuous":
        return ContinuousActions.of(log, bounds), note
    if bounds is not None:
        raise ValueError(
            f"action_bounds={bounds!r} were given, but the logged actions are taken as "
            "labels, which have none. Set action_type='continuous' or no action_bounds."
        )
    return DiscreteActions.of(log), note
