"""The log that everything is learned from and evaluated on."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validation import check_discount
from ._actions import read_mask_columns, read_masks
from ._checks import (
    Column,
    check_actions,
    check_durations,
    check_episodes,
    check_flags,
    check_propensities,
    check_reals,
    check_same_length,
    check_steps,
    check_weights,
)
from ._decision_table import WEIGHT, chain_rows, read_fields
from ._discounting import spread_rewards
from ._episodes import (
    NOT_AN_ARRAY,
    EpisodeView,
    LogSummary,
    Origin,
    as_rows,
    episode_sizes,
    summarize,
    warn_of_cut_episodes,
)
from ._frame import frame_columns, mask_roles, write_frame
from ._join import chain_episodes, chain_values, join_logs
from ._linking import link
from ._sources import Table
from ._tables import (
    FIELDS,
    AvailableRule,
    Log,
    PandasFrame,
    ReadStates,
    States,
    check_same_columns,
    check_states,
    choose_rows,
    column_names,
    is_frame,
    take_rows,
)
from ._time import StageActions, StepUnit, add_stage, number_times
from ._wide import wide_fields


class Transitions(Log):
    """Logged decisions, each row whole: state, action, reward and next state.

    scikit-learn can index, split and resample a log by rows, and its episodes through
    `episodes`. Rows are counted from 0 in all messages.

    Parameters
    ----------
    state, next_state : array-likes or DataFrames of shape (n, d)
        The state in which each action was taken and the one that followed (unused where
        terminated), with the same columns. Kept as given, not copied. Missing values
        are allowed, for an imputer to fill.
    action : array-like of shape (n,), or array-like or DataFrame of shape (n, p)
        The actions taken: integers, strings, booleans or finite floats, of one type; or
        p finite numbers each, kept as float64. One column is taken as (n,).
    reward : array-like of shape (n,)
        The rewards that followed, finite, in any unit; larger is better.
    terminated : array-like of bool of shape (n,), default=None
        Whether the episode ended there for good, and was not merely cut (truncated).
        None means nowhere.
    is_initial : array-like of bool of shape (n,), default=None
        Whether an episode starts at the row. None means: the smallest step of each
        episode; without `step`, the first row of each run of equal `episode`; without
        `episode`, no row.
    episode, step : array-likes of shape (n,), default=None
        The episode's name, an integer or a string, and the position within it, an
        integer. Each (episode, step) names one row.
    propensity : array-like of shape (n,), default=None
        Probability in (0, 1] with which the logged action was taken.
    duration : array-like of shape (n,), default=None
        Time until the next state, above 0, in units of the discount: over a duration d
        it is γ^d. None is 1 everywhere.
    weight : array-like of shape (n,), default=None
        How often each row counts, from 0 on. None is 1 everywhere.
    available, next_available : array-likes or DataFrames of bool of shape (n, \
            n_actions), default=None
        Which discrete actions can be taken in each state and next state (unused where
        terminated). A DataFrame's columns are named by the actions, of which some may
        not have been logged; an array's are the logged actions, sorted. ``available``
        may also be a callable that returns either for states (k, d), and is asked again
        in states that a policy learned from the log is asked for. None is all.

    Attributes
    ----------
    state, action, reward, next_state, terminated, is_initial, episode, step, \
            propensity, duration, weight
        The fields, 1-D ones as numpy arrays; the last five are None if not given.
    available, next_available : ndarray of shape (n, n_actions) or None
        The masks, a terminated row's own in place of its next.
    available_actions : ndarray of shape (n_actions,) or None
        The actions of their columns, sorted; a fold keeps those that it lacks.
    available_rule : callable or None
        What they were computed by; None once states are transformed.
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
    >>> state, next_state = [[0.0], [0.5], [1.0]], [[0.5], [1.0], [0.0]]
    >>> action, reward = ["wait", "treat", "treat"], [0.0, 1.0, 0.0]
    >>> log = Transitions(state, action, reward, next_state, episode=[7, 7, 8])
    >>> log
    <Transitions: 3 rows, 1 state column, str actions; with episode>
    >>> log[log.action == "treat"].reward, log.is_initial
    (array([1., 0.]), array([ True, False,  True]))
    """

    # On an instance only where there are any, so that other logs hash as ever.
    action_names: tuple[Hashable, ...] | None = None
    duration: NDArray[np.float64] | None = None
    weight: NDArray[np.float64] | None = None
    available: NDArray[np.bool_] | None = None
    next_available: NDArray[np.bool_] | None = None
    available_actions: NDArray[Any] | None = None
    available_rule: AvailableRule | None = None

    def __init__(
        self,
        state: ArrayLike,
        action: ArrayLike,
        reward: ArrayLike,
        next_state: ArrayLike,
        terminated: ArrayLike | None = None,
        *,
        is_initial: ArrayLike | None = None,
        episode: ArrayLike | None = None,
        step: ArrayLike | None = None,
        propensity: ArrayLike | None = None,
        duration: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        available: ArrayLike | AvailableRule | None = None,
        next_available: ArrayLike | None = None,
    ) -> None:
        self.state = check_states(state)
        self.next_state = check_states(next_state, "next_state")
        check_same_columns(self.state, self.next_state)
        self.action = check_actions(action)
        if is_frame(action) and self.action.ndim == 2:
            self.action_names = tuple(column_names(action))
        self.reward = check_reals(reward, "reward")
        ends = np.zeros(len(self.state), bool) if terminated is None else terminated
        self.terminated = check_flags(ends, "terminated")
        if is_initial is not None:
            self.is_initial = check_flags(is_initial, "is_initial")
        self.episode = None if episode is None else check_episodes(episode)
        self.step = None if step is None else check_steps(step)
        self.propensity = None if propensity is None else check_propensities(propensity)
        if duration is not None:
            self.duration = check_durations(duration)
        if weight is not None:
            self.weight = check_weights(weight)
        self.left_out: dict[str, int] = {}
        self._n_without_action = 0

        # After the checks of each field, whose messages say more than a wrong length.
        given = {name: getattr(self, name, None) for name in FIELDS}
        check_same_length({k: len(v) for k, v in given.items() if v is not None})
        if self.step is not None and self.episode is None:
            raise ValueError(
                "step was given without episode; a step is a position within an "
                "episode: pass episode= as well (all zeros for a single episode)."
            )
        first = np.zeros(len(self), dtype=bool)
        if self.episode is not None and self.step is not None:
            # Linked whether or not it is needed: it refuses steps that repeat.
            first = link(self.episode, self.step).first
        elif self.episode is not None:
            # Rows in order, for want of steps: the first of each run of a name.
            first[0] = True
            first[1:] = self.episode[1:] != self.episode[:-1]
        # What is given goes before what can be derived: a fold may start inside.
        if is_initial is None:
            self.is_initial = first
        if available is not None or next_available is not None:
            self.__dict__.update(read_masks(self, available, next_available))
        # What a fold, which takes them along, needs to know whether it cut episodes.
        self._sizes, self._origin = episode_sizes(self.episode), Origin(len(self))

    @classmethod
    def _from_checked(
        cls, left_out: dict[str, int], n_without_action: int, fields: dict[str, Any]
    ) -> Self:
        # Not __init__: what was read or joined is checked, and may be large.
        new = object.__new__(cls)
        # What a class has as None stands on an instance only where there is any.
        new.__dict__.update(
            (name, value)
            for name, value in fields.items()
            if value is not None or not hasattr(cls, name)
        )
        new.left_out, new._n_without_action = left_out, n_without_action
        new._sizes, new._origin = episode_sizes(new.episode), Origin(len(new))
        return new

    @classmethod
    def _from_columns(
        cls,
        read: ReadStates,
        columns: dict[str, Column],
        action_names: tuple[Hashable, ...] | None = None,
    ) -> tuple[Self, NDArray[np.intp]]:
        """Link the rows of a table; return also the row of each transition's state.

        The columns are let go of as soon as they are read, and then states are read.
        """
        chain = chain_rows(columns)
        fields = read_fields(columns, chain) | {"action_names": action_names}
        rows, next_rows = chain.rows, chain.next_rows
        fields |= read_mask_columns(columns, fields, rows, next_rows)
        counts = chain.left_out, chain.n_without_action
        # Of millions of rows each is as large as a column of the log.
        columns.clear()
        del chain
        fields["state"], fields["next_state"] = read(rows, next_rows)
        return cls._from_checked(*counts, fields), rows

    def _warn_of_cut_episodes(self, stacklevel: int) -> None:
        warn_of_cut_episodes(
            self.episode, self.step, self._sizes, self._origin, stacklevel + 1
        )

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
    def episodes(self) -> EpisodeView[Self]:
        """The log as a sequence of its episodes, for drawing episodes, not rows.

        ``log.episodes[rows]`` are the transitions of the chosen episodes; scikit-learn
        can split and resample it, and an estimator can be fitted to it.
        """
        return EpisodeView(self)

    def __len__(self) -> int:
        return len(self.action)

    def __getitem__(self, key: object) -> Self:
        # No check: a fold is made of checked rows, and must cost only the indexing.
        rows, new = as_rows(key, len(self)), copy.copy(self)
        # One-step logs hold the same tables twice; their folds shall too.
        taken: dict[int, Any] = {}
        for name in ("_sizes", *FIELDS):
            values = getattr(self, name)
            if values is not None:
                if id(values) not in taken:
                    taken[id(values)] = take_rows(values, rows)
                setattr(new, name, taken[id(values)])
        # What was left out belongs to the log as it was read, and to no fold of it.
        new.left_out, new._n_without_action = {}, 0
        return new

    def __array__(self, dtype: object = None, copy: object = None) -> NoReturn:
        raise TypeError(NOT_AN_ARRAY)

    def __repr__(self) -> str:
        columns = f"{self.n_features} state column{'s' * (self.n_features != 1)}"
        kind = "str" if self.action.dtype.kind == "U" else self.action.dtype.name
        if self.action.ndim == 2:
            kind = f"{self.action.shape[1]}-column {kind}"
        given = [name for name in FIELDS[6:12] if getattr(self, name) is not None]
        with_ = f"; with {', '.join(given)}" if given else ""
        return f"<Transitions: {len(self):,} rows, {columns}, {kind} actions{with_}>"

    def with_states(self, state: ArrayLike, next_state: ArrayLike) -> Self:
        """Return the same log with other states, such as transformed ones.

        Parameters
        ----------
        state, next_state : array-likes or DataFrames of shape (n, d')
            The new states, row by row, with the same columns.

        Returns
        -------
        Transitions
        """
        now, after = check_states(state), check_states(next_state, "next_state")
        check_same_columns(now, after)
        lengths = {"state": len(now), "next_state": len(after)}
        if set(lengths.values()) != {len(self)}:
            check_same_length({**lengths, "action": len(self)})
        new = copy.copy(self)
        new.state, new.next_state, new.left_out = now, after, dict(self.left_out)
        # It is of the states as they were.
        new.__dict__.pop("available_rule", None)
        return new

    def with_spread_rewards(self, discount: float) -> Self:
        """Return the log with rewards that came in evenly while a row lasted.

        A reward counts as given when its action is taken, whatever the duration d. Of
        one that comes in at a constant rate until the next row, the same discount
        leaves r (1 − γ^d) / (d (1 − γ)): as d rewards of r / d, a unit of time apart.

        Parameters
        ----------
        discount : float
            γ, that of the estimator and of the metrics.

        Returns
        -------
        Transitions
            Itself with other rewards.
        """
        check_discount(discount)
        new = copy.copy(self)
        new.reward, new.left_out = spread_rewards(self, discount), dict(self.left_out)
        return new

    def with_stage(self, name: str = "stage") -> Self:
        """Return the log with a last state column: the step, a stage of a trial.

        Where not every action was logged at every stage, and the log has no masks, the
        actions logged at a stage are those that are available there: a policy learned
        from the log never takes one of another stage.

        Parameters
        ----------
        name : str, default="stage"
            Of the column, where states are a DataFrame.

        Returns
        -------
        Transitions

        Examples
        --------
        >>> from sklearn_stackelberg import Transitions
        >>> fields = dict(episode=[7, 7], step=[1, 2], terminated=[False, True])
        >>> log = Transitions([[0], [5]], ["a", "b"], [0, 1], [[5], [9]], **fields)
        >>> staged = log.with_stage()
        >>> staged.state.tolist(), staged.available.tolist()
        ([[0, 1], [5, 2]], [[True, False], [False, True]])
        """
        return self._with_stage(name, None)

    def _with_stage(self, name: str, allowed: dict[int, set[Any]] | None) -> Self:
        now, after, rule = add_stage(self, name)
        new = self.with_states(now, after)
        rule = StageActions(name, allowed) if allowed else rule
        if rule is not None and self.available is None:
            new.__dict__.update(read_masks(new, rule, None))
        return new

    def next_or_own_state(self) -> States:
        """The next states, and a terminated row's own state in place of its next.

        Returns
        -------
        ndarray or DataFrame of shape (n, d)
        """
        if self.next_state is self.state or not self.terminated.any():
            return self.next_state
        return choose_rows(self.terminated, self.next_state, self.state)

    def action_columns(self) -> dict[Hashable, NDArray[Any]]:
        """The action by column: ``action``, or by its columns' names or numbers.

        Returns
        -------
        dict of str to ndarray of shape (n,)
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
        return summarize(self, self._n_without_action)

    @classmethod
    def from_frame(
        cls,
        df: Table,
        *,
        state: str | Sequence[str],
        action: str | Sequence[str],
        reward: str,
        episode: str,
        step: str | None = None,
        terminated: str | None = None,
        propensity: str | None = None,
        is_initial: str | None = None,
        duration: str | None = None,
        weight: str | None = None,
        available: Mapping[Any, str] | Sequence[str] | AvailableRule | None = None,
        step_unit: StepUnit | None = None,
    ) -> Self:
        """Make transitions from a table with one row per decision.

        A row's next state is the state of the row of the same episode at step + 1,
        wherever it stands. A row without an action (None or NaN) holds the state after
        the last step of a truncated episode. Rows whose next state is not there are
        left out and counted in `left_out`, unless they are terminated.

        Parameters
        ----------
        df : DataFrame or str
            Of pandas, polars, Arrow, Modin or another library that narwhals reads; a
            lazy one; or the path of a Parquet file, read by polars if it is installed
            and else by pyarrow. Of the last two only these columns are read. With
            `step`, its rows may stand in any order, unless steps that fall from
            row to row in every episode may be a countdown: such a table is refused.
        state, action : str or list of str
            Columns of the state, and of the action, which may be several numbers.
        reward, episode : str
            Columns of the action's reward and the episode's name.
        step, terminated, propensity, is_initial, duration, weight : str, default=None
            Columns as in `Transitions`. None means: each episode's rows stand together
            and in order; every end is a truncation; unknown; the smallest step of each
            episode; 1; 1.
        available : dict of action to str, list of str, or callable, default=None
            Columns that say whether an action is available in the row's state, by
            action, or named by the actions; or a callable of states as in
            `Transitions`. Rows that only hold a state need them too.
        step_unit : float, str or timedelta, default=None
            Says that `step` holds times, and in what unit the discount counts them:
            such as ``"5min"`` where they are dates, 7 where they are days and it counts
            weeks. A row's next state is then that of the next time of its episode, and
            the time until there its duration; steps are numbered from 0.

        Returns
        -------
        Transitions
            In the order of the table, states as DataFrames of its library.

        Raises
        ------
        ValueError
            If a column is not there, a value is not as in `Transitions`, steps repeat
            or run backwards, an episode without steps stands in two places, or no row
            has a next state.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> df = pd.DataFrame({"patient": [*"aaabb"], "day": [1, 2, 3, 1, 2]})
        >>> df["pulse"] = [80, 75, 70, 90, 95]
        >>> df["dose"] = ["low", "high", None, "low", "low"]
        >>> df["gain"] = [0.0, 1.0, None, 0.0, -1.0]
        >>> roles = {"episode": "patient", "step": "day", "reward": "gain"}
        >>> log = Transitions.from_frame(df, state="pulse", action="dose", **roles)
        >>> log.next_state["pulse"].tolist(), log.n_left_out
        ([75, 70, 95], 1)
        """
        roles = {"reward": reward, "episode": episode, "step": step}
        roles |= {"terminated": terminated, "propensity": propensity}
        roles |= {"is_initial": is_initial, "duration": duration, WEIGHT: weight}
        rule = available if callable(available) else None
        if available is not None and rule is None:
            roles |= mask_roles(available)
        read, columns, action_names = frame_columns(df, state, action, roles)
        if step_unit is not None:
            columns = number_times(columns, step_unit)
        log = cls._from_columns(read, columns, action_names)[0]
        if rule is not None:
            log.__dict__.update(read_masks(log, rule, None))
        return log

    @classmethod
    def from_wide(
        cls,
        df: Table,
        *,
        stages: Sequence[Mapping[str, Any]],
        state: str | Sequence[str] | None = None,
        episode: str | None = None,
        reward: str | None = None,
        terminated: str | None = None,
        fill: object = 0,
        stage: str | None = "stage",
    ) -> Self:
        """Make transitions from a table with one row per patient, columns per stage.

        A patient without an action at a stage has none later, and their episode ended
        with the action before it. Each state has the columns of all stages: those that
        its own stage does not have are filled, and a column says which stage it is.

        Parameters
        ----------
        df : DataFrame or str
            As in `from_frame`.
        stages : list of dict
            What each stage has, in the order of time, by the names of columns.
            ``action``: the column of what was done, or a list of several numbers'.
            ``state``: a list of the columns that are known before, earlier actions and
            measurements among them if they are to be remembered; or a dict by name of
            the state's column, ``{"weight": "weight_2"}``, for what is measured at
            every stage. ``reward``: the column of what followed, 0 without one.
            ``propensity``: a column, or a number. ``available``: a list of the actions
            that could be taken; without one, those that were (see `with_stage`).
        state : str or list of str, default=None
            Columns that belong to the state at every stage and do not change.
        episode : str, default=None
            Column of the patient's name. None takes the number of the row.
        reward : str, default=None
            Column of an outcome measured once, at the end of all stages. It is the
            reward of each patient's last action, added to the stage's own.
        terminated : str, default=None
            Column that is False for patients who were lost after their last action. If
            the state of the next stage was measured, it is their next state; else that
            action is left out. None means that every end is one.
        fill : value or dict by state column, default=0
            What stands at stages that do not have a column of the state.
        stage : str or None, default="stage"
            Name of the last column of the state, which holds the stage, 1, 2, ....

        Returns
        -------
        Transitions
            Patient by patient, the stage as `step`, states as DataFrames.

        Raises
        ------
        ValueError
            If a column is not there or not as in `Transitions`, an action follows a
            stage without one, a state holds what is not known yet, or a patient has two
            rows.

        Examples
        --------
        A trial of two stages: who responded to the first treatment was done.

        >>> import pandas as pd
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> trial = pd.DataFrame({"age": [31, 58, 44], "mood": [9.0, 7.0, 8.0]})
        >>> trial["first"] = ["drug", "talk", "drug"]
        >>> trial["mood_after"] = [6.0, None, 7.5]
        >>> trial["second"] = ["both", None, "more"]
        >>> trial["score"] = [12.0, 20.0, 15.0]
        >>> one = {"state": ["mood"], "action": "first"}
        >>> two = {"state": ["mood_after", "mood"], "action": "second"}
        >>> log = Transitions.from_wide(
        ...     trial, stages=[one, two], state="age", reward="score"
        ... )
        >>> log.state
           age  mood  mood_after  stage
        0   31   9.0         0.0      1
        1   31   9.0         6.0      2
        2   58   7.0         0.0      1
        3   44   8.0         0.0      1
        4   44   8.0         7.5      2
        >>> log.reward, log.terminated
        (array([ 0., 12., 20.,  0., 15.]), array([False,  True,  True, False,  True]))
        >>> log.available_actions.tolist(), log.available[1].tolist()
        (['both', 'drug', 'more', 'talk'], [True, False, True, False])
        """
        whole = {"episode": episode, "reward": reward, "terminated": terminated}
        left_out, fields, allowed = wide_fields(df, stages, state, whole, fill, stage)
        log = cls(**fields)
        log.left_out = left_out
        if stage is None:
            return log
        return log._with_stage(stage, allowed)

    @classmethod
    def from_episodes(
        cls,
        observations: Sequence[ArrayLike],
        actions: Sequence[ArrayLike],
        rewards: Sequence[ArrayLike],
        terminated: Sequence[bool],
        available: Sequence[ArrayLike] | AvailableRule | None = None,
        duration: Sequence[ArrayLike] | None = None,
        weight: Sequence[ArrayLike] | None = None,
    ) -> Self:
        """Make transitions from lists with one entry per episode.

        Parameters
        ----------
        observations : list of array-likes of shape (T + 1, d)
            The states of each episode: one more than its T actions, the last being the
            state in which it ended.
        actions, rewards : lists of array-likes of shape (T,); actions also (T, p)
            The actions taken and the rewards that followed.
        terminated : list of bool
            Whether each episode ended for good, not by a time limit.
        available : list of array-likes of bool of shape (T + 1, n_actions), or \
                callable, default=None
            Which actions are available in each state, as in `Transitions`.
        duration, weight : lists of array-likes of shape (T,), default=None
            As in `Transitions`, of each action.

        Returns
        -------
        Transitions
            With episodes numbered as listed, steps from 0.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> seen = [[[0.0], [1.0], [2.0]], [[5.0], [6.0]]]
        >>> actions, rewards, ends = [[0, 1], [1]], [[0.0, 1.0], [0.5]], [True, False]
        >>> log = Transitions.from_episodes(seen, actions, rewards, ends)
        >>> log.next_state.ravel(), log.terminated
        (array([1., 2., 6.]), array([False,  True, False]))
        """
        fields = chain_episodes(observations, actions, rewards, terminated, available)
        lengths = [len(np.asarray(done)) for done in actions]
        for name, parts in (("duration", duration), ("weight", weight)):
            if parts is not None:
                fields[name] = chain_values(parts, lengths, name)
        return cls(**fields)

    @classmethod
    def concatenate(cls, *logs: Transitions) -> Self:
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
            If the logs differ in columns, in the type of their actions, or in fields.
        """
        # A list of logs is the likely slip, and would fail on its lack of fields.
        for k, log in enumerate(logs):
            if not isinstance(log, Transitions):
                raise TypeError(
                    f"concatenate takes Transitions one by one, and argument {k} is a "
                    f"{type(log).__name__}: use Transitions.concatenate(*logs)."
                )
        left_out, fields = join_logs(logs)
        n_without_action = sum(log._n_without_action for log in logs)
        return cls._from_checked(left_out, n_without_action, fields)

    def to_frame(self) -> PandasFrame:
        """Return the log as a pandas table that `from_frame` reads back.

        The columns are those of the state (``state_0``, ... for arrays), those of the
        action (``action_0``, ... for several without names), the other fields, and
        ``available_`` with the action behind it of masks. A row
        without an action closes each episode that does not go on, and each gap, to hold
        the last next state. Without `episode`, each transition becomes an episode.

        Returns
        -------
        DataFrame

        Raises
        ------
        ValueError
            If a state column bears the name of a field, or if the next state of a row
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
