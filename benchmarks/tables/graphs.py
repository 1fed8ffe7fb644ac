"""How far ONNX graphs of whole pipelines are from the policies, and how fast they are.

Of two logs that come with packages: glucose (numbers with gaps, a column of text, doses
as labels or as amounts) and ACTG 320 (categories, and labels that are text).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor, nn

from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust.statistics import Quietly
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import load_actg320, load_glucose
from sklearn_stackelberg.solvers import Stochastic

N_ROWS, N_STATES, REPEATS, WANTED = 500, 1_000, 5, 1e-5


class Recurrent(nn.Module):
    """A user's module: a GRU over the columns, beside a layer of GELU."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(n_inputs, 32), nn.Linear(48, n_outputs)
        self.steps = nn.GRU(1, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Logits or values of a batch of states."""
        seen = self.steps(x[:, :, None])[0][:, -1]
        found: Tensor = self.last(
            torch.cat([nn.functional.gelu(self.first(x)), seen], 1)
        )
        return found


# How far a graph is from its policy does not hang on how good that is.
_BOTH = {"q_function": "mlp", "policy": "mlp", "solver": Stochastic(max_iter=10)}
_LABELS: dict[str, dict[str, Any]] = {
    "kernel": {},
    "kernel, calibrated": {"lam": "calibrated"},
    "network": _BOTH,
    "network, float32": _BOTH | {"dtype": "float32"},
    "module with a GRU and GELU": _BOTH | {"policy": Recurrent},
}
_AMOUNTS: dict[str, dict[str, Any]] = {
    "candidates, kernel": {"action_distribution": "candidates"},
    "candidates, network": {"action_distribution": "candidates"} | _BOTH,
    "Gaussian, kernel": {"action_distribution": "gaussian"},
    "Gaussian, network": {"action_distribution": "gaussian"} | _BOTH,
}
# What loads it, γ, columns of categories, and policies.
LOGS: dict[str, tuple[Callable[..., Any], float, list[str], dict[str, Any]]] = {
    "glucose": (load_glucose, 0.95, ["meal"], _LABELS | _AMOUNTS),
    "ACTG 320": (load_actg320, 0.0, ["strat2", "raceth"], _LABELS),
}


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every policy of each log; returns the table. There are no peers."""
    for name, (*log, policies) in LOGS.items() if side != "peers" else ():
        for method, setting in policies.items():
            if method in _AMOUNTS:
                setting = setting | {"action_type": "continuous"}
            key = {"problem": name, "seed": 0, "method": method, "setting": None}
            rows.once(key, partial(_measure, *log, setting))
    return table(rows)


def _measure(
    load: Callable[..., Any], discount: float, text: list[str], setting: dict[str, Any]
) -> dict[str, Any]:
    import onnxruntime  # both optional

    from sklearn_stackelberg.onnx import to_onnx

    X, y = load(return_X_y=True)
    n_rows = min(N_ROWS, len(X) // 2)
    if "episode" in y:  # whole ones
        n_rows = int((y["episode"] < y["episode"].iloc[n_rows]).sum())
    held = X[n_rows:][:N_STATES]
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, X.columns.drop(text).tolist()), (words, text)
    )
    # Probabilities between 0 and 1, which differ by any rounding.
    last = StackelbergPolicyEstimator(
        discount=discount, deterministic=False, random_state=0, **setting
    )
    policy = make_pipeline(columns, last)
    with Quietly():
        policy.fit(X[:n_rows], y[:n_rows])
        model = to_onnx(policy, held)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    kinds = {name: str if name == "meal" else float for name in held}
    given = {name: held[[name]].to_numpy(kinds[name]) for name in held}
    outputs = [one.name for one in session.get_outputs()]
    graph = partial(session.run, outputs, given)
    action, *probabilities = graph()
    decided = policy.predict(held)
    if probabilities:
        far = np.abs(probabilities[0] - policy.predict_proba(held)).max()
        differ = int((np.asarray(action) != decided).sum())
        python = partial(policy.predict_proba, held)
    else:
        far, differ = np.abs(action - decided).max(), None
        python = partial(policy.predict, held)
    return {
        "states": len(held),
        "difference": float(far),
        "actions_that_differ": differ,
        "graph_seconds": _median(graph),
        "python_seconds": _median(python),
    }


def _median(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        with Clock() as clock:
            call()
        seconds.append(clock.seconds)
    return statistics.median(seconds)


def table(rows: Rows) -> str:
    """A line for each policy."""
    lines = []
    for row in rows:
        differ = row["actions_that_differ"]
        times = [f"{1e3 * row[f'{by}_seconds']:.0f}" for by in ("graph", "python")]
        line = [row["problem"], row["method"], f"{row['states']:,}"]
        line += [f"{row['difference']:.0e}", "–" if differ is None else differ, *times]
        lines.append(line)
    heads = ["log", "policy", "states", f"differ by at most (≤ {WANTED:.0e})"]
    heads += ["actions that differ", "ms, graph", "ms, Python"]
    return markdown(heads, lines)
