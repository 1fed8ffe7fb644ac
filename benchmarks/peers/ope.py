"""SCOPE-RL's and OBP's estimators, on logs that all three are given.

Both packages pin old releases of gym and d3rlpy. Their estimators need neither, so the
two are installed without their requirements, in a folder of their own, and the missing
imports of the estimators' modules are replaced by stubs.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_stackelberg import Transitions

FOLDER = Path(__file__).resolve().parent / ".venv"
PACKAGES = ("scope-rl==0.2.1", "obp==0.4.1")
DISCOUNT = 0.9
N_EPISODES, N_STEPS, N_ACTIONS = 60, 12, 3


class GivenPolicy:
    """A softmax of what the states say."""

    classes_ = np.arange(N_ACTIONS)

    def predict_proba(self, states: NDArray[Any]) -> NDArray[Any]:
        """π(a | s), (k, A)."""
        return _softmax(_scores(np.asarray(states), 1.0))


class GivenQ:
    """A regressor with a given Q, right or wrong, that learns nothing."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """None."""
        return {}

    def set_params(self) -> GivenQ:
        """Itself."""
        return self

    def fit(self, X: Any, y: Any) -> GivenQ:
        """Itself."""
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Q of states and one-hot actions, (k, 2 + A)."""
        return (self.table(X[:, :2]) * X[:, 2:]).sum(axis=1)

    def table(self, states: NDArray[Any]) -> NDArray[Any]:
        """Q of each action, (k, A)."""
        return 0.5 + 0.3 * np.cos(_scores(np.asarray(states), 0.7))


def shared_log(n_steps: int = N_STEPS) -> Transitions:
    """Episodes of equal lengths, by arithmetic alone: the same on every machine.

    The last step of each is terminated, so that no estimator values what follows.
    """
    n = N_EPISODES * n_steps
    number = np.arange(n + 1, dtype=float)
    state = np.stack([np.sin(1.7 * number), np.cos(2.3 * number + 1.0)], axis=1)
    behaviour = 0.8 * _softmax(_scores(state[:-1], 0.3)) + 0.2 / N_ACTIONS
    # As good as random: the fractional parts of multiples of the golden ratio.
    drawn = np.modf((number[:-1] + 1.0) * 0.6180339887498949)[0]
    action = (behaviour.cumsum(axis=1) < drawn[:, None]).sum(axis=1)
    step = np.arange(n) % n_steps
    return Transitions(
        state[:-1],
        action,
        np.round(1.0 + np.sin(0.9 * number[:-1]) + 0.5 * action, 6),
        state[1:],
        step == n_steps - 1,
        episode=np.arange(n) // n_steps,
        step=step,
        propensity=behaviour[np.arange(n), action],
    )


def scope_rl_values(log: Transitions) -> dict[str, float]:
    """SCOPE-RL's numbers for `GivenPolicy`, with the log's propensities."""
    found = _scope_rl()
    given = {
        "step_per_trajectory": N_STEPS,
        "action": log.action,
        "reward": log.reward,
        "pscore": log.propensity,
        "evaluation_policy_action_dist": GivenPolicy().predict_proba(log.state),
        "gamma": DISCOUNT,
    }
    q = {"state_action_value_prediction": GivenQ().table(log.state)}
    return {
        name: float(getattr(found, name)().estimate_policy_value(**given, **more))
        for name, more in (
            ("TrajectoryWiseImportanceSampling", {}),
            ("SelfNormalizedTIS", {}),
            ("PerDecisionImportanceSampling", {}),
            ("SelfNormalizedPDIS", {}),
            ("DoublyRobust", q),
            ("SelfNormalizedDR", q),
        )
    }


def obp_values(log: Transitions) -> dict[str, float]:
    """OBP's numbers for `GivenPolicy` on a log of single steps."""
    found = _obp()
    given = {
        "reward": log.reward,
        "action": log.action,
        "pscore": log.propensity,
        "action_dist": GivenPolicy().predict_proba(log.state)[:, :, None],
    }
    q = {"estimated_rewards_by_reg_model": GivenQ().table(log.state)[:, :, None]}
    return {
        name: float(getattr(found, name)().estimate_policy_value(**given, **more))
        for name, more in (
            ("InverseProbabilityWeighting", {}),
            ("SelfNormalizedInverseProbabilityWeighting", {}),
            ("DoublyRobust", q),
            ("SelfNormalizedDoublyRobust", q),
        )
    }


def _scores(states: NDArray[Any], scale: float) -> NDArray[Any]:
    return scale * np.stack([states[:, 0], states[:, 1], -states.sum(axis=1)], axis=1)


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    mass = np.exp(scores)
    return mass / mass.sum(axis=1, keepdims=True)


def _scope_rl() -> Any:
    """The module of SCOPE-RL's estimators, without the rest of the package."""
    folder = _installed() / "scope_rl"
    for name in ("scope_rl", "scope_rl.ope", "scope_rl.ope.discrete"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules.setdefault(name, package)
    stand_in = types.ModuleType("d3rlpy.preprocessing")
    stand_in.ActionScaler = object  # the name of a type, in annotations
    gym = types.ModuleType("gym")
    gym.Env = object
    before = {name: sys.modules.get(name) for name in ("gym", stand_in.__name__)}
    sys.modules.update({"gym": gym, "d3rlpy.preprocessing": stand_in})
    sys.modules.setdefault("d3rlpy", types.ModuleType("d3rlpy"))
    try:
        return importlib.import_module("scope_rl.ope.discrete.basic_estimators")
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _obp() -> Any:
    folder = _installed() / "obp"
    for name in ("obp", "obp.ope"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules.setdefault(name, package)
    return importlib.import_module("obp.ope.estimators")


def _installed() -> Path:
    """The folder that holds both packages, filled where it is empty."""
    if not (FOLDER / "obp").exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "--target", str(FOLDER), *PACKAGES], check=True)
    return FOLDER
