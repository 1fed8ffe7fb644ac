"""Pictures of what a value rests on, and of what a search saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline

from ._coverage import CoverageReport

if TYPE_CHECKING:  # matplotlib is needed by whoever draws, and by nobody else
    from matplotlib.axes import Axes

# Of the palette of Okabe and Ito, which the colour-blind can distinguish: lines, and
# fills that are light enough for black text. In print lines differ by their
# dashes, points by their shape, and fills by lightness and by what is written on them.
BLUE, ORANGE = "#0072B2", "#D55E00"
FILLS = ["#56B4E9", "#E69F00", "#F0E442", "#009E73", "#CC79A7", "#BBBBBB"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def fills(n: int, ordered: bool) -> list[Any]:
    """Colours of so many actions: from light to dark where these are numbers."""
    if not ordered:  # more actions than colours go round
        return [FILLS[j % len(FILLS)] for j in range(n)]
    from matplotlib import colormaps  # optional, as all of matplotlib is

    return [*colormaps["YlGnBu"](np.linspace(0.0, 0.65, n))]


def in_percent(axis: Any) -> None:  # of matplotlib
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def plain(text: str) -> str:
    """Text in which matplotlib finds no mathematics."""
    return text.replace("$", r"\$")


class Display:
    """A picture: what it shows is computed once, and may be drawn often."""

    ax_: Axes
    figure_: Any  # of matplotlib, a Figure or a part of one
    _draw: Callable[..., None]  # on axes, with what `plot` is given for its line

    def plot(self, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None draws on a new figure.
        **kwargs
            Of the line, where the picture is one.

        Returns
        -------
        Display
            Itself, with attributes ``ax_`` and ``figure_``, of matplotlib.
        """
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise ImportError(
                    "Displays need matplotlib: python -m pip install matplotlib"
                ) from error
            ax = pyplot.subplots(figsize=self._size(), layout="constrained")[1]
        self._draw(ax, **kwargs)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _size(self) -> tuple[float, float] | None:
        """Of a new figure, in inches."""
        return None


@dataclass(kw_only=True, eq=False, repr=False)
class CoverageDisplay(Display):
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
    >>> display.plot().ax_.get_xlabel()
    'share of the logged rows, heaviest first'
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

    def _draw(self, ax: Axes, **kwargs: Any) -> None:
        label = f"{100 * self.effective_share:.0f} % effective rows"
        style: dict[str, Any] = {"color": BLUE, "label": label} | kwargs
        (self.line_,) = ax.plot(self.share_of_rows, self.share_of_weight, **style)
        # Where all rows weigh alike.
        ax.plot([0, 1], [0, 1], color="0.6", ls=":", zorder=1)
        ax.set_xlabel("share of the logged rows, heaviest first")
        ax.set_ylabel("share of the value's weight")
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        for axis in (ax.xaxis, ax.yaxis):
            in_percent(axis)
        ax.legend(loc="lower right")


@dataclass(kw_only=True, eq=False, repr=False)
class TuningDisplay(Display):
    """Held-out score of a search's candidates against one parameter.

    Use `from_search`, or `from_estimator` of a fit with ``lam="calibrated"``, to make
    one; `plot` draws it again.

    Parameters
    ----------
    values : list
        Values of the parameter, in the order in which they are drawn.
    mean, standard_error : array of shape (n_values,)
        Mean score over the folds, and its standard error.
    chosen : tuple (value, score) or None
        The candidate that the search chose.
    param_name : str
    metric : str, default="score"
    truth : array of shape (n_values,), default=None
        What the score estimates, where it is known.
    bound : array of shape (n_values,), default=None
        A lower bound of what the score estimates.
    pieces : str, default="folds"
        What the standard error is over.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
        The means.
    band_ : matplotlib PolyCollection
        Mean ± one standard error.
    chosen_ : matplotlib Line2D or None
        The mark at the chosen value.
    truth_, bound_ : matplotlib Line2D or None

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg.inspection import TuningDisplay
    >>> mean, error = np.array([[0.2, 0.5], [0.1, 0.1]])
    >>> TuningDisplay(
    ...     values=[1, 9],
    ...     mean=mean,
    ...     standard_error=error,
    ...     chosen=(9, 0.5),
    ...     param_name="lam",
    ... ).plot().ax_.get_xlabel()
    'lam'
    """

    values: list[Any]
    mean: NDArray[Any]
    standard_error: NDArray[Any]
    chosen: tuple[Any, float] | None
    param_name: str
    metric: str = "score"
    truth: NDArray[Any] | None = None
    bound: NDArray[Any] | None = None
    pieces: str = "folds"

    @classmethod
    def from_estimator(
        cls, policy: object, *, ax: Axes | None = None, **line_kwargs: object
    ) -> TuningDisplay:
        """Draw the held-out values and lower bounds that a fit chose λ by.

        Parameters
        ----------
        policy : StackelbergPolicyEstimator
            Fitted with ``lam="calibrated"``; a pipeline or a search of it, too.
        ax : matplotlib Axes, default=None
        **line_kwargs
            As in `from_search`.

        Returns
        -------
        TuningDisplay
            Of the chosen λ, ``policy_value_`` lies below the bound drawn by what its
            errors count besides: what other policies are worth, and what is unknown.
        """
        last: Any = last_step(policy)
        found = getattr(last, "lower_bound_", None)
        if found is None or not found.tried:
            raise ValueError(
                f"The policy, a {type(last).__name__}, did not choose λ by a lower "
                "bound: fit it with lam='calibrated', or use from_search of a search."
            )
        lams, mean, error = np.array(found.tried).T
        display = cls(
            values=lams.tolist(),
            mean=mean,
            standard_error=error,
            chosen=(last.lam_, float(mean[lams == last.lam_][0])),
            param_name="lam",
            metric="value",
            bound=mean - found.quantile * error,
            pieces="episodes",
        )
        return display.plot(ax=ax, **line_kwargs)

    @classmethod
    def from_search(
        cls,
        search: object,
        param_name: str,
        *,
        metric: str = "score",
        others: str = "chosen",
        truth: ArrayLike | Callable[[Any], float] | None = None,
        ax: Axes | None = None,
        **line_kwargs: object,
    ) -> TuningDisplay:
        """Draw the held-out score of a search against one of its parameters.

        Parameters
        ----------
        search : fitted GridSearchCV, RandomizedSearchCV or halving search
        param_name : str
            As in the search's grid, such as ``"stackelbergpolicyestimator__lam"``.
        metric : str, default="score"
            Which of the scores: ``"value"`` for a scorer with ``report=True``.
        others : {"chosen", "best"}, default="chosen"
            Which candidates are drawn where other parameters were searched too: those
            that differ from the chosen one in this parameter alone, or for each value
            of it the one with the best mean (which is flattered by being the best).
        truth : callable or array-like of shape (n_values,), default=None
            True values to compare with: ``truth(value)``, or one for each value of the
            parameter in the order drawn (numbers rising).
        ax : matplotlib Axes, default=None
            None draws on a new figure.
        **line_kwargs
            Of the line of means, such as ``color``.

        Returns
        -------
        TuningDisplay

        Raises
        ------
        ValueError
            If the search has no such parameter or metric, or no two candidates to draw.

        Examples
        --------
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> from sklearn_stackelberg.inspection import TuningDisplay
        >>> search = SimpleNamespace(  # what a fitted search has
        ...     best_index_=1,
        ...     cv_results_={
        ...         "params": [{"lam": 1.0}, {"lam": 10.0}],
        ...         "mean_test_score": np.array([0.2, 0.5]),
        ...         "split0_test_score": np.array([0.1, 0.4]),
        ...         "split1_test_score": np.array([0.3, 0.6]),
        ...     },
        ... )
        >>> display = TuningDisplay.from_search(search, "lam", truth=lambda lam: 0.4)
        >>> display.mean, display.standard_error
        (array([0.2, 0.5]), array([0.1, 0.1]))
        """
        results = getattr(search, "cv_results_", None)
        if results is None:
            raise ValueError(
                f"{type(search).__name__} has no cv_results_: a fitted search was "
                "expected. Call its fit first."
            )
        mean = mean_scores(results, metric)
        splits = fold_scores(results, metric)  # (n_candidates, n_folds)
        best = getattr(search, "best_index_", None)
        # With several metrics and refit=False a search chooses none: the best mean is.
        if best is None:
            best = int(np.argmax(np.where(np.isfinite(mean), mean, -np.inf)))
        drawn = drawn_candidates(results["params"], param_name, mean, int(best), others)
        values = [results["params"][i][param_name] for i in drawn]
        # Folds share training rows, so that this is rather too small.
        error = np.full(len(drawn), np.nan)
        if splits.shape[1] > 1:
            error = splits[drawn].std(axis=1, ddof=1) / np.sqrt(splits.shape[1])
        chosen = None
        if param_name in results["params"][best] and np.isfinite(mean[best]):
            chosen = results["params"][best][param_name], float(mean[best])
        display = cls(
            values=values,
            mean=mean[drawn],
            standard_error=error,
            chosen=chosen,
            param_name=param_name,
            metric=metric,
            truth=_truth(truth, values),
        )
        return display.plot(ax=ax, **line_kwargs)

    def _draw(self, ax: Axes, **kwargs: Any) -> None:
        numbers = all(is_number(value) for value in self.values)
        x = np.array(self.values if numbers else np.arange(len(self.values)), float)
        style: dict[str, Any] = {"color": BLUE, "marker": "o", "label": "held-out mean"}
        (self.line_,) = ax.plot(x, self.mean, **style | kwargs)
        self.band_ = ax.fill_between(
            x,
            self.mean - self.standard_error,
            self.mean + self.standard_error,
            color=self.line_.get_color(),
            alpha=0.2,
            lw=0,
            label=f"± 1 standard error ({self.pieces})",
        )
        self.truth_ = self.chosen_ = self.bound_ = None
        if self.bound is not None:
            (self.bound_,) = ax.plot(
                x, self.bound, color="black", ls="-.", marker="v", label="lower bound"
            )
        if self.truth is not None:
            (self.truth_,) = ax.plot(
                x, self.truth, color="black", ls="--", marker="s", ms=4, label="truth"
            )
        if self.chosen is not None:
            value, score = self.chosen
            place = [repr(known) for known in self.values].index(repr(value))
            mark: dict[str, Any] = {"marker": "o", "ms": 12, "mew": 2, "mec": ORANGE}
            (self.chosen_,) = ax.plot(
                x[place], score, ls="", mfc="none", zorder=3, label="chosen", **mark
            )
        # Grids of λ and the like are powers of ten.
        if numbers and x.min() > 0 and x.max() >= 10 * x.min():
            ax.set_xscale("log")
        elif not numbers:
            ax.set_xticks(x, [str(value) for value in self.values])
        ax.set_xlabel(self.param_name.split("__")[-1])
        ax.set_ylabel(f"held-out {self.metric}")
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.3 * (high - low))  # room that the lines leave free
        ax.legend(loc="upper center", ncols=2, frameon=False)


def last_step(policy: object) -> object:
    """What is in a search, or at the end of a pipeline."""
    while True:
        inside = getattr(policy, "best_estimator_", None)
        if inside is None and isinstance(policy, Pipeline):
            inside = policy[-1]
        if inside is None:
            return policy
        policy = inside


def _truth(
    truth: ArrayLike | Callable[[Any], float] | None, values: list[Any]
) -> NDArray[np.float64] | None:
    if truth is None:
        return None
    if callable(truth):
        return np.array([truth(value) for value in values], dtype=float)
    out = np.asarray(truth, dtype=float)
    if out.shape != (len(values),):
        raise ValueError(
            f"truth has shape {out.shape}; one number for each of the {len(values)} "
            f"values drawn was expected: {values}."
        )
    return out


def mean_scores(results: dict[str, Any], metric: str) -> NDArray[np.float64]:
    """Mean score of every candidate, or a sentence with the metrics that there are."""
    prefix = "mean_test_"
    if prefix + metric not in results:
        known = [k.removeprefix(prefix) for k in results if k.startswith(prefix)]
        raise ValueError(f"The search has no metric {metric!r}; it has {known}.")
    return np.asarray(results[prefix + metric], dtype=float)


def fold_scores(results: dict[str, Any], metric: str) -> NDArray[np.float64]:
    """Scores of every fold, (n_candidates, n_folds)."""
    ending = f"_test_{metric}"
    # Of ``split0_test_value``: another metric may end in the same words.
    names = [k for k in results if k.startswith("split") and k.endswith(ending)]
    names = [k for k in names if k.removesuffix(ending)[len("split") :].isdigit()]
    return np.array([results[name] for name in names], dtype=float).T


def drawn_candidates(
    params: list[dict[str, Any]],
    param_name: str,
    mean: NDArray[np.float64],
    best: int,
    others: str,
) -> list[int]:
    """Candidates to draw, one for each value of the parameter, in order."""
    searched = sorted({name for candidate in params for name in candidate})
    if param_name not in searched:
        raise ValueError(
            f"The search did not vary {param_name!r}; it varied {searched}."
        )
    if others not in ("chosen", "best"):
        raise ValueError(f"others must be 'chosen' or 'best', got {others!r}.")
    of_best = {k: v for k, v in params[best].items() if k != param_name}
    found: dict[str, int] = {}
    for i, candidate in enumerate(params):
        # Grids may be lists of grids, and candidates may have failed.
        if param_name not in candidate or not np.isfinite(mean[i]):
            continue
        rest = {k: v for k, v in candidate.items() if k != param_name}
        if others == "chosen" and repr(rest) != repr(of_best):
            continue
        # By its words: values may be estimators or arrays, which have no order or hash.
        key = repr(candidate[param_name])
        # A halving search scores a candidate again and again, last on most of the log.
        if others == "chosen" or key not in found or mean[i] > mean[found[key]]:
            found[key] = i
    if len(found) < 2:
        raise ValueError(
            f"Fewer than two candidates differ from the chosen one in {param_name!r} "
            "alone. Search more values of it."
            + (" Set others='best' to draw more." if others == "chosen" else "")
        )
    out = list(found.values())
    if all(is_number(params[i][param_name]) for i in out):
        out.sort(key=lambda i: float(params[i][param_name]))
    return out


def is_number(value: object) -> bool:
    """Whether a value of a parameter has a place on an axis of numbers."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
