"""Print what fixed policies truly earn in the simulator.

python -m benchmarks.glucose.true_values [--days N]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.glucose.logger import DOSES, draw, logger_chances, rule
from benchmarks.glucose.simulator import rollout


def policies() -> Iterator[tuple[str, Any]]:
    """Yield names and callables ``(states, rng) -> doses``."""
    for dose in DOSES:
        yield f"always {dose:g}", lambda states, rng, d=dose: np.full(len(states), d)
    yield "any dose alike", lambda states, rng: rng.choice(DOSES, len(states))
    yield "logger", logger
    yield "rule", lambda states, rng: np.take(DOSES, rule(states))


def logger(states: Any, rng: np.random.Generator) -> Any:
    """Dose as the log was made."""
    return np.take(DOSES, draw(logger_chances(states), rng.random(len(states))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=200)
    n_days = parser.parse_args().days
    print("| policy | time in range | standard error |\n| --- | --- | --- |")
    for name, policy in policies():
        shares = rollout(policy, n_days)
        error = shares.std(ddof=1) / np.sqrt(n_days)
        print(f"| {name} | {shares.mean():.3f} | {error:.3f} |", flush=True)
