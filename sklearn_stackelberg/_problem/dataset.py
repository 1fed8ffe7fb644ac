"""A checked log in scaled rewards: what every solver is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from .._stored_rows import StoredRows, row_batches
from .._typing import Flags, Floats, Index
from ..game import anchored_reward, average_value
from ..transitions._actions import masks_at
from ..transitions._discounting import carried, return_range, row_discount
from ..transitions._linking import encode
from ..transitions._step_anchor import StepAnchor
from ..transitions._tables import take_rows, used_next_rows
from ..transitions._time import refuse_endless
from ..transitions._transitions import Transitions
from ..transitions._weights import equal_episodes, with_weight
from ..transitions._words import refuse_words
from .rows import Rows, index_states
from .state_anchor import StateAnchor

# What rewards may differ by, as a share of the largest, for the rounding of sums.
_ROUNDING = 1e-12


class RewardUnits(NamedTuple):
    """What rewards are measured from, and divided by."""

    anchor: float  # q₀, or its mean over the rows if it is a function of the step
    scale: float
    steps: StepAnchor | None  # where steps say when episodes end


@dataclass(frozen=True, eq=False)
class OfflineProblem:
    """The rows of a log, with rewards in units of their spread about their average.

    ``states`` holds states and next states, each once where a next state is the next
    row's state; ``state_index``, ``next_index`` and ``initial`` say where in it each
    row's are, and the initial ones. ``reward`` is of what Q adds to the anchor q₀,
    divided by the scale; ``notes`` are warnings for the user.

    Equal episodes of the log that was ``given`` are one of their summed ``weight``: a
    log with repetitions is the same problem as one with weights, whatever is drawn of
    its rows.
    """

    log: Transitions
    states: Floats  # (N, d)
    state_index: Index  # (n,)
    next_index: Index  # (n,)
    initial: Index  # (n_initial,)
    reward: Floats  # (n,)
    terminated: Floats  # (n,), see `row_discount`
    discount: float
    # γ̄, of which v, β and the equations are: a row that lasts d has the share
    # 1 − γ^d / γ̄ of an end, so that its next value weighs γ̄ (1 − terminated) = γ^d.
    row_discount: float
    units: RewardUnits
    given: Transitions
    weight: Floats | None  # (n,), how often each row counts; None is once
    notes: tuple[str, ...] = ()
    # What fits of one problem share, by what it was computed from.
    shared: dict[object, Any] = field(init=False, default_factory=dict)

    @property
    def anchor(self) -> float:
        return self.units.anchor

    @property
    def scale(self) -> float:
        return self.units.scale

    @property
    def unit(self) -> float:
        """The discounted return that a v of one stands for."""
        # v = (1 - γ) E q(s0, π), Eq. "leader's objective" of docs/game.md.
        return self.scale / (1.0 - self.row_discount)

    @cached_property
    def initial_anchor(self) -> float:
        """The discounted return that a v of zero stands for."""
        if self.units.steps is None:
            return self.anchor
        weight = None if self.weight is None else self.weight[self.initial]
        at_start = self.units.steps.of_rows(self.log)[self.initial]
        return float(np.average(at_start, weights=weight))

    @cached_property
    def state_anchor(self) -> StateAnchor:
        """The anchor of Q in any state, whose step need not be known."""
        steps = self.units.steps
        if steps is None:
            return StateAnchor(self.anchor)
        of_rows = steps.of_rows(self.log)
        return StateAnchor.of_steps(self.state, of_rows, self.anchor, self.weight)

    def return_of(self, v: float) -> tuple[float, float]:
        """The discounted return of a v, and how far that is above what can be."""
        # v is of Q less its anchor, in scaled rewards: docs/game.md, "The players".
        # A Q-function can leave what returns can be; what is reported does not.
        value = self.initial_anchor + v * self.unit
        held = float(np.clip(value, *self._returns))
        return held, value - held

    @property
    def highest(self) -> float:
        """The v of the largest return that rewards allow."""
        return (self._returns[1] - self.initial_anchor) / self.unit

    @cached_property
    def _returns(self) -> tuple[float, float]:
        """The least and the largest return that rewards allow."""
        return return_range(self.log, self.discount)

    @property
    def state(self) -> Floats:
        """The logged states, (n, d)."""
        if isinstance(self.log.state, StoredRows):
            return cast(Floats, self.log.state)
        return self.states[: len(self.state_index)]

    @classmethod
    def from_log(
        cls,
        log: Transitions,
        *,
        discount: float,
        initial_states: str,
        estimator: BaseEstimator | None = None,
        units: RewardUnits | None = None,
    ) -> OfflineProblem:
        """Check a log's states and scale its rewards.

        ``estimator`` is named in messages; ``units`` are those of a problem that this
        one goes on with. A state that is missing or infinite is refused, a log of
        fewer than two rows, and one with a discount of 1 that does not end.
        """
        given, (state, next_state) = log, _checked_states(log, estimator)
        episode = np.arange(len(log)) if log.episode is None else encode(log.episode)
        if equal := equal_episodes(log, episode, state, next_state):
            each = np.ones(len(log)) if log.weight is None else log.weight
            log = with_weight(log[equal.first], equal.summed(each))
            state = take_rows(state, equal.first)
            next_state = take_rows(next_state, equal.first)
        weight = log.weight
        states, state_index, next_index = _table_of(state, next_state, log)
        initial: Index = state_index
        notes: tuple[str, ...] = ()
        # "first" is the paper's; counted from all, the value is of every logged state.
        if initial_states == "first":
            initial = np.flatnonzero(log.is_initial)
            if not len(initial):
                initial = state_index
                notes = (
                    "No logged row is the first of its episode, so all states serve as "
                    "initial. Give is_initial, or episode and step, to Transitions, or "
                    "set initial_states='all'. [pitfalls: no-first-row]",
                )
        refuse_endless(log, discount)
        gamma = row_discount(log, discount)
        terminated = log.terminated.astype(float)
        if gamma > 0.0:
            terminated = 1.0 - carried(log, discount) / gamma
        # Units of the first log stay, so that what was learned keeps its meaning.
        steps = units.steps if units else StepAnchor.of(log, discount)
        if units is not None:
            anchor = units.anchor
        elif steps is not None:
            anchor = float(np.average(steps.of_rows(log), weights=weight))
        else:
            anchor = average_value(log.reward, terminated, gamma, weight)
        if steps is not None:
            reward = steps.reward(log, discount)
        else:
            reward = anchored_reward(log.reward, terminated, anchor, gamma)
        if units is None:
            units = RewardUnits(anchor, _spread(reward, log.reward, weight), steps)
        reward = reward / units.scale
        return cls(
            log=log,
            states=states,
            state_index=state_index,
            next_index=next_index,
            initial=initial,
            reward=reward,
            terminated=terminated,
            discount=discount,
            row_discount=gamma,
            units=units,
            given=given,
            weight=weight,
            notes=notes,
        )

    def available(self, classes: NDArray[Any]) -> Flags | None:
        """Which actions are available in ``states``, (N, A); None if all are."""
        return masks_at(
            self.log, classes, self.state_index, self.next_index, len(self.states)
        )

    def rows(self, action: Index | Floats) -> Rows:
        """As solvers read them: with codes (n,), or continuous actions (n, p)."""
        return Rows(
            self.state_index,
            self.next_index,
            action,
            self.reward,
            self.terminated,
            self.initial,
            self.weight,
            None if self.weight is None else self.weight[self.initial],
        )


def _table_of(
    state: Floats, next_state: Floats, log: Transitions
) -> tuple[Floats, Index, Index]:
    """A table of states, and where each row's state and next state are in it."""
    if isinstance(state, StoredRows) and isinstance(next_state, StoredRows):
        return state.table, state.index, next_state.index
    return index_states(state, next_state, used_next_rows(state, next_state, log))


def _checked_states(
    log: Transitions, estimator: BaseEstimator | None
) -> tuple[Floats, Floats]:
    """Checked states and next states, (n, d) each."""
    # What follows a terminated row is never used, and often not even recorded.
    given = {"state": log.state, "next_state": log.next_or_own_state()}
    if isinstance(log.state, StoredRows) and len(log) > 1:
        # They were checked when they were stored, block by block.
        return cast(tuple[Floats, Floats], (log.state, log.next_state))
    for name, values in given.items():
        refuse_words(values, name)
    state, next_state = (
        check_array(
            values,
            # As precise as they are given: in single precision 1.7e9 is known to 128,
            # so that features are centred before they are cast.
            dtype=(np.float64, np.float32),
            ensure_all_finite=False,
            ensure_min_samples=2,
            estimator=estimator,
            input_name=name,
        )
        for name, values in given.items()
    )
    _refuse_missing(state, "state")
    _refuse_missing(next_state, "next_state")
    return state, next_state


def _refuse_missing(states: Floats, name: str) -> None:
    finite = np.ones(len(states), dtype=bool)
    for some in row_batches(states):
        finite[some] = np.isfinite(states[some]).all(axis=1)
    bad = np.flatnonzero(~finite)
    if not len(bad):
        return
    kind = "NaN" if np.isnan(states[bad]).any() else "infinity"
    shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    raise ValueError(
        f"{name} contains {kind} in {len(bad)} of {len(states)} rows (rows {shown}). "
        "Impute or drop them first; StackelbergPolicyEstimator does not accept missing "
        "values encoded as NaN natively, nor infinity. A pipeline with an imputer does."
    )


def _spread(anchored: Floats, reward: Floats, weight: Floats | None) -> float:
    """Root mean square of anchored rewards, whose mean is zero."""
    largest = float(np.abs(anchored).max())
    # Rewards that are all the same, but for the rounding of their mean, stay so.
    if largest <= _ROUNDING * float(np.abs(reward).max()):
        return 1.0
    # Divided first, so that squares of 1e200 or 1e-200 neither overflow nor vanish.
    square = np.average((anchored / largest) ** 2, weights=weight)
    return largest * float(np.sqrt(square))
