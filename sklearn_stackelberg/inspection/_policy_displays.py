"""Pictures of what a policy does, and of how sure its log is of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from .._typing import AnyArray, Flags, Floats, Index
from .._validation import check_level, check_rules, integer, one_of
from ..metrics._data import as_numbers
from ..metrics._prepare import unwrapped
from ..metrics._tabulate import (
    action_nodes,
    codes_of,
    is_continuous,
    like,
    probabilities_of,
)
from ..transitions._actions import masks_of
from ..transitions._transitions import Transitions
from ._displays import BLUE, LINES, MARKERS, ORANGE, axes_or_new, fills, plain
from ._rule_columns import ExplainedLog, missing_in, table_column

if TYPE_CHECKING:  # matplotlib is needed by whoever draws, and by nobody else
    from matplotlib.axes import Axes

# Levels that a continuous action is drawn by.
_LEVELS = 5

_HATCHES = ["", "///", "...", "\\\\\\", "xxx", "---", "ooo", "+++"]


@dataclass(frozen=True)
class Bins:
    """What the values of a column were sorted into.

    Parameters
    ----------
    name : str
    labels : tuple of str
        Of each bin.
    edges : tuple of float
        Of the bins that are intervals, from the first bin on; others are single values,
        words, or what is missing.
    """

    name: str
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: AnyArray, name: str, most: int) -> tuple[Index, Bins]:
        """The bin of each value, (n,), of at most so many, and the bins."""
        missing = missing_in(values)
        code, edges = np.empty(len(values), dtype=np.intp), ()
        known, inside = np.unique(values[~missing], return_inverse=True)
        if len(known) <= most:
            labels = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in known]
        elif values.dtype.kind == "f":
            # As many rows in each, of which many may have the same value.
            cuts = np.unique(np.quantile(values[~missing], np.linspace(0, 1, most + 1)))
            inside = np.searchsorted(cuts[1:-1], values[~missing], side="right")
            edges = tuple(cuts.tolist())
            labels = [f"{a:.3g} to {b:.3g}" for a, b in zip(cuts, cuts[1:], strict=False)]
        else:
            common = np.argsort(-np.bincount(inside), kind="stable")[: most - 1]
            place = np.full(len(known), len(common))
            place[common] = np.arange(len(common))
            inside, labels = place[inside], [*map(str, known[common]), "other"]
        code[~missing], code[missing] = inside, len(labels)
        return code, cls(name, (*labels, *["missing"] * missing.any()), edges)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Where to write what: at the ends of intervals, in the middle of others."""
        if not self.edges:
            return [*range(len(self.labels))], [*map(plain, self.labels)]
        n = len(self.edges)
        at = [j - 0.5 for j in range(n)] + [*range(n - 1, len(self.labels))]
        return at, [f"{x:.3g}" for x in self.edges] + [*self.labels[n - 1 :]]
