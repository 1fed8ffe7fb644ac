"""A fingerprint of the rows that a policy was learned from, and a warning of them."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._stored_rows import StoredRows, row_batches
from .._typing import Floats
from ..transitions._linking import count_steps, places_in_time
from ..transitions._tables import Log
from ..transitions._weights import Hashes, hashed_with

# Fewer rows of a log move its estimate by less than its standard error.
_LEAST_SHARE = 0.1

# Hashes that are kept of each kind: enough for a share to 2 %, and 32 kB of a pickle.
_KEPT = 2_000

# Rows in a run that are tried until nearly all runs are found once.
_LONGEST_RUN = 32
_UNIQUE = 0.95

# Where more than this share of another log's rows would be the same by chance, those
# that are the same say nothing.
_MOST_BY_CHANCE = 0.5

# Bits of a number that are hashed: a transformer that is fitted and applied at once
# rounds otherwise than one that was fitted before, and single precision has 24.
_BITS = 17


class TrainingRowsWarning(UserWarning):
    """A policy is evaluated on rows that it was learned from.

    Rows are known by their state, action and reward, with those before them where many
    are equal, and by their episode and step. Of few states without either, rows drawn
    one by one are not known again.

    Examples
    --------
    Where that is intended:

    >>> import warnings
    >>> from sklearn_stackelberg.metrics import TrainingRowsWarning
    >>> warnings.filterwarnings("ignore", category=TrainingRowsWarning)
    """


@dataclass(frozen=True, eq=False)
class Known:
    """Hashes of a log's rows or runs, and how many of another log's would match."""

    hashes: Hashes  # sorted: those below the limit
    limit: np.uint64
    by_chance: float

    def joined(self, other: Known) -> Known:
        hashes = np.union1d(self.hashes, other.hashes)
        limit = min(self.limit, other.limit)
        if len(hashes) > _KEPT:
            limit = min(limit, hashes[_KEPT - 1])
        chance = max(self.by_chance, other.by_chance)
        return Known(hashes[hashes <= limit], limit, chance)

    @classmethod
    def of(cls, hashes: Hashes, by_chance: float) -> Known:
        # By the hash itself, so that of both logs the same rows are kept.
        share = min(1.0, _KEPT / len(hashes))
        limit = np.uint64(min(share * 2.0**64, 2.0**64 - 2.0**11))
        return cls(np.unique(hashes[hashes <= limit]), limit, by_chance)

    def share(self, hashes: Hashes) -> float:
        """Share of rows that are known, beyond those that are so by chance."""
        mine = hashes[hashes <= self.limit]
        if not len(mine) or self.by_chance > _MOST_BY_CHANCE:
            return 0.0
        place = np.searchsorted(self.hashes, mine).clip(max=len(self.hashes) - 1)
        n_found = int((self.hashes[place] == mine).sum())
        chance, n = self.by_chance, len(mine)
        # Three standard errors of a binomial count, and of one of at least one row.
        if n_found < chance * n + 3.0 * np.sqrt(max(1.0, chance * n)):
            return 0.0
        return float((n_found / n - chance) / (1.0 - chance))


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """What is kept of a training log, to see which rows of another are the same.

    Rows that are equal need not be the same ones: of few states and actions many are
    equal by chance. So rows are known by the rows before them, as many as it takes for
    nearly all such runs to be found once, which says by Good and Turing how many runs
    of another log would be seen again by chance; and by their episode and step, where
    there are any, and how often other episodes have an equal row at that step.
    """

    run: int
    by_run: Known
    by_label: Known | None

    @classmethod
    def of(cls, log: Log, before: TrainingRows | None = None) -> TrainingRows:
        """Of a log, and of earlier parts of it."""
        run = before.run if before else None
        content = _content(log)
        length, runs, once = 1, _in_time(log, content), 0.0
        while True:
            _, counts = np.unique(runs, return_counts=True)
            # Good and Turing: a new one is unseen as often as others were seen once.
            once = float((counts == 1).sum() / len(runs))
            if length == run or (run is None and once >= _UNIQUE):
                break
            if length >= min(_LONGEST_RUN, len(runs)):
                break
            runs, length = _doubled(runs, length), 2 * length
        by_label = None
        if log.episode is not None:
            by_label = Known.of(_labelled(log, content), _equal_at_step(log, content))
        by_run = Known.of(runs, 1.0 - once)
        if before is not None:
            by_run = by_run.joined(before.by_run)
            labels = before.by_label
            by_label = by_label.joined(labels) if by_label and labels else None
        return cls(length, by_run, by_label)

    def share_of(self, log: Log) -> float:
        """Share of a log's rows that are among these, in [0, 1]."""
        content = _content(log)
        runs, length = _in_time(log, content), 1
        while length < self.run:
            runs, length = _doubled(runs, length), 2 * length
        found = self.by_run.share(runs)
        if self.by_label is not None and log.episode is not None:
            found = max(found, self.by_label.share(_labelled(log, content)))
        return found


def warn_of_training_rows(policy: object, log: Log) -> None:
    """Warn where a tenth of a log's rows are among those of the policy's `fit`.

    ``policy`` is the last step of a pipeline, and the log as that step sees it.
    """
    rows = getattr(policy, "_training_rows", None)
    # Of another kind of policy nothing is known.
    if not isinstance(rows, TrainingRows):
        return
    share = rows.share_of(log)
    if share < _LEAST_SHARE:
        return
    warnings.warn(
        f"The policy was learned from {100 * share:.0f} % of the rows that it is "
        "evaluated on, so the estimate is too good: it counts noise that the policy "
        "was fitted to, and its standard error does not say so. Evaluate on held-out "
        "episodes: train, test = next(EpisodeKFold(5).split(log)), or "
        "cross_val_score(policy, log, cv=EpisodeKFold(5)); of one long episode, by "
        "BlockKFold. [pitfalls: training-rows]",
        TrainingRowsWarning,
        stacklevel=4,
    )


def _doubled(runs: Hashes, length: int) -> Hashes:
    """Hashes of runs of twice as many rows, shorter ones at the start."""
    out = runs.copy()
    out[length:] = hashed_with(runs[length:], runs[:-length])
    return out


def _bits(values: NDArray[Any]) -> Hashes:
    """Numbers (n,) by the leading bits of their mantissa, names by a checksum."""
    if values.dtype.kind not in "biuf":
        names, where = np.unique(values.astype(str), return_inverse=True)
        sums = [zlib.crc32(name.encode()) for name in names.tolist()]
        return np.array(sums, dtype=np.uint64)[where.ravel()]
    mantissa, exponent = np.frexp(values.astype(np.float64))
    rounded: Floats = np.ldexp(np.round(np.ldexp(mantissa, _BITS)), exponent - _BITS)
    # Zero has one sign.
    return (rounded + 0.0).view(np.uint64)


def _content(log: Log) -> Hashes:
    """State, action and reward of each row, (n,)."""
    hashes = _bits(log.reward)
    for column in log.action.reshape(len(log), -1).T:
        hashes = hashed_with(hashes, _bits(column))
    # A DataFrame is an array first, whose rows are a slice away.
    state = log.state if isinstance(log.state, StoredRows) else np.asarray(log.state)
    for some in row_batches(state):
        for column in np.asarray(state[some], dtype=np.float64).T:
            hashes[some] = hashed_with(hashes[some], _bits(column))
    return hashes


def _in_time(log: Log, content: Hashes) -> Hashes:
    """In the order of episodes and steps, whatever that of the rows."""
    places = places_in_time(len(log), log.episode, log.step)
    return content[np.lexsort((places.place, places.episode))]


def _steps(log: Log) -> NDArray[np.int64]:
    assert log.episode is not None
    return count_steps(log.episode) if log.step is None else log.step


def _labelled(log: Log, content: Hashes) -> Hashes:
    assert log.episode is not None
    return hashed_with(hashed_with(content, _bits(log.episode)), _bits(_steps(log)))


def _equal_at_step(log: Log, content: Hashes) -> float:
    """How often a row is equal to one of another episode at the same step."""
    step = _steps(log)
    _, where, n_equal = np.unique(
        hashed_with(content, _bits(step)), return_inverse=True, return_counts=True
    )
    _, at, n_there = np.unique(step, return_inverse=True, return_counts=True)
    others = n_there[at.ravel()] - 1
    equal = n_equal[where.ravel()] - 1
    # A step that one episode alone has cannot be compared, and counts for none.
    return float(equal[others > 0].sum() / max(1, others[others > 0].sum()))
