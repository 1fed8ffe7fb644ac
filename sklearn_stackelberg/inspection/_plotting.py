"""Axes to draw on; matplotlib is imported only when something is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib is needed by whoever draws, and by nobody else
    from matplotlib.axes import Axes

# Two of the palette of Okabe and Ito, which the colour-blind can distinguish.
BLUE, ORANGE = "#0072B2", "#D55E00"


def axes_or_new(ax: Axes | None) -> Axes:
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
