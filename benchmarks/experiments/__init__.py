"""The paper's experiments, each a module: what is run, its table and its picture.

`python -m benchmarks experiments [--only NAME]` computes the rows that are not stored
yet; with ``--pictures`` it draws the pictures of `docs/paper_experiments.md` instead.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from benchmarks.experiments._base import Experiment

# In the order of the page.
NAMES = (
    "full_coverage",
    "partial_coverage",
    "reward_shapes",
    "sensitivity",
    "partial_observation",
    "continuous_control",
    "mujoco",
    "simulated_trial",
    "open_bandit",
)


def experiment(name: str) -> Experiment:
    """The experiment of that name."""
    if name not in NAMES:
        raise ValueError(f"No experiment is called {name!r}; there are {list(NAMES)}.")
    return cast("Experiment", import_module(f"benchmarks.experiments.{name}"))
