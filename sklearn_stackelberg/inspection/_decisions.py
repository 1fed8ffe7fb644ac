"""`explain_decisions`: what speaks for a decision, and what was done in such states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array, check_random_state

from .._fitting.support import ActionRange, ActionSupport
from .._typing import AnyArray, Floats, Index, RandomStateLike
from .._validation import check_rules, integer
from ..kernels._columns import are_finite, length_scales
from ..metrics._data import as_numbers
from ..metrics._holdout import fit_holdout_evaluator
from ..metrics._prepare import unwrap, unwrapped
from ..metrics._tabulate import (
    AnyPolicy,
    action_nodes,
    codes_of,
    is_continuous,
    like,
    probabilities_of,
)
from ..transitions._actions import masks_of
from ..transitions._discounting import carried
from ..transitions._linking import places_in_time
from ..transitions._transitions import Transitions
from ..transitions._weights import weighted_log
from ._coverage import percent
from ._explanation import action_text
from ._rule_columns import discount_of

# A Gaussian logger's density, relative to its largest, at the ends of the middle four
# fifths of its actions: exp(-z²/2) at z = 1.28.
_MIDDLE = 0.44

# Rows of a leaf of the forest that says what the logger does in a state.
_LEAF = 25


class Alternative(NamedTuple):
    """One action in one state, beside the chosen one."""

    action: Any  # of any type that numpy holds
    chosen: bool
    advantage: float  # Q less that of the chosen action
    standard_error: float  # of the advantage
    logged_share: float  # how often the logger does so; NaN of continuous actions


class Neighbor(NamedTuple):
    """A logged row in a state nearby, and what came of it."""

    row: int  # of the log as given, from 0
    distance: float  # 1 is the median distance of two logged states
    action: Any  # as above
    reward: float
    episode_return: float  # discounted, from the row to the last of its episode
    terminated: bool  # whether the episode ended there, or was cut


@dataclass(frozen=True)
class DecisionExplanation:
    """One decision, see `explain_decisions`.

    Parameters
    ----------
    action : object
        What the policy does.
    alternatives : tuple of Alternative
        All discrete actions; or the chosen amount, and those of the nearest rows.
    neighbors : tuple of Neighbor
        The nearest first.
    logged_range : tuple (low, high) or None
        Of continuous actions, what four of five of the logger's are between, in such
        states; (p,) each.
    """

    action: Any  # of any type that numpy holds
    alternatives: tuple[Alternative, ...]
    neighbors: tuple[Neighbor, ...]
    logged_range: tuple[Any, Any] | None = None

    def __str__(self) -> str:
        lines = [f"take {action_text(self.action)}"]
        for one in self.alternatives:
            worth = "chosen"
            if not one.chosen:
                worth = f"{one.advantage:+.3g} ± {one.standard_error:.2g}"
            if not np.isnan(one.logged_share):
                worth += f", {percent(one.logged_share)} of what is logged there"
            lines.append(f"  {action_text(one.action)}: {worth}")
        if self.logged_range is not None:
            low, high = map(action_text, self.logged_range)
            lines.append(f"  Four of five logged there are between {low} and {high}.")
        lines.append("  Nearest logged rows:")
        lines += [
            f"    row {one.row} (distance {one.distance:.2g}): "
            f"{action_text(one.action)}, reward {one.reward:.4g}, return "
            f"{one.episode_return:.4g}{'' if one.terminated else ' until it was cut'}"
            for one in self.neighbors
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class DecisionExplanations:
    """Decisions in several states, see `explain_decisions`.

    Parameters
    ----------
    decisions : tuple of DecisionExplanation
        One for each row of X.
    """

    decisions: tuple[DecisionExplanation, ...]

    def to_frame(self, what: str = "alternatives") -> Any:
        """One row for each decision and alternative, or neighbour; needs pandas.

        Parameters
        ----------
        what : {"alternatives", "neighbors"}, default="alternatives"

        Returns
        -------
        DataFrame
            With a column ``decision``, the row of X, and those of the parts.
        """
        if what not in ("alternatives", "neighbors"):
            raise ValueError(
                f"what must be 'alternatives' or 'neighbors', got {what!r}."
            )
        # Optional, as all of pandas is.
        import pandas as pd

        return pd.DataFrame(
            [
                {"decision": place, **part._asdict()}
                for place, decision in enumerate(self.decisions)
                for part in getattr(decision, what)
            ]
        )

    def __str__(self) -> str:
        texts = (f"Decision {i}: {one}" for i, one in enumerate(self.decisions))
        return "\n".join(texts)


def explain_decisions(
    policy: object,
    X: object,
    log: object,
    n_neighbors: int = 5,
    *,
    discount: float | None = None,
    random_state: RandomStateLike = 0,
) -> DecisionExplanations:
    """Explain decisions one by one: what else could be done, and what was.

    Advantages are differences of a fitted Q of the policy on the log, with the standard
    error of the difference, which counts what the log is silent about. What the logger
    does in such states is a forest's estimate, or counts, where states are few. Nearest
    are the rows whose states are nearest by the kernel of that Q.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        A fitted policy; a pipeline or a search that ends in one, too.
    X : array-like or DataFrame of shape (n, d), or Transitions
        The states to decide in; of a log, its states with what is available in them.
    log : Transitions, or tuple (X, y)
        Logged decisions, such as the policy was learned from.
    n_neighbors : int, default=5
        How many logged rows to name for each decision, > 0.
    discount : float, default=None
        γ, in [0, 1]. None is the policy's own.
    random_state : int, RandomState instance or None, default=0
        Grows the forest.

    Returns
    -------
    DecisionExplanations

    Raises
    ------
    ValueError
        As `fitted_q_value`, and if the log lacks actions that the policy knows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import explain_decisions
    >>> x, drug = np.tile([[0], [1]], (60, 1)), np.repeat(["A", "B"], 60)
    >>> reward = (x[:, 0] == (drug == "B")) * 1.0
    >>> log = Transitions(x, drug, reward, x, np.ones(120))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> print(explain_decisions(policy, [[1]], log, n_neighbors=2))
    Decision 0: take 'B'
      'A': -0.999 ± 0.0031, 50 % of what is logged there
      'B': chosen, 50 % of what is logged there
      Nearest logged rows:
        row 1 (distance 0): 'A', reward 0, return 0
        row 3 (distance 0): 'A', reward 0, return 0
    """
    check_rules({"n_neighbors": n_neighbors}, {"n_neighbors": integer(1)})
    pair = log if isinstance(log, tuple) else (log, None)
    last, seen, rows, n = unwrap(policy, *pair)
    seen, rows = weighted_log(seen, rows, n, None)
    gamma, rng = discount_of(last, discount), check_random_state(random_state)
    asked = unwrapped(policy, X)[1]
    table = asked.state if isinstance(asked, Transitions) else asked
    states = check_array(table, dtype=np.float64, input_name="X")
    logged = np.asarray(seen.state, dtype=np.float64)
    # The kernels of a fitted Q fall with this distance, each its own way.
    lengths = length_scales(logged, "median", "euclidean", check_random_state(0))
    distance = np.array(
        [np.sqrt((((logged - s) / lengths) ** 2).sum(1)) for s in states]
    )
    # Stable: of rows as near as each other the first ones.
    place = np.argsort(distance, axis=1, kind="stable")[:, :n_neighbors]
    distance = np.take_along_axis(distance, place, axis=1)
    returns = _returns(seen, gamma)
    neighbors = [
        tuple(
            Neighbor(
                int(rows[i]),
                float(apart),
                _plain(seen.action[i]),
                float(seen.reward[i]),
                *returns[i],
            )
            for i, apart in zip(*one, strict=True)
        )
        for one in zip(place, distance, strict=True)
    ]
    mask = None
    if isinstance(asked, Transitions) and not is_continuous(last):
        masks = masks_of(asked, np.asarray(last.classes_))
        mask = None if masks is None else masks[0]
    evaluator = fit_holdout_evaluator(last, seen, gamma)
    if evaluator is None:
        lacking = np.setdiff1d(last.classes_, seen.action)[:5].tolist()
        raise ValueError(
            f"The log never holds the actions {lacking}, which the policy knows, so "
            "that nothing is known of their advantages. Give a log that holds them."
        )
    framed, uncertainty = like(seen.state, states), evaluator.uncertainty
    if is_continuous(last):
        amount = as_numbers(seen.action)
        chosen = action_nodes(last, framed, amount.shape[1], greedy=True)[0]
        actions = np.concatenate([chosen, amount[place]], axis=1)
        first = np.zeros(len(states), dtype=np.intp)
        found = uncertainty.advantages(states, first, actions)
        shares, ends = np.full(found[0].shape, np.nan), _range(logged, amount, rng)
        low, high = np.split(ends(states), 2, axis=1)
        is_flat = seen.action.ndim == 1
        named = [[_amount(one, is_flat) for one in some] for some in actions]
        spans: list[Any] = [
            tuple(_amount(end, is_flat) for end in both)
            for both in zip(low, high, strict=True)
        ]
    else:
        first = probabilities_of(last, framed, mask).argmax(axis=1)
        found = uncertainty.advantages(states, first)
        shares = _shares(last, seen, states, rng)
        named = [np.asarray(last.classes_).tolist()] * len(states)
        spans = [None] * len(states)
        if mask is not None:
            found = np.where(mask, found[0], np.nan), found[1]
    return DecisionExplanations(
        tuple(
            DecisionExplanation(named[i][first[i]], some, neighbors[i], spans[i])
            for i, some in enumerate(_alternatives(named, first, *found, shares))
        )
    )


def _alternatives(
    named: list[list[Any]], first: Index, more: Floats, error: Floats, shares: Floats
) -> Iterator[tuple[Alternative, ...]]:
    """Of each state; those that are not available have no advantage."""
    for i, names in enumerate(named):
        yield tuple(
            Alternative(name, j == first[i], *map(float, figures))
            for j, (name, *figures) in enumerate(
                zip(names, more[i], error[i], shares[i], strict=True)
            )
            if not np.isnan(more[i, j])
        )


def _shares(
    policy: AnyPolicy, log: Transitions, states: Floats, rng: np.random.RandomState
) -> Floats:
    """What the logger does in states, (n, A)."""
    logged, classes = np.asarray(log.state, dtype=np.float64), policy.classes_
    codes = codes_of(log.action, np.asarray(classes))
    few = are_finite(logged, 200)
    support = ActionSupport(1.0, leaf=_LEAF)
    given = logged, codes, len(classes), few, rng, log.weight
    support.fit(*given, episode=log.episode)
    counts = support.counts(states)
    return counts / counts.sum(axis=1, keepdims=True)


def _range(logged: Floats, amount: Floats, rng: np.random.RandomState) -> ActionRange:
    return ActionRange(_MIDDLE).fit(logged, amount, rng)


def _returns(log: Transitions, discount: float) -> list[tuple[float, bool]]:
    """Discounted return from each row on, and whether its episode has an end."""
    episode, place, _ = places_in_time(len(log), log.episode, log.step)
    if log.episode is None:
        episode = np.arange(len(log))
    order = np.lexsort((place, episode))[::-1]
    weight = carried(log, discount)
    out: list[tuple[float, bool]] = [(0.0, False)] * len(log)
    after: tuple[float, bool] = (0.0, False)
    last = -1
    for i in order.tolist():
        if episode[i] != last or log.terminated[i]:
            after = 0.0, bool(log.terminated[i])
        out[i] = after = float(log.reward[i] + weight[i] * after[0]), after[1]
        last = episode[i]
    return out


def _plain(action: AnyArray) -> object:
    found = np.asarray(action).tolist()
    return tuple(found) if isinstance(found, list) else found


def _amount(action: Floats, is_flat: bool) -> object:
    return float(action[0]) if is_flat else tuple(action.tolist())
