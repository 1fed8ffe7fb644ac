"""`compare_policies`: several policies on one log, with intervals that hold at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from .._html import html_table
from .._typing import AnyArray, Flags, RandomStateLike
from .._validation import check_rules, one_of
from ..transitions._as_transitions import as_transitions
from ..transitions._linking import encode
from ..transitions._transitions import Transitions
from ..transitions._weights import n_given, weighted_log
from ._differences import METRICS, ValueDifference, difference, value_of_logger
from ._estimate import OffPolicyEstimate, interval, plain, shown
from ._simultaneous import simultaneous_quantile

# Fewer leave a fold of ten without any, and no error that could be trusted.
_FEWEST_PIECES = 5


class ComparedPolicy(NamedTuple):
    """One policy, from the initial states of one group."""

    policy: str
    group: Any  # None where there are no groups
    estimate: OffPolicyEstimate
    interval: tuple[float, float]  # simultaneous, if so asked
    difference: ValueDifference | None = None
    difference_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class PolicyComparison:
    """Several policies side by side, see `compare_policies`.

    Parameters
    ----------
    rows : tuple of ComparedPolicy
        For each group and policy: ``policy``, ``group``, ``estimate``, ``interval``,
        and with a baseline ``difference`` and ``difference_interval``.
    baseline : str or None
        Name of what the differences are to.
    confidence_level : float
        Probability that all intervals of a column hold at once, or each of them.
    simultaneous : bool
        Whether all do.
    """

    rows: tuple[ComparedPolicy, ...]
    baseline: str | None
    confidence_level: float
    simultaneous: bool

    def to_dicts(self) -> list[dict[str, Any]]:
        """The figures, a dict for each row, as ``pandas.DataFrame`` takes them.

        Returns
        -------
        list of dict
            ``policy``, ``group`` (if there are any), ``value``, ``standard_error``,
            ``low``, ``high``, and with a baseline ``difference``,
            ``difference_standard_error``, ``difference_low``, ``difference_high`` and
            ``p_value`` (of each difference alone).
        """
        return [_figures_of(row) for row in self.rows]

    def __str__(self) -> str:
        header, *lines = self._cells()
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        table = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True))
            for line in (header, *lines)
        ]
        return "\n".join([*(line.rstrip() for line in table), self._caption()])

    def _repr_html_(self) -> str:
        header, *lines = self._cells()
        return html_table(header, lines, self._caption())

    def _caption(self) -> str:
        hold = "all at once" if self.simultaneous else "each alone"
        return f"{100 * self.confidence_level:g} % intervals, {hold}."

    def _cells(self) -> list[list[str]]:
        grouped = any(row.group is not None for row in self.rows)
        header = ["group"] * grouped + ["policy", "value", "interval"]
        if self.baseline is not None:
            header += [f"less {self.baseline}", "interval", "p-value"]
        out = [header]
        for row in self.rows:
            cells = ["all" if row.group is None else str(row.group)] * grouped
            cells.append(row.policy)
            cells += _shown(row.estimate, row.interval)
            if row.difference is not None and row.difference_interval is not None:
                cells += _shown(row.difference, row.difference_interval)
                cells.append(f"{row.difference.p_value():.2g}")
            # The baseline itself has no difference.
            out.append(cells + [""] * (len(header) - len(cells)))
        return out


def _shown(estimate: OffPolicyEstimate, ends: tuple[float, float]) -> list[str]:
    error = estimate.standard_error
    value, error_text, low, high = shown((estimate.value, error, *ends), error)
    return [f"{value} ± {error_text}", f"[{low}, {high}]"]


def _figures_of(row: ComparedPolicy) -> dict[str, Any]:
    out: dict[str, Any] = {"policy": row.policy}
    if row.group is not None:
        out["group"] = row.group
    low, high = row.interval
    out |= {"value": row.estimate.value, "standard_error": row.estimate.standard_error}
    out |= {"low": low, "high": high}
    if row.difference is not None and row.difference_interval is not None:
        low, high = row.difference_interval
        out |= {
            "difference": row.difference.value,
            "difference_standard_error": row.difference.standard_error,
            "difference_low": low,
            "difference_high": high,
            "p_value": row.difference.p_value(),
        }
    return out


def compare_policies(
    policies: Mapping[str, object],
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float,
    baseline: str | None = "logger",
    groups: ArrayLike | None = None,
    simultaneous: bool = True,
    estimator: str = "doubly_robust",
    confidence_level: float = 0.95,
    sample_weight: ArrayLike | None = None,
    random_state: RandomStateLike = 0,
    **settings: Any,
) -> PolicyComparison:
    """Compare several policies on one log, with intervals that hold all at once.

    Each policy is estimated on the same log, and so is its difference to the baseline,
    as in `value_difference`. Of many intervals of 95 %, some fail; these are made wider
    by the quantile of the largest of as many correlated Student's t.

    Parameters
    ----------
    policies : dict of str to policy
        The policies by name.
    X, y, discount
        As in `fitted_q_value`.
    baseline : "logger", str or None, default="logger"
        What the differences are to: what was logged, one of the policies by its name,
        or None.
    groups : array-like of shape (n,), default=None
        A label for each row of X: the policies are also evaluated from the initial
        states of each group, of which an episode is by its first row. Q is of all rows,
        but by ``estimator="importance"``, which has the group's episodes alone.
    simultaneous : bool, default=True
        Whether the intervals of a column hold all at once, groups included, or each
        alone.
    estimator : {"doubly_robust", "fitted_q", "importance"}, default="doubly_robust"
        As in `value_difference`.
    confidence_level : float, default=0.95
        Of the intervals, in (0, 1).
    sample_weight : array-like of shape (n,), default=None
        As in `fitted_q_value`.
    random_state : int, RandomState instance or None, default=0
        Draws what the estimator draws, and the quantile.
    **settings
        Further arguments of the estimator, for all policies.

    Returns
    -------
    PolicyComparison
        ``print`` shows it as a table; ``pandas.DataFrame(found.to_dicts())`` makes one.

    Raises
    ------
    ValueError
        As `value_difference` does, if a baseline is no policy's name, or if a group has
        fewer than five episodes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.metrics import compare_policies
    >>> state, action = np.zeros((40, 1)), np.tile([0, 1], 20)
    >>> log = Transitions(state, action, action, state, terminated=np.ones(40))
    >>> always = {
    ...     name: DummyClassifier(strategy="prior").fit(np.zeros((4, 1)), chosen)
    ...     for name, chosen in {"even": [0, 0, 1, 1], "mostly": [0, 1, 1, 1]}.items()
    ... }
    >>> found = compare_policies(always, log, discount=0.0)
    >>> [row.policy for row in found.rows], len(found.to_dicts()[0])
    (['even', 'mostly'], 10)
    """
    check_rules({"estimator": estimator}, {"estimator": one_of(*METRICS)})
    if not policies:
        raise ValueError("policies is empty; give a dict of at least one policy.")
    if baseline not in (None, "logger", *policies):
        raise ValueError(
            f"baseline must be 'logger', None or a name of {list(policies)}, got "
            f"{baseline!r}."
        )
    log, rows = as_transitions(cast(Any, X), y, return_rows=True)
    n = n_given(X, y, log)
    log, rows = weighted_log(log, rows, n, sample_weight)
    common = {"discount": discount, "confidence_level": confidence_level}
    of_policies = {**common, "random_state": random_state, **settings}
    found: list[tuple[str, Any, OffPolicyEstimate, ValueDifference | None]] = []
    for group, inside in _groups(log, groups, rows, n).items():
        alone = log if inside is None else log[np.flatnonzero(inside)]
        given = alone if estimator == "importance" else _starting_in(log, inside)
        values = {
            name: _of_all(METRICS[estimator](policy, given, **of_policies), log, inside)
            for name, policy in policies.items()
        }
        other = values.get(baseline) if baseline is not None else None
        if baseline == "logger" and other is None:
            first = next(iter(policies.values()))
            logged = value_of_logger(first, alone, estimator, of_policies, **common)
            other = _of_all(logged, log, inside)
        for name, value in values.items():
            less = None
            if other is not None and value is not other:
                less = difference(value, other)
            found.append((name, group, value, less))
    quantiles = [
        column_quantile(column, confidence_level, random_state)
        if simultaneous
        else None
        for column in zip(*((value, less) for _, _, value, less in found), strict=True)
    ]
    compared = (
        ComparedPolicy(
            name,
            group,
            value,
            interval_at(value, quantiles[0]),
            less,
            None if less is None else interval_at(less, quantiles[1]),
        )
        for name, group, value, less in found
    )
    return PolicyComparison(tuple(compared), baseline, confidence_level, simultaneous)


def column_quantile(
    column: tuple[OffPolicyEstimate | None, ...],
    level: float,
    random_state: RandomStateLike,
) -> float:
    """Of the estimates of one column, as many as there are."""
    estimates = [one for one in column if one is not None]
    if not estimates:
        return float("nan")
    psi = [one.contributions for one in estimates if one.contributions is not None]
    if len(psi) < len(estimates):
        raise ValueError(
            "The estimator keeps no contributions of episodes, so that its estimates "
            "cannot be compared. Use estimator='doubly_robust', or fitted-Q with "
            "standard_error='influence'."
        )
    return simultaneous_quantile(np.column_stack(psi), level, random_state=random_state)


def interval_at(
    estimate: OffPolicyEstimate, quantile: float | None
) -> tuple[float, float]:
    """By a quantile, or the estimate's own."""
    return (
        estimate.confidence_interval
        if quantile is None
        else interval(estimate, quantile)
    )


def _groups(
    log: Transitions, groups: ArrayLike | None, rows: AnyArray, n_given: int
) -> dict[Any, Flags | None]:
    """Rows of the episodes of each group, (n,); None stands for all."""
    out: dict[Any, Flags | None] = {None: None}
    if groups is None:
        return out
    label = np.asarray(groups)
    if label.shape != (n_given,):
        raise ValueError(
            f"groups has shape {label.shape}; one label for each of the {n_given} rows "
            "was expected."
        )
    # Only what is missing differs from itself.
    missing = np.flatnonzero([one is None or one != one for one in label.tolist()])
    if len(missing):
        raise ValueError(
            f"groups has no label in {len(missing)} rows (rows "
            f"{missing[:5].tolist()}); give them one, such as 'unknown'."
        )
    piece = _pieces(log)
    step = np.zeros(len(log)) if log.step is None else log.step
    # An episode's first row is the first of its rows in this order.
    order = np.lexsort((step, piece))
    _, first = np.unique(piece[order], return_index=True)
    of_piece = label[rows][order[first]]
    names, counts = np.unique(of_piece, return_counts=True)
    if counts.min() < _FEWEST_PIECES:
        raise ValueError(
            f"Group {names[counts.argmin()]!s} has {counts.min()} episodes; at least "
            f"{_FEWEST_PIECES} were expected of each. Join groups, or leave it out."
        )
    return out | {name: (of_piece == name)[piece] for name in names.tolist()}


def _pieces(log: Transitions) -> AnyArray:
    return np.arange(len(log)) if log.episode is None else encode(log.episode)


def _starting_in(log: Transitions, inside: Flags | None) -> Transitions:
    """The log with the initial states of some episodes alone."""
    if inside is None:
        return log
    part = log[:]
    # Without a mark every state is initial.
    marked = log.is_initial if log.is_initial.any() else np.ones(len(log), dtype=bool)
    part.is_initial = marked & inside
    return part


def _of_all(
    estimate: OffPolicyEstimate, log: Transitions, inside: Flags | None
) -> OffPolicyEstimate:
    """An estimate of some episodes, with contributions of all: 0 of the others."""
    psi, piece = estimate.contributions, _pieces(log)
    n_pieces = int(piece.max()) + 1
    if inside is None or psi is None or len(psi) == n_pieces:
        return estimate
    # Codes follow the order of appearance, which a part of the log keeps.
    own = np.unique(piece[inside])
    out = np.zeros(n_pieces)
    out[own] = psi - psi.mean()
    names = (
        np.arange(n_pieces)
        if log.episode is None
        else log.episode[np.unique(piece, return_index=True)[1]]
    )
    return plain(
        estimate,
        contributions=out,
        pieces=names,
        n_transitions=len(log),
        left_out=None,
    )
