"""Episodes that splits and draws by rows have cut: noticed, and said once."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from .decisions import GAP
from .linking import encode

if TYPE_CHECKING:
    from .rows import LogRows

# Once per log, not once per fit: Python's own registry of warnings is reset in every
# worker of a search, and would not know one log from another.
TOLD: set[Hashable] = set()

_HARM = (
    "episode stands in training and in test, so that held-out scores come out too "
    "good, and standard errors count pieces of episodes as episodes."
)


def episode_rows(episode: np.ndarray | None) -> np.ndarray | None:
    """Return how many rows each row's episode has, (n,)."""
    if episode is None:
        return None
    codes = encode(episode)
    return np.bincount(codes)[codes].astype(np.int32)


def fingerprint(reward: np.ndarray) -> int:
    """Return a number by which a log's folds know the log they were drawn from."""
    return zlib.crc32(np.ascontiguousarray(reward))


def warn_of_cuts(log: LogRows, stacklevel: int) -> None:
    """Warn, once per log, of episodes with fewer or more rows than they were made of.

    An episode drawn twice as a whole is two episodes, see `EpisodeView`.
    """
    if log._episode_rows is None or log._source in TOLD:
        return
    cut = log._episode_rows != episode_rows(log.episode)
    if not cut.any():
        return
    n_cut = np.unique(log.episode[cut]).size
    warnings.warn(
        f"Cut episodes: of {np.unique(log.episode).size:,} episodes, {n_cut:,} "
        f"{'has' if n_cut == 1 else 'have'} fewer or more rows here than in the log "
        "that they were taken from. Splits and draws by rows do this (KFold, "
        "train_test_split, resample, log[rows]). "
        f"Then the same {_HARM} Split and draw by episodes: cv=EpisodeKFold(5), or "
        "log.episodes in place of log. (Said once for each log.)",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    TOLD.add(log._source)


def warn_of_gaps(left_out: dict[str, int], table: Hashable, stacklevel: int) -> None:
    """Warn, once per kind of decision table, of steps that are missing in it.

    A fold of a table does not know the table: what `table` says must be its columns'.
    """
    if GAP not in left_out or table in TOLD:
        return
    warnings.warn(
        f"Gaps in the steps: {left_out[GAP]:,} rows of y with an action are left out, "
        "because no row is at step + 1 although their episode goes on. Either "
        "decisions are missing in the table, or its rows were split or drawn one by "
        "one (KFold, train_test_split, resample), which cuts episodes. Then the same "
        f"{_HARM} Split by episodes: cv=EpisodeKFold(5). (Said once for tables with "
        "these columns.)",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    TOLD.add(table)
