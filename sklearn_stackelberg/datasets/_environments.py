"""What we ask of Gymnasium. The only file that imports it, and only when called."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_generator(random_state: Any) -> np.random.Generator:
    """Return a generator for a seed, without touching any global random state."""
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**32, size=4, dtype=np.uint32)
    return np.random.default_rng(random_state)


def draw_seed(rng: np.random.Generator) -> int:
    """Return a seed that every environment accepts."""
    return int(rng.integers(2**31))


@contextmanager
def open_environment(env: Any) -> Iterator[Any]:
    """Give the environment of an id, closed afterwards; any other as it is."""
    opened = new_environment(env) if isinstance(env, str) else env
    try:
        yield opened
    finally:
        if opened is not env:
            opened.close()


def new_environment(env: Any) -> Any:
    """Return a fresh environment of an id, a factory, or a copy of one given."""
    if isinstance(env, str):
        return _gymnasium().make(env)
    if hasattr(env, "step") and hasattr(env, "reset"):
        return copy.deepcopy(env)
    if callable(env):
        return env()
    raise TypeError(
        f"env is {env!r}; expected a Gymnasium environment, an id such as "
        "'CartPole-v1', or a function without arguments that returns an environment."
    )


class ObservationEncoder:
    """Turns one observation of a space into one row of a state table."""

    def __init__(self, space: Any) -> None:
        spaces = _gymnasium().spaces
        self._space, self._flatten = space, None
        self.dtype: type = np.float64
        if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
            self.dtype = np.int64
        elif isinstance(space, (spaces.Dict, spaces.Tuple)):
            self._flatten = spaces.flatten

    def __call__(self, observation: Any) -> NDArray[Any]:
        """Return the observation as a new row, (d,)."""
        if self._flatten is not None:
            observation = self._flatten(self._space, observation)
        # A copy: some environments write their next observation into the last.
        return np.array(observation, dtype=self.dtype).reshape(-1)


def playable(action: Any, space: Any) -> Any:
    """Return an action, perhaps a label that `predict` gave, as the space has it."""
    spaces = _gymnasium().spaces
    if isinstance(space, spaces.Discrete):
        return int(np.asarray(action).item())
    if isinstance(space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        return np.asarray(action, dtype=space.dtype).reshape(space.shape)
    return action


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError(
            "Environments need the package gymnasium, which is not installed. "
            "Install it with: pip install gymnasium"
        ) from error
    return gymnasium
