"""d3rlpy 2.8.1 on the same logs; here its learners for discrete actions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Method, as_floats
from sklearn_stackelberg.baselines._d3rlpy import import_d3rlpy
from sklearn_stackelberg.baselines._d3rlpy import replay_buffer as buffer_of

N_STEPS = 10_000
CHECKPOINT = 500
# The defaults are made for Atari: a small step, and a target that would not be updated
# twice in 10,000 steps. Each learner is given these as well.
FASTER = {"learning_rate": 1e-3, "target_update_interval": 100}


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

    Returns
    -------
    buffer : d3rlpy.dataset.ReplayBuffer
    classes : array of shape (n_actions,), or None where actions are numbers
    """
    state, after = as_floats(log.state), as_floats(log.next_state)
    classes = None
    if continuous:
        action = as_floats(log.action).astype(np.float32)  # (n, p)
    else:
        classes, code = np.unique(np.asarray(log.action), return_inverse=True)
        action = code.astype(np.int64)[:, None]
    n_actions = 0 if classes is None else len(classes)
    buffer = buffer_of(log, state, after, action, n_actions)
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
