"""d3rlpy 2.8.1 for continuous actions: IQL, CQL, TD3+BC and behaviour cloning."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers import Method
from benchmarks.peers.d3rlpy_peers import fit_learner
from sklearn_stackelberg.baselines._d3rlpy import import_d3rlpy

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


SCALED = {"scaled": True}
# On a first log of the pendulum, of 15,000 steps each, IQL had nothing to gain past
# 5,000, nor TD3+BC past 10,000; as they come, IQL was unsteady (-165 at best), TD3+BC
# as good (-190) as with scaled states and rewards. CQL takes the time of a few of the
# others' steps for each of its own, and is cut short.
LEARNERS = (
    _learner("IQL", "IQLConfig", {"n_steps": 10_000, **SCALED}),
    _learner("TD3+BC", "TD3PlusBCConfig", {"n_steps": 10_000, **SCALED}),
    _learner("BC", "BCConfig", {"n_steps": 5_000}),
    _learner("CQL", "CQLConfig", {"n_steps": 5_000, **SCALED}),
)
