"""`report`: one page about a policy, for whoever must sign off on it."""

from __future__ import annotations

import io
import platform
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._typing import RandomStateLike
from ..metrics._cross_fitted import Splitter
from ..metrics._data import as_numbers
from ..metrics._differences import ValueDifference, difference, value_difference
from ..metrics._estimate import with_error
from ..metrics._lower_bound import LowerBound
from ..metrics._tabulate import action_nodes, is_continuous, like
from ._coverage import CoverageReport, coverage_report, percent
from ._displays import CoverageDisplay
from ._explanation import PolicyExplanation, action_text, explain_policy, in_words
from ._page import Section, page_html, page_markdown, section_html, written
from ._policy_displays import decisions
from ._rule_columns import ExplainedLog, discount_of
from ._tree_display import PolicyTreeDisplay

_PACKAGES = (
    *("sklearn-stackelberg", "scikit-learn", "numpy", "scipy", "torch", "pandas"),
    "matplotlib",
)

# Actions that a table lists; the log's summary counts the others.
_ACTIONS = 20


@dataclass(frozen=True, eq=False)
class PolicyReport:
    """A report on a policy, see `report`.

    Parameters
    ----------
    title : str
    sections : tuple of Section
        What `to_html` and `to_markdown` write.
    explanation : PolicyExplanation
    difference : ValueDifference
        The policy's value less the logger's; ``policy`` and ``baseline`` are the two.
    coverage : CoverageReport
    lower_bound : LowerBound or None
        Of the fit, if it was ``lam="calibrated"``.
    warnings : tuple of str
        All that was warned of while the report was made.
    """

    title: str
    sections: tuple[Section, ...] = field(repr=False)
    explanation: PolicyExplanation
    difference: ValueDifference
    coverage: CoverageReport
    lower_bound: LowerBound | None
    warnings: tuple[str, ...]

    def to_html(self, path: str | Path | None = None) -> str:
        """One page that needs nothing else: no scripts, no other files.

        Parameters
        ----------
        path : str or Path, default=None
            Where to write it, too.

        Returns
        -------
        str
        """
        return written(page_html(self.title, self.sections), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """The same without pictures.

        Parameters
        ----------
        path : str or Path, default=None
            Where to write it, too.

        Returns
        -------
        str
        """
        return written(page_markdown(self.title, self.sections), path)

    def __str__(self) -> str:
        return self.to_markdown()

    def _repr_html_(self) -> str:
        # A notebook's page has a style of its own.
        return "".join(map(section_html, self.sections))


def report(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float | None = None,
    title: str = "Report on a policy",
    max_depth: int | None = None,
    cv: int | Splitter = 5,
    feature_names: list[str] | None = None,
    sample_weight: ArrayLike | None = None,
    confidence_level: float = 0.95,
    random_state: RandomStateLike = 0,
) -> PolicyReport:
    """Report on a policy by a log, on one page that can be handed over.

    The log, the policy and its settings, a short tree in its place, its value beside
    the logger's, the lower bound of a fit that has one, what of the value the log
    supports, and all that was warned of. Pictures need matplotlib.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        A fitted policy; a pipeline or a search that ends in one, too.
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log, which should be one that the policy was not learned from.
    y : DataFrame, structured array or array-like, default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float, default=None
        γ, in [0, 1]. None is the policy's own.
    title : str, default="Report on a policy"
    max_depth, cv, feature_names, sample_weight
        As in `explain_policy`.
    confidence_level : float, default=0.95
        Of all intervals, in (0, 1).
    random_state : int, RandomState instance or None, default=0
        As in `explain_policy`.

    Returns
    -------
    PolicyReport
        Whose ``to_html`` and ``to_markdown`` write it.

    Raises
    ------
    ValueError
        As `explain_policy` does.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.inspection import report
    >>> x, drug = np.tile([[0], [1]], (100, 1)), np.repeat(["A", "B"], 100)
    >>> reward = (x[:, 0] == (drug == "B")) * 1.0
    >>> log = Transitions(x, drug, reward, x, np.ones(200))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> page = report(policy, log, max_depth=1)
    >>> [section.title for section in page.sections][:3]
    ['In short', 'The log', 'What it does, in rules']
    >>> page.to_html().startswith("<!DOCTYPE html>")
    True
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log = ExplainedLog.of(policy, X, y, sample_weight, feature_names)
        gamma = discount_of(log.policy, discount)
        common: dict[str, Any] = {
            "discount": gamma,
            "sample_weight": sample_weight,
            "random_state": random_state,
        }
        level: dict[str, Any] = {"confidence_level": confidence_level}
        explanation = explain_policy(
            policy,
            X,
            y,
            max_depth=max_depth,
            cv=cv,
            feature_names=feature_names,
            **common,
            **level,
        )
        better = value_difference(policy, X, y, **common, **level)
        coverage = coverage_report(policy, X, y, **common)
    # Several of the functions say the same of the same log.
    said = tuple(dict.fromkeys(str(one.message) for one in caught))
    bound = getattr(log.policy, "lower_bound_", None)
    sections = (
        _in_short(explanation, better, bound, said),
        _the_log(log),
        _the_tree(explanation),
        _the_actions(log),
        _the_value(explanation, better, bound),
        Section(
            "What the log supports",
            str(coverage).split("\nWarning: ")[0],
            pictures=(_picture(CoverageDisplay.from_report, coverage, "coverage"),),
        ),
        Section("Warnings", "" if said else "None.", warnings=said),
        _the_policy(policy, log, gamma),
        _the_software(random_state),
    )
    return PolicyReport(title, sections, explanation, better, coverage, bound, said)


def _in_short(
    explanation: PolicyExplanation,
    difference: ValueDifference,
    bound: LowerBound | None,
    said: tuple[str, ...],
) -> Section:
    p = difference.p_value()
    text = [
        f"Value of the policy: {with_error(difference.policy)}.",
        f"What was logged is worth {with_error(difference.baseline)}.",
        f"The difference is {with_error(difference)}, p = {p:.2g}.",
        in_words(explanation),
    ]
    if bound is not None:
        text.append(f"Lower bound of the policy's value: {bound.value:.4g}.")
    n = len(said)
    text.append(f"{n} warning{'s' * (n != 1)}: see below." if n else "No warnings.")
    return Section("In short", "\n".join(text))


def _the_log(log: ExplainedLog) -> Section:
    lines = str(log.given.describe()).split("\n")
    if log.given.step is not None:
        low, high = log.given.step.min(), log.given.step.max()
        lines.append(f"period: steps {low:,} to {high:,}")
    pairs, more = [], ""
    for line in lines:
        name, found, text = line.partition(":")
        # Reasons why rows are left out stand on lines of their own.
        if line.startswith(" ") or not found:
            more += f"\n{line.strip()}"
        else:
            pairs.append((name.strip(), text.strip()))
    return Section("The log", more.strip(), ("what", "in the log"), tuple(pairs))


def _the_policy(policy: object, log: ExplainedLog, discount: float) -> Section:
    get: Any = getattr(log.policy, "get_params", dict)
    settings = {"discount (of this report)": f"{discount:g}"}
    settings |= {name: repr(value) for name, value in get(deep=False).items()}
    return Section(
        "The policy",
        f"A {type(log.policy).__name__}. Its settings:",
        ("setting", "value"),
        tuple(settings.items()),
        listing=repr(policy),
    )


def _the_actions(log: ExplainedLog) -> Section:
    """How often each action is taken, or between what amounts are, of the same rows."""
    seen, policy = log.seen, log.policy
    weight = np.ones(len(seen)) if seen.weight is None else seen.weight
    weight = weight / weight.sum()
    states = like(seen.state, np.asarray(seen.state, dtype=np.float64))
    title = "What it does beside what was logged"
    if is_continuous(policy):
        logged = as_numbers(seen.action)
        done = action_nodes(policy, states, logged.shape[1], greedy=True)[0][:, 0]
        lines = []
        for j, name in enumerate(seen.action_columns()):
            for who, amount in (("the policy", done), ("the logger", logged)):
                ends = np.quantile(amount[:, j], [0.0, 0.25, 0.5, 0.75, 1.0])
                lines.append((str(name), who, *(f"{end:.4g}" for end in ends)))
        heads = ("action", "of", "least", "25 %", "median", "75 %", "most")
        return Section(title, "", heads, tuple(lines))
    _, taken, codes, *_ = decisions(log, None, 0)
    done, by_logger = weight @ taken, np.bincount(codes, weight, taken.shape[1])
    largest = np.argsort(-done, kind="stable")[:_ACTIONS]
    return Section(
        title,
        "Shares of the logged rows.",
        ("action", "the policy", "the logger"),
        tuple(
            (action_text(one), percent(float(done[j])), percent(float(by_logger[j])))
            for j, one in ((j, policy.classes_[[j]].tolist()[0]) for j in largest)
        ),
    )


def _the_tree(explanation: PolicyExplanation) -> Section:
    return Section(
        "What it does, in rules",
        f"{in_words(explanation)}\nWorth more: than what was "
        "logged in the same rows, if the policy is followed from then on.",
        *explanation.table(),
        pictures=(
            _picture(PolicyTreeDisplay.from_explanation, explanation, "the tree"),
        ),
    )


def _the_value(
    explanation: PolicyExplanation, found: ValueDifference, bound: Any
) -> Section:
    named = {
        "the policy": found.policy,
        "the logger": found.baseline,
        "the policy less the logger": found,
        "the tree less the policy": difference(
            explanation.value, explanation.full_value
        ),
    }
    lines = [
        (
            name,
            with_error(one),
            f"{one.p_value():.2g}" if isinstance(one, ValueDifference) else "",
            f"{one.effective_sample_size:,.0f} {one.effective_unit}",
        )
        for name, one in named.items()
    ]
    if bound is not None:
        lines.append(("lower bound of the policy", f"{bound.value:.4g}", "", ""))
    how = found.policy
    text = (
        f"In units of discounted return. {how.method}. Standard errors by "
        f"{how.error_method}."
    )
    if bound is not None:
        text += (
            f" The lower bound is of the fit's own log: {bound.estimate:.4g} less "
            f"{bound.pessimism:.4g}."
        )
    return Section(
        "What it is worth", text, ("of", "value", "p-value", "rests on"), tuple(lines)
    )


def _the_software(random_state: RandomStateLike) -> Section:
    lines = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            lines.append((name, version(name)))
        except PackageNotFoundError:
            continue
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = f"Made on {made}, random_state={random_state!r}."
    return Section("Software", text, ("package", "version"), tuple(lines))


def _picture(draw: Any, what: object, alt: str) -> tuple[bytes, str]:
    """A PNG file of what a display draws, and what it shows."""
    # Not by way of pyplot, whose figures stay open.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    if isinstance(what, PolicyExplanation):
        figure.set_size_inches(*PolicyTreeDisplay.size_of(what))
    draw(what, ax=figure.subplots())
    file = io.BytesIO()
    # Without the date and the version: the same figures make the same file.
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue(), alt
