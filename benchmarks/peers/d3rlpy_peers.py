"""d3rlpy 2.8.1 on the same logs; here its learners for discrete actions."""

from __future__ import annotations

import io
import logging
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Method, as_floats

N_STEPS = 10_000
CHECKPOINT = 500
# The defaults are made for Atari: a small step, and a target that would not be updated
# twice in 10,000 steps. Each learner is given these as well.
FASTER = {"learning_rate": 1e-3, "target_update_interval": 100}


def import_d3rlpy() -> Any:
    """Import d3rlpy without its messages, nor those of the old gym that it imports."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        import d3rlpy
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    return d3rlpy


class _Learner:
    """A d3rlpy learner that predicts actions as they were logged."""

    def __init__(self, learner: Any, classes: NDArray[Any] | None) -> None:
        self._learner = learner
        self._classes = classes

    def predict(self, states: NDArray[Any]) -> NDArray[Any]:
        """The action of each state."""
        action = self._learner.predict(as_floats(states).astype(np.float32))
        return action if self._classes is None else self._classes[action]


def replay_buffer(
    log: Any, continuous: bool = False
) -> tuple[Any, NDArray[Any] | None]:
    """A log as d3rlpy's replay buffer, every logged row a transition of it.

    d3rlpy reads the next state from the next row, and so has none for the last row of
    a truncated episode; the state where the truncated episode stopped is appended here
    as a row that is never drawn.

    Returns
    -------
    buffer : d3rlpy.dataset.ReplayBuffer
    classes : array of shape (n_actions,), or None where actions are numbers
    """
    d3rlpy = import_d3rlpy()
    state = as_floats(log.state).astype(np.float32)
    next_state = as_floats(log.next_state).astype(np.float32)
    classes = None
    if continuous:
        action = as_floats(log.action).astype(np.float32)  # (n, p)
    else:
        classes, code = np.unique(np.asarray(log.action), return_inverse=True)
        action = code.astype(np.int64)[:, None]
    reward = np.asarray(log.reward, dtype=np.float32)
    terminated = np.asarray(log.terminated, dtype=bool)
    episode, step = np.asarray(log.episode), np.asarray(log.step)
    episodes = []
    for one in np.unique(episode):
        rows = np.flatnonzero(episode == one)
        rows = rows[np.argsort(step[rows], kind="stable")]
        if np.any(np.diff(step[rows]) != 1):
            raise ValueError(f"Episode {one!r} has gaps; d3rlpy needs every step.")
        observations, actions, rewards = state[rows], action[rows], reward[rows]
        ends = bool(terminated[rows[-1]])
        if not ends:
            observations = np.vstack([observations, next_state[rows[-1:]]])
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
    buffer = d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=episodes,
        action_space=getattr(
            d3rlpy.ActionSpace, "CONTINUOUS" if continuous else "DISCRETE"
        ),
        action_size=action.shape[1] if classes is None else len(classes),
    )
    if buffer.transition_count != len(state):
        raise RuntimeError(
            f"d3rlpy would draw from {buffer.transition_count} of {len(state)} rows."
        )
    return buffer, classes


def fit_learner(
    log: Any,
    random_state: int,
    *,
    config: str,
    n_steps: int = N_STEPS,
    discount: float = 0.99,
    continuous: bool = False,
    at_checkpoint: Callable[[int, float, Any], bool] | None = None,
    **setting: Any,
) -> _Learner:
    """Train one of d3rlpy's learners.

    Parameters
    ----------
    log : Transitions
    random_state : int
    config : str
        The name of a configuration of ``d3rlpy.algos``.
    n_steps : int
        Gradient steps, a multiple of ``CHECKPOINT``.
    continuous : bool
        Whether actions are continuous; else they are discrete.
    at_checkpoint : callable, optional
        Called every ``CHECKPOINT`` steps with the steps done, the seconds of training
        so far (its own time not counted) and the policy; True ends the training.
    **setting
        What of the configuration is not left at its default.
    """
    if n_steps % CHECKPOINT:
        raise ValueError(f"n_steps must be a multiple of {CHECKPOINT}, got {n_steps}.")
    d3rlpy = import_d3rlpy()
    d3rlpy.seed(random_state)
    start = time.perf_counter()
    buffer, classes = replay_buffer(log, continuous)
    if config not in ("BCConfig", "DiscreteBCConfig"):
        setting = {"gamma": discount, **setting}
    learner = getattr(d3rlpy.algos, config)(**setting).create(device=False)
    policy = _Learner(learner, classes)
    # One epoch when nobody looks in between: fit() trains whole epochs only, and
    # nothing at all when an epoch is longer than n_steps.
    epoch = n_steps if at_checkpoint is None else CHECKPOINT
    paused = 0.0
    for number, _ in learner.fitter(
        buffer,
        n_steps=n_steps,
        n_steps_per_epoch=epoch,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    ):
        if at_checkpoint is None:
            continue
        now = time.perf_counter()
        done = at_checkpoint(number * epoch, now - start - paused, policy)
        paused += time.perf_counter() - now
        if done:
            break
    return policy


def _method(name: str, config: str, *settings: dict[str, Any]) -> Method:
    """One of the learners, with its settings."""

    def fit(log: Any, random_state: int, **setting: Any) -> _Learner:
        return fit_learner(log, random_state, config=config, **setting)

    return Method(name, fit, settings)


METHODS = (
    _method("d3rlpy BC", "DiscreteBCConfig", {}, {"learning_rate": 3e-3}),
    _method("d3rlpy DiscreteCQL", "DiscreteCQLConfig", {}, FASTER),
    _method("d3rlpy DoubleDQN", "DoubleDQNConfig", {}, FASTER),
)
