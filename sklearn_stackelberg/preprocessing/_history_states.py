"""Histories as a transformer: in pipelines, and for a policy in use."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..transitions._as_transitions import LogOrStates, given_log
from ..transitions._checks import check_actions, check_episodes, check_steps, has_action
from ..transitions._columns import Column
from ..transitions._decision_table import read_actions
from ..transitions._episodes import EpisodeView
from ..transitions._history import (
    HistoryLayout,
    histories,
    layout_of_log,
    observed_names,
    previous_rows,
    warn_of_broken_histories,
)
from ..transitions._linking import count_steps, refuse_scattered_episodes
from ..transitions._tables import (
    AnyArray,
    Frame,
    States,
    check_states,
    column_names,
    is_frame,
    listed,
    take_column,
    take_columns,
)
from ..transitions._transitions import Transitions


# auto_wrap_output_keys: a log is no table that set_output could make another of.
class HistoryStates(  # type: ignore[call-arg] # scikit-learn has no type information
    TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """The last k observations and the actions between them, as states.

    For a process that is seen in part. It takes a log, of which it makes
    `Transitions.with_history`; or, beside a decision table y, a DataFrame of
    observations that also has the episode, the step and the action of each row: the
    history of a row is made of the rows before it, so its own action is not used.
    Whatever else is given is taken as histories already, and is returned as it is: what
    a policy in use is asked about is made by `first` and `next`.

    Parameters
    ----------
    k : int, default=3
        Number of observations, of which 1 is none beside the present.
    actions : array-like, "numbers" or None, default=None
        As in `Transitions.with_history`.
    episode, step : str, default=None
        Columns of a DataFrame that say where a row stands; without `step`, rows stand
        together and in order. They are dropped.
    action : str or list of str, default=None
        Its columns of what was done; rows without an action may stand last.

    Attributes
    ----------
    columns_ : list of str or None
        Names of the observations' columns, if they were a DataFrame.

    Raises
    ------
    ValueError
        If states that are neither observations with their episodes nor histories come
        to `transform`.

    See Also
    --------
    Transitions.with_history : What it does to a log, in detail.
    OnStates : For a scaler that comes behind.

    Notes
    -----
    A Pipeline gives no y to `transform`, so that the episodes of a decision
    table's y cannot be read there, at `predict` or `score`; hence the columns in X.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_stackelberg import HistoryStates
    >>> df = pd.DataFrame({"who": [*"aaab"], "day": [1, 2, 3, 1]})
    >>> df["pulse"] = [80, 75, 70, 90]
    >>> df["dose"] = ["low", "high", None, None]
    >>> history = HistoryStates(2, episode="who", step="day", action="dose")
    >>> history.fit_transform(df)
       pulse  action_lag1_high  action_lag1_low  pulse_lag1
    0     80               0.0              0.0          80
    1     75               0.0              1.0          80
    2     70               1.0              0.0          75
    3     90               0.0              0.0          90
    >>> now = history.first(df[["pulse"]][3:])
    >>> history.next(now, ["low"], pd.DataFrame({"pulse": [85]}))
       pulse  action_lag1_high  action_lag1_low  pulse_lag1
    0     85               0.0              1.0          90
    """

    # Read by the metrics, which pass other transformers states alone.
    _transforms_logs = True

    def __init__(
        self,
        k: int = 3,
        *,
        actions: ArrayLike | str | None = None,
        episode: Hashable | None = None,
        step: Hashable | None = None,
        action: Hashable | list[Hashable] | None = None,
    ) -> None:
        self.k = k
        self.actions = actions
        self.episode = episode
        self.step = step
        self.action = action

    def fit(self, X: LogOrStates, y: object = None) -> Self:
        """Learn which actions and which columns there are.

        Parameters
        ----------
        X : Transitions, or DataFrame of shape (n, d + 3)
            A log (or its `episodes`), or observations with episode, step and action.
        y : ignored

        Returns
        -------
        HistoryStates
            Itself, fitted.
        """
        if isinstance(X, (Transitions, EpisodeView)):
            log = given_log(X)
            layout = layout_of_log(log, self.k, self.actions)
            columns = observed_names(log.state)
        else:
            table = self._read(X)
            columns = column_names(table.observed)
            layout = HistoryLayout.of(
                self.k, len(columns), table.action, table.names, self.actions
            )
        self._layout, self.columns_ = layout, columns
        return self

    def transform(self, X: LogOrStates) -> Transitions | States:
        """Make histories.

        Parameters
        ----------
        X : Transitions, DataFrame, or array-like
            As in `fit`; or histories of shape (n, d'), which are returned as they are.

        Returns
        -------
        Transitions, or DataFrame or ndarray of shape (n, d')
            A log with histories as states, or a table of them.
        """
        check_is_fitted(self)
        layout = self._layout
        if isinstance(X, (Transitions, EpisodeView)):
            log = given_log(X)
            self._check(log.state, layout.n_observed, self.columns_, "The log's states")
            now, after, previous = histories(log, layout)
            warn_of_broken_histories(previous, stacklevel=2)
            return log.with_states(now, after)
        if self.episode is not None and is_frame(X) and self.episode in column_names(X):
            table = self._read(X)
            observed = table.observed
            self._check(observed, layout.n_observed, self.columns_, "Observations")
            coded = np.tile(layout.no_action, (len(observed), 1))
            if table.acted.any():
                coded[table.acted] = layout.encode(table.action)
            previous = previous_rows(table.episode, table.step, table.acted)
            warn_of_broken_histories(previous, stacklevel=2)
            names = layout.names(self.columns_ or [])
            return layout.states(observed, coded, previous.rows, names)
        return self._histories(X)

    def first(self, observations: ArrayLike) -> States:
        """Return the histories with which episodes start.

        Parameters
        ----------
        observations : array-like or DataFrame of shape (m, d)
            What is seen first in each of m episodes.

        Returns
        -------
        ndarray or DataFrame of shape (m, d')
            The states to ask the policy about.
        """
        check_is_fitted(self)
        seen, names = self._observations(observations)
        return self._layout.first(seen, names)

    def next(
        self, states: ArrayLike, actions: ArrayLike, observations: ArrayLike
    ) -> States:
        """Return the histories one step later.

        Parameters
        ----------
        states : array-like or DataFrame of shape (m, d')
            What `first` or `next` returned before.
        actions : array-like of shape (m,) or (m, p)
            The actions taken there.
        observations : array-like or DataFrame of shape (m, d)
            What is seen then.

        Returns
        -------
        ndarray or DataFrame of shape (m, d')
            The states to ask the policy about.
        """
        check_is_fitted(self)
        seen, names = self._observations(observations)
        before = self._histories(states)
        return self._layout.next(before, check_actions(actions), seen, names)

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Names of the columns of a history.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the observations' columns, where they were not fitted with names.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names: list[Hashable] = [f"x{j}" for j in range(self._layout.n_observed)]
        if self.columns_ is not None:
            names = self.columns_
        elif input_features is not None:
            names = [*np.asarray(input_features)]
        return np.array(self._layout.names(names), dtype=object)

    def _histories(self, given: ArrayLike) -> States:
        """Histories that were made before, as they are."""
        states, layout = check_states(given, "X"), self._layout
        names = None if self.columns_ is None else layout.names(self.columns_)
        self._check(states, layout.n_columns, names, "X, where it is no log")
        return states

    def _observations(self, given: ArrayLike) -> tuple[States, list[Hashable]]:
        seen = check_states(given, "observations")
        layout = self._layout
        self._check(seen, layout.n_observed, self.columns_, "The observations")
        return seen, layout.names(self.columns_ or [])

    def _check(
        self, states: States, width: int, names: list[Hashable] | None, what: str
    ) -> None:
        """Refuse tables with other columns than were learned."""
        found = observed_names(states)
        if found == names and states.shape[1] == width:
            return
        given = f"{states.shape[1]} columns" if found is None else f"columns {found}"
        expected = f"{width} columns" if names is None else f"columns {names}"
        raise ValueError(
            f"{what}: there are {given}; {expected} were expected. A history of "
            f"{self.k} observations is made of a log, of a DataFrame that also has the "
            "columns named by episode=, step= and action=, or by first and next."
        )

    def _read(self, X: ArrayLike) -> _Table:
        """Read observations, and where each row stands."""
        if not is_frame(X) or self.episode is None or self.action is None:
            raise TypeError(
                "A history is learned from a Transitions, or from a DataFrame with the "
                f"columns that episode= and action= name; got a {type(X).__name__} and "
                f"episode={self.episode!r}, action={self.action!r}."
            )
        actions = listed(self.action)
        used = [self.episode, *actions, *([] if self.step is None else [self.step])]
        known = column_names(X)
        lacking = [name for name in used if name not in known]
        if lacking:
            raise ValueError(f"X has no columns {lacking}; it has {known}.")
        several = isinstance(self.action, list)
        taken = take_columns(X, actions) if several else take_column(X, actions[0])
        column = Column(taken, f"X[{self.action!r}]")
        acted = has_action(*column)
        rows = np.flatnonzero(acted)
        episode = Column(take_column(X, self.episode), f"X[{self.episode!r}]").read(
            check_episodes
        )
        if self.step is None:
            refuse_scattered_episodes(episode, f"X[{self.episode!r}]")
            step = count_steps(episode)
        else:
            step = Column(take_column(X, self.step), f"X[{self.step!r}]").read(
                check_steps
            )
        action = np.empty(0)
        if rows.size:
            action = read_actions(column, rows, acted)
        observed = take_columns(X, [name for name in known if name not in used])
        names: list[Hashable] = [*actions] if action.ndim == 2 else ["action"]
        return _Table(observed, action, acted, episode, step, names)


class _Table(NamedTuple):
    """A table of observations."""

    observed: Frame  # (n, d)
    action: AnyArray  # (m,) or (m, p), of rows that have one
    acted: NDArray[np.bool_]  # (n,), which those are
    episode: AnyArray  # (n,)
    step: NDArray[np.int64]  # (n,)
    names: list[Hashable]
