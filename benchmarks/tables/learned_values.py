"""Values of policies on other logs: the policy's columns, the kernel, and trees.

What the problems of two halves, the finite ones and their logs 0 to 3 say was looked at
while these were chosen; what those of ``APART`` and ``UNSEEN``, of loans, and of the
trust problems' logs from 500 on say was not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np

from benchmarks import ours
from benchmarks.families.apart import APART
from benchmarks.families.barred import BARRED
from benchmarks.families.finite_apart import FINITE_APART, UNSEEN
from benchmarks.families.problem import Simulated
from benchmarks.problems import ROLLOUT_SEED
from benchmarks.report import Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.tables.held_out import KNOWN, LEARNED, METRICS, halves
from benchmarks.trust import PROBLEMS
from benchmarks.trust.statistics import Quietly, each_log, named
from sklearn_stackelberg.metrics import _forest_q
from sklearn_stackelberg.metrics._features import spanned_features

LOOKED_AT = (
    *("LunarLander", "CartPole 60", "CartPole medium", "Acrobot", "modules"),
    *("severity", "retention", "greenhouse", "tutoring", "chemotherapy, eleven"),
    *("pricing", "maintenance", "random process", "service speed", "grid with"),
)
N_LOGS, N_TRUST, FIRST_TRUST = 4, 20, 500
N_EPISODES, MOST_STEPS = 100, 1_000
SETTINGS = "before", "features", "and trees"


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Both metrics of both policies on every log; returns the table."""
    if side != "peers":
        looked_at = [
            problem
            for half in HALVES.values()
            for problem in half
            if problem.name.startswith(LOOKED_AT)
        ]
        finite = [make() for make in (*UNSEEN, *FINITE_APART)]
        every = named((*finite, *looked_at, *BARRED, *APART), problems)
        for problem, seed in each_log(every, seeds or N_LOGS, part):
            key = {"problem": problem.name, "seed": seed, "setting": {}}
            rows.once(key | {"method": LEARNED}, partial(_of_family, problem, seed))
        trust = [p for p in named(PROBLEMS, problems) if p.is_installed]
        for problem, seed in each_log(trust, seeds or N_TRUST, part):
            for policy in (KNOWN, LEARNED):
                key = {"problem": problem.name, "seed": FIRST_TRUST + seed}
                compute = partial(_of_trust, problem, FIRST_TRUST + seed, policy)
                rows.once(key | {"setting": {}, "method": policy}, compute)
    return table(rows)


def _of_family(problem: Any, seed: int) -> dict[str, Any]:
    with Quietly():
        made = ours.estimator(discount=problem.discount, random_state=seed)
        policy = made.fit(problem.log(seed))
    return _evaluated(
        policy, problem.log(1_000 + seed), _truth(problem, policy, seed), problem
    )


def _of_trust(problem: Any, seed: int, which: str) -> dict[str, Any]:
    log, policy = problem.log(seed), problem.target
    if which == KNOWN:
        return _evaluated(policy, log, problem.target_value, problem)
    learned_on, log = halves(log, seed)
    with Quietly():
        made = ours.estimator(discount=problem.discount, random_state=0)
        policy = made.set_params(**problem.setting).fit(learned_on)
    return _evaluated(policy, log, problem.value_stochastic(policy), problem)


def _truth(problem: Any, policy: Any, seed: int) -> float:
    """The discounted value, which is what an estimate is of."""
    env = getattr(problem, "env", None) or getattr(problem, "problem", None)
    if env is None:
        if isinstance(problem, Simulated) and problem.value_discount is not None:
            problem = deepcopy(problem)
            problem.value_discount = None  # type: ignore[misc]
        return float(problem.value(policy, seed))
    env = getattr(env, "env_id", env)
    env = gym.make(env) if isinstance(env, str) else deepcopy(env)
    total = 0.0
    for episode in range(N_EPISODES):
        seen, _ = env.reset(seed=ROLLOUT_SEED + episode)
        for step in range(MOST_STEPS):
            action = policy.predict(np.asarray(seen, dtype=float)[None])[0]
            seen, reward, terminated, truncated, _ = env.step(action)
            total += problem.discount**step * float(reward)
            if terminated or truncated:
                break
    return total / N_EPISODES


def _evaluated(policy: Any, log: Any, truth: float, problem: Any) -> dict[str, Any]:
    found: dict[tuple[str, bool], Any] = {}
    for name, metric in METRICS.items():
        for now in (False, True):
            given = policy, log, problem.discount, metric, now
            found[name, now] = _estimate(*given)
    return {
        "truth": truth,
        "found": {
            name: {
                "before": found[name, False]["without"],
                "features": found[name, True]["without"],
                "and trees": found[name, True]["with"],
            }
            for name in METRICS
        },
    }


def _estimate(
    policy: Any, log: Any, discount: float, metric: Any, now: bool
) -> dict[str, Any]:
    """An estimate, with and without what trees say of it."""
    bounds = []

    def kept(*args: Any) -> Any:
        bounds.append(_forest_q.disagreement(*args))
        return bounds[-1]

    asked = f"{metric.__module__}.disagreement"
    switch = nullcontext() if now else _as_before()
    with patch(asked, kept), switch, Quietly() as warned:
        estimate = metric(policy, log, discount=discount)
    by_trees = bounds[0].bound if bounds else 0.0

    def reach(one: Any) -> dict[str, Any]:
        low, high = one.confidence_interval
        return {
            "value": one.value,
            "standard_error": one.standard_error,
            "low": low,
            "high": high,
            "warned": any("Trees that" in text for text in warned.messages),
        }

    alone = replace(estimate, bias_bound=max(0.0, estimate.bias_bound - by_trees))
    return {"with": reach(estimate), "without": reach(alone)}


@contextmanager
def _as_before() -> Iterator[None]:
    """A Matérn kernel of states alone, whatever the policy does."""
    suits = "sklearn_stackelberg.metrics._settings.features_that_suit"
    spanned = "sklearn_stackelberg.metrics._fitted_q.spanned_features"

    def smooth(data: Any, discount: float, ridge: float, smooth: Any, _: Any) -> Any:
        return smooth

    def of_states(data: Any, kernel_features: Any, with_policy: bool = False) -> Any:
        return spanned_features(data, kernel_features)

    with patch(suits, smooth), patch(spanned, of_states):
        yield


def table(rows: Rows) -> str:
    """One line a problem, a policy and a metric."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["problem"], row["method"]), []).append(row)
    apart = {problem.name for problem in APART} | {"loans"}
    apart |= {make().name for make in UNSEEN}
    trust = {problem.name for problem in PROBLEMS}
    parts = []
    for title, inside in (
        ("kept apart", lambda name: name in apart),
        ("looked at", lambda name: name not in apart | trust),
        ("trust, fresh logs", lambda name: name in trust),
    ):
        lines = [
            [problem, policy, name, str(len(every)), *_cells(every, name)]
            for (problem, policy), every in kinds.items()
            if inside(problem)
            for name in METRICS
        ]
        heads = [title, "policy", "metric", "logs"]
        heads += ["intervals hold: before, with the features of now, and trees"]
        heads += ["bias in errors, before and now"]
        heads += [
            "error over that before",
            "half width over error, without and with trees",
            "warned",
        ]
        if lines:
            parts.append(markdown(heads, lines))
    return "\n\n".join(parts)


def _cells(rows: list[dict[str, Any]], name: str) -> list[str]:
    truth = np.array([row["truth"] for row in rows])
    holds, off, wide = [], [], []
    for setting in SETTINGS:
        found = [row["found"][name][setting] for row in rows]
        value, error, low, high = (
            np.array([one[key] for one in found])
            for key in ("value", "standard_error", "low", "high")
        )
        slack = 1e-9 * (1.0 + abs(truth))
        holds.append(float(np.mean((low - slack <= truth) & (truth <= high + slack))))
        off.append(float(np.mean((value - truth) / error)))
        wide.append(float(np.mean((high - low) / 2.0 / error)))
    errors = [
        row["found"][name]["features"]["standard_error"]
        / row["found"][name]["before"]["standard_error"]
        for row in rows
    ]
    size = float(np.median(errors))
    warned = np.mean([row["found"][name]["and trees"]["warned"] for row in rows])
    return [
        ", ".join(f"{share:.2f}" for share in holds),
        f"{off[0]:+.2f}, {off[1]:+.2f}",
        f"{size:.2f}",
        f"{wide[1]:.1f}, {wide[2]:.1f}",
        f"{warned:.2f}",
    ]
