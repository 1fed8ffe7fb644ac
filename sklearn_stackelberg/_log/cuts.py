"""Episodes that splits and draws by rows have cut: noticed, and warned of."""

from __future__ import annotations

import warnings

import numpy as np

from .decisions import GAP
from .linking import encode

_HARM = (
    "episode stands in training and in test, so that held-out scores come out too "
    "good, and standard errors count pieces of episodes as episodes."
)


class Origin:
    """The log that folds were taken from: one object, which all of them share.

    It remembers whether its cut episodes were reported, once for the log and not once
    for each fit of a search: scikit-learn resets Python's own registry of warnings in
    each fit.
    """

    cuts_reported = False

    def __reduce__(self) -> tuple[type[Origin], tuple[()]]:
        # Nothing to keep: a warning must not change the hash or the pickle of a log.
        return Origin, ()


def episode_rows(episode: np.ndarray | None) -> np.ndarray | None:
    """Return how many rows each row's episode has, (n,)."""
    if episode is None:
        return None
    codes = encode(episode)
    return np.bincount(codes)[codes].astype(np.int32)


def warn_of_cuts(
    episode: np.ndarray | None,
    whole: np.ndarray | None,
    origin: Origin,
    stacklevel: int,
) -> None:
    """Warn, once for each log, of episodes with fewer or more rows than in the log.

    An episode drawn twice as a whole is two episodes, see `EpisodeView`.

    Parameters
    ----------
    episode : array of shape (n,) or None
    whole : int array of shape (n,) or None
        How many rows the log has of each row's episode.
    origin : Origin
    stacklevel : int
    """
    if whole is None or origin.cuts_reported:
        return
    cut = whole != episode_rows(episode)
    if not cut.any():
        return
    n_cut = np.unique(episode[cut]).size
    warnings.warn(
        f"Cut episodes: of {np.unique(episode).size:,} episodes, {n_cut:,} "
        f"{'has' if n_cut == 1 else 'have'} fewer or more rows here than in the log "
        "that they were taken from. Splits and draws by rows do this (KFold, "
        "train_test_split, resample, log[rows]). "
        f"Then the same {_HARM} Split and draw by episodes: cv=EpisodeKFold(5), or "
        "log.episodes in place of log. (Reported once for each log.)",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    origin.cuts_reported = True


def warn_of_gaps(left_out: dict[str, int], stacklevel: int) -> None:
    """Warn of steps that are missing in a decision table.

    At each reading: folds of a table do not know the table. The text has no numbers, so
    that it is the same for all of them, and ``simplefilter("once")`` shows it once.
    """
    if GAP not in left_out:
        return
    warnings.warn(
        "Gaps in the steps: rows of y with an action are left out, because no row is "
        "at step + 1 although their episode goes on (as_transitions(X, y).left_out "
        "counts them). Either decisions are missing in the table, or its rows were "
        "split or drawn one by one (KFold, train_test_split, resample), which cuts "
        f"episodes. Then the same {_HARM} Split by episodes: cv=EpisodeKFold(5).",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
