"""Ratios of probabilities along whole episodes, and the sums that they weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state

from .._typing import Floats, Index, RandomStateLike
from .._validation import check_rules, integer
from ..transitions._checks import rows_text
from ..transitions._tables import Log, is_frame, named
from ._data import EvaluationData
from ._estimate import clustered_error, effective_size
from ._features import FeatureMap
from ._settings import QSettings, fit_features
from ._tabulate import like

# Estimated probabilities are raised to this: one row shall not stand for a thousand.
SMALLEST_PROPENSITY = 1e-3

# Of the regressions that estimate b; taken is what makes the actions of held-out
# episodes likeliest. With 10 alone ratios of 400 rows were 1.3 on average.
_SHRINKAGE = (0.1, 1.0, 10.0)


def episode_folds(
    data: EvaluationData, n_folds: int, random_state: RandomStateLike
) -> Index:
    """The fold of each row, (n,): whole pieces, drawn at random."""
    check_rules({"n_folds": n_folds}, {"n_folds": integer(2)})
    if data.n_distinct_pieces < n_folds:
        raise ValueError(
            f"n_folds={n_folds} cannot be made of {data.counted}: each needs one at "
            "least. Set n_folds lower, or log more episodes."
        )
    # Whole pieces, because rows of one know of each other, as those of a copy do.
    drawn = check_random_state(random_state).permutation(data.n_distinct_pieces)
    return (drawn % n_folds)[data.distinct_pieces]


def propensities(
    data: EvaluationData, model: object, n_folds: int, random_state: RandomStateLike
) -> tuple[Floats, str]:
    """b(a | s) of the logged actions, (n,), and where they come from."""
    if model is None and data.log.propensity is not None:
        return np.asarray(data.log.propensity, dtype=float), "logged propensities"
    states, models = data.log.state, [model]
    if model is None:
        features: FeatureMap = fit_features(data, QSettings(random_state=random_state))
        states = features.transform(data.state)
        # Features are of unit length; a probability needs three digits.
        models = [LogisticRegression(C=c, tol=1e-3, max_iter=1000) for c in _SHRINKAGE]
    elif is_frame(named(states)):
        states = like(states, np.asarray(data.state))
    fold = episode_folds(data, n_folds, random_state)
    out = np.empty((len(models), len(data)))
    for number in range(n_folds):
        held = np.flatnonzero(fold == number)
        rest = np.flatnonzero(fold != number)
        for found, one in zip(out, models, strict=True):
            found[held] = _estimated(one, states, data, rest, held)
    by = f"propensities estimated by {type(models[0]).__name__} in {n_folds} folds"
    # Logged propensities are taken as they are: they are known.
    out = np.maximum(out, SMALLEST_PROPENSITY)
    return out[np.argmax(np.log(out) @ data.weight)], by


def refuse_densities(data: EvaluationData) -> None:
    """Refuse to weigh continuous actions by their probabilities, which are zero."""
    if data.is_continuous:
        raise ValueError(
            "Importance sampling needs the probability of each logged action, and "
            "continuous actions have densities. Use doubly_robust_value with "
            "ratios='density' (DoublyRobustScorer), or fitted_q_value (FittedQScorer)."
        )


# states: an array, or a DataFrame with names for the model.
def _estimated(
    model: object, states: Any, data: EvaluationData, rest: Index, held: Index
) -> Floats:
    """Probabilities of the actions of the rows held out, by the rest."""
    log, action = data.log, data.log.action
    given: dict[str, Floats] = {}
    take = getattr(states, "iloc", states).__getitem__
    # Classifiers refuse a single class; the logger took it with certainty.
    if len(np.unique(action[rest])) < 2:
        return (action[held] == action[rest][0]).astype(float)
    # Not every model takes weights: those of once are not passed.
    if data.has_weights:
        given["sample_weight"] = data.row_weight[rest]
    fitted = clone(model).fit(take(rest), action[rest], **given)
    probabilities = np.asarray(fitted.predict_proba(take(held)), dtype=float)
    # A class that the other folds lack has probability 0 there, and is raised later.
    match = action[held, None] == np.asarray(fitted.classes_)[None, :]
    taken = (probabilities * match).sum(axis=1)
    if log.available is None or log.available_actions is None:
        return taken
    # Of what could be taken: a model of states does not know it.
    columns = np.searchsorted(log.available_actions, fitted.classes_)
    possible = (probabilities * log.available[held][:, columns]).sum(axis=1)
    return taken / np.where(possible > 0, possible, 1.0)


# Later rewards that no weighted episode holds may have at most this share of the
# discounted horizon; they count as nothing.
_LARGEST_UNKNOWN_SHARE = 0.05


# Effective sample size under which, with weights that are uneven, self-normalised
# intervals of 95 % held the truth in less than 90 % of simulated logs; of even weights
# the size is that of the log, and Student's t knows it.
_FEWEST_EFFECTIVE, _EVEN = 20, 0.5

# The mean of π/b over logged rows is 1 whatever the policy, if b is right: this share
# off it and as many standard errors, it is not. Of a coin it is 1 by any b near a coin,
# so that each action is looked at, too, with this chance of a false alarm, in parts of
# the log that are no less: of few rows a mean is not near normal.
_MEAN_MARGIN, _MEAN_ERRORS, _CHANCE, _LEAST_PART = 0.1, 3.0, 0.001, 0.25


def weight_notes(
    data: EvaluationData, logger: Floats, effective_episodes: float, psi: Floats
) -> tuple[str, ...]:
    """What to warn of: few effective episodes, and weights that do not average to 1."""
    notes = []
    # Weights may be even where rewards are rare, and few episodes have both. Where none
    # contributes, as of equal rewards, nothing is amiss.
    contribute = effective_size(np.abs(psi)) or np.inf
    effective, by = min(
        (effective_episodes, "by their weights"),
        (contribute, "by what each contributes to the value"),
    )
    if effective < min(_FEWEST_EFFECTIVE, _EVEN * data.n_episodes):
        notes.append(
            f"The importance weights leave an effective sample size of "
            f"{effective:.1f} episodes of {data.n_episodes:,}, {by}; under "
            f"{_FEWEST_EFFECTIVE} the standard error and the interval are too small. "
            "Evaluate a policy nearer to the logged one, or use doubly_robust_value "
            "with ratios='density'. [pitfalls: few-weights]"
        )
    ratio = data.logged_probability / logger
    mean = float(data.weight @ ratio)
    influence = data.weight * (ratio - mean)
    error = clustered_error(influence, data.episode, data.n_episodes)
    off = abs(mean - 1.0)
    what = "π(a | s) / b(a | s)"
    # Of one episode there is no error, and nothing can be said.
    if not (off > _MEAN_MARGIN and off > _MEAN_ERRORS * error):
        what, mean, error = _too_often(data, logger)
    if what:
        notes.append(
            f"The importance weights of one step, {what}, average "
            f"{mean:.3g} ± {error:.2g} where 1 was expected: the propensities b are "
            "not those by which the actions were logged, or the policy takes actions "
            "that the log never holds in such states. Check the propensities, leave "
            "them out to have them estimated, or pass another propensity_model. "
            "[pitfalls: weights-off]"
        )
    return tuple(notes)


def _too_often(data: EvaluationData, logger: Floats) -> tuple[str, float, float]:
    """An action that is logged more often than its b says, its mean 1[a]/b and error.

    Of all rows, or of those with a column above, or not above, its median. "" if none.
    """
    states, weight, k = np.asarray(data.state), data.weight, data.n_actions
    above = [np.zeros(len(data), dtype=bool), *(states > np.median(states, axis=0)).T]
    # Where b is right, 1[a]/b − 1 is unforeseeable, in an episode as between them; the
    # mean is less than 1 where a is not always possible.
    most = norm.isf(_CHANCE / (2 * k * len(above)))
    for number, side in enumerate(above):
        mass, square = (np.bincount(side, w, 2) for w in (weight, weight**2))
        place = 2 * data.codes + side
        first, cross, second = (
            np.bincount(place, w, 2 * k).reshape(k, 2)
            for w in (weight / logger, weight**2 / logger, (weight / logger) ** 2)
        )
        mean = first / np.maximum(mass, _LEAST_PART)  # (A, 2)
        error = np.sqrt(second - 2 * mean * cross + mean**2 * square)
        off = (mean - 1.0) * (mass >= _LEAST_PART)
        for code, half in np.argwhere(
            (off > _MEAN_MARGIN) & (off * mass > most * error)
        ):
            name = np.asarray(cast(Any, data.policy).classes_)[code : code + 1].tolist()
            where = f" where column {number - 1} is {('low', 'high')[half]}"
            what = f"1 / b(a | s) of action {name[0]!r}" + where * (number > 0)
            return what, float(mean[code, half]), float((error / mass)[code, half])
    return "", 1.0, 0.0


def cut_notes(
    data: EvaluationData, rows: EpisodeRows, discount: float
) -> tuple[str, ...]:
    """What to warn of: rewards after cut ends, which are counted as nothing."""
    cut = rows.cut_ends(data)
    after = discount ** rows.elapsed[cut] * data.carried(discount)[cut]
    # γ^T of an episode that never ends is the share of its horizon that is not logged.
    share = float(data.weight[cut] @ after / data.weight[rows.step == 0].sum())
    # Of the logger, which has one action, it is said beside the policy's value.
    if share <= _LARGEST_UNKNOWN_SHARE or data.n_actions == 1:
        return ()
    return (
        f"{len(cut):,} of {data.n_episodes:,} episodes are cut, not terminated, and "
        f"{100 * share:.0f} % of the discounted horizon comes after their last rows: "
        "importance sampling counts nothing there, so that this is the value of the "
        "logged steps alone. Use doubly_robust_value or fitted_q_value, or mark rows "
        "that end an episode for good as terminated. [pitfalls: cut-ends]",
    )


@dataclass(frozen=True, eq=False)
class EpisodeRows:
    """Where the rows of a log stand in its episodes."""

    episode: Index  # (n,), codes from 0
    step: Index  # (n,), counted from the start of the episode
    elapsed: Floats  # (n,), time since then

    def spread(self, values: Floats, ended: float = 0.0) -> Floats:
        """Values of rows, (n,), as (E, T), with another where an episode has ended."""
        out = np.full((self.episode.max() + 1, self.step.max() + 1), ended)
        out[self.episode, self.step] = values
        return out

    def weights(self, data: EvaluationData) -> Floats:
        """Of the rows, (E, T): an episode that has ended keeps its last one.

        Weights that change within episodes, as those of censoring do, stand for
        episodes that were lost: of these, one that is cut has none from there on.
        """
        weight = self.spread(data.row_weight, np.nan)
        size = np.bincount(self.episode)
        last = np.arange(len(size)), size - 1
        first = np.repeat(weight[:, :1], weight.shape[1], axis=1)
        kept = weight[last]
        if np.nanmax(np.abs(weight - first)) > 1e-9 * np.nanmax(weight):
            ended = self.spread(data.log.terminated.astype(float))[last]
            kept = kept * ended
        return np.where(np.isnan(weight), kept[:, None], weight)

    def powers(self, discount: float) -> Floats:
        """γ^τ of the time τ before each row, (E, T), 0 where an episode has ended."""
        return self.spread(np.power(discount, self.elapsed))

    def cut_ends(self, data: EvaluationData) -> Index:
        """Last rows of episodes that do not end there."""
        last = np.bincount(self.episode) - 1
        return np.flatnonzero((self.step == last[self.episode]) & ~data.log.terminated)

    def return_range(self, reward: Floats, power: Floats) -> tuple[float, float]:
        """Where returns of as many steps must lie if rewards are no others."""
        totals = power.sum(axis=1)
        low, high = float(reward.min()), float(reward.max())
        spans = float(totals.min()), float(totals.max())
        return min(low * n for n in spans), max(high * n for n in spans)

    def cumulate(self, ratio: Floats, clip: float | None, power: Floats) -> Floats:
        """ρ_et = Π_{u ≤ t} π/b, (E, T): an ended episode keeps its last one."""
        # 1 after the end: an ended episode keeps its weight among the others'.
        steps = self.spread(ratio, 1.0)
        # An overflow is no matter where it is clipped, and is refused where it is not.
        with np.errstate(over="ignore"):
            product = np.cumprod(steps, axis=1)
        if clip is not None:
            product = np.minimum(product, clip)
        elif not np.isfinite(product).all():
            raise ValueError(
                "The importance weights overflow: the policy and the logger differ too "
                "much for episodes this long. Set clip, or use fitted_q_value."
            )
        _refuse_unknown(product, power)
        return product


def whole_episodes(data: EvaluationData) -> EpisodeRows:
    """Order the rows by episode and step, and refuse episodes that are not whole."""
    log = data.log
    if not data.has_episodes:
        # Rows that all end there are one-step episodes (a bandit).
        if not log.terminated.all():
            raise ValueError(
                "The log does not say which episode each row belongs to: pass episode= "
                "(and step=) to Transitions, or use fitted_q_value, which needs none."
            )
        zeros = np.zeros(len(data))
        return EpisodeRows(data.episode, zeros.astype(np.intp), zeros)
    episode = data.episode
    given = np.zeros(len(data)) if log.step is None else log.step
    order = np.lexsort((given, episode))  # stable: without steps, as they stand
    ends = np.cumsum(np.bincount(episode))
    start = np.repeat(np.r_[0, ends[:-1]], np.diff(np.r_[0, ends]))
    step = np.empty(len(data), dtype=np.intp)
    step[order] = np.arange(len(data)) - start
    first = order[start[np.argsort(order)]]  # each row's first row
    if log.step is not None:
        _refuse(data, log.step - log.step[first] != step, "skip steps")
    if log.is_initial.any():
        _refuse(data, ~log.is_initial[first], "begin after their first step")
    last = np.zeros(len(data), dtype=bool)
    last[order[ends - 1]] = True
    inside = log.terminated & ~last
    if inside.any():
        raise ValueError(
            f"{rows_text(inside)} terminated inside an episode; only an episode's last "
            "row may be terminated. Give what follows an episode name of its own."
        )
    return EpisodeRows(episode, step, _elapsed(log, order, first, step))


def _elapsed(log: Log, order: Index, first: Index, step: Index) -> Floats:
    """Time since each row's ``first`` row, (n,); ``order`` is by episode and step."""
    if log.duration is None:
        return step.astype(float)
    # Summed through all episodes at once, less what had passed before each.
    passed = np.empty(len(order))
    passed[order] = np.cumsum(log.duration[order]) - log.duration[order]
    return passed - passed[first]


def _refuse(data: EvaluationData, bad: NDArray[np.bool_], what: str) -> None:
    if data.log.episode is None or not bad.any():
        return
    names = list(dict.fromkeys(data.log.episode[bad].tolist()))
    shown = ", ".join(repr(name) for name in names[:5])
    more = f", ... ({len(names):,} in all)" if len(names) > 5 else ""
    raise ValueError(
        f"Episodes {shown}{more} {what}, so their weights are not those of a "
        "trajectory. Evaluate on whole episodes (EpisodeKFold keeps them), or use "
        "fitted_q_value, which needs none."
    )


class WeightedSum(NamedTuple):
    """Σ_t γ^t Σ_e w_et x_et and how far each episode moves it."""

    value: float
    influence: Floats  # (E,)
    effective_sample_size: float


def weighted_sum(
    ratio: Floats, x: Floats, weight: Floats, power: Floats, *, weighted: bool
) -> WeightedSum:
    """Σ_t Σ_e w_et γ^τ_et x_et with w = p ρ / Σ_e p, or, weighted, w = p ρ / Σ_e p ρ.

    ``ratio`` is ρ, (E, T), that of an ended episode being its last, and ``x`` then 0;
    ``weight`` is p, how often the rows count, and ``power`` γ^τ, τ being the time
    before the row. The influences are what leaving each episode out would change.
    """
    # Weighted and per decision, this is the CWPDIS of Thomas (2015).
    n_episodes, n_steps = ratio.shape
    x = power * x
    if weighted:
        ratio = weight * ratio
        total, gain = ratio.sum(axis=0), ratio * x  # (T,), (E, T)
        mean = _quotient(gain.sum(axis=0), total)
        # Leaving each episode out: the delta method takes an episode that carries most
        # of a step's weight for one that explains its own mean.
        without = _quotient(gain.sum(axis=0) - gain, total - ratio)
        kept = total - ratio > 1e-12 * total  # alone, an episode cannot be left out
        influence = np.where(kept, mean - without, mean / n_episodes).sum(axis=1)
        influence *= (n_episodes - 1) / n_episodes
    else:
        # A mean: leaving one out moves it by its distance from it.
        mean = _quotient((weight * ratio * x).sum(axis=0), weight.sum(axis=0))
        share = _quotient(weight, np.broadcast_to(weight.sum(axis=0), weight.shape))
        influence = (share * (ratio * x - mean)).sum(axis=1)
        ratio = weight * ratio
    # One size a step, averaged as the steps have a say: where rewards come late, many
    # even weights before them help nothing.
    sizes = np.array([effective_size(ratio[:, t]) for t in range(n_steps)])
    say = x.std(axis=0)
    say = say if say.any() else power.mean(axis=0)
    return WeightedSum(float(mean.sum()), influence, float(sizes @ say / say.sum()))


def _quotient(gain: Floats, total: Floats) -> Floats:
    """0 where no episode has a weight: `refuse_unknown` says when that matters."""
    return np.divide(gain, total, out=np.zeros(np.shape(gain)), where=total > 0)


def _refuse_unknown(ratio: Floats, power: Floats) -> None:
    """Refuse weights, (E, T), that are all zero at steps where there still are rows."""
    # Each of the T steps has a row: that of the longest episode.
    lost: NDArray[np.bool_] = ~np.any(ratio, axis=0)
    horizon = power.max(axis=0)
    share = horizon[lost].sum() / horizon.sum()
    if share <= _LARGEST_UNKNOWN_SHARE:
        return
    step = int(np.argmax(lost))
    since = "any step" if step == 0 else f"more than {step} step{'s' * (step != 1)}"
    raise ValueError(
        f"No logged episode is one that the policy could have taken for {since}: all "
        f"importance weights are zero from there on, which is {100 * share:.0f} % of "
        "the discounted horizon, and what follows is not known. Evaluate the policy's "
        "probabilities (greedy=False), or use fitted_q_value."
    )
