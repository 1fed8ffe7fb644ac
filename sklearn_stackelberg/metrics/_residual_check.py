"""Whether what Q leaves of the Bellman equation still follows from something known.

If the states say all that matters and Q is right, δ = r + γ V(s') − Q(s, a) has a mean
of zero whatever happened before, at whatever step. Where it has not, values are biased,
and a longer log does not help.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm, rankdata

from .._sampling import fixed_sample
from .._typing import Floats, Index
from ..transitions._linking import places_in_time
from ..transitions._tables import column_names, is_frame, named
from ._data import EvaluationData, batches
from ._fitted_q import FittedQ

# What is smaller is no bias to speak of, however sure it is: where states say all, a
# smooth Q's misfit reached -0.12 and 0.14 (noise of five columns, CartPole), and what
# was hidden 0.25 and more.
_LEAST_STEP_SHARE, _LEAST_CORRELATION = 0.05, 0.15
# Of a true null, how often any of the columns may seem to matter. Every estimate asks.
_CHANCE = 0.001
# Pairs of rows that are looked at: more find what is smaller still.
_MOST_PAIRS = 20_000
# Below this share of its size, what is left of a column is rounding.
_ROUNDING = 1e-6


class HiddenStateWarning(UserWarning):
    """The states of a log do not hold all that matters, or Q cannot follow the values.

    Both show in the same way: what Q leaves of the Bellman equation in other episodes
    still follows from the step, or from the row before. Estimates are then further from
    the truth than their standard errors say, as a rule, however long the log is.

    Examples
    --------
    Where that is known:

    >>> import warnings
    >>> from sklearn_stackelberg.metrics import HiddenStateWarning
    >>> warnings.filterwarnings("ignore", category=HiddenStateWarning)
    """


class Carried(NamedTuple):
    """How the residual of a row goes with something of the row before it."""

    what: str
    correlation: float
    z: float  # in standard errors over episodes


class ResidualCheck(NamedTuple):
    """What the step and the row before tell of residuals; as `residual_check` has it.

    Parameters
    ----------
    step_share : float
        Of the residuals' variance what their mean at each step, in other episodes,
        explains; below 0 where it explains nothing.
    step_z : float
        How far that is from 0, in standard errors over episodes.
    carried : list of Carried
        By size of ``z``, the largest first.
    drift : Carried or None
        How residuals go with the place in the log, if what is done does, too.
    """

    step_share: float
    step_z: float
    carried: list[Carried]
    drift: Carried | None

    @property
    def steps_matter(self) -> bool:
        """Whether the step tells what the states do not."""
        sure = self.step_z > norm.isf(_CHANCE)
        return bool(sure and self.step_share > _LEAST_STEP_SHARE)

    @property
    def of_row_before(self) -> Carried | None:
        """What tells most of all that matters of the row before."""
        return _first_sure(self.carried)

    @property
    def warnings(self) -> list[HiddenStateWarning]:
        """What is to be said of it; nothing, where states hold all that matters."""
        out = []
        if self.steps_matter:
            out.append(
                f"The step explains {100.0 * self.step_share:.0f} % of what the fitted "
                "Q leaves of the Bellman equation: the states do not say all that "
                "matters (the time of day? the stage of a treatment?), and the value "
                "may be biased, however long the log is. Add the step, or what it "
                "stands for, to the states. [pitfalls: hidden-step]"
            )
        if (one := self.of_row_before) is not None:
            out.append(
                "What the fitted Q leaves of the Bellman equation goes with "
                f"{one.what} of the row before (correlation {one.correlation:+.2f}, "
                f"{abs(one.z):.1f} standard errors from 0). Either the states lack "
                "something that lasts, and the value may be biased, however long the "
                "log is: add what is known of it, or the history "
                "(preprocessing.HistoryStates). Or Q cannot follow the values: try a "
                "larger n_components. [pitfalls: hidden-past]"
            )
        if self.drift is not None:
            out.append(
                "What the fitted Q leaves of the Bellman equation goes with the place "
                f"in the log (correlation {self.drift.correlation:+.2f}, "
                f"{abs(self.drift.z):.1f} standard errors from 0), and so does what "
                "was done. If rows are in the order of time, outcomes and decisions "
                "both changed, and the value may be biased, however long the log is: "
                "add the date to the states. If they are sorted by outcomes, shuffle "
                "them. [pitfalls: drift]"
            )
        return [HiddenStateWarning(text) for text in out]


# Effective rows under which a value is warned of, or a twentieth of those of a short
# log, which is known to say little.
_FEWEST_EFFECTIVE = 10.0


def few_rows_notes(effective_rows: float, n_rows: int) -> tuple[UserWarning, ...]:
    """What an estimate by so many effective rows of so many is to warn of."""
    if effective_rows >= min(_FEWEST_EFFECTIVE, 0.05 * n_rows):
        return ()
    text = (
        f"The value rests on a handful of rows: an effective {effective_rows:.1f} of "
        f"{n_rows:,}. The policy leads to where the log "
        "has hardly any, and the standard error is too small. Evaluate a policy nearer "
        "to what was logged (a larger lam or support), or log more. "
        "[pitfalls: few-rows]"
    )
    return (UserWarning(text),)


def hidden_state_notes(fit: FittedQ) -> tuple[HiddenStateWarning, ...]:
    """What an estimate by this Q is to warn of."""
    found = residual_check(fit)
    return () if found is None else tuple(found.warnings)


def residual_check(fit: FittedQ) -> ResidualCheck | None:
    """Look for what is left in the residuals; None of a log of too few episodes."""
    data, residual = fit.data, fit.left_out_residual
    if data.n_pieces < 3 or not np.isfinite(residual).all():
        return None
    drift = _drift(fit, residual)
    if data.log.episode is None:
        return ResidualCheck(0.0, 0.0, [], drift)
    step, episode = data.log.step, data.episode
    if step is None:
        step = places_in_time(len(data), data.log.episode, None).place
    order = np.lexsort((step, episode))
    earlier, later = order[:-1], order[1:]
    follows = (episode[later] == episode[earlier]) & (step[later] == step[earlier] + 1)
    rows, before = later[follows], earlier[follows]
    some = fixed_sample(len(rows), _MOST_PAIRS)
    rows, before = rows[some], before[some]
    if not len(rows):
        return ResidualCheck(0.0, 0.0, [], drift)
    # Of one trajectory each step is there once, and says nothing of another.
    share, z = (0.0, 0.0) if data.has_blocks else _of_steps(data, residual, step)
    carried = _going_with(fit, residual, rows, *_columns(data, residual, before))
    return ResidualCheck(share, z, carried, drift)


def _first_sure(found: list[Carried]) -> Carried | None:
    """The first of several that is no chance and no trifle."""
    least = norm.isf(_CHANCE / 2.0 / max(1, len(found)))
    for one in found:
        if abs(one.z) > least and abs(one.correlation) > _LEAST_CORRELATION:
            return one
    return None


def _drift(fit: FittedQ, residual: Floats) -> Carried | None:
    """How residuals go with the place in the log of a row's piece."""
    data = fit.data
    rows = fixed_sample(len(data), _MOST_PAIRS)
    mean = np.bincount(data.pieces, data.rows) / np.bincount(data.pieces)
    place = rankdata(mean)[data.pieces[rows], None] / data.n_pieces - 0.5
    # Where what is done stays as it was, values are those of an average time, rightly.
    known = np.column_stack([np.ones(len(rows)), data.state[rows]])
    done = np.column_stack([place, data.take(rows).actions])
    root = np.sqrt(data.weight[rows, None])
    done -= known @ np.linalg.lstsq(root * known, root * done, rcond=None)[0]
    z = _ratio_of_sums(data, rows, data.weight[rows, None] * done[:, :1] * done[:, 1:])
    if not np.abs(z).max() > norm.isf(_CHANCE / 2.0 / len(z)):
        return None
    bent = np.column_stack([place, place**2])
    names = ["the place in the log", "its square"]
    return _first_sure(_going_with(fit, residual, rows, names, bent))


def _ratio_of_sums(data: EvaluationData, rows: Index | slice, values: Floats) -> Floats:
    """Sums over all rows, in standard errors over pieces; 0 where nothing varies."""
    of_piece = np.zeros((data.n_pieces, *values.shape[1:]))
    np.add.at(of_piece, data.pieces[rows], values)
    size = np.sqrt((of_piece**2).sum(axis=0))
    out: Floats = np.divide(
        of_piece.sum(axis=0), size, out=np.zeros_like(size), where=size > 0
    )
    return out


def _of_steps(
    data: EvaluationData, residual: Floats, step: Index
) -> tuple[float, float]:
    """What means at each step, of other episodes, explain of the variance; its z."""
    # Eq. (79) of docs/game.md.
    places = np.unique(step, return_inverse=True)[1]
    overall = _without_own(data.weight, residual, data.episode, whole=True)
    by_step = _without_own(data.weight, residual, places, whole=False)
    by_step = np.where(np.isnan(by_step), overall, by_step)
    left = data.weight * (residual - overall) ** 2
    gain = left - data.weight * (residual - by_step) ** 2
    if not left.sum() > 0.0:
        return 0.0, 0.0
    z = _ratio_of_sums(data, slice(None), gain)
    return float(gain.sum() / left.sum()), float(z)


def _without_own(weight: Floats, values: Floats, group: Index, whole: bool) -> Floats:
    """Mean of the rows outside each row's group, or else of the others in it, (n,)."""
    total = np.bincount(group, weight)[group]
    sums = np.bincount(group, weight * values)[group]
    rest, rest_sums = total - weight, sums - weight * values
    if whole:
        rest, rest_sums = weight.sum() - total, weight @ values - sums
    known = rest > _ROUNDING * weight
    return np.divide(rest_sums, rest, out=np.full(len(values), np.nan), where=known)


def _going_with(
    fit: FittedQ, residual: Floats, rows: Index, names: list[str], earlier: Floats
) -> list[Carried]:
    """Correlations of rows with columns (k, c), given their states and actions."""
    data, features = fit.data, fit.system.features
    weight = data.weight[rows] / data.weight[rows].sum()
    # In place, and without squares of all: of many columns it is a large table.
    least = _ROUNDING**2 * _mean_squares(weight, earlier)
    earlier -= weight @ earlier
    # Eq. (78) of docs/game.md, a generalised covariance measure: of the earlier column
    # only what the state and the action do not say, so that a bend of Q that the
    # features cannot follow is not taken for memory.
    gram = fit.system.ridge / data.total * np.eye(features.size)
    crossed = np.zeros((features.size, len(names)))
    for batch in batches(len(rows)):
        some = rows[batch]
        gram += features.crossed(some, weight[batch], features.logged(some))
        crossed += features.crossed(some, weight[batch], earlier[batch])
    coefficients = np.linalg.solve(gram, crossed)
    for batch in batches(len(rows)):
        earlier[batch] -= features.times(rows[batch], coefficients)
    left = _mean_squares(weight, earlier)
    # Also what the state and the action say to the last digit.
    earlier[:, left <= least] = 0.0
    own = weight * residual[rows]
    size = np.sqrt((weight @ residual[rows] ** 2) * left)
    with_own, none = own @ earlier, np.zeros(len(size))
    correlation = np.divide(with_own, size, out=none, where=size > 0)
    earlier *= own[:, None]
    z = _ratio_of_sums(data, rows, earlier)
    found = map(Carried, names, correlation.tolist(), z.tolist())
    return sorted(found, key=lambda one: -abs(one.z))


def _mean_squares(weight: Floats, columns: Floats) -> Floats:
    return np.einsum("i,ij,ij->j", weight, columns, columns)


def _columns(
    data: EvaluationData, residual: Floats, rows: Index
) -> tuple[list[str], Floats]:
    """What rows may hand on to the next ones, by name, (k, c)."""
    names = ["the residual", "the reward"]
    parts = [residual[rows], data.log.reward[rows], data.take(rows).actions]
    if data.is_continuous:
        names += [f"action column {j}" for j in range(data.actions.shape[1])]
    else:
        labels = np.asarray(getattr(data.policy, "classes_")).tolist()  # noqa: B009
        names += [f"action {label!r}" for label in labels]
    n_columns = data.log.n_features
    parts.append(data.state[rows][:, :n_columns])  # without the step of `by_steps`
    state = named(data.log.state)
    if is_frame(state):
        names += [f"the state's {name!r}" for name in column_names(state)]
    else:
        names += [f"state column {j}" for j in range(n_columns)]
    return names, np.column_stack(parts)
