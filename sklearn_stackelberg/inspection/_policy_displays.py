"""Pictures of what a policy does, and of how sure the log is of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._typing import AnyArray, Flags, Floats, Index
from .._validation import check_level, check_rules, integer, one_of
from ..metrics._data import as_numbers
from ..metrics._tabulate import (
    action_nodes,
    codes_of,
    is_continuous,
    like,
    probabilities_of,
)
from ..transitions._actions import masks_of
from ._displays import BLUE, FILLS, MARKERS, Display, fills, in_percent, plain
from ._rule_columns import ExplainedLog, missing_in, table_column

if TYPE_CHECKING:  # matplotlib is needed by whoever draws, and by nobody else
    from matplotlib.axes import Axes

# Levels that a continuous action is drawn by, and actions that are drawn apart.
_LEVELS, _ACTIONS = 5, 12

_HATCHES = ["", "///", "...", "\\\\\\", "xxx", "---", "ooo", "+++"]

_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
_SURE, _UNSURE = "no other as good", "others may be as good"


class Bins(NamedTuple):
    """What values were sorted into: intervals, and values, words or nothing there."""

    name: str
    labels: tuple[str, ...]  # of each
    edges: tuple[float, ...] = ()  # of the intervals, which come first

    @classmethod
    def of(cls, values: AnyArray, name: str, most: int) -> tuple[Index, Bins]:
        """The place of each value, (n,), and so many bins, or one more of none."""
        missing = missing_in(values)
        known = values[~missing]
        known = known if known.dtype.kind == "f" else known.astype(str)
        distinct, inside = np.unique(known, return_inverse=True)
        edges: tuple[float, ...] = ()
        if len(distinct) <= most:
            labels = [*map(_text, distinct.tolist())]
        elif known.dtype.kind == "f":
            # As many rows in each; fewer bins where many rows have one value.
            cuts = np.unique(
                np.quantile(known, np.linspace(0, 1, most + 1), method="inverted_cdf")
            )
            inside, edges = np.searchsorted(cuts[1:-1], known, "right"), (*cuts,)
            ends = [*map(_text, edges)]
            labels = [f"{low} to {high}" for low, high in pairwise(ends)]
        else:
            common, place = _commonest(np.bincount(inside), most)
            inside, labels = place[inside], [*distinct[common].tolist(), "others"]
        code = np.full(len(values), len(labels), dtype=np.intp)
        code[~missing] = inside
        return code, cls(name, (*labels, *["missing"] * bool(missing.any())), edges)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Where to write what: at the ends of intervals, in the middle of others."""
        n = max(0, len(self.edges) - 1)
        at = [j - 0.5 for j in range(len(self.edges))]
        # Off the middle, where the word would meet the last of the ends.
        at += [j + 0.3 * (n > 0) for j in range(n, len(self.labels))]
        return at, [*map(_text, self.edges), *map(plain, self.labels[n:])]


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _commonest(counts: AnyArray, most: int) -> tuple[Index, Index]:
    """All but the commonest join: which are kept, and the new place of each."""
    kept = np.sort(np.argsort(-counts, kind="stable")[: most - 1])
    place = np.full(len(counts), len(kept))
    place[kept] = np.arange(len(kept))
    return kept, place


@dataclass(kw_only=True, eq=False, repr=False)
class PolicyDisplay(Display):
    """What a policy does in the logged states, beside what the logger did.

    Use `from_estimator` to make one; `plot` draws it again. Without columns it has the
    shares of the actions; over one column, the shares in each of its bins; over two,
    the commonest action of each cell, with a filled mark where in most states no other
    action may be as good. Cells of states that were not logged stay empty.

    Parameters
    ----------
    actions : tuple of str
        Names of the actions, the rarest of more than twelve together; or levels of a
        continuous one.
    policy, logger : array of shape (n_actions,), (k, n_actions) or (k, l, n_actions)
        Shares of the actions in the states of each cell; NaN where there are none.
    decided : array of the shape of policy, or None
        The part of the policy's shares in states where no other action may be as good,
        as in ``predict_set`` or ``predict_interval``; None of policies without.
    columns : tuple of Bins, default=()
        Of the cells: each has a ``name`` and ``labels``.
    of : {"policy", "logger"}, default="policy"
    ordered : bool, default=False
        Whether actions are numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import PolicyDisplay
    >>> ill, drug = np.repeat([[0], [1]], 20, axis=0), np.tile([0, 1], 20)
    >>> log = Transitions(ill, drug, drug * (2 * ill[:, 0] - 1), ill, np.ones(40))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> PolicyDisplay.from_estimator(policy, log, columns=0).policy
    array([[1., 0.],
           [0., 1.]])
    """

    actions: tuple[str, ...]
    policy: Floats
    logger: Floats
    decided: Floats | None
    columns: tuple[Bins, ...] = ()
    of: str = "policy"
    ordered: bool = False

    @classmethod
    def from_estimator(
        cls,
        policy: object,
        X: object,
        y: ArrayLike | None = None,
        *,
        columns: int | str | Sequence[int | str] = (),
        of: str = "policy",
        n_bins: int = 8,
        confidence_level: float | None = 0.95,
        action: int = 0,
        feature_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> PolicyDisplay:
        """Draw what a policy does in the states of a log.

        Parameters
        ----------
        policy, X, y, feature_names
            As in `explain_policy`.
        columns : int, str, or sequence of at most two, default=()
            Columns of X, before any pipeline, by place or name. And "certainty": by
            how many standard errors the action is ahead of every other that the log
            supports, by the Q-function of ``evaluation_``; of discrete actions alone.
        of : {"policy", "logger"}, default="policy"
            Whose actions are drawn over columns; without columns both are.
        n_bins : int, default=8
            Most bins of a column, > 1, of as many states each, or of its values. More
            are finer, and of fewer states.
        confidence_level : float or None, default=0.95
            Of ``predict_set``, in (0, 1). None leaves out how sure the log is.
        action : int, default=0
            Which one, of continuous actions of several numbers.
        ax : matplotlib Axes, default=None

        Returns
        -------
        PolicyDisplay
        """
        check_rules({"of": of}, {"of": one_of("policy", "logger")})
        check_rules({"n_bins": n_bins}, {"n_bins": integer(2)})
        if confidence_level is not None:
            check_level(confidence_level)
        log = ExplainedLog.of(policy, X, y, None, feature_names)
        weight = np.ones(len(log.seen)) if log.seen.weight is None else log.seen.weight
        actions, done, logged, sure, ahead = decisions(log, confidence_level, action)
        if len(actions) > _ACTIONS:
            counts = weight @ done + np.bincount(logged, weight, len(actions))
            kept, place = _commonest(counts, _ACTIONS)
            done, logged = done @ np.eye(len(kept) + 1)[place], place[logged]
            actions = (*(actions[j] for j in kept), "others")
        found = [
            Bins.of(values, name, n_bins)
            for name, values in _columns(log, columns, ahead)
        ]
        shape = tuple(len(bins.labels) for _, bins in found)
        cell: Index = np.zeros(len(weight), dtype=np.intp)
        for code, bins in found:
            cell = cell * len(bins.labels) + code
        rows = np.bincount(cell, weight, int(np.prod(shape)))

        def shares(done: Floats) -> Floats:
            sums = [np.bincount(cell, weight * one, len(rows)) for one in done.T]
            with np.errstate(invalid="ignore"):  # of no rows
                return (np.stack(sums, axis=-1) / rows[:, None]).reshape(*shape, -1)

        display = cls(
            actions=actions,
            policy=shares(done),
            logger=shares(np.eye(len(actions))[logged]),
            decided=None if sure is None else shares(done * sure[:, None]),
            columns=tuple(bins for _, bins in found),
            of=of,
            ordered=log.seen.action.dtype.kind in "iuf",
        )
        return display.plot(ax=ax)

    def _draw(self, ax: Axes) -> None:
        if not self.columns:
            self._bars(ax)
            return
        logger = self.of == "logger"
        shares, sure = (self.logger, None) if logger else (self.policy, self.decided)
        draw = self._stacks if len(self.columns) == 1 else self._map
        draw(ax, shares, sure)
        for axis, bins in zip((ax.xaxis, ax.yaxis), self.columns, strict=False):
            at, words = bins.ticks()
            tilted: dict[str, Any] = {}
            if axis is ax.xaxis and (
                max(map(len, words)) > 6 or len("".join(words)) > 36
            ):
                tilted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
            axis.set_ticks(at, words, **tilted)
            axis.set_label_text(plain(bins.name))

    def _bars(self, ax: Axes) -> None:
        y, sure = np.arange(len(self.actions)), self.decided
        bar: dict[str, Any] = {"height": 0.38, "edgecolor": "0.2", "lw": 0.6}
        whole = self.policy if sure is None else sure
        label = "policy" if sure is None else f"policy, {_SURE}"
        ax.barh(y - 0.2, whole, color=BLUE, label=label, **bar)
        if sure is not None:
            rest: dict[str, Any] = {"color": FILLS[0], "hatch": "////", "left": sure}
            rest["label"] = f"policy, {_UNSURE}"
            ax.barh(y - 0.2, self.policy - sure, **rest, **bar)
        ax.barh(y + 0.2, self.logger, color="0.85", hatch="..", label="logger", **bar)
        ax.set_yticks(y, [*map(plain, self.actions)])
        ax.invert_yaxis()
        ax.set(xlabel="share of the logged states", ylabel="action")
        in_percent(ax.xaxis)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)

    def _stacks(self, ax: Axes, shares: Floats, sure: Floats | None) -> None:
        from matplotlib.patheffects import withStroke  # optional, as all of matplotlib

        x, below = np.arange(len(shares)), np.zeros(len(shares))
        colors = fills(len(self.actions), self.ordered)
        for j, name in enumerate(self.actions):
            bar: dict[str, Any] = {"hatch": _HATCHES[j % len(_HATCHES)], "lw": 0.5}
            bar |= {"color": colors[j], "edgecolor": "0.2", "label": plain(name)}
            ax.bar(x, shares[:, j], 1.0, below, **bar)
            below = below + shares[:, j]
        if sure is not None:
            line: dict[str, Any] = {"color": "black", "marker": "o", "clip_on": False}
            # Seen on any fill.
            line["path_effects"] = [withStroke(linewidth=4, foreground="white")]
            ax.plot(x, sure.sum(axis=1), label=_SURE, **line)
        ax.set_ylabel(f"share of the logged states ({self.of})")
        ax.set(xlim=(-0.5, len(shares) - 0.5), ylim=(0, 1))
        in_percent(ax.yaxis)
        # As they stand above each other; the line's is the first that matplotlib has.
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(handles[::-1], labels[::-1], frameon=False, **_BESIDE)

    def _map(self, ax: Axes, shares: Floats, sure: Floats | None) -> None:
        from matplotlib.colors import ListedColormap
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        known = np.isfinite(shares[..., 0])  # cells with a row, (k, l)
        best = np.where(known, np.nan_to_num(shares).argmax(axis=-1), -1)
        colors, n = fills(len(self.actions), self.ordered), len(self.actions)
        image: dict[str, Any] = {"vmin": -0.5, "vmax": n - 0.5, "origin": "lower"}
        cells: Any = np.ma.masked_less(best.T, 0)
        ax.imshow(cells, ListedColormap(colors), aspect="auto", **image)
        filled = np.zeros_like(known)
        if sure is not None:
            filled = np.nan_to_num(sure).sum(axis=-1) > 0.5
        black: dict[str, Any] = {"ls": "", "color": "black"}
        handles: list[Any] = []
        for j, color in enumerate(colors):
            mark = black | {"marker": MARKERS[j % len(MARKERS)]}
            for where, inside in ((filled, "black"), (~filled, "none")):
                ax.plot(*np.nonzero(where & (best == j)), mfc=inside, **mark)
            handles.append((Patch(fc=color), Line2D([], [], mfc="none", **mark)))
        labels = [*map(plain, self.actions)]
        if sure is not None:
            dot = black | {"marker": "o"}
            handles += [Line2D([], [], **dot), Line2D([], [], mfc="none", **dot)]
            labels += [_SURE, _UNSURE.replace(" as good", "")]
        ax.legend(handles, labels, frameon=False, **_BESIDE)


def _columns(
    log: ExplainedLog, columns: int | str | Sequence[int | str], ahead: Floats | None
) -> list[tuple[str, AnyArray]]:
    """Names and values of the columns that were asked for."""
    asked = [columns] if isinstance(columns, int | str) else [*columns]
    names = {column.place: column.name for column in log.columns.columns_}
    by_name = {name: place for place, name in names.items()}
    found: list[tuple[str, AnyArray]] = []
    for one in asked:
        place = by_name.get(str(one), one)
        if place in names:
            found.append((names[int(place)], table_column(log.given.state, int(place))))
        elif one == "certainty" and ahead is not None:
            found.append(("standard errors ahead of every other action", ahead))
    if len(found) != len(asked) or len(found) > 2:
        raise ValueError(
            f"columns={columns!r} was given; at most two were expected, of "
            f"{[*by_name, *['certainty'] * (ahead is not None)]}, or by place from 0."
        )
    return found


def decisions(
    log: ExplainedLog, level: float | None, column: int
) -> tuple[tuple[str, ...], Floats, Index, Flags | None, Floats | None]:
    """Names of actions, what the policy does, (n, A), and what was logged.

    If the policy knows, also whether another action may be as good, and its certainty.
    """
    seen, policy, sure, ahead = log.seen, log.policy, None, None
    states = like(seen.state, np.asarray(seen.state, dtype=np.float64))
    # Policies of others, and of a part of a log, have no evaluation of their own.
    knows = level is not None and getattr(policy, "evaluation_", None) is not None
    if not is_continuous(policy):
        classes, masks = np.asarray(policy.classes_), masks_of(seen, policy.classes_)
        mask = None if masks is None else masks[0]
        done = probabilities_of(policy, states, mask)
        if knows:
            numbers = np.asarray(states, dtype=np.float64)
            others = policy._fitted_policy.supported(numbers, mask)
            taken = done.argmax(axis=1)
            np.put_along_axis(others, taken[:, None], False, axis=1)
            uncertainty = policy.evaluation_.uncertainty
            more, error = uncertainty.advantages(numbers, taken)
            with np.errstate(divide="ignore", invalid="ignore"):  # of the action itself
                ahead = np.where(others, -more / error, np.inf).min(axis=1)
            sure = ahead > uncertainty.reach(level, len(classes))
        names = tuple(map(str, classes.tolist()))
        return names, done, codes_of(seen.action, classes), sure, ahead
    logged = as_numbers(seen.action)
    done = action_nodes(policy, states, logged.shape[1], greedy=True)[0][:, 0, column]
    both = np.append(logged[:, column], done).astype(np.float64)
    code, levels = Bins.of(both, "", _LEVELS)
    if knows and hasattr(policy, "candidates_"):
        # Where all that may be as good is of one level.
        low, high = map(as_numbers, policy.predict_interval(states, level))
        cuts = levels.edges[1:-1] or np.unique(both)
        ends = [np.searchsorted(cuts, one[:, column], "right") for one in (low, high)]
        sure = ends[0] == ends[1]
    done = np.eye(len(levels.labels))[code[len(seen) :]]
    return levels.labels, done, code[: len(seen)], sure, None
