"""A log as rows: what its fields must be, and how scikit-learn can index it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike

from . import _checks as checks
from ._actions import check_actions
from ._checks import FIELDS
from ._episodes import (
    EpisodeView,
    LogSummary,
    Origin,
    as_rows,
    episode_rows,
    warn_of_cuts,
)
from ._frame import read_frame, write_frame
from ._join import chain_episodes, join_logs
from ._linking import count_steps, link


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


class Transitions(LogRows):
    """Logged decisions, each row whole: state, action, reward and next state.

    scikit-learn can index, split and resample a log by rows, and its episodes through
    `episodes`. Rows are counted from 0 in all messages.

    Parameters
    ----------
    state : array-like or DataFrame of shape (n, d)
        The state in which each action was taken. Kept as given, not copied. Missing
        values are allowed, for an imputer to fill.
    action : array-like of shape (n,), or array-like or DataFrame of shape (n, p)
        The actions taken: integers, strings, booleans or finite floats, of one type; or
        p finite numbers each, kept as float64. One column is taken as (n,).
    reward : array-like of shape (n,)
        The rewards that followed, finite, in any unit; larger is better.
    next_state : array-like or DataFrame of shape (n, d)
        The states that followed, with the same columns. Unused where terminated.
    terminated : array-like of bool of shape (n,), default=None
        Whether the episode ended there for good, so that no value follows. An episode
        that was merely cut (truncated) is not terminated. None means nowhere.
    is_initial : array-like of bool of shape (n,), default=None
        Whether an episode starts at the row. None means: the smallest step of each
        episode; without `step`, the first row of each run of equal `episode`; without
        `episode`, no row.
    episode : array-like of shape (n,), default=None
        Names of the episodes, integers or strings.
    step : array-like of int of shape (n,), default=None
        Position within the episode. Each (episode, step) names one row.
    propensity : array-like of shape (n,), default=None
        Probability in (0, 1] with which the logged action was taken.

    Attributes
    ----------
    state, action, reward, next_state, terminated, is_initial, episode, step, propensity
        The fields, 1-D ones as numpy arrays; the last three are None if not given.
    left_out : dict of str to int
        Rows that linking could not use, counted by reason.
    action_names : tuple of str or None
        Names of the columns of an action of several numbers, where they were given.

    Raises
    ------
    ValueError
        In a sentence that names the rows, if a field is not as described.

    See Also
    --------
    Transitions.from_frame : From a table with one row per visit or time step.
    Transitions.from_episodes : From lists of observations, actions and rewards.

    Examples
    --------
    >>> from sklearn_stackelberg.transitions import Transitions
    >>> log = Transitions(
    ...     state=[[0.0], [0.5], [1.0]],
    ...     action=["wait", "treat", "treat"],
    ...     reward=[0.0, 1.0, 0.0],
    ...     next_state=[[0.5], [1.0], [0.0]],
    ...     episode=[7, 7, 8],
    ... )
    >>> log
    <Transitions: 3 rows, 1 state column, str actions; with episode>
    >>> log[log.action == "treat"].reward
    array([1., 0.])
    >>> log.is_initial
    array([ True, False,  True])
    """

    @classmethod
    def from_frame(
        cls,
        df: Any,
        *,
        state: str | Sequence[str],
        action: str | Sequence[str],
        reward: str,
        episode: str,
        step: str | None = None,
        terminated: str | None = None,
        propensity: str | None = None,
        is_initial: str | None = None,
    ) -> Transitions:
        """Make transitions from a table with one row per decision.

        A row's next state is the state of the row of the same episode at step + 1,
        wherever it stands. A row without an action holds the state after the last step
        of a truncated episode. Rows whose next state is not there are left out and
        counted in `left_out`, unless they are terminated.

        Parameters
        ----------
        df : DataFrame
            The table. With `step`, the rows may stand in any order, but for one: where
            the steps of every episode fall from row to row, they may be a countdown, in
            which step + 1 is the row before. Such a table is refused, unless the ends
            of episodes show that it only stands newest first.
        state : str or list of str
            Columns that make up the state.
        action : str or list of str
            Column of the action, or the columns of one of several numbers. A row in
            which all of these are missing has no action.
        reward, episode : str
            Columns of the action's reward and the episode's name.
        step : str, default=None
            Column of whole numbers; None means that each episode's rows stand together
            and in order.
        terminated : str, default=None
            Column of booleans; None means that every end is a truncation.
        propensity : str, default=None
            Column of the logged actions' probabilities.
        is_initial : str, default=None
            Column of booleans; None means the smallest step of each episode.

        Returns
        -------
        Transitions
            In the order of the table, states as DataFrames.

        Raises
        ------
        ValueError
            If a column is not there, a value is not as `Transitions` asks, steps repeat
            or run backwards, an episode without steps stands in two places, or no row
            has a next state.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> df = pd.DataFrame(
        ...     {
        ...         "patient": ["a", "a", "a", "b", "b"],
        ...         "visit": [1, 2, 3, 1, 2],
        ...         "pulse": [80, 75, 70, 90, 95],
        ...         "dose": ["low", "high", None, "low", "low"],
        ...         "outcome": [0.0, 1.0, None, 0.0, -1.0],
        ...     }
        ... )
        >>> log = Transitions.from_frame(
        ...     df,
        ...     state="pulse",
        ...     action="dose",
        ...     reward="outcome",
        ...     episode="patient",
        ...     step="visit",
        ... )
        >>> log.next_state["pulse"].tolist(), log.n_left_out
        ([75, 70, 95], 1)
        """
        left_out, n_without_action, fields = read_frame(
            df,
            state,
            {
                "action": action,
                "reward": reward,
                "episode": episode,
                "step": step,
                "terminated": terminated,
                "propensity": propensity,
                "is_initial": is_initial,
            },
        )
        return cls._from_checked(left_out, n_without_action, **fields)

    @classmethod
    def from_episodes(
        cls,
        observations: Sequence,
        actions: Sequence,
        rewards: Sequence,
        terminated: Sequence[bool],
    ) -> Transitions:
        """Make transitions from lists with one entry per episode.

        Parameters
        ----------
        observations : list of array-likes of shape (T + 1, d)
            The states of each episode: one more than its T actions, the last being the
            state in which it ended.
        actions : list of array-likes of shape (T,) or (T, p)
            The actions taken.
        rewards : list of array-likes of shape (T,)
            The rewards that followed.
        terminated : list of bool
            Whether each episode ended for good, not by a time limit.

        Returns
        -------
        Transitions
            With episodes numbered as listed, steps from 0.

        Raises
        ------
        ValueError
            If lengths do not fit or a value is not as `Transitions` asks.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> log = Transitions.from_episodes(
        ...     observations=[[[0.0], [1.0], [2.0]], [[5.0], [6.0]]],
        ...     actions=[[0, 1], [1]],
        ...     rewards=[[0.0, 1.0], [0.5]],
        ...     terminated=[True, False],
        ... )
        >>> log.next_state.ravel(), log.terminated
        (array([1., 2., 6.]), array([False,  True, False]))
        """
        fields = chain_episodes(observations, actions, rewards, terminated)
        return cls(**fields)

    @classmethod
    def concatenate(cls, *logs: Transitions) -> Transitions:
        """Put logs one below the other, each one's episodes distinct from the others'.

        Parameters
        ----------
        *logs : Transitions
            Logs with the same state columns and the same fields.

        Returns
        -------
        Transitions
            With episodes renumbered 0, 1, ... in the order in which they appear.

        Raises
        ------
        ValueError
            If the logs differ in columns, in the type of their actions, or in whether
            they have `episode`, `step` and `propensity`.
        """
        left_out, fields = join_logs(logs)
        n_without_action = sum(log._n_without_action for log in logs)
        return cls._from_checked(left_out, n_without_action, **fields)

    def to_frame(self) -> Any:
        """Return the log as a table that `from_frame` reads back.

        The table has the state columns (``state_0``, ... for arrays), `action`,
        `reward`, `episode`, `step`, `terminated`, `is_initial` and, where there is one,
        `propensity`. An action of several numbers has its columns' names, or
        ``action_0``, ``action_1``, ... A row without an action closes each episode that
        does not go on, and each gap, to hold the last next state. Without `episode`,
        each transition becomes an episode.

        Returns
        -------
        DataFrame

        Raises
        ------
        ValueError
            If a state column bears one of these names, or if the next state of a row
            is not the state of the row at step + 1.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> log = Transitions([[0], [1]], [3, 4], [0, 1], [[1], [2]], episode=[7, 7])
        >>> log.to_frame()[["state_0", "action", "episode", "step"]]
           state_0  action  episode  step
        0        0       3        7     0
        1        1       4        7     1
        2        2    <NA>        7     2
        """
        return write_frame(self)
