"""d3rlpy's learners as policies of scikit-learn's kind. d3rlpy is imported by `fit`."""

from __future__ import annotations

import io
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import numpy as np
import torch

from .._typing import AnyArray, Floats, Index, RandomStateLike
from .._validation import check_rules, integer
from ..transitions._as_transitions import LogOrStates
from ..transitions._linking import places_in_time
from ..transitions._transitions import Transitions
from ._base import ContinuousBaseline, DiscreteBaseline, Rows, seed_of

# d3rlpy is called by names that it has at run time alone.
Learner = Any


def import_d3rlpy() -> Any:
    """Import d3rlpy without its messages, nor those of the old gym that it imports."""
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import d3rlpy
            import structlog
    except ImportError as error:
        raise ImportError(
            "This baseline is a learner of d3rlpy, which is not installed: pip install "
            "d3rlpy"
        ) from error
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    return d3rlpy


def replay_buffer(
    log: Transitions, state: Floats, after: Floats, action: AnyArray, n_actions: int
) -> Any:
    """A log as d3rlpy's replay buffer, every logged row a transition of it.

    d3rlpy reads the next state from the next row, and so has none for the last row of
    a truncated episode, or one before a gap: the state where it stopped is appended
    as a row that is never drawn.

    Parameters
    ----------
    log : Transitions
    state, after : arrays of shape (n, d)
        Its states and next states, as numbers.
    action : array of shape (n, p)
        Codes or numbers.
    n_actions : int
        Of discrete actions; 0 says that they are continuous.

    Returns
    -------
    d3rlpy.dataset.ReplayBuffer
    """
    d3rlpy = import_d3rlpy()
    states, afters = state.astype(np.float32), after.astype(np.float32)
    reward = log.reward.astype(np.float32)
    episodes = []
    for rows in _unbroken(log):
        observations, actions = states[rows], action[rows]
        rewards, ends = reward[rows], bool(log.terminated[rows[-1]])
        if not ends:
            observations = np.vstack([observations, afters[rows[-1:]]])
            actions = np.vstack([actions, np.zeros_like(actions[:1])])
            rewards = np.append(rewards, np.float32(0.0))
        episodes.append(
            d3rlpy.dataset.Episode(
                observations=observations,
                actions=actions,
                rewards=rewards[:, None],
                terminated=ends,
            )
        )
    space = d3rlpy.ActionSpace
    return d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=episodes,
        action_space=space.DISCRETE if n_actions else space.CONTINUOUS,
        action_size=n_actions or action.shape[1],
    )


def _unbroken(log: Transitions) -> list[Index]:
    """Rows of each run of steps without a gap or an end, in order."""
    if log.episode is None:
        return [np.array([row]) for row in range(len(log))]
    places = places_in_time(len(log), log.episode, log.step)
    order = np.lexsort((places.place, places.episode))
    step = places.place if log.step is None else log.step
    follows = np.diff(places.episode[order]) == 0
    follows &= (np.diff(step[order]) == 1) & ~log.terminated[order[:-1]]
    return np.split(order, np.flatnonzero(~follows) + 1)


def train(
    config: str, buffer: Any, seed: int, n_steps: int, settings: dict[str, Any]
) -> Learner:
    """Train one of d3rlpy's learners, in one epoch and silently, on the CPU."""
    d3rlpy = import_d3rlpy()
    with _global_draws_kept():
        d3rlpy.seed(seed)
        learner = getattr(d3rlpy.algos, config)(**settings).create(device=False)
        learner.fit(
            buffer,
            n_steps=n_steps,
            # Epochs are whole: none is trained where one is longer than n_steps.
            n_steps_per_epoch=n_steps,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False,
        )
    return learner


@contextmanager
def _global_draws_kept() -> Iterator[None]:
    """Let what is drawn elsewhere be as if d3rlpy had seeded and drawn nothing."""
    of_numpy = np.random.get_state()  # noqa: NPY002
    of_python, of_torch = random.getstate(), torch.get_rng_state()
    try:
        yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        torch.set_rng_state(of_torch)


class _D3RLPy:
    """Parameters that both kinds have."""

    algorithm: str
    discount: float
    n_steps: int
    settings: dict[str, Any] | None
    random_state: RandomStateLike

    def _train(self, buffer: Any, more: dict[str, Any]) -> Learner:
        check_rules({"n_steps": self.n_steps}, {"n_steps": integer(1)})
        d3rlpy = import_d3rlpy()
        config = f"{self.algorithm}Config"
        if not hasattr(d3rlpy.algos, config):
            names = [n[:-6] for n in dir(d3rlpy.algos) if n.endswith("Config")]
            raise ValueError(
                f"d3rlpy has no algorithm {self.algorithm!r}; it has {names}."
            )
        if "BC" not in (self.algorithm, self.algorithm.removeprefix("Discrete")):
            more = {"gamma": self.discount, **more}
        # States of any unit; an imitator has no rewards to scale.
        more["observation_scaler"] = d3rlpy.preprocessing.StandardObservationScaler()
        return train(
            config,
            buffer,
            seed_of(self.random_state),
            self.n_steps,
            more | (self.settings or {}),
        )


class D3RLPyDiscrete(_D3RLPy, DiscreteBaseline):
    """A learner of d3rlpy for discrete actions.

    Its settings are d3rlpy's defaults, on standardised states. Actions that are not
    available are left out of the choice by their values, where the learner has any.

    Parameters
    ----------
    algorithm : str, default="DiscreteCQL"
        A name of ``d3rlpy.algos`` for discrete actions, such as "DiscreteBCQ",
        "DiscreteBC" or "DoubleDQN".
    discount : float, default=0.99
        γ, in [0, 1].
    n_steps : int, default=10_000
        Gradient steps.
    settings : dict, default=None
        Further arguments of the learner's configuration.
    random_state : int, RandomState instance or None, default=None
        Seeds the training; what is drawn elsewhere is as without it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)
    learner_ : d3rlpy learner
        As trained.

    Examples
    --------
    >>> from sklearn_stackelberg.baselines import D3RLPyDiscrete
    >>> D3RLPyDiscrete("DiscreteBCQ", discount=0.9, n_steps=1_000)
    D3RLPyDiscrete(algorithm='DiscreteBCQ', discount=0.9, n_steps=1000)
    """

    def __init__(
        self,
        algorithm: str = "DiscreteCQL",
        *,
        discount: float = 0.99,
        n_steps: int = 10_000,
        settings: dict[str, Any] | None = None,
        random_state: RandomStateLike = None,
    ) -> None:
        self.algorithm = algorithm
        self.discount = discount
        self.n_steps = n_steps
        self.settings = settings
        self.random_state = random_state

    def _learn(
        self, log: Transitions, state: Floats, after: Floats, discount: float
    ) -> None:
        self._log = log
        try:
            super()._learn(log, state, after, discount)
        finally:
            del self._log

    def _learn_rows(self, rows: Rows) -> None:
        action = rows.code.astype(np.int64)[:, None]
        buffer = replay_buffer(
            self._log, rows.state, rows.next_state, action, rows.n_actions
        )
        self._n_actions = rows.n_actions
        self.learner_ = self._train(buffer, {})

    def _scores(self, states: Floats) -> Floats:
        inputs = states.astype(np.float32)
        chosen = np.eye(self._n_actions)[self.learner_.predict(inputs)]
        try:
            each = [
                self.learner_.predict_value(inputs, np.full(len(inputs), a))
                for a in range(self._n_actions)
            ]
        except NotImplementedError:  # an imitator has no values
            return chosen
        # What the learner chooses is first: BCQ also looks at how often it was logged.
        q = np.stack(each, axis=1)
        return q + chosen * (np.ptp(q) + 1.0)


class D3RLPyContinuous(_D3RLPy, ContinuousBaseline):
    """A learner of d3rlpy for continuous actions, scaled to the range of the log's.

    Its settings are d3rlpy's defaults, on standardised states.

    Parameters
    ----------
    algorithm : str, default="TD3PlusBC"
        A name of ``d3rlpy.algos`` for continuous actions, such as "IQL", "CQL" or "BC".
    discount : float, default=0.99
        γ, in [0, 1].
    n_steps : int, default=10_000
        Gradient steps.
    settings : dict, default=None
        Further arguments of the learner's configuration.
    random_state : int, RandomState instance or None, default=None
        Seeds the training; what is drawn elsewhere is as without it.

    Attributes
    ----------
    learner_ : d3rlpy learner
        As trained.

    Examples
    --------
    >>> from sklearn_stackelberg.baselines import D3RLPyContinuous
    >>> D3RLPyContinuous("IQL", n_steps=1_000)
    D3RLPyContinuous(algorithm='IQL', n_steps=1000)
    """

    def __init__(
        self,
        algorithm: str = "TD3PlusBC",
        *,
        discount: float = 0.99,
        n_steps: int = 10_000,
        settings: dict[str, Any] | None = None,
        random_state: RandomStateLike = None,
    ) -> None:
        self.algorithm = algorithm
        self.discount = discount
        self.n_steps = n_steps
        self.settings = settings
        self.random_state = random_state

    def _learn(
        self, log: Transitions, state: Floats, after: Floats, discount: float
    ) -> None:
        action = np.asarray(log.action, dtype=np.float32).reshape(len(log), -1)
        scaler = import_d3rlpy().preprocessing.MinMaxActionScaler(
            minimum=action.min(axis=0), maximum=action.max(axis=0)
        )
        buffer = replay_buffer(log, state, after, action, 0)
        self.learner_ = self._train(buffer, {"action_scaler": scaler})
        self._is_vector = log.action.ndim == 2

    def predict(self, X: LogOrStates) -> Floats:
        """The action of each state.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
        """
        found = self.learner_.predict(self._states(X).astype(np.float32))
        found = np.asarray(found, dtype=np.float64).reshape(len(found), -1)
        return found if self._is_vector else found[:, 0]
