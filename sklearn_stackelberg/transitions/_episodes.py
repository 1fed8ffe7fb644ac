"""A log seen by its episodes, and a log in a few lines of text."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ._decision_table import GAP
from ._linking import encode


def as_rows(key: Any, n: int) -> slice | np.ndarray:
    """Turn what may stand in brackets into a slice or an array of row numbers."""
    if isinstance(key, tuple):
        # scikit-learn indexes the rows of whatever has a shape as X[rows, ...].
        every = [
            k is Ellipsis or (isinstance(k, slice) and k == slice(None))
            for k in key[1:]
        ]
        if not key or not all(every):
            raise IndexError(
                "A log can be indexed by rows only, as log[rows]; choose columns with "
                "OnStates(ColumnTransformer(...)) or in from_frame(state=[...])."
            )
        key = key[0]
    if key is Ellipsis:
        return slice(None)
    if isinstance(key, slice):
        return key
    if isinstance(key, numbers.Integral) and not isinstance(key, bool):
        return np.array([key], dtype=np.intp)
    rows = np.asarray(key)
    if rows.ndim == 1 and rows.dtype.kind == "b":
        if rows.size != n:
            raise IndexError(
                f"The mask has {rows.size} entries, and there are {n} to choose from."
            )
        return np.flatnonzero(rows)
    if rows.ndim == 1 and not rows.size:
        return np.empty(0, dtype=np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise IndexError(
            f"Rows are chosen by an integer, a slice, a mask or a 1-D array of "
            f"integers; got {key!r:.80}. The fields are attributes, such as log.reward."
        )
    return rows


class EpisodeView:
    """The episodes of a log, as a sequence from which scikit-learn can draw.

    Halving searches, learning curves and bootstraps draw from ``len(X)`` things; over
    this view they draw whole episodes. Obtained as ``transitions.episodes``.

    Attributes
    ----------
    transitions : Transitions
        The log itself.
    labels : ndarray of shape (n_episodes,)
        The episodes' names, in the order in which they first appear.
    codes : ndarray of shape (n,)
        The position in `labels` of each row's episode.
    lengths : ndarray of shape (n_episodes,)
        Logged transitions of each episode.
    """

    def __init__(self, transitions: Any) -> None:
        if transitions.episode is None:
            raise ValueError(
                "This log does not say which episode each row belongs to, so its "
                "episodes cannot be told apart: pass episode= to Transitions."
            )
        self.transitions = transitions
        self.codes = encode(transitions.episode)
        self.lengths = np.bincount(self.codes)
        self._order = np.argsort(self.codes, kind="stable")
        self._starts = np.cumsum(self.lengths) - self.lengths
        self.labels = transitions.episode[self._order[self._starts]]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_episodes, d)."""
        return len(self), self.transitions.n_features

    def __len__(self) -> int:
        return self.lengths.size

    def __getitem__(self, key: Any) -> Any:
        """Return the transitions of the chosen episodes, in the order chosen.

        Where an episode is chosen twice, all chosen ones are renumbered 0, 1, ..., so
        that (episode, step) still names one row; otherwise they keep their names.
        """
        chosen = np.arange(len(self))[as_rows(key, len(self))]
        lengths = self.lengths[chosen]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if ends.size else 0
        shift = np.repeat(self._starts[chosen] - (ends - lengths), lengths)
        drawn = self.transitions[self._order[shift + np.arange(total)]]
        if np.unique(chosen).size < chosen.size:
            drawn.episode = np.repeat(np.arange(chosen.size), lengths)
        return drawn

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self.transitions.__array__()

    def __repr__(self) -> str:
        return f"<{len(self):,} episodes of {self.transitions!r}>"


@dataclass(frozen=True, repr=False)
class LogSummary:
    """What a log holds; `str` gives it as text. Obtained from `describe()`.

    `None` stands for what cannot be known, where the log has no episodes. Actions of
    several numbers are not counted: `action_ranges` has each one's smallest, mean and
    largest.
    """

    n_transitions: int
    state_columns: list
    action_counts: dict
    reward_range: tuple[float, float, float]  # smallest, mean, largest
    n_terminated: int
    n_initial: int
    n_episodes: int | None = None
    episode_lengths: tuple[int, float, int] | None = None  # shortest, median, longest
    n_truncated: int | None = None
    n_terminated_inside: int | None = None
    n_left_out: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    n_without_action: int = 0
    action_ranges: dict[str, tuple[float, float, float]] | None = None

    def __str__(self) -> str:
        columns = _some([str(column) for column in self.state_columns])
        ranked = sorted(self.action_counts.items(), key=lambda pair: -pair[1])
        actions = [f"{action!r}: {n:,}" for action, n in ranked]
        if self.action_ranges is not None:
            ranges = self.action_ranges.items()
            actions = [f"{name}: {_range_text(*span)}" for name, span in ranges]
        lines = [
            ("transitions", f"{self.n_transitions:,}"),
            ("state columns", f"{len(self.state_columns)} ({columns})"),
            ("actions", _some(actions)),
            ("reward", _range_text(*self.reward_range)),
            ("initial rows", f"{self.n_initial:,}"),
        ]
        if self.n_episodes is None:
            lines.append(("episodes", "not given"))
            lines.append(("ends", f"{self.n_terminated:,} terminated"))
        else:
            short, median, long = self.episode_lengths
            lengths = f"{short:,} to {long:,} steps, median {median:g}"
            ends = f"{self.n_terminated:,} terminated, {self.n_truncated:,} truncated"
            if self.n_terminated_inside:
                ends += (
                    f"; {self.n_terminated_inside:,} terminated rows are not the last "
                    "of their episode"
                )
            lines.append(("episodes", f"{self.n_episodes:,} of {lengths}"))
            lines.append(("ends", ends))
        reasons = "".join(f"\n    {n:,} {why}" for why, n in self.left_out.items())
        lines.append(("left out", f"{self.n_left_out:,} rows{reasons}"))
        if self.n_without_action:
            lines.append(
                ("no action", f"{self.n_without_action:,} rows inside an episode")
            )
        return "\n".join(f"{name + ':':<15}{text}" for name, text in lines)

    __repr__ = __str__


def _some(texts: list[str], limit: int = 8) -> str:
    more = f", ... ({len(texts):,} in all)" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def _range_text(low: float, mean: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}, mean {mean:.4g}"


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
