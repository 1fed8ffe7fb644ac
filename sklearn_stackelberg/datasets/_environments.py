"""What is used of Gymnasium. The only file that imports it, and only when called."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gymnasium

Seed = int | np.random.Generator | np.random.RandomState | None


class Predictor(Protocol):
    """A fitted policy."""

    def predict(self, states: NDArray[Any], /) -> NDArray[Any]: ...


def as_generator(random_state: Seed) -> np.random.Generator:
    """Return a generator for a seed, without touching any global random state."""
    if isinstance(random_state, np.random.RandomState):
        # As many bits as SeedSequence mixes: 128.
        entropy = random_state.randint(2**32, size=4, dtype=np.uint32)
        return np.random.default_rng(entropy)
    return np.random.default_rng(random_state)


def draw_seed(rng: np.random.Generator) -> int:
    """Return a seed that every environment accepts: some keep it in 32 signed bits."""
    return int(rng.integers(2**31))


def positive(count: int, name: str) -> int:
    """Return the count, refused unless it is a positive integer."""
    if int(count) != count or count < 1:
        raise ValueError(f"{name} is {count!r}; expected a positive integer.")
    return int(count)


def positive_or_none(count: int | None, name: str) -> int | None:
    return None if count is None else positive(count, name)


@contextmanager
def open_environment(env: str | gymnasium.Env) -> Iterator[gymnasium.Env]:
    """Give the environment of an id, closed afterwards; any other as it is."""
    opened = new_environment(env) if isinstance(env, str) else env
    try:
        yield opened
    finally:
        if opened is not env:
            opened.close()


def new_environment(
    env: str | gymnasium.Env | Callable[[], gymnasium.Env],
) -> gymnasium.Env:
    """Return a fresh environment of an id, a factory, or a copy of one given."""
    if isinstance(env, str):
        return _gymnasium().make(env)
    # Before callable: an environment may be that as well.
    if hasattr(env, "step") and hasattr(env, "reset"):
        return cast("gymnasium.Env", copy.deepcopy(env))
    if callable(env):
        return env()
    raise TypeError(
        f"env is {env!r}; expected a Gymnasium environment, an id, or a function "
        "without arguments that returns one."
    )


class ObservationEncoder:
    """What makes one observation of a space one row of a state table."""

    def __init__(self, space: gymnasium.Space) -> None:
        spaces = _gymnasium().spaces
        # Numbers of states stay integers, which a one-hot encoder can take.
        discrete = isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
        self.dtype = np.int64 if discrete else np.float64
        self._space = space
        nested = isinstance(space, (spaces.Dict, spaces.Tuple))
        self._flatten = spaces.flatten if nested else None

    def __call__(self, observation: object) -> NDArray[Any]:
        """Return the observation as a new row, (d,)."""
        if self._flatten is not None:
            observation = self._flatten(self._space, observation)
        # A copy: some environments write their next observation into the last.
        return np.array(observation, dtype=self.dtype).reshape(-1)


def as_action(action: object, space: gymnasium.Space) -> object:
    """Return an action, perhaps as `predict` gave it, as the space has it."""
    spaces = _gymnasium().spaces
    # Some environments use it as a key, or compare it by identity with a plain int.
    if isinstance(space, spaces.Discrete):
        return int(np.asarray(action).item())
    if isinstance(space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        return np.asarray(action, dtype=space.dtype).reshape(space.shape)
    return action


def _gymnasium() -> ModuleType:
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError(
            "Environments need gymnasium, not installed: pip install gymnasium"
        ) from error
    return gymnasium
