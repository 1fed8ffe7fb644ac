"""A short tree as a picture: what is asked, and what is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._typing import Floats
from ._coverage import percent
from ._displays import FILLS, Display
from ._explanation import PolicyExplanation, Rule, action_text, explain_policy
from ._rule_tree import LEAF, RuleTree

if TYPE_CHECKING:  # matplotlib is needed by whoever draws, and by nobody else
    from matplotlib.axes import Axes

# Letters of a name in a box of a tree of sixteen leaves.
_LETTERS = 22


@dataclass(kw_only=True, eq=False, repr=False)
class PolicyTreeDisplay(Display):
    """A tree in the place of a policy, with what each leaf does.

    Use `from_explanation` or `from_estimator` to make one; `plot` draws it again.

    Parameters
    ----------
    explanation : PolicyExplanation

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    texts_ : list of matplotlib Text
        Of the nodes, in the order in which a tree is read.

    Examples
    --------
    >>> from sklearn_stackelberg.inspection import PolicyTreeDisplay
    >>> display = PolicyTreeDisplay.from_explanation(explanation)  # doctest: +SKIP
    """

    explanation: PolicyExplanation

    @classmethod
    def from_explanation(
        cls, explanation: PolicyExplanation, *, ax: Axes | None = None
    ) -> PolicyTreeDisplay:
        """Draw the tree of an explanation.

        Parameters
        ----------
        explanation : PolicyExplanation
            Of `explain_policy`.
        ax : matplotlib Axes, default=None
            None draws on a new figure.

        Returns
        -------
        PolicyTreeDisplay
        """
        if not isinstance(explanation, PolicyExplanation):
            raise TypeError(
                "A PolicyExplanation, as explain_policy returns it, was expected; got "
                f"{type(explanation).__name__}. Of a policy and a log use "
                "PolicyTreeDisplay.from_estimator(policy, X, y)."
            )
        return cls(explanation=explanation).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls,
        policy: object,
        X: object,
        y: Any = None,  # a decision table of any library
        *,
        ax: Axes | None = None,
        **settings: Any,
    ) -> PolicyTreeDisplay:
        """Explain a policy, and draw the tree.

        Parameters
        ----------
        policy, X, y
            As in `explain_policy`.
        ax : matplotlib Axes, default=None
            None draws on a new figure.
        **settings
            Further arguments of `explain_policy`, such as ``max_depth=2``.

        Returns
        -------
        PolicyTreeDisplay
        """
        explanation = explain_policy(policy, X, y, **settings)
        return cls.from_explanation(explanation, ax=ax)

    @staticmethod
    def size_of(explanation: PolicyExplanation) -> tuple[float, float]:
        """Width and height of a figure in which the words can be read.

        Parameters
        ----------
        explanation : PolicyExplanation

        Returns
        -------
        tuple of float
            In inches.
        """
        # So wide that lines from box to box can be seen, and so high that three lines
        # of words are. From left to right sixteen leaves are a page; side by side they
        # would be three feet.
        return 2.5 * (explanation.depth + 1), 0.4 + 0.75 * len(explanation.rules)

    def _size(self) -> tuple[float, float]:
        return self.size_of(self.explanation)

    def _draw(self, ax: Axes) -> None:
        tree: RuleTree = self.explanation.tree_[-1].rules_
        columns = self.explanation.tree_[0].transformer_.columns_
        rules = dict(zip(tree.leaves.tolist(), self.explanation.rules, strict=True))
        x, y = tree.levels().astype(float), -_places(tree)
        fills = _fills(self.explanation.rules)
        self.texts_ = []
        for node in range(len(x)):
            box: dict[str, Any] = {"boxstyle": "round,pad=0.4", "ec": "0.3", "lw": 0.8}
            if tree.left[node] == LEAF:
                rule = rules[node]
                box["fc"] = fills[rule.taken]
                others = " or ".join(map(action_text, rule.otherwise))
                masked = f"otherwise {_short(others)}\n" if others else ""
                text = (
                    f"take {_short(action_text(rule.action))}\n{masked}"
                    f"{rule.advantage:+.2g} vs. logged\n"
                    f"{rule.n_rows:,} rows, {percent(rule.share)}"
                )
            else:
                j, at = int(tree.feature[node]), float(tree.threshold[node])
                asks = not columns[j].is_number
                text = _wrapped(
                    columns[j].condition(*((at, 1) if asks else (-np.inf, at)))
                )
                box["fc"] = "white"
                words = ("no", "yes") if asks else ("yes", "no")
                below = tree.left[node], tree.right[node]
                for child, word in zip(below, words, strict=True):
                    ends = [x[node], x[child]], [y[node], y[child]]
                    ax.plot(*ends, color="0.4", lw=1.2, zorder=1)
                    middle = (
                        0.5 * (x[node] + x[child]),
                        0.5 * (y[node] + y[child]),
                    )
                    ax.text(
                        *middle,
                        word,
                        ha="center",
                        va="center",
                        fontsize=8,
                        bbox={"fc": "white", "ec": "none", "pad": 1.0},
                    )
            # No mathematics: a name may have signs that matplotlib would read as such.
            self.texts_.append(
                ax.text(
                    x[node],
                    y[node],
                    text,
                    ha="center",
                    va="center",
                    fontsize=9,
                    bbox=box,
                    parse_math=False,
                )
            )
        ax.set(xlim=(-0.5, tree.depth + 0.5), ylim=(-len(rules) + 0.4, 0.6))
        ax.set_axis_off()


def _fills(rules: Sequence[Rule]) -> dict[str, Any]:
    """Colours of what is done: of an amount the darker, the more it is."""
    if all(isinstance(rule.action, float) for rule in rules):
        from matplotlib import colormaps

        amounts = np.array([rule.action for rule in rules])
        span = max(float(np.ptp(amounts)), np.finfo(float).tiny)
        shades = colormaps["Blues"](0.1 + 0.45 * (amounts - amounts.min()) / span)
        return {rule.taken: c for rule, c in zip(rules, shades, strict=True)}
    # More actions than colours go round: the words tell them apart.
    actions = sorted({rule.taken for rule in rules})
    return {action: FILLS[i % len(FILLS)] for i, action in enumerate(actions)}


def _places(tree: RuleTree) -> Floats:
    """Leaves one below the other, every node in the middle of those that follow it."""
    place: Floats = np.zeros(len(tree.left))
    place[tree.leaves] = np.arange(len(tree.leaves))
    # Those that follow stand behind it.
    for node in np.flatnonzero(tree.left != LEAF)[::-1]:
        place[node] = 0.5 * (place[tree.left[node]] + place[tree.right[node]])
    return place


def _short(text: str, letters: int = _LETTERS) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _wrapped(condition: str) -> str:
    """A condition, its column's name on a line of its own where it is long."""
    for mark in (" <= ", " is "):
        name, found, rest = condition.rpartition(mark)
        if found and len(condition) > _LETTERS:
            return f"{_short(name)}\n{found.strip()} {_short(rest)}"
    return condition
