"""A log as whole episodes, a row each: what weights along trajectories need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._log.checks import rows_text
from .estimate import clustered_error, effective_size
from .judged import JudgedLog
from .nodes import Floats

# Later rewards that no logged episode speaks of may have at most this share of the
# discounted horizon; they count as nothing.
_LARGEST_UNKNOWN_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class EpisodeRows:
    """Where the rows of a log stand in its episodes.

    Parameters
    ----------
    episode, step : int array of shape (n,)
        Codes from 0, and steps counted from the start of the episode.
    n_episodes, n_steps : int
    """

    episode: NDArray[np.intp]
    step: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int]:
        """(E, T)."""
        return int(self.episode.max()) + 1, int(self.step.max()) + 1

    @property
    def logged(self) -> NDArray[np.bool_]:
        """Where there is a row, (E, T)."""
        out = np.zeros(self.shape, dtype=bool)
        out[self.episode, self.step] = True
        return out

    def spread(self, values: NDArray[Any]) -> Floats:
        """Values of rows, (n,), as (E, T), 0 where an episode has ended."""
        out = np.zeros(self.shape)
        out[self.episode, self.step] = values
        return out

    def cumulate(self, ratio: NDArray[Any], clip: float | None = None) -> Floats:
        """ρ_et = Π_{u ≤ t} π/b, (E, T): an ended episode keeps its last one."""
        steps = np.ones(self.shape)
        steps[self.episode, self.step] = ratio
        with np.errstate(over="ignore"):
            product = np.cumprod(steps, axis=1)
        if clip is not None:
            return np.minimum(product, clip)
        if not np.isfinite(product).all():
            raise ValueError(
                "The importance weights overflow: the policy and the logger differ too "
                "much for episodes this long. Set clip, or use fitted_q_value."
            )
        return product


def whole_episodes(judged: JudgedLog) -> EpisodeRows:
    """Order the rows by episode and step, and refuse episodes that are not whole.

    Raises
    ------
    ValueError
        In a sentence that names the episodes, or rows.
    """
    log = judged.log
    if not judged.has_episodes:
        if not log.terminated.all():
            raise ValueError(
                "The log does not say which episode each row belongs to, so weights "
                "cannot follow a trajectory: pass episode= (and step=) to Transitions, "
                "or use fitted_q_value, which needs none."
            )
        return EpisodeRows(judged.episode, np.zeros(len(judged), dtype=np.intp))
    episode = judged.episode
    given = np.zeros(len(judged)) if log.step is None else log.step
    order = np.lexsort((given, episode))  # stable: without steps, as they stand
    ends = np.cumsum(np.bincount(episode))
    start = np.repeat(np.r_[0, ends[:-1]], np.diff(np.r_[0, ends]))
    step = np.empty(len(judged), dtype=np.intp)
    step[order] = np.arange(len(judged)) - start
    first = order[start[np.argsort(order)]]  # each row's first row
    if log.step is not None:
        _refuse(log, log.step - log.step[first] != step, "skip steps")
    if log.is_initial.any():
        _refuse(log, ~log.is_initial[first], "begin after their first step")
    last = np.zeros(len(judged), dtype=bool)
    last[order[ends - 1]] = True
    inside = log.terminated & ~last
    if inside.any():
        raise ValueError(
            f"{rows_text(inside)} terminated inside an episode; only an episode's last "
            "row may be terminated. Give what follows an episode name of its own."
        )
    return EpisodeRows(episode, step)


def _refuse(log: Any, bad: NDArray[np.bool_], what: str) -> None:
    if not bad.any():
        return
    names = list(dict.fromkeys(log.episode[bad].tolist()))
    shown = ", ".join(repr(name) for name in names[:5])
    more = f", ... ({len(names):,} in all)" if len(names) > 5 else ""
    raise ValueError(
        f"Episodes {shown}{more} {what}, so their weights are not those of a "
        "trajectory. Judge on whole episodes (EpisodeKFold keeps them), or use "
        "fitted_q_value, which needs none."
    )


@dataclass(frozen=True)
class WeightedSum:
    """Σ_t γ^t Σ_e w_et x_et and how far each episode moves it."""

    value: float
    influence: Floats
    effective_sample_size: float

    def standard_error(self, extra: Floats | float = 0.0) -> float:
        """By episode, with other contributions of the episodes added, (E,)."""
        total = self.influence + extra
        return clustered_error(total, np.arange(len(total)), len(total))


def weighted_sum(
    ratio: Floats, x: Floats, discount: float, *, weighted: bool
) -> WeightedSum:
    """Sum of what episodes got at each step, by their weights there.

    Σ_t γ^t Σ_e w_et x_et with w_et = ρ_et / E, or, weighted, ρ_et / Σ_e ρ_et.

    Parameters
    ----------
    ratio : array of shape (E, T)
        ρ, that of an ended episode being its last.
    x : array of shape (E, T)
        0 where an episode has ended.
    discount : float
    weighted : bool
        Whether weights sum to 1 at each step (over all episodes, ended ones too).

    Returns
    -------
    WeightedSum
        The influences are what leaving each episode out would change.
    """
    n_episodes, n_steps = ratio.shape
    power = discount ** np.arange(n_steps)
    if weighted:
        total, gain = ratio.sum(axis=0), ratio * x  # (T,), (E, T)
        mean = _quotient(gain.sum(axis=0), total)
        # Leaving each episode out: the delta method takes an episode that carries most
        # of a step's weight for one that explains its own mean.
        without = _quotient(gain.sum(axis=0) - gain, total - ratio)
        kept = total - ratio > 1e-12 * total  # alone, an episode cannot be left out
        influence = np.where(kept, mean - without, mean / n_episodes) @ power
        influence *= (n_episodes - 1) / n_episodes
    else:
        mean = (ratio * x).mean(axis=0)
        influence = (ratio * x - mean) @ power / n_episodes
    sizes = np.array([effective_size(ratio[:, t]) for t in range(n_steps)])
    return WeightedSum(
        float(mean @ power), influence, float(sizes @ power / power.sum())
    )


def _quotient(gain: Floats, total: Floats) -> Floats:
    """0 where no episode has a weight: `refuse_unknown` says when that matters."""
    return np.divide(gain, total, out=np.zeros(np.shape(gain)), where=total > 0)


def refuse_unknown(ratio: Floats, logged: NDArray[np.bool_], discount: float) -> None:
    """Refuse weights that are zero where there still are rows.

    Parameters
    ----------
    ratio : array of shape (E, T)
    logged : bool array of shape (E, T)
    discount : float
    """
    lost = logged.any(axis=0) & ~ratio.any(axis=0)
    if not lost.any():
        return
    power = discount ** np.arange(len(lost))
    share = power[lost].sum() / power.sum()
    if share <= _LARGEST_UNKNOWN_SHARE:
        return
    step = int(np.argmax(lost))
    since = "any step" if step == 0 else f"more than {step} step{'s' * (step != 1)}"
    raise ValueError(
        f"No logged episode is one that the policy could have taken for {since}: all "
        f"importance weights are zero from there on, which is {100 * share:.0f} % of "
        "the discounted horizon, and what follows is not known. Judge the policy's "
        "probabilities (greedy=False), or use fitted_q_value."
    )
