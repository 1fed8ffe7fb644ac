"""What a change of units changes, and what the log does not support."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.families import CHOOSE
from benchmarks.report import Rows, markdown
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.kernels._registry import kernel_names

CONSTANTS = (1.0, -10.0, 100.0, -1e4, 1e4)
DISCOUNTS, SIZES = (
    (0.9, 0.99, 0.999),
    ((50, 500), (200, 500), (50, 5_000), (200, 5_000)),
)
LAMS, BETAS = (1e-6, 1e-2, 1e2, 1e6), (1e-8, 1e-2, 1.0)
RESTRICTED = ("ring", "modules with prerequisites", "FrozenLake 8x8 partial 10,000")


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every figure; returns the tables."""
    if side != "peers":
        for kernel in kernel_names():
            key = {"problem": "rewards + c", "setting": {"kernel": kernel}}
            rows.once(key, partial(_shift, kernel, "closed_form"))
        key = {"problem": "rewards + c", "setting": {"solver": "stochastic"}}
        rows.once(key, partial(_shift, "rbf", "stochastic"))
        for paid, discount, size in product((1.0, -1.0), DISCOUNTS, SIZES):
            setting = {"reward": paid, "discount": discount, "size": size}
            key = {"problem": "constant reward", "setting": setting}
            rows.once(key, partial(_constant, paid, discount, *size))
        for name, lam, beta in product(RESTRICTED, LAMS, BETAS):
            key = {"problem": name, "setting": {"lam": lam, "beta": beta}}
            rows.once(key, partial(_unlogged, name, lam, beta))
    return table(rows)


def _ring(rng: np.random.Generator, n_episodes: int = 60, length: int = 30) -> Any:
    """Six states in a ring, the last two of which pay."""
    action = rng.integers(3, size=(n_episodes, length))
    state = np.zeros((n_episodes, length + 1), dtype=int)
    state[:, 0] = rng.integers(6, size=n_episodes)
    for t in range(length):
        moved = rng.random(n_episodes) < 0.8
        state[:, t + 1] = (state[:, t] + moved * (action[:, t] - 1)) % 6
    reward = np.maximum(state[:, :-1] - 3.0, 0.0) + rng.normal(0, 0.5, action.shape)
    # States from 1 on, of which no kernel is zero.
    first, after = (1.0 + part.reshape(-1, 1) for part in (state[:, :-1], state[:, 1:]))
    return first, action.ravel(), reward.ravel(), after


def _shift(kernel: str, solver: str) -> dict[str, Any]:
    """The most that a constant moves probabilities, and values beyond c / (1 − γ)."""
    state, action, reward, after = _ring(np.random.default_rng(0))
    at, moved, beyond, same = np.arange(1.0, 7.0)[:, None], 0.0, 0.0, True

    def fit(constant: float) -> Any:
        return ours.estimator(
            discount=0.95, kernel=kernel, solver=solver, random_state=0
        ).fit(Transitions(state, action, reward + constant, after))

    first = fit(0.0)
    for constant in CONSTANTS:
        policy = fit(constant)
        step = policy.predict_proba(at) - first.predict_proba(at)
        moved = max(moved, float(np.abs(step).max()))
        same &= bool((policy.predict(at) == first.predict(at)).all())
        off = policy.policy_value_ - first.policy_value_ - constant / 0.05
        beyond = max(beyond, abs(off) / (abs(constant) / 0.05))
    return {"moved": moved, "beyond": beyond, "same": same}


def _constant(
    paid: float, discount: float, n_states: int, n_rows: int
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    state = rng.integers(n_states, size=n_rows + 1)[:, None]
    log = Transitions(
        state[:-1], rng.integers(2, size=n_rows), np.full(n_rows, paid), state[1:]
    )
    policy = ours.estimator(discount=discount, random_state=0).fit(log)
    return {"share": policy.policy_value_ * (1.0 - discount) / paid}


def _unlogged(name: str, lam: float, beta: float) -> dict[str, Any]:
    problem = next(p for p in CHOOSE if p.name == name)
    log = problem.log(0)
    policy = ours.estimator(
        discount=problem.discount, random_state=0, lam=lam, beta=beta
    ).fit(log)
    states = np.asarray(log.state, dtype=float)[:2_000]
    predicted, probability = problem.unlogged_share(policy, states, 0)
    return {"predicted": predicted, "probability": probability}


def table(rows: Rows) -> str:
    """The worst case of each figure."""
    lines = []
    for row in rows:
        if row["problem"] == "rewards + c":
            (value,) = row["setting"].values()
            cells = [row["moved"], row["beyond"]]
            lines.append([value, *(f"{c:.1e}" for c in cells), str(row["same"])])
    heads = ["kernel or solver", "probabilities move", "value less c / (1 − γ), of it"]
    text = [markdown([*heads, "same actions"], lines)]
    shares = [row["share"] for row in rows if row["problem"] == "constant reward"]
    if shares:
        text.append(
            f"Reward 1 or −1 in every row: `policy_value_` over the truth from "
            f"{min(shares):.4f} to {max(shares):.4f} in {len(shares)} cases."
        )
    lines = []
    for name in RESTRICTED:
        found = [row for row in rows if row["problem"] == name]
        if found:
            worst = [
                max(row[part] for row in found) for part in ("predicted", "probability")
            ]
            cells = [f"{100 * share:.2f} %" for share in worst]
            lines.append([name, *cells, str(len(found))])
    heads = ["log", "predictions, at most", "probability, at most", "settings"]
    return "\n\n".join([*text, markdown(heads, lines)])
