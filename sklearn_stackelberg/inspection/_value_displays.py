"""Pictures of what policies are worth, and of how a fit came there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._typing import Floats
from ..metrics._comparison import ComparedPolicy, PolicyComparison
from ..metrics._estimate import OffPolicyEstimate
from ._displays import BLUE, MARKERS, ORANGE, Display, last_step, plain

if TYPE_CHECKING:  # matplotlib is needed by whoever draws, and by nobody else
    from matplotlib.axes import Axes


@dataclass(kw_only=True, eq=False, repr=False)
class ValueDisplay(Display):
    """Values of several policies, or their differences, with intervals.

    Use `from_estimates` to make one; `plot` draws it again. A mark is hollow if its
    interval holds what it is compared with: no difference, or the baseline's value.

    Parameters
    ----------
    names : tuple of str
        From top to bottom.
    value, low, high : array of shape (n,)
        Values, and the ends of their intervals.
    title : str
        What the values are.
    baseline : tuple (str, float) or None, default=None
        What they are compared with.

    Examples
    --------
    >>> from sklearn_stackelberg.inspection import ValueDisplay
    >>> from sklearn_stackelberg.metrics import OffPolicyEstimate
    >>> one = OffPolicyEstimate(12.3, 0.8, 45.2, 120, 5000, "Fitted-Q", "bootstrap")
    >>> ValueDisplay.from_estimates({"new": one, "old": one - 2.0}).value
    array([12.3, 10.3])
    """

    names: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    title: str
    baseline: tuple[str, float] | None = None

    @classmethod
    def from_estimates(
        cls,
        estimates: PolicyComparison | Mapping[str, OffPolicyEstimate],
        *,
        difference: bool = False,
        ax: Axes | None = None,
    ) -> ValueDisplay:
        """Draw what policies are worth.

        Parameters
        ----------
        estimates : PolicyComparison, MethodComparison, or dict of str to estimate
            Of `compare_policies` or `compare_methods`; or estimates, or differences, by
            the names that they are to have.
        difference : bool, default=False
            Whether a comparison's differences to its baseline are drawn, not values.
        ax : matplotlib Axes, default=None

        Returns
        -------
        ValueDisplay
        """
        if isinstance(estimates, Mapping):
            rows: list[Any] = [
                ComparedPolicy(name, None, one, one.confidence_interval)
                for name, one in estimates.items()
            ]
            levels = {one.confidence_level for one in estimates.values()}
            at_once, other = False, ""
        else:
            rows = [row for row in estimates.rows if row.estimate is not None]
            levels, at_once = {estimates.confidence_level}, estimates.simultaneous
            other = getattr(estimates, "baseline", None) or "logger"
        if not rows:
            raise ValueError("No estimates were given; at least one was expected.")
        first = next((row.difference for row in rows if row.difference), None)
        if difference:
            rows = [row for row in rows if row.difference]
        if first is None and difference:
            raise ValueError(
                "There are no differences. Compare with a baseline, such as "
                "compare_policies(..., baseline='logger')."
            )
        baseline = None if first is None else (other, float(first.baseline.value))
        groups = [getattr(row, "group", None) for row in rows]
        if len({*groups}) > 1:  # that of a group is not that of all
            baseline = None
        names = zip(groups, (str(row[0]) for row in rows), strict=True)
        found = [row.difference if difference else row.estimate for row in rows]
        ends = [row.difference_interval if difference else row.interval for row in rows]
        level = " and ".join(f"{100 * one:g} %" for one in sorted(levels))
        display = cls(
            names=tuple(n if g is None else f"{g}: {n}" for g, n in names),
            value=np.array([one.value for one in found]),
            low=np.array([low for low, _ in ends]),
            high=np.array([high for _, high in ends]),
            title=f"{f'value less {other}' if difference else 'value'}, {level} "
            f"intervals{' that hold all at once' if at_once else ''}",
            baseline=("no difference", 0.0) if difference else baseline,
        )
        return display.plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        return 6.4, 1.4 + 0.4 * len(self.names)

    def _draw(self, ax: Axes) -> None:
        at = np.nan if self.baseline is None else self.baseline[1]
        rows = zip(self.value, self.low, self.high, strict=True)
        for y, (x, low, high) in enumerate(rows):
            style: dict[str, Any] = {"color": BLUE, "capsize": 4, "lw": 1.6, "ms": 7}
            style["mfc"] = "white" if low <= at <= high else BLUE
            style["marker"] = MARKERS[y % len(MARKERS)]
            ax.errorbar([x], [y], xerr=[[x - low], [high - x]], **style)
        if self.baseline is not None:
            name, at = self.baseline
            ax.axvline(at, color=ORANGE, ls="--", lw=1.4, label=plain(name), zorder=1)
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
        ax.set_yticks(range(len(self.names)), [*map(plain, self.names)])
        ax.grid(axis="x", color="0.9")
        ax.set(ylim=(len(self.names) - 0.5, -0.5), xlabel=plain(self.title))


@dataclass(kw_only=True, eq=False, repr=False)
class HistoryDisplay(Display):
    """How a fit came to its policy: one figure of ``history_``, by evaluation.

    Parameters
    ----------
    name : str
    figure : array of shape (n_evaluations,)
    above : array of shape (n_evaluations,), default=None
        Of values, the same policies' by a Q-function that only fits the log.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import HistoryDisplay
    >>> ill, drug = np.repeat([[0], [1]], 20, axis=0), np.tile([0, 1], 20)
    >>> log = Transitions(ill, drug, drug * (2 * ill[:, 0] - 1), ill, np.ones(40))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> display = HistoryDisplay.from_estimator(policy, "bellman_error")
    >>> len(display.figure) == len(policy.history_["value"])
    True
    """

    name: str
    figure: Floats
    above: Floats | None = None

    @classmethod
    def from_estimator(
        cls,
        policy: object,
        name: str = "value",
        *,
        ax: Axes | None = None,
        **line_kwargs: object,
    ) -> HistoryDisplay:
        """Draw one figure of a fit's history.

        Parameters
        ----------
        policy : StackelbergPolicyEstimator
            Fitted; a pipeline or a search of it, too.
        name : str, default="value"
            One of ``history_``.
        ax : matplotlib Axes, default=None
        **line_kwargs
            Of the line, such as ``label``: several fits may share axes.

        Returns
        -------
        HistoryDisplay
        """
        last: Any = last_step(policy)
        history = {k: np.array(v) for k, v in getattr(last, "history_", {}).items()}
        if name not in history:
            raise ValueError(
                f"The policy, a {type(last).__name__}, has no history of {name!r}; it "
                f"has {[*history]}."
            )
        above = history["value"] + history["pessimism"] if name == "value" else None
        display = cls(name=name, figure=history[name], above=above)
        return display.plot(ax=ax, **line_kwargs)

    def _draw(self, ax: Axes, **kwargs: Any) -> None:
        from matplotlib.ticker import MaxNLocator  # optional, as all of matplotlib is

        x, words = np.arange(1, len(self.figure) + 1), self.name.replace("_", " ")
        style: dict[str, Any] = {"marker": ".", "label": words}
        (self.line_,) = ax.plot(x, self.figure, **style | kwargs)
        if self.above is not None:
            fill: dict[str, Any] = {"color": self.line_.get_color(), "alpha": 0.2}
            ax.fill_between(x, self.figure, self.above, label="pessimism", **fill)
        elif (self.figure > 0).any() and not (self.figure <= 0).any():
            # Norms and errors fall by orders of magnitude.
            ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="evaluation", ylabel=words)
        ax.legend(frameon=False)
