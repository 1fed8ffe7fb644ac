"""Folds made of whole episodes, or of blocks of time."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples

from ..transitions._as_transitions import LogOrStates
from ..transitions._chains import chain_rows
from ..transitions._checks import check_episodes, check_same_length
from ..transitions._decision_table import find_columns, is_table
from ..transitions._episodes import EpisodeView
from ..transitions._linking import Places, encode, places_in_time
from ..transitions._tables import States
from ..transitions._transitions import Transitions


class _KFold(BaseCrossValidator):
    """What both do alike."""

    n_splits: int

    def get_n_splits(
        self, X: object = None, y: object = None, groups: object = None
    ) -> int:
        """Number of folds.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored.

        Returns
        -------
        int
        """
        return self.n_splits


class EpisodeKFold(_KFold):
    """K folds of whole episodes, whose number differs by one at most.

    An episode with some rows in training and others in test makes held-out scores too
    good. Episodes are read from X (a `Transitions`, or its ``episodes``), y (a decision
    table) or ``groups``, and counted in the order in which they first appear, as
    `KFold` counts rows. A log and the decision table it was made of have the same
    folds: rows that are no transition follow their episode, and an episode without any
    transition the one above it.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to put the episodes into a random order first. The rows of a fold stay
        in the order of the log.
    random_state : int, RandomState instance or None, default=None
        Draws that order. Only with `shuffle`.

    Raises
    ------
    ValueError
        If there are fewer episodes than folds, or no episodes to be read.

    See Also
    --------
    sklearn_stackelberg.model_selection.BlockKFold : For one long episode, or a few.
    sklearn_stackelberg.Transitions.episodes : For halving searches, learning curves and
        bootstraps, which draw rows whatever the folds are.

    Examples
    --------
    >>> from sklearn_stackelberg import EpisodeKFold, Transitions
    >>> state = [[0], [1], [2], [3], [4]]
    >>> log = Transitions(state, [0] * 5, [1] * 5, state, episode=[*"aabbc"])
    >>> for train, test in EpisodeKFold(2).split(log):
    ...     print(log.episode[train], log.episode[test])
    ['c'] ['a' 'a' 'b' 'b']
    ['a' 'a' 'b' 'b'] ['c']
    """

    shuffle: bool
    random_state: int | np.random.RandomState | None

    # Read where they are given, needed nowhere.
    __metadata_request__split: ClassVar = {"groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        _check_integer("n_splits", n_splits, 2)
        if not isinstance(shuffle, bool):
            raise TypeError(f"shuffle must be True or False; got {shuffle!r}.")
        if random_state is not None and not shuffle:
            raise ValueError(
                "random_state has no effect unless you set shuffle=True; or give None."
            )
        self.n_splits = int(n_splits)
        self.shuffle = shuffle
        self.random_state = random_state

    def split(
        self,
        X: LogOrStates,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the rows of each fold's training and test part.

        Parameters
        ----------
        X : Transitions, Transitions.episodes, or array-like of shape (n, d)
            A log, its episodes (each of them one row of X), or states.
        y : DataFrame or structured array of shape (n,), default=None
            With states: the decision table. Without a column ``episode``, each row is
            an episode.
        groups : array-like of shape (n,), default=None
            Names of the episodes, which go before those in X and y.

        Yields
        ------
        train, test : ndarrays of int
            Rows of X, in order.
        """
        yield from super().split(X, y, groups)

    def _iter_test_masks(
        self,
        X: LogOrStates | None = None,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Iterator[NDArray[np.bool_]]:
        codes = _episode_codes(X, y, groups)  # (n,)
        n_episodes = int(codes.max()) + 1
        if n_episodes < self.n_splits:
            advice = f"Set n_splits to at most {n_episodes}, or log more episodes"
            if n_episodes == 1:
                advice = (
                    "Use BlockKFold, whose folds are blocks of time, for one long "
                    "episode, or KFold if its rows do not depend on each other"
                )
            raise ValueError(
                f"n_splits={self.n_splits} folds of whole episodes cannot be made of "
                f"{n_episodes} episode{'s' * (n_episodes != 1)}. {advice}."
            )
        # array_split gives the first folds one more, as KFold does.
        order = np.arange(n_episodes)
        if self.shuffle:
            # As KFold shuffles: the same seed gives the same order of as many things.
            check_random_state(self.random_state).shuffle(order)
        for fold in np.array_split(order, self.n_splits):
            yield np.isin(codes, fold)


class BlockKFold(_KFold):
    """K folds of consecutive time, with a gap on either side of what is tested.

    For one long episode, or a few: each is cut into `n_splits` blocks of as many rows,
    and fold k tests the k-th block of every episode. Rows on both sides of it are left
    out of training, because they know of the rows tested. Time is the step of a log or
    a decision table; where there is none, rows stand in order, those of an episode one
    after the other. Episodes are read as `EpisodeKFold` reads them, and without any all
    rows are one.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    gap : int, default=None
        Rows that are left out of training on either side of a block, in each episode.
        None is √n of an episode of n rows, the length of the blocks that `metrics`
        takes as independent; at least as many as rows remember each other by are
        needed, and 1 keeps the state tested out of training alone.

    Raises
    ------
    ValueError
        If no episode has as many rows as there are folds, or the gap leaves none to
        train on.

    See Also
    --------
    EpisodeKFold : Where there are at least as many episodes as folds.

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.model_selection import BlockKFold
    >>> state = [[float(t)] for t in range(9)]
    >>> log = Transitions(state, [0] * 9, [1] * 9, state, episode=[0] * 9)
    >>> for train, test in BlockKFold(3, gap=1).split(log):
    ...     print(train, test)
    [4 5 6 7 8] [0 1 2]
    [0 1 7 8] [3 4 5]
    [0 1 2 3 4] [6 7 8]
    """

    gap: int | None

    __metadata_request__split: ClassVar = {"groups": True}

    def __init__(self, n_splits: int = 5, *, gap: int | None = None) -> None:
        _check_integer("n_splits", n_splits, 2)
        if gap is not None:
            _check_integer("gap", gap, 0)
        self.n_splits, self.gap = n_splits, gap

    def split(
        self,
        X: LogOrStates,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the rows of each fold's training and test part.

        Parameters
        ----------
        X : Transitions, or array-like of shape (n, d)
            A log, or states.
        y : DataFrame or structured array of shape (n,), default=None
            With states: the decision table. Without a column ``episode``, its rows are
            one, in order.
        groups : array-like of shape (n,), default=None
            Names of the episodes, which go before those in X and y.

        Yields
        ------
        train, test : ndarrays of int
            Rows of X, in order.
        """
        episode, place, size = _places(X, y, groups)
        if size.max() < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} blocks of time cannot be made of "
                f"{size.max()} rows, which the longest of {len(size)} "
                f"episode{'s' * (len(size) != 1)} has. Set n_splits lower, or use "
                "EpisodeKFold, whose folds are whole episodes."
            )
        if isinstance(X, Transitions):
            # Episodes are cut by these folds, and the user knows.
            X._origin.cuts_reported = True
        gap = np.round(np.sqrt(size)).astype(int) if self.gap is None else self.gap
        for fold in range(self.n_splits):
            # Ceilings, so that blocks differ by a row at most and none is left over.
            start, stop = (-(-k * size // self.n_splits) for k in (fold, fold + 1))
            test = (place >= start[episode]) & (place < stop[episode])
            near = (place >= (start - gap)[episode]) & (place < (stop + gap)[episode])
            # Of episodes with fewer rows than folds, some have no row tested here.
            near &= (stop > start)[episode]
            if near.all():
                raise ValueError(
                    f"A gap of {np.max(gap)} rows on either side of the blocks leaves "
                    f"no row of {len(place)} to train on. Set gap lower, or n_splits "
                    "higher."
                )
            yield np.flatnonzero(~near), np.flatnonzero(test)


def _check_integer(name: str, value: object, least: int) -> None:
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}; got {value!r}.")


def _places(X: LogOrStates, y: ArrayLike | None, groups: ArrayLike | None) -> Places:
    """Each row's episode and place in it; without episodes all rows are one."""
    if isinstance(X, EpisodeView):
        raise ValueError(
            "X is a view of a log's episodes, whose entries are not rows in time. Give "
            "BlockKFold the log itself."
        )
    episode, step = None, None
    if isinstance(X, Transitions):
        n, episode, step = len(X), X.episode, X.step
    else:
        n = _num_samples(X)
        if y is not None and is_table(y):
            columns = find_columns(y)
            if "episode" in columns:
                chain = chain_rows(columns)
                episode, step = chain.episode, chain.step
    if groups is not None:
        episode = check_episodes(groups, name="groups")
    given = {"X": n} if episode is None else {"X": n, "episode": len(episode)}
    check_same_length(given)
    return places_in_time(n, episode, step)


def _episode_codes(
    X: LogOrStates | None, y: ArrayLike | None, groups: ArrayLike | None
) -> NDArray[np.intp]:
    """Each row's episode, counted from 0 in the order of the transitions."""
    # Groups go first: whoever gives them knows more than the log does.
    if groups is not None:
        return encode(check_episodes(groups, name="groups"))
    if isinstance(X, EpisodeView):
        check_same_length({"log": len(X)})
        return np.arange(len(X))
    if isinstance(X, Transitions):
        check_same_length({"log": len(X)})
        if X.episode is not None:
            return encode(X.episode)
    elif y is not None and is_table(y):
        return _table_codes(y)
    raise ValueError(
        "There are no episodes to make folds of. They were looked for in groups "
        f"({'None' if groups is None else 'given'}), in X (a {type(X).__name__}"
        f"{' without episode' if isinstance(X, Transitions) else ', not a Transitions'}"
        f") and in y ({'None' if y is None else f'a {type(y).__name__}, not a table'}"
        "). Give the log its episode, or pass groups; if its rows are one long episode "
        "in order of time, use BlockKFold."
    )


def _table_codes(y: States) -> NDArray[np.intp]:
    chain = chain_rows(find_columns(y))
    whole = encode(chain.episode)
    # Numbered by the rows that become transitions, as those of the log are.
    codes = np.full(int(whole.max()) + 1, -1)
    codes[whole[chain.rows]] = encode(chain.episode[chain.rows])
    # Without a transition, an episode follows the one that appeared before it.
    known = np.maximum.accumulate(np.where(codes >= 0, np.arange(codes.size), -1))
    return np.where(known >= 0, codes[known], 0)[whole]
