"""Curves with their spread, in colours and markers that everybody can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmarks.experiments._base import LOGGER
from benchmarks.families.problem import Array

# Okabe and Ito's colours; a marker and a dash of its own for who sees none of them.
_STYLES = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#E69F00", "^", "-."),
    ("#009E73", "D", ":"),
    ("#CC79A7", "v", (0, (5, 1, 1, 1, 1, 1))),
    ("#56B4E9", "P", (0, (3, 2))),
    ("#000000", "X", (0, (1, 1))),
)


def panels(n: int, width: float = 4.0, height: float = 3.4) -> tuple[Figure, Any]:
    """A figure of n panels side by side; the second is an array of axes."""
    figure = Figure(figsize=(width * n, height), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="0.9", lw=0.8)
        one.set_axisbelow(True)
    return figure, axes


def style(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the method of that place; the last is the logger's."""
    colour, marker, dash = _STYLES[place]
    return {"color": colour, "marker": marker, "ls": dash, "ms": 5.5, "lw": 1.6}


def curves(
    axes: Axes,
    found: Mapping[tuple[Any, ...], Array],
    names: Sequence[str],
    levels: Sequence[float],
    labels: Mapping[str, str] | None = None,
) -> None:
    """Means of each method at each level, with bars from the lowest log to the highest.

    ``found`` are scores by method and level. Bars are side by side: on a scale of
    logarithms methods are moved by a few per cent each.
    """
    for place, name in enumerate(names):
        at = [level for level in levels if (name, level) in found]
        if not at:
            continue
        values = [found[name, level] for level in at]
        mean = np.array([each.mean() for each in values])
        low = mean - [each.min() for each in values]
        high = [each.max() for each in values] - mean
        moved = np.array(at) * 1.05 ** (place - (len(names) - 1) / 2)
        axes.errorbar(
            moved,
            mean,
            yerr=[low, high],
            label=(labels or {}).get(name, name),
            capsize=2,
            elinewidth=0.9,
            **style(-1 if name == LOGGER else place),
        )


def legend_below(figure: Figure, axes: Axes, n_columns: int) -> None:
    """One legend for all panels, without bars."""
    handles, labels = axes.get_legend_handles_labels()
    lines = [h[0] if isinstance(h, ErrorbarContainer) else h for h in handles]
    figure.legend(
        lines, labels, loc="outside lower center", ncols=n_columns, frameon=False
    )


def save(figure: Figure, path: Path) -> None:
    """Save a picture whose bytes are those of its rows alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "savefig.dpi": 110}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def marks(
    axes: Axes,
    found: Mapping[tuple[Any, ...], Array],
    names: Sequence[str],
    groups: Sequence[str],
) -> None:
    """Every log as a mark and the mean as a bar, methods side by side in each group.

    ``found`` are scores by method and group.
    """
    step = 0.8 / len(names)
    for place, name in enumerate(names):
        look = style(place) | {"ls": "", "ms": 6, "mfc": "none", "mew": 1.3}
        for k, group in enumerate(groups):
            if (name, group) not in found:
                continue
            values = found[name, group]
            at = k + (place - (len(names) - 1) / 2) * step
            label = name if k == 0 else None
            axes.plot(np.full(len(values), at), values, label=label, **look)
            reach = 0.35 * step
            axes.hlines(
                values.mean(), at - reach, at + reach, color=look["color"], lw=2.5
            )
    axes.set_xticks(range(len(groups)), groups)
    for k in range(1, len(groups)):
        axes.axvline(k - 0.5, color="0.8", lw=0.8)
