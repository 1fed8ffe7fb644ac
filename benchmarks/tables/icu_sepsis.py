"""ICU-Sepsis: exact survival of policies from logs of clinicians, with masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from benchmarks.peers import Method, grid
from benchmarks.report import Clock, Rows, best_settings, markdown, setting_text

N_LOGS, N_ROWS, DISCOUNT = 3, 50_000, 0.99
# Settings are compared on logs of their own, and reported on the others.
FIRST_TUNING_SEED, N_TUNING = 1_000, 1
# What the same peer reaches from longer logs: how much 50,000 rows can tell.
LENGTHS = (50_000, 200_000, 1_000_000)
TARGET = 0.85

Array = NDArray[Any]


@cache
def problem() -> Bunch:
    """The process, its clinicians, and the pairs that are admissible."""
    from sklearn_stackelberg.datasets import load_icu_sepsis

    icu = load_icu_sepsis()
    alive = ~icu.mdp.termination.any(axis=(0, 1))
    state, action = np.nonzero(icu.mdp.available & alive[:, None])
    icu.state, icu.action, icu.n_alive = state, action, int(alive.sum())
    icu.leads = icu.mdp.transition[state, action]  # (pairs, S)
    icu.pays = icu.mdp.expected_reward[state, action]
    icu.first = np.searchsorted(state, np.arange(icu.n_alive))
    return icu


def survival(policy: Array) -> float:
    """The exact value of an action for each state, by one solve of the living states.

    `FiniteMDP.policy_value` gives the same, of all pairs; here are many policies.
    """
    icu = problem()
    number = np.full(icu.mdp.available.shape, -1)
    number[icu.state, icu.action] = np.arange(len(icu.state))
    pair = number[np.arange(icu.n_alive), policy[: icu.n_alive]]
    if (pair < 0).any():
        raise ValueError("The policy takes an action that is not admissible.")
    chain = icu.leads[pair][:, : icu.n_alive]
    values = np.linalg.solve(np.eye(icu.n_alive) - chain, icu.pays[pair])
    return float(icu.mdp.initial[: icu.n_alive] @ values)


class PairCounts:
    """Counts of a log of admissible pairs."""

    def __init__(self, log: Any, discount: float) -> None:
        icu, self.discount = problem(), discount
        number = np.full(icu.mdp.available.shape, -1)
        number[icu.state, icu.action] = np.arange(len(icu.state))
        pair = number[log.state[:, 0], log.action]
        self.visits = np.bincount(pair, minlength=len(icu.state)).astype(float)
        self.reward = np.bincount(pair, log.reward, len(icu.state))
        on = ~log.terminated
        entries = np.ones(int(on.sum())), (pair[on], log.next_state[on, 0])
        shape = len(icu.state), icu.mdp.n_states
        self.following = csr_matrix(entries, shape=shape)

    def q_values(self, penalty: float = 0.0, rows: float = 0.0) -> Array:
        """Value iteration; pairs count `rows` more of what their state does on average.

        Where nothing was logged a pair is never taken, unless its state has no other.
        """
        icu, visits = problem(), self.visits
        own = csr_matrix(
            (np.ones(len(visits)), (icu.state, np.arange(len(visits)))),
            shape=(icu.n_alive, len(visits)),
        )
        total = np.maximum(own @ visits, 1.0)
        mean_next = diags(rows / total) @ (own @ self.following)
        mean_paid = rows / total * (own @ self.reward)
        n = diags(1.0 / np.maximum(visits + rows, 1.0))
        following = n @ (self.following + own.T @ mean_next)
        reward = n @ (self.reward + mean_paid[icu.state])
        reward = reward - penalty / np.sqrt(np.maximum(visits, 1.0))
        value = np.zeros(icu.mdp.n_states)
        for _ in range(2_000):
            q = np.where(visits > 0, reward + self.discount * following @ value, -1.0)
            better = np.maximum.reduceat(q, icu.first)
            change = np.abs(better - value[: icu.n_alive]).max()
            value[: icu.n_alive] = better
            if change < 1e-9:
                break
        return q

    def greedy(self, q: Array) -> Array:
        """The best admissible action of each living state."""
        icu = problem()
        table = np.full((icu.n_alive, icu.mdp.n_actions), -np.inf)
        table[icu.state, icu.action] = q
        return table.argmax(axis=1)


def fit_counts(log: Any, seed: int, **setting: float) -> Array:
    counts = PairCounts(log, DISCOUNT)
    return counts.greedy(counts.q_values(**setting))


def fit_cloning(log: Any, seed: int) -> Array:
    counts = PairCounts(log, DISCOUNT)
    return counts.greedy(counts.visits)


def fit_fitted_q(log: Any, seed: int, ridge: float) -> Array:
    """Fitted Q by ridge regression on the measurements of the states, by action."""
    icu, counts = problem(), PairCounts(log, DISCOUNT)
    vectors = StandardScaler().fit_transform(icu.state_vectors[: icu.n_alive])
    # Half the inverse of the number of columns: the median of the squared distances.
    map_ = Nystroem(gamma=0.5 / vectors.shape[1], n_components=100, random_state=seed)
    features = np.column_stack([map_.fit_transform(vectors), np.ones(len(vectors))])
    value, q = np.zeros(icu.mdp.n_states), np.full(len(icu.state), -1.0)
    for _ in range(200):
        paid = counts.reward + DISCOUNT * counts.following @ value
        for action in range(icu.mdp.n_actions):
            pairs = np.flatnonzero((icu.action == action) & (counts.visits > 0))
            phi, n = features[icu.state[pairs]], counts.visits[pairs]
            gram = (phi.T * n) @ phi + ridge * len(log) * np.eye(phi.shape[1])
            q[pairs] = phi @ np.linalg.solve(gram, phi.T @ paid[pairs])
        value[: icu.n_alive] = np.maximum.reduceat(q, icu.first)
    return counts.greedy(q)


def fit_ours(log: Any, seed: int, **setting: Any) -> Array:
    from sklearn_stackelberg import StackelbergPolicyEstimator

    policy = StackelbergPolicyEstimator(
        discount=DISCOUNT,
        kernel="delta",
        n_components=None,
        action_type="discrete",
        random_state=seed,
        **setting,
    ).fit(log)
    return policy.predict(problem().mdp.states()[: problem().n_alive])


OURS = (
    Method("ours, default", fit_ours),
    Method("ours", fit_ours, grid(beta=(100.0, 300.0))),
)
PEERS = (
    Method("value iteration on counts", fit_counts),
    Method("VI-LCB", fit_counts, grid(penalty=(0.01, 0.03, 0.1, 0.3))),
    Method("value iteration, shrunk", fit_counts, grid(rows=(3.0, 10.0, 30.0))),
    Method("behaviour cloning", fit_cloning),
    Method("fitted Q, kernel", fit_fitted_q, grid(ridge=(1e-6, 1e-5, 1e-4))),
)


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method: all settings on the logs for tuning, the best on the others."""
    methods = (OURS if side != "peers" else ()) + (PEERS if side != "ours" else ())
    tuning = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + N_TUNING)
    for seed in tuning:
        for method in methods:
            if len(method.settings) > 1:
                for setting in method.settings:
                    _once(rows, method, setting, seed, N_ROWS)
    best = _best(rows)
    for seed in range(seeds or N_LOGS):
        for method in methods:
            setting = best.get(method.name, method.settings[0])
            _once(rows, method, setting, seed, N_ROWS)
        for n_rows in LENGTHS[1:] if side != "ours" else ():
            _once(rows, PEERS[0], {}, seed, n_rows)
    return table(rows)


def _once(
    rows: Rows, method: Method, setting: Mapping[str, Any], seed: int, n_rows: int
) -> None:
    def compute() -> dict[str, Any]:
        log = _log(n_rows, seed)
        with Clock() as clock:
            policy = method.fit(log, seed, **setting)
        return {"score": survival(policy), **clock.row()}

    key = {"problem": f"{n_rows:,} rows", "seed": seed}
    rows.once(key | {"method": method.name, "setting": setting}, compute)


@lru_cache(maxsize=1)
def _log(n_rows: int, seed: int) -> Any:
    return problem().mdp.sample(problem().clinicians, n_rows, seed)


def _best(rows: Rows) -> dict[str, Mapping[str, Any]]:
    """The setting of each method that did best on the logs for tuning."""
    tuned = best_settings(row for row in rows if row["seed"] >= FIRST_TUNING_SEED)
    return {row["method"]: row["setting"] for row in tuned}


def table(rows: Rows) -> str:
    """The mean of each method at the setting that did best on the logs for tuning."""
    best = _best(rows)
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        chosen = row["setting"] == best.get(row["method"], row["setting"])
        if row["seed"] < FIRST_TUNING_SEED and chosen:
            found[row["problem"], row["method"]].append(row)
    lines = []
    for (name, method), of in found.items():
        scores = [row["score"] for row in of]
        lines.append(
            [
                name,
                method,
                setting_text(best.get(method, {})),
                f"{np.mean(scores):.4f}",
                f"{np.std(scores):.4f}",
                len(scores),
                "yes" if np.mean(scores) >= TARGET else "no",
            ]
        )
    lines.sort(key=lambda line: (line[0], line[3]))
    heads = ["log", "method", "setting", "survival", "sd", "logs", f">= {TARGET}"]
    return (
        "Exact survival of policies from logs of the clinicians (0.782), held to "
        "admissible actions; the optimum is 0.875. Settings were chosen on other "
        "logs.\n\n" + markdown(heads, lines)
    )
