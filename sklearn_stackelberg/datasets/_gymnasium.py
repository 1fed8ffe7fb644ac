"""Logs and returns of policies in Gymnasium environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..transitions._transitions import Transitions
from ._environments import (
    ObservationEncoder,
    Predictor,
    Seed,
    as_action,
    as_generator,
    draw_seed,
    new_environment,
    open_environment,
    positive,
    positive_or_none,
)

if TYPE_CHECKING:
    import gymnasium

Actor = Callable[[Any, np.random.Generator], Any]

# Environments stepped at once: enough to share the cost of a call to predict.
_LOCKSTEP = 256


def log_episodes(
    env: str | gymnasium.Env,
    policy: Actor | Predictor,
    n_transitions: int,
    random_state: Seed = None,
    *,
    horizon: int | None = None,
) -> Transitions:
    """Log the transitions of a policy in a Gymnasium environment.

    Parameters
    ----------
    env : str or gymnasium.Env
        An id, or an environment, which is reset and stepped (and left open).
    policy : callable or fitted estimator
        Either ``policy(observation, rng)``, given a numpy Generator, which returns an
        action or the tuple ``(action, propensity)``; or an object whose ``predict``
        takes 2-D states and returns actions.
    n_transitions : int
        Number of rows. The last episode is cut there, which is a truncation.
    random_state : int, Generator, RandomState or None, default=None
        Seeds the environment, once, and the generator of the policy.
    horizon : int, default=None
        Cut episodes after this many steps, besides the environment's own time limit.

    Returns
    -------
    Transitions
        States are one integer column (Discrete observations) or flattened float64
        rows (Box), actions as the policy gave them, one of several numbers as a row of
        float64. ``terminated`` is False at a time limit, where ``next_state`` is the
        state reached. Propensities are there if the policy returned them, always.

    Raises
    ------
    ImportError
        When gymnasium is not installed.

    Examples
    --------
    >>> from sklearn_stackelberg.datasets import log_episodes
    >>> def noisy(observation, rng):
    ...     return rng.integers(2) if rng.random() < 0.6 else int(observation[2] > 0)
    >>> log = log_episodes("CartPole-v1", noisy, n_transitions=200, random_state=0)
    >>> log.state.shape, log.action.shape
    ((200, 4), (200,))
    """
    n_transitions = positive(n_transitions, "n_transitions")
    horizon = positive_or_none(horizon, "horizon")
    rng = as_generator(random_state)
    seed = draw_seed(rng)
    with open_environment(env) as opened:
        encode = ObservationEncoder(opened.observation_space)
        act = _actor(policy, encode)
        rows: list[tuple[object, ...]] = []
        episode, step = 0, 0
        # Seeded once: each later episode draws on where the last one left off.
        observation, _ = opened.reset(seed=seed)
        state = encode(observation)
        while True:
            decided = act(observation, rng)
            # A list is an action of several numbers; a tuple has its propensity.
            action, propensity = decided if type(decided) is tuple else (decided, None)
            observation, reward, terminated, truncated, _ = opened.step(
                as_action(action, opened.action_space)
            )
            after = encode(observation)
            rows.append(
                (state, action, reward, after, terminated, episode, step, propensity)
            )
            if len(rows) == n_transitions:
                break
            state, step = after, step + 1
            if terminated or truncated or step == horizon:
                episode, step = episode + 1, 0
                observation, _ = opened.reset()
                state = encode(observation)
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    states, actions, rewards, nexts, ends, episodes, steps, probabilities = columns
    if actions.ndim > 2:  # a box of any shape is a row of numbers
        actions = actions.reshape(len(actions), -1)
    # None means that the policy gave the action alone.
    unlogged = np.array([row[-1] is None for row in rows])
    if unlogged.any() and not unlogged.all():
        raise ValueError(
            "The policy returned (action, propensity) at some rows and the action at "
            f"others (first without: row {int(np.argmax(unlogged))}). Do one always."
        )
    return Transitions(
        states,
        actions,
        rewards.astype(float),
        nexts,
        ends.astype(bool),
        is_initial=steps == 0,
        episode=episodes,
        step=steps,
        propensity=None if unlogged.all() else probabilities.astype(float),
    )


def rollout_returns(
    env: str | gymnasium.Env | Callable[[], gymnasium.Env],
    policy: Actor | Predictor,
    n_episodes: int,
    random_state: Seed = None,
    *,
    horizon: int | None = None,
) -> NDArray[np.float64]:
    """Return what a policy earns in the real environment, episode by episode.

    Parameters
    ----------
    env : str, callable or gymnasium.Env
        An id, a function without arguments that returns a new environment, or an
        environment, which is copied.
    policy : callable or fitted estimator
        As in `log_episodes`; a propensity is ignored. A callable is given a
        generator of its own for each episode.
    n_episodes : int
        Number of episodes.
    random_state : int, Generator, RandomState or None, default=None
        Seeds every episode on its own: the first k of n episodes are those of a
        call for k episodes.
    horizon : int, default=None
        Cut episodes after this many steps, as where nothing else may end them.

    Returns
    -------
    ndarray of shape (n_episodes,)
        Undiscounted returns, in units of the reward.

    Raises
    ------
    ImportError
        When gymnasium is not installed.

    Examples
    --------
    >>> from sklearn_stackelberg.datasets import rollout_returns
    >>> def upright(observation, rng):
    ...     return int(observation[2] + observation[3] > 0)
    >>> rollout_returns("CartPole-v1", upright, n_episodes=3, random_state=0).shape
    (3,)
    """
    n_episodes = positive(n_episodes, "n_episodes")
    horizon = positive_or_none(horizon, "horizon")
    rng = as_generator(random_state)
    # Made once and reset for each episode: making one costs as much as many steps.
    copies = [new_environment(env) for _ in range(min(n_episodes, _LOCKSTEP))]
    returns = np.zeros(n_episodes)
    try:
        for first in range(0, n_episodes, _LOCKSTEP):
            part = returns[first : first + _LOCKSTEP]
            generators = [np.random.default_rng(draw_seed(rng)) for _ in part]
            _add_returns(part, copies, policy, generators, horizon)
    finally:
        for opened in copies:
            opened.close()
    return returns


def _add_returns(
    returns: NDArray[np.float64],
    copies: list[gymnasium.Env],
    policy: Actor | Predictor,
    generators: list[np.random.Generator],
    horizon: int | None,
) -> None:
    """Add to `returns` what one episode in each of the first copies earns."""
    # The copies are of one environment, and so have the same spaces.
    encode = ObservationEncoder(copies[0].observation_space)
    space = copies[0].action_space
    alive = list(range(len(returns)))
    # A seed for each episode: its noise is the same however many are run beside it.
    seen = [copies[i].reset(seed=draw_seed(generators[i]))[0] for i in alive]
    step = 0
    while alive and step != horizon:
        if hasattr(policy, "predict"):
            states = np.stack([encode(seen[i]) for i in alive])
            actions = list(policy.predict(states))
        else:
            actions = [policy(seen[i], generators[i]) for i in alive]
            actions = [a[0] if type(a) is tuple else a for a in actions]
        not_done = []
        for i, action in zip(alive, actions, strict=True):
            seen[i], reward, terminated, truncated, _ = copies[i].step(
                as_action(action, space)
            )
            returns[i] += reward
            if not (terminated or truncated):
                not_done.append(i)
        alive, step = not_done, step + 1


def _actor(policy: Actor | Predictor, encode: ObservationEncoder) -> Actor:
    if not hasattr(policy, "predict"):
        return policy
    return lambda observation, rng: policy.predict(encode(observation)[None, :])[0]
