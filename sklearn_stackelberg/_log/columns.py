"""The columns of a decision table: which there are, and which were meant.

Columns may be pandas' or numpy's: this module does not import pandas.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, NamedTuple

import numpy as np

from . import checks

ROLES = (
    "action",
    "reward",
    "episode",
    "step",
    "terminated",
    "propensity",
    "is_initial",
)
# Too far from the name for difflib, or too near to another's.
_ALIASES = {
    "terminal": "terminated",
    "terminals": "terminated",
    "termination": "terminated",
    "timestep": "step",
    "time_step": "step",
    "propensity_score": "propensity",
}
_DONE = {"done", "dones"}


class Column(NamedTuple):
    """One column of a table, and what messages call it."""

    values: Any
    name: str

    def at(self, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Return the arguments with which a check sees these rows, or all."""
        values = self.values
        if rows is not None:
            values = values.iloc[rows] if hasattr(values, "iloc") else values[rows]
        return {"values": values, "name": self.name, "rows": rows}


def is_table(y: Any) -> bool:
    """Tell a table with named columns from a vector or an array."""
    return hasattr(y, "columns") or bool(getattr(getattr(y, "dtype", None), "names", 0))


def find_columns(y: Any) -> dict[str, Column]:
    """Return the columns of a decision table by role, refusing misspelt names."""
    if hasattr(y, "columns") and not checks.is_frame(y):
        raise ValueError(
            f"y is a {type(y).__module__}.{type(y).__name__}; a pandas DataFrame or a "
            "numpy structured array was expected: call .to_pandas() first."
        )
    if not checks.is_frame(y) and y.ndim != 1:
        raise ValueError(
            f"y is a structured array of shape {y.shape}; one record per row, shape "
            "(n,), was expected: use .ravel()."
        )
    known = [*(y.columns if checks.is_frame(y) else y.dtype.names)]
    checks.check_same_length({"y": len(y)})
    numbered = _numbered_actions(known)
    levels = [*getattr(getattr(y, "index", None), "names", [])]
    _refuse_unknown(known, levels, numbered)
    for role in (*ROLES, *numbered):
        if known.count(role) > 1:
            raise ValueError(
                f"y has more than one column {role!r}; it must occur once. Rename or "
                "drop the others."
            )
    columns = {r: Column(y[r], f"y[{r!r}]") for r in ROLES if r in known}
    if len(numbered) > 1:
        name = f"y[{numbered[0]!r}, ..., {numbered[-1]!r}]"
        frame = checks.is_frame(y)
        values = y[numbered] if frame else np.stack([y[c] for c in numbered], axis=1)
        columns["action"] = Column(values, name)
    elif numbered:
        columns["action"] = Column(y[numbered[0]], f"y[{numbered[0]!r}]")
    return columns


def _numbered_actions(known: list) -> list[str]:
    """The columns action_0, action_1, ... that an action of several numbers has."""
    if "action" in known:
        if "action_0" in known:
            raise ValueError(
                "y has a column 'action' and columns 'action_0', ...: either may be "
                "what was done. Drop the ones that are not, or rename them."
            )
        return []
    found = {name for name in known if re.fullmatch(r"action_\d+", str(name))}
    names = [f"action_{j}" for j in range(len(found))]
    if found != {*names}:
        raise ValueError(
            f"y has the columns {sorted(found)}; an action of {len(found)} "
            f"number{'s' * (len(found) > 1)} is expected in "
            f"{' and '.join(map(repr, names))}. Rename them, or give one column "
            "'action'."
        )
    return names


def _refuse_unknown(known: list, levels: list, numbered: list) -> None:
    """Refuse columns that are not there, or that are but for their spelling."""
    shown = ", ".join(repr(name) for name in known[:20])
    shown += ", ..." if len(known) > 20 else ""
    roles = ", ".join(ROLES[:-1]) + f" and {ROLES[-1]}"
    hidden = [r for r in ROLES if r not in known and r in levels]
    if hidden:
        raise ValueError(
            f"y has {' and '.join(map(repr, hidden))} in its index, where it is not "
            "read; make it a column with y.reset_index()."
        )
    meant: dict[str, Any] = {}
    for name in known:
        text = str(name).lower().strip()
        near = difflib.get_close_matches(text, ROLES, n=1, cutoff=0.8)
        role = _ALIASES.get(text) or (near[0] if near else None)
        if text in _DONE and "terminated" not in known:
            raise ValueError(
                f"y has a column {name!r}, which does not say whether an episode ended "
                "for good (terminated, so that no value follows) or was merely cut "
                "(truncated). Give a column 'terminated' that is True only where it "
                f"ended for good, and drop {name!r}."
            )
        if role and role not in known and name not in numbered:
            meant.setdefault(role, name)
    needed = ("reward",) if numbered else ("action", "reward")
    missing = [role for role in needed if role not in known]
    if missing:
        hints = [f"{meant[r]!r} for {r!r}" for r in missing if r in meant]
        hint = f" (did you mean {' and '.join(hints)}?)" if hints else ""
        alone = (
            " To imitate the actions without rewards, pass them alone: y['action']."
            if missing == ["reward"]
            else ""
        )
        raise ValueError(
            f"A decision table needs the columns 'action' and 'reward'; y has no "
            f"{' and no '.join(map(repr, missing))}{hint}. Its columns are "
            f"{shown or 'none'}.{alone}"
        )
    if meant:
        pairs = ", ".join(f"{name!r} for {role!r}" for role, name in meant.items())
        raise ValueError(
            f"y has columns that look like misspelt ones: did you mean {pairs}? The "
            f"columns that are read are {roles}. Rename the column, or drop it if it "
            "is another thing."
        )
