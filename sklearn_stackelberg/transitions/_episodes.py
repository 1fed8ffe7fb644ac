"""A log seen by its episodes, and a log in a few lines of text."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._html import html_table
from ._linking import count_steps, encode, link
from ._tables import FIELDS, Log, column_names, is_frame

L = TypeVar("L", bound=Log)


def as_rows(key: object, n: int) -> slice | NDArray[np.intp]:
    """Read what may stand in brackets as a slice or an array of row numbers."""
    if isinstance(key, tuple):
        # scikit-learn indexes the rows of whatever has a shape as X[rows, ...].
        rest = key[1:]
        whole = [k is Ellipsis or (type(k) is slice and k == slice(None)) for k in rest]
        if not key or not all(whole):
            raise IndexError(
                "A log can be indexed by rows only, as log[rows]; choose columns with "
                "OnStates(ColumnTransformer(...)) or in from_frame(state=[...])."
            )
        key = key[0]
    if key is Ellipsis:
        return slice(None)
    if isinstance(key, slice):
        return key
    # One row is a log of one row, so that every selection is a log; True is a mask.
    if isinstance(key, numbers.Integral) and not isinstance(key, bool):
        return np.array([key], dtype=np.intp)
    rows = np.asarray(key)
    if rows.ndim == 1 and rows.dtype.kind == "b":
        if rows.size != n:
            raise IndexError(
                f"The mask has {rows.size} entries, and there are {n} to choose from."
            )
        return np.flatnonzero(rows)
    # An empty list is an array of floats to numpy.
    if rows.ndim == 1 and not rows.size:
        return np.empty(0, dtype=np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise IndexError(
            f"Rows are chosen by an integer, a slice, a mask or a 1-D array of "
            f"integers; got {key!r:.80}. The fields are attributes, such as log.reward."
        )
    return rows


NOT_AN_ARRAY = (
    "A Transitions is not an array: each row has a state and a next state. Wrap a "
    "transformer as OnStates(transformer) to apply it to both, or read the attributes "
    "(.state, .action, .reward, .next_state, ...)."
)


class EpisodeView(Generic[L]):
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

    def __init__(self, transitions: L) -> None:
        if transitions.episode is None:
            raise ValueError("This log has no episodes: pass episode= to Transitions.")
        self.transitions = transitions
        self.codes = encode(transitions.episode)
        self.lengths = np.bincount(self.codes)
        # Rows by episode, in the order of the log, and where each episode begins.
        self._order = np.argsort(self.codes, kind="stable")
        self._starts = np.cumsum(self.lengths) - self.lengths
        self.labels = transitions.episode[self._order[self._starts]]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_episodes, d)."""
        return len(self), self.transitions.n_features

    def __len__(self) -> int:
        return self.lengths.size

    def __getitem__(self, key: object) -> L:
        """Return the transitions of the chosen episodes, in the order chosen.

        Where an episode is chosen twice, all are renumbered 0, 1, ..., so that
        (episode, step) still names one row.
        """
        chosen = np.arange(len(self))[as_rows(key, len(self))]
        # Each chosen episode fills a stretch of the rows drawn: shifting the numbers of
        # that stretch to where the episode begins gives its rows, without a loop.
        lengths = self.lengths[chosen]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if ends.size else 0
        shift = np.repeat(self._starts[chosen] - (ends - lengths), lengths)
        drawn = self.transitions[self._order[shift + np.arange(total)]]
        if np.unique(chosen).size < chosen.size:
            # All of them: a new name for one draw could be the name of another episode.
            drawn.episode = np.repeat(np.arange(chosen.size), lengths)
        return drawn

    def __array__(self, dtype: object = None, copy: object = None) -> NoReturn:
        raise TypeError(NOT_AN_ARRAY)

    def __repr__(self) -> str:
        return f"<{len(self):,} episodes of {self.transitions!r}>"


@dataclass(frozen=True, repr=False)
class LogSummary:
    """What a log holds; `str` gives it as text. Obtained from `describe()`.

    `None` stands for what cannot be known, where the log has no episodes. Of actions
    that count as continuous `action_ranges` has the smallest, mean and largest of each
    column, and `action_counts` is empty; `available_range` is of the number of
    available actions in a state.
    """

    n_transitions: int
    state_columns: list[Hashable]
    action_counts: dict[object, int]
    reward_range: tuple[float, float, float]  # smallest, mean, largest
    n_terminated: int
    n_initial: int
    n_episodes: int | None = None
    episode_lengths: tuple[int, float, int] | None = None  # shortest, median, longest
    n_truncated: int | None = None
    n_terminated_inside: int | None = None
    n_left_out: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    left_out_of_table: dict[str, int] = field(default_factory=dict)  # of part of one
    n_without_action: int = 0
    action_ranges: dict[Hashable, tuple[float, float, float]] | None = None
    available_range: tuple[float, float, float] | None = None
    duration_range: tuple[float, float, float] | None = None
    left_out_reward: float = 0.0  # share of the rewards' sum of absolute values
    propensity_range: tuple[float, float, float] | None = None

    def __str__(self) -> str:
        lines = self.lines().items()
        return "\n".join(f"{name + ':':<15}{text}" for name, text in lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table((), self.lines().items())

    def lines(self) -> dict[str, str]:
        """What there is to say, by what it is of."""
        columns = _some([str(column) for column in self.state_columns])
        ranked = sorted(self.action_counts.items(), key=lambda pair: -pair[1])
        actions = [f"{action!r}: {n:,}" for action, n in ranked]
        if self.action_ranges is not None:
            ranges = self.action_ranges.items()
            actions = [f"{name}: {_range_text(*span)}" for name, span in ranges]
            if len(ranges) == 1:
                actions = [_range_text(*span) for _, span in ranges]
        episodes, ends = "not given", f"{self.n_terminated:,} terminated"
        if self.n_episodes is not None and self.episode_lengths is not None:
            short, median, long = self.episode_lengths
            episodes = f"{self.n_episodes:,} of {short:,} to {long:,} steps"
            episodes += f", median {median:g}"
            ends += f", {self.n_truncated:,} truncated"
        # Most likely a flag of something else, such as a visit's end.
        if inside := self.n_terminated_inside:
            ends += f"; {inside:,} terminated rows are not the last of their episode"
        left_out = self.left_out or self.left_out_of_table
        reasons = "".join(f"\n    {n:,} {why}" for why, n in left_out.items())
        left = f"{self.n_left_out:,} rows"
        if self.left_out_of_table:
            left += f", of the table that these are from {sum(left_out.values()):,}"
        elif self.left_out_reward:
            left += f", with {100 * self.left_out_reward:.3g} % of the rewards"
        lines = {
            "transitions": f"{self.n_transitions:,}",
            "state columns": f"{len(self.state_columns)} ({columns})",
            "actions": _some(actions),
            "reward": _range_text(*self.reward_range),
            "initial rows": f"{self.n_initial:,}",
            "episodes": episodes,
            "ends": ends,
            "left out": left + reasons,
        }
        if self.available_range is not None:
            lines["available"] = f"{_range_text(*self.available_range)} actions"
        if self.duration_range is not None:
            lines["duration"] = _range_text(*self.duration_range)
        if self.propensity_range is not None:
            lines["propensity"] = _range_text(*self.propensity_range)
        if self.n_without_action:
            lines["no action"] = f"{self.n_without_action:,} rows inside an episode"
        return lines


def one_line(log: Log) -> str:
    """How many rows a log has, and of what."""
    columns = f"{log.n_features} state column{'s' * (log.n_features != 1)}"
    kind = "str" if log.action.dtype.kind == "U" else log.action.dtype.name
    if log.action.ndim == 2:
        kind = f"{log.action.shape[1]}-column {kind}"
    given = [name for name in FIELDS[6:12] if getattr(log, name) is not None]
    with_ = f"; with {', '.join(given)}" if given else ""
    return f"Transitions: {len(log):,} rows, {columns}, {kind} actions{with_}"


def _some(texts: list[str], limit: int = 8) -> str:
    more = f", ... ({len(texts):,} in all)" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def _range(values: NDArray[Any]) -> tuple[float, float, float]:
    return float(values.min()), float(values.mean()), float(values.max())


def _range_text(low: float, mean: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}, mean {mean:.4g}"


def summarize(
    log: Log,
    action_type: str,
    n_without_action: int,
    left_out_reward: float = 0.0,
    left_out_of_table: Mapping[str, int] = MappingProxyType({}),
) -> LogSummary:
    """Summarise a log; `n_without_action` rows of its table only held a state."""
    if not len(log):
        raise ValueError("This selection holds no rows, so nothing can be said.")
    counts: dict[object, int] = {}
    ranges = None
    if action_type == "discrete":
        actions, n_rows = np.unique(log.action, return_counts=True)
        counts = dict(zip(actions.tolist(), n_rows.tolist(), strict=True))
    else:
        ranges = {name: _range(a) for name, a in log.action_columns().items()}
    # Of stored states, a DataFrame without rows has the names.
    template = getattr(log.state, "template", None)
    frame = log.state if template is None else template
    summary = LogSummary(
        n_transitions=len(log),
        state_columns=(
            column_names(frame) if is_frame(frame) else [*range(log.n_features)]
        ),
        action_counts=counts,
        action_ranges=ranges,
        reward_range=_range(log.reward),
        n_terminated=int(log.terminated.sum()),
        n_initial=int(log.is_initial.sum()),
        n_left_out=sum(log.left_out.values()),
        left_out=dict(log.left_out),
        left_out_of_table={} if log.left_out else dict(left_out_of_table),
        n_without_action=n_without_action,
        available_range=None if log.available is None else _range(log.available.sum(1)),
        duration_range=None if log.duration is None else _range(log.duration),
        left_out_reward=left_out_reward,
        propensity_range=None if log.propensity is None else _range(log.propensity),
    )
    if log.episode is None:
        return summary
    step = count_steps(log.episode) if log.step is None else log.step
    # Cut, and not ended: the last row of an episode that is not terminated.
    last = link(log.episode, step).last
    lengths = np.bincount(encode(log.episode))
    shortest, longest = int(lengths.min()), int(lengths.max())
    return replace(
        summary,
        n_episodes=lengths.size,
        episode_lengths=(shortest, float(np.median(lengths)), longest),
        n_truncated=int((last & ~log.terminated).sum()),
        n_terminated_inside=int((log.terminated & ~last).sum()),
    )


class Origin:
    """The log that folds were taken from: one object, which all of them share."""

    # Once for the log, and not for each fit of a search: scikit-learn resets Python's
    # own registry of warnings in each fit.
    cuts_reported = False
    use_reported = False
    # Of rows left out of a table: its folds are read as tables of their own.
    sketch: frozenset[int] = frozenset()
    # What folds, which hold none of these rows, are to say of them, or to refuse.
    left_out: Mapping[str, int] = MappingProxyType({})
    use: str | ValueError = ""

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows

    def __reduce__(self) -> tuple[type[Origin], tuple[int]]:
        # No more to keep: a warning must not change the hash or the pickle of a log.
        return Origin, (self.n_rows,)


def episode_sizes(episode: NDArray[Any] | None) -> NDArray[np.int32] | None:
    """Return how many rows each row's episode has, (n,)."""
    if episode is None:
        return None
    codes = encode(episode)
    # 32 bits, because each fold of the log carries them along.
    return np.bincount(codes)[codes].astype(np.int32)


CUT_EPISODES_HARM = (
    "episode stands in training and in test, so that held-out scores come out too "
    "good, and standard errors count pieces of episodes as episodes."
)


def warn_of_cut_episodes(
    episode: NDArray[Any] | None,
    step: NDArray[np.int64] | None,
    sizes: NDArray[np.int32] | None,
    origin: Origin,
    stacklevel: int,
) -> None:
    """Warn, once for each log, of episodes with other numbers of rows than `sizes`."""
    if episode is None or sizes is None or origin.cuts_reported:
        return
    # More rows than in the log: a bootstrap of rows drew some of them twice.
    cut = sizes != episode_sizes(episode)
    if not cut.any():
        return
    # Of one episode, time itself is what can be split: before and after a block.
    one = sizes[0] == origin.n_rows
    if one and step is not None and (np.diff(np.sort(step)) > 1).sum() < 2:
        return
    n_cut = np.unique(episode[cut]).size
    warnings.warn(
        f"Cut episodes: of {np.unique(episode).size:,} episodes, {n_cut:,} "
        f"{'has' if n_cut == 1 else 'have'} fewer or more rows here than in the log "
        "that they were taken from. Splits and draws by rows do this (KFold, "
        "train_test_split, resample, log[rows]). "
        f"Then the same {CUT_EPISODES_HARM} Split and draw by episodes: "
        "cv=EpisodeKFold(5), or log.episodes in place of log; one long episode by "
        "time: cv=BlockKFold(5). (Reported once for each log.) "
        "[pitfalls: cut-episodes]",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    origin.cuts_reported = True
