"""A log as rows: what its fields must be, and how scikit-learn can index it."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .actions import check_actions
from .cuts import Origin, episode_rows, warn_of_cuts
from .linking import count_steps, link
from .views import EpisodeView, LogSummary, as_rows

FIELDS = (
    "state",
    "action",
    "reward",
    "next_state",
    "terminated",
    "is_initial",
    "episode",
    "step",
    "propensity",
)


class LogRows:
    """The rows of a log, checked once and indexed at the cost of the indexing.

    `Transitions` adds the ways in and out and documents the fields.
    """

    # On an instance only where there are any, so that other logs hash as ever.
    action_names: tuple[str, ...] | None = None

    def __init__(
        self,
        state: Any,
        action: ArrayLike,
        reward: ArrayLike,
        next_state: Any,
        terminated: ArrayLike | None = None,
        *,
        is_initial: ArrayLike | None = None,
        episode: ArrayLike | None = None,
        step: ArrayLike | None = None,
        propensity: ArrayLike | None = None,
    ) -> None:
        self.state = checks.check_states(state)
        self.next_state = checks.check_states(next_state, "next_state")
        checks.check_same_columns(self.state, self.next_state)
        self.action = check_actions(action)
        if checks.is_frame(action) and self.action.ndim == 2:
            self.action_names = tuple(action.columns)
        self.reward = checks.check_reals(reward, "reward")
        self.terminated = (
            np.zeros(len(self.state), dtype=bool)
            if terminated is None
            else checks.check_flags(terminated, "terminated")
        )
        self.is_initial = (
            None if is_initial is None else checks.check_flags(is_initial, "is_initial")
        )
        self.episode = None if episode is None else checks.check_episodes(episode)
        self.step = None if step is None else checks.check_steps(step)
        self.propensity = (
            None if propensity is None else checks.check_propensities(propensity)
        )
        self.left_out: dict[str, int] = {}
        self._n_without_action = 0

        lengths = {
            name: len(getattr(self, name))
            for name in FIELDS
            if getattr(self, name) is not None
        }
        checks.check_same_length(lengths)
        if self.step is not None and self.episode is None:
            raise ValueError(
                "step was given without episode; a step is a position within an "
                "episode: pass episode= as well (all zeros for a single episode)."
            )
        links = None if self.step is None else link(self.episode, self.step)
        if self.is_initial is None:
            if links is not None:
                self.is_initial = links.first
            else:
                self.is_initial = np.zeros(len(self), dtype=bool)
                if self.episode is not None:
                    self.is_initial[0] = True
                    self.is_initial[1:] = self.episode[1:] != self.episode[:-1]
        self._remember_episodes()

    @classmethod
    def _from_checked(
        cls,
        left_out: dict | None = None,
        n_without_action: int = 0,
        drawn: tuple[np.ndarray | None, Origin] | None = None,
        **fields: Any,
    ) -> Self:
        # Not __init__: a fold is made of checked rows, and must cost only the indexing.
        new = object.__new__(cls)
        for name in FIELDS:
            setattr(new, name, fields[name])
        if fields.get("action_names"):
            new.action_names = fields["action_names"]
        new.left_out = left_out or {}
        new._n_without_action = n_without_action
        if drawn is None:
            new._remember_episodes()
        else:
            new._episode_rows, new._origin = drawn
        return new

    def _remember_episodes(self) -> None:
        """Keep what a fold needs to know whether its episodes are whole; see `cuts`."""
        self._episode_rows = episode_rows(self.episode)
        self._origin = Origin()

    def _warn_of_cuts(self, stacklevel: int) -> None:
        warn_of_cuts(self.episode, self._episode_rows, self._origin, stacklevel + 1)

    @property
    def n_features(self) -> int:
        """Number of state columns, d."""
        return self.state.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self), self.n_features

    @property
    def n_left_out(self) -> int:
        """Number of rows that linking could not use; see `left_out` for the reasons."""
        return sum(self.left_out.values())

    @property
    def episodes(self) -> EpisodeView:
        """The log as a sequence of its episodes, for drawing episodes, not rows.

        ``log.episodes[rows]`` are the transitions of the chosen episodes; scikit-learn
        can split and resample ``log.episodes``, and an estimator can be fitted to it.

        Raises
        ------
        ValueError
            If the log has no `episode`.
        """
        return EpisodeView(self)

    def __len__(self) -> int:
        return len(self.action)

    def __getitem__(self, key: Any) -> Self:
        rows = as_rows(key, len(self))

        def take(values: Any) -> Any:
            if values is None:
                return None
            if not checks.is_frame(values):
                return values[rows]
            return values.iloc[rows] if isinstance(rows, slice) else values.take(rows)

        fields = {name: take(getattr(self, name)) for name in FIELDS[:3]}
        # One-step logs hold the same table twice; their folds shall too.
        same = self.next_state is self.state
        fields["next_state"] = fields["state"] if same else take(self.next_state)
        for name in FIELDS[4:]:
            fields[name] = take(getattr(self, name))
        fields["action_names"] = self.action_names
        drawn = take(self._episode_rows), self._origin
        return self._from_checked(drawn=drawn, **fields)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            "A Transitions is not an array: each row has a state and a next state. "
            "Wrap a transformer as OnStates(transformer) to apply it to both, or read "
            "the attributes (.state, .action, .reward, .next_state, ...)."
        )

    def __repr__(self) -> str:
        columns = f"{self.n_features} state column{'s' * (self.n_features != 1)}"
        kind = "str" if self.action.dtype.kind == "U" else self.action.dtype.name
        if self.action.ndim == 2:
            kind = f"{self.action.shape[1]}-column {kind}"
        given = [name for name in FIELDS[6:] if getattr(self, name) is not None]
        with_ = f"; with {', '.join(given)}" if given else ""
        return f"<Transitions: {len(self):,} rows, {columns}, {kind} actions{with_}>"

    def with_states(self, state: Any, next_state: Any) -> Self:
        """Return the same log with other states, such as transformed ones.

        Parameters
        ----------
        state, next_state : array-likes or DataFrames of shape (n, d')
            The new states, row by row.

        Raises
        ------
        ValueError
            If they are not tables of n rows with the same columns.
        """
        state = checks.check_states(state)
        next_state = checks.check_states(next_state, "next_state")
        checks.check_same_columns(state, next_state)
        lengths = {"state": len(state), "next_state": len(next_state)}
        if set(lengths.values()) != {len(self)}:
            checks.check_same_length({**lengths, "action": len(self)})
        fields = {name: getattr(self, name) for name in FIELDS}
        fields |= {"state": state, "next_state": next_state}
        fields["action_names"] = self.action_names
        return self._from_checked(
            dict(self.left_out),
            self._n_without_action,
            (self._episode_rows, self._origin),
            **fields,
        )

    def next_or_own_state(self) -> Any:
        """The next states, and a terminated row's own state in place of its next.

        What follows a terminated row is never used, and often not even recorded.
        """
        if self.next_state is self.state or not self.terminated.any():
            return self.next_state
        ended = self.terminated[:, None]
        if not checks.is_frame(self.state):
            return np.where(ended, self.state, self.next_state)
        own = self.state.set_axis(self.next_state.index)
        return self.next_state.where(np.broadcast_to(~ended, self.shape), own)

    def action_columns(self) -> dict[str, np.ndarray]:
        """The action by column: ``action``, or its several columns under their names.

        Columns without names are ``action_0``, ``action_1`` and so on.
        """
        if self.action.ndim == 1:
            return {"action": self.action}
        names = [f"action_{j}" for j in range(self.action.shape[1])]
        return dict(zip(self.action_names or names, self.action.T, strict=True))

    def describe(self) -> LogSummary:
        """Summarise the log: episodes, actions, ends, rewards, and what was left out.

        Returns
        -------
        LogSummary
            With the figures as attributes; `str` gives them as text.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> print(Transitions([[0], [1]], [3, 4], [0, 1], [[1], [2]]).describe())
        transitions:   2
        state columns: 1 (0)
        actions:       3: 1, 4: 1
        reward:        0 to 1, mean 0.5
        initial rows:  0
        episodes:      not given
        ends:          0 terminated
        left out:      0 rows
        """
        if not len(self):
            raise ValueError("This selection holds no rows, so nothing can be said.")
        one = self.action.ndim == 1
        actions, counts = np.unique(self.action[: len(self) * one], return_counts=True)
        is_frame = checks.is_frame(self.state)
        summary = dict(
            n_transitions=len(self),
            state_columns=[*(self.state.columns if is_frame else range(self.shape[1]))],
            action_counts=dict(zip(actions.tolist(), counts.tolist(), strict=True)),
            action_ranges=None
            if one
            else {name: _range(a) for name, a in self.action_columns().items()},
            reward_range=_range(self.reward),
            n_terminated=int(self.terminated.sum()),
            n_initial=int(self.is_initial.sum()),
            n_left_out=self.n_left_out,
            left_out=dict(self.left_out),
            n_without_action=self._n_without_action,
        )
        if self.episode is not None:
            step = count_steps(self.episode) if self.step is None else self.step
            last = link(self.episode, step).last
            lengths = self.episodes.lengths
            summary |= dict(
                n_episodes=lengths.size,
                episode_lengths=(
                    int(lengths.min()),
                    float(np.median(lengths)),
                    int(lengths.max()),
                ),
                n_truncated=int((last & ~self.terminated).sum()),
                n_terminated_inside=int((self.terminated & ~last).sum()),
            )
        return LogSummary(**summary)


def _range(values: np.ndarray) -> tuple[float, float, float]:
    """Smallest, mean and largest."""
    return float(values.min()), float(values.mean()), float(values.max())
