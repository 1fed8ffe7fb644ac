"""The log that everything is learned from and evaluated on."""

from __future__ import annotations

import copy
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._html import html_table
from .._validation import check_discount
from ._actions import action_type, read_masks
from ._checks import check_same_length
from ._columns import Column
from ._decision_table import WEIGHT
from ._discounting import spread_rewards
from ._episode_lists import read_episodes
from ._episodes import (
    NOT_AN_ARRAY,
    EpisodeView,
    LogSummary,
    Origin,
    as_rows,
    episode_sizes,
    one_line,
    summarize,
    warn_of_cut_episodes,
)
from ._fields import checked_fields, fields_of_table
from ._formats import Episode, read_d4rl, read_minari, write_minari
from ._frame import frame_columns, mask_roles, write_frame
from ._history import histories, layout_of_log, warn_of_broken_histories
from ._join import chain_episodes, chain_values, join_logs
from ._sources import Table
from ._stored_log import FromBlocks
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
    take_rows,
)
from ._time import StageActions, StepUnit, add_stage, number_times
from ._usage import Lost, join_lost, remember_use
from ._wide import wide_fields


class Transitions(FromBlocks, Log):
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
    # Of rows left out when the log was read; and whether each row was taken as an
    # episode of its own for want of a column that says so.
    _lost: Lost | None = None
    _single_steps: bool = False

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
        states = check_states(state), check_states(next_state, "next_state")
        check_same_columns(*states)
        self.state, self.next_state = states
        optional = (is_initial, episode, step, propensity, duration, weight)
        fields = checked_fields(states, action, reward, terminated, *optional)
        self.__dict__.update(fields)
        self.action, self.reward = fields["action"], fields["reward"]
        self.terminated, self.is_initial = fields["terminated"], fields["is_initial"]
        self.episode, self.step = fields["episode"], fields["step"]
        self.propensity = fields["propensity"]
        self.left_out: dict[str, int] = {}
        self._n_without_action = 0
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
        read_table = fields_of_table(columns)
        fields = read_table.fields | {"action_names": action_names}
        fields["state"], fields["next_state"] = read(*read_table.rows)
        log = cls._from_checked(*read_table.counts, fields)
        if read_table.lost is not None:
            log._lost, log._origin.sketch = read_table.lost
        log._single_steps = read_table.single_steps
        return log, read_table.rows[0]

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
        remember_use(self)
        new.left_out, new._n_without_action = {}, 0
        new.__dict__.pop("_lost", None)
        return new

    def __array__(self, dtype: object = None, copy: object = None) -> NoReturn:
        raise TypeError(NOT_AN_ARRAY)

    def __repr__(self) -> str:
        return f"<{one_line(self)}>"

    def _repr_html_(self) -> str:
        # Of an empty selection nothing can be summarised.
        lines = self.describe().lines().items() if len(self) else ()
        return html_table((), lines, one_line(self))

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

    def with_history(self, k: int, *, actions: ArrayLike | str | None = None) -> Self:
        """Return the same log with the last k observations as states, and the actions.

        For a process that is seen in part. A state becomes the observation, the action
        before it, the observation before that, and so on; the next state goes on from
        there with the row's own action. Before an episode's first observation stands
        that observation again, and no action. Make the history before drawing rows.

        Parameters
        ----------
        k : int
            Number of observations, of which 1 is the log as it is.
        actions : array-like, "numbers" or None, default=None
            Discrete actions that have a column; "numbers" keeps actions as the numbers
            they are. None means those available or logged, and numbers where
            ``action_type="auto"`` of the estimator takes them as continuous.

        Returns
        -------
        Transitions
            With d k + (k − 1) K columns for K actions, one-hot, all 0 for none. Numbers
            of an action are followed by one that is 1 for none. Of a DataFrame with a
            column ``x`` they are named ``x``, ``action_lag1_low``, ..., ``x_lag1``,
            ``action_lag2_low``, ...; of several numbers ``dose_lag1``, ...,
            ``no_action_lag1``.

        Raises
        ------
        ValueError
            If the log has no episodes, or k or actions are not as described.

        Warns
        -----
        UserWarning
            If at more than 5 % of the rows the history starts anew in an episode.

        See Also
        --------
        sklearn_stackelberg.HistoryStates : The same as a transformer, for pipelines,
            and for a policy in use.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> seen = [[[1.0], [2.0], [3.0]]]
        >>> log = Transitions.from_episodes(seen, [[0, 1]], [[0.0, 1.0]], [False])
        >>> log.with_history(2).state
        array([[1., 0., 0., 1.],
               [2., 1., 0., 1.]])
        >>> log.with_history(2).next_state
        array([[2., 1., 0., 1.],
               [3., 0., 1., 2.]])
        """
        layout = layout_of_log(self, k, actions)
        if layout.k == 1:
            return copy.copy(self)
        state, next_state, previous = histories(self, layout)
        warn_of_broken_histories(previous, stacklevel=2)
        return self.with_states(state, next_state)

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
        share = self._lost.share_beside(self.reward) if self._lost else 0.0
        kind, of_table = action_type(self.action)[0], self._origin.left_out
        return summarize(self, kind, self._n_without_action, share, of_table)

    @classmethod
    def from_frame(
        cls,
        df: Table,
        *,
        state: str | Sequence[str],
        action: str | Sequence[str],
        reward: str,
        episode: str | None = None,
        step: str | None = None,
        terminated: str | None = None,
        truncated: str | None = None,
        propensity: str | None = None,
        is_initial: str | None = None,
        duration: str | None = None,
        weight: str | None = None,
        censored: str | None = None,
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
        reward : str
            Column of the action's reward.
        episode : str, default=None
            Column of the episode's name. None means that each row is a decision of its
            own, after which nothing follows: learn from them with ``discount=0``.
        truncated : str, default=None
            Column that says where an episode was cut, such as Gymnasium's ``truncated``
            or D4RL's ``timeouts``: what follows there is another episode, but for a row
            without an action. Where episodes are cut inside, they are renumbered 0, 1,
            ..., and end where they are terminated, too.
        step, terminated, propensity, is_initial, duration, weight : str, default=None
            Columns as in `Transitions`. None means: each episode's rows stand together
            and in order; every end is a truncation; unknown; the smallest step of each
            episode; 1; 1.
        censored : str, default=None
            Column that is True at decisions whose outcome is not known because the
            episode was lost there: left out, and counted as such (see
            `preprocessing.censoring_weights`).
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
            or run backwards or leave more rows out than they link, an episode without
            steps stands in two places, no row has a next state, or a column whose name
            says that it is of ends, such as ``truncated`` or ``done``, is not used.

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
        roles |= {"terminated": terminated, "truncated": truncated}
        roles |= {"propensity": propensity, "censored": censored}
        roles |= {"is_initial": is_initial, "duration": duration, WEIGHT: weight}
        rule = available if callable(available) else None
        if available is not None and rule is None:
            roles |= mask_roles(available)
        read, columns, action_names = frame_columns(df, state, action, roles)
        if step_unit is not None:
            columns = number_times(columns, step_unit)
        log = cls._from_columns(read, columns, action_names)[0]
        if log._lost and log._lost.gaps:
            raise ValueError(log._lost.gaps)
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
        observations: Iterable[Any],
        actions: Iterable[ArrayLike] | None = None,
        rewards: Iterable[ArrayLike] | None = None,
        terminated: Iterable[ArrayLike] | None = None,
        available: Sequence[ArrayLike] | AvailableRule | None = None,
        duration: Sequence[ArrayLike] | None = None,
        weight: Sequence[ArrayLike] | None = None,
        *,
        truncated: Iterable[ArrayLike] | None = None,
        autoreset: str = "next_step",
    ) -> Self:
        """Make transitions from lists with one entry per episode.

        What a vector environment of Gymnasium returned is also taken, in lists with one
        entry per step, whose arrays have a row for each environment; and so are
        Minari's episodes, as ``observations`` alone.

        Parameters
        ----------
        observations : iterable of array-likes of shape (T + 1, d)
            The states of each episode: one more than its T actions, the last being the
            state in which it ended. Or records with the attributes ``observations``,
            ``actions``, ``rewards``, ``terminations`` and ``truncations``.
        actions, rewards : iterables of array-likes of shape (T,); actions also (T, p)
            The actions taken and the rewards that followed.
        terminated : iterable of bool, or of array-likes of bool of shape (T,)
            Whether each episode, or each of its steps, ended it for good, not by a time
            limit.
        available : list of array-likes of bool of shape (T + 1, n_actions), or \
                callable, default=None
            Which actions are available in each state, as in `Transitions`.
        duration, weight : lists of array-likes of shape (T,), default=None
            As in `Transitions`, of each action.
        truncated : as terminated, default=None
            Whether it was cut. Needed of vector environments alone, whose steps go on
            in the next episode.
        autoreset : {"next_step", "same_step"}, default="next_step"
            When a vector environment was reset: in the step after an end, which is no
            transition, or in that of the end, where a truncated row's next state is
            unknown and the row left out.

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
        given = read_episodes(
            observations, actions, rewards, terminated, truncated, autoreset
        )
        fields = chain_episodes(*given[:4], available)
        lengths = [len(done) for done in given.actions]
        log = cls(**fields, **chain_values(lengths, duration=duration, weight=weight))
        if given.lost:
            log.left_out, log._lost = given.left_out, given.lost
        return log

    @classmethod
    def from_minari(cls, dataset: Iterable[Episode]) -> Self:
        """Make transitions from a dataset of Minari.

        Parameters
        ----------
        dataset : MinariDataset or iterable of EpisodeData
            As ``minari.load_dataset`` returns it. Each episode has ``observations`` of
            shape (T + 1, ...), and ``actions``, ``rewards``, ``terminations`` and
            ``truncations`` of T entries.

        Returns
        -------
        Transitions
            With Minari's numbers of the episodes, steps from 0. The parts of a dict or
            tuple of observations stand side by side. ``propensity`` is there if the
            infos of all episodes have it.

        Raises
        ------
        ValueError
            If an episode goes on after it terminated, or actions have several parts.

        See Also
        --------
        Transitions.to_minari : The way back.

        Examples
        --------
        Anything with the attributes of Minari's ``EpisodeData`` will do:

        >>> from types import SimpleNamespace
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> episode = SimpleNamespace(
        ...     id=7,
        ...     observations=[[0.0], [1.0], [2.0]],
        ...     actions=[0, 1],
        ...     rewards=[0.0, 1.0],
        ...     terminations=[False, True],
        ...     truncations=[False, False],
        ...     infos={},
        ... )
        >>> log = Transitions.from_minari([episode])
        >>> log.next_state.ravel(), log.terminated, log.episode
        (array([1., 2.]), array([False,  True]), array([7, 7]))
        """
        return cls(**read_minari(dataset))

    @classmethod
    def from_d4rl(cls, source: Mapping[str, ArrayLike] | str | os.PathLike) -> Self:
        """Make transitions from a dictionary of D4RL, or its HDF5 file.

        Parameters
        ----------
        source : dict of arrays, or path
            ``observations``, ``actions``, ``rewards``, ``terminals`` and ``timeouts``,
            one entry for each step, perhaps ``next_observations``; others are not
            looked at. A path is of an HDF5 file, which h5py reads.

        Returns
        -------
        Transitions
            Episodes are numbered from 0, and end where ``terminals`` or ``timeouts``
            say so; only the former end the value. Without ``next_observations`` the
            next state of a step cut by ``timeouts`` is not known: such rows are left
            out and counted in `left_out`.

        Raises
        ------
        ValueError
            If arrays are missing or of different lengths; without ``timeouts`` and
            ``next_observations``, which alone say where episodes were cut.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> data = {
        ...     "observations": [[0.0], [1.0], [5.0], [6.0]],
        ...     "actions": [0, 1, 1, 0],
        ... }
        >>> data |= {"rewards": [0.0, 1.0, 0.0, 0.0]}
        >>> data |= {"terminals": [0, 1, 0, 0], "timeouts": [0, 0, 0, 1]}
        >>> log = Transitions.from_d4rl(data)
        >>> log.episode, log.terminated, log.n_left_out
        (array([0, 0, 1]), array([False,  True, False]), 1)
        """
        fields, left_out = read_d4rl(source)
        log = cls(**fields)
        log.left_out = left_out
        return log

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
        left_out, fields = join_logs(logs)
        n_without_action = sum(log._n_without_action for log in logs)
        joined = cls._from_checked(left_out, n_without_action, fields)
        if lost := join_lost([log._lost for log in logs]):
            joined._lost = lost
        return joined

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

    def to_minari(self, dataset_id: str, **settings: Any) -> object:
        """Write the log as a dataset of Minari, in its folder of local datasets.

        Parameters
        ----------
        dataset_id : str
            Its name, such as ``"clinic/doses-v0"``.
        **settings
            Passed on to ``minari.create_dataset_from_buffers``: ``env``, or
            ``observation_space`` and ``action_space`` (taken from the log if neither is
            given), ``data_format``, ``description``, ...

        Returns
        -------
        MinariDataset
            Episodes numbered from 0 in the order of their names' first rows, which
            `from_minari` reads back. Propensities are infos; masks, durations, weights
            and names of columns are left out, with a warning.

        Raises
        ------
        ImportError
            If minari or its storage is not installed.
        ValueError
            If the log has no episodes, or gaps in them; if states or actions are not
            numbers.
        """
        return write_minari(self, dataset_id, **settings)
