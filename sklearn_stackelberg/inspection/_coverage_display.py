"""`CoverageDisplay`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._coverage import CoverageReport
from ._plotting import BLUE, axes_or_new

if TYPE_CHECKING:  # as in `_plotting`
    from matplotlib.axes import Axes


@dataclass(kw_only=True, eq=False, repr=False)
class CoverageDisplay:
    """How few rows carry how much of a value's weight.

    Use `from_report` to make one; `plot` draws it again.

    Parameters
    ----------
    share_of_rows, share_of_weight : array of shape (n + 1,)
        The heaviest so many rows carry so much of the weight Σ |ω|.
    effective_share : float
        Where the curve of rows of equal weight, all others having none, would reach 1.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg.inspection import CoverageDisplay
    >>> rows, weight = np.array([[0.0, 0.5, 1.0], [0.0, 0.9, 1.0]])
    >>> display = CoverageDisplay(
    ...     share_of_rows=rows, share_of_weight=weight, effective_share=0.6
    ... )
    >>> display.effective_share
    0.6
    """

    share_of_rows: NDArray[Any]
    share_of_weight: NDArray[Any]
    effective_share: float

    @classmethod
    def from_report(
        cls, report: CoverageReport, *, ax: Axes | None = None, **line_kwargs: object
    ) -> CoverageDisplay:
        """Draw the Lorenz curve of a report's density ratios, heaviest rows first.

        Parameters
        ----------
        report : CoverageReport
        ax : matplotlib Axes, default=None
            None draws on a new figure.
        **line_kwargs
            Of the curve, such as ``label``.

        Returns
        -------
        CoverageDisplay
        """
        # A Lorenz curve from the other end: steep where few rows carry the weight.
        weight = np.sort(np.abs(report.ratio))[::-1]
        total = weight.sum()
        if total == 0:
            raise ValueError(
                "All density ratios of this report are 0: there is no weight to draw."
            )
        display = cls(
            share_of_rows=np.linspace(0.0, 1.0, len(weight) + 1),
            share_of_weight=np.append(0.0, np.cumsum(weight) / total),
            effective_share=report.effective_share,
        )
        return display.plot(ax=ax, **line_kwargs)

    def plot(self, *, ax: Axes | None = None, **line_kwargs: object) -> CoverageDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **line_kwargs
            Of the curve.

        Returns
        -------
        CoverageDisplay
            Itself.
        """
        # Optional, as all of matplotlib is.
        from matplotlib.ticker import PercentFormatter

        ax = axes_or_new(ax)
        label = f"{100 * self.effective_share:.0f} % effective rows"
        style: dict[str, Any] = {"color": BLUE, "label": label} | line_kwargs
        (self.line_,) = ax.plot(self.share_of_rows, self.share_of_weight, **style)
        # Where all rows weigh alike.
        ax.plot([0, 1], [0, 1], color="0.6", ls=":", zorder=1)
        ax.set_xlabel("share of the logged rows, heaviest first")
        ax.set_ylabel("share of the value's weight")
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0))
        ax.legend(loc="lower right")
        self.ax_, self.figure_ = ax, ax.figure
        return self
