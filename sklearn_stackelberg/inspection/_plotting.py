"""Axes to draw on; matplotlib is imported only when something is drawn."""

from __future__ import annotations

from typing import Any

BLUE, ORANGE = "#0072B2", "#D55E00"


def axes_or_new(ax: Any) -> Any:
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib. Install it: python -m pip install matplotlib"
        ) from error
    return pyplot.subplots(layout="constrained")[1]
