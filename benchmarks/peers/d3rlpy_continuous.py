"""d3rlpy 2.8.1 for continuous actions: IQL, CQL, TD3+BC and behaviour cloning."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers import Method
from benchmarks.peers.d3rlpy_peers import fit_learner, import_d3rlpy

# Checkpoints that are scored; the report takes each learner's best.
SCORED_EVERY = 2_500


def fit_continuous(
    log: Any,
    random_state: int,
    *,
    config: str,
    bounds: tuple[float, float],
    scaled: bool = False,
    **setting: Any,
) -> Any:
    """Train one of d3rlpy's learners, its actions scaled to the bounds.

    Parameters
    ----------
    log : Transitions
    random_state : int
    config : str
        The name of a configuration of ``d3rlpy.algos``.
    bounds : (float, float)
        Of every column of the action; d3rlpy's policies end at -1 and 1.
    scaled : bool
        Whether states (and rewards, where the learner has any use for them) are
        divided by their standard deviation first.
    **setting
        As in `fit_learner`.
    """
    d3rlpy = import_d3rlpy()
    n_columns = np.asarray(log.action)[0].size
    low, high = (np.full(n_columns, bound, dtype=np.float32) for bound in bounds)
    scaler = d3rlpy.preprocessing.MinMaxActionScaler(minimum=low, maximum=high)
    setting["action_scaler"] = scaler
    if scaled:
        setting["observation_scaler"] = d3rlpy.preprocessing.StandardObservationScaler()
        if config != "BCConfig":
            setting["reward_scaler"] = d3rlpy.preprocessing.StandardRewardScaler()
    return fit_learner(log, random_state, config=config, continuous=True, **setting)


def _learner(name: str, config: str, *settings: dict[str, Any]) -> Method:
    return Method(f"d3rlpy {name}", partial(fit_continuous, config=config), settings)


# Steps as far as the best checkpoint of a pilot log, and half as far again. CQL takes
# three times as long a step as the others.
LEARNERS = (
    _learner("BC", "BCConfig", {"n_steps": 5_000}),
    _learner(
        "IQL", "IQLConfig", {"n_steps": 15_000}, {"n_steps": 15_000, "scaled": True}
    ),
    _learner(
        "TD3+BC",
        "TD3PlusBCConfig",
        {"n_steps": 15_000},
        {"n_steps": 15_000, "scaled": True},
    ),
    _learner(
        "CQL", "CQLConfig", {"n_steps": 5_000}, {"n_steps": 5_000, "scaled": True}
    ),
)
