"""What a comparison found, and its tables: text, HTML, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from .._html import html_table
from ..metrics._differences import ValueDifference
from ..metrics._estimate import Limits, OffPolicyEstimate, shown

# Marks of a value, and what they say.
_DAGGER, _DOUBLE, _SECTION = "†", "‡", "§"

# Outcomes that differ, below which a standard error says little: of none it is zero.
_FEW_OUTCOMES = 10.0

_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "γ": r"$\gamma$",
    _DAGGER: r"$^{\dagger}$",
    _DOUBLE: r"$^{\ddagger}$",
    _SECTION: r"\S{}",
}


class ComparedMethod(NamedTuple):
    """One method: what its policies are worth on episodes that they have not seen."""

    method: str
    estimate: OffPolicyEstimate | None  # None where it failed
    interval: Limits | None = None  # simultaneous, if so asked
    difference: ValueDifference | None = None  # to the logger
    difference_interval: Limits | None = None
    seconds: float = math.nan  # of one fit, the mean over folds
    megabytes: float = math.nan  # by which a fit let the process grow, at most
    outcomes: float = math.inf  # that its standard error is known by
    failure: str = ""
    warnings: tuple[str, ...] = ()  # of its fits, each once

    @property
    def rests_on_unsupported(self) -> bool:
        """Whether the bias bound is larger than the standard error."""
        found = self.estimate
        return found is not None and found.bias_bound > found.standard_error


@dataclass(frozen=True)
class MethodComparison:
    """Several methods on one log, see `compare_methods`.

    Parameters
    ----------
    rows : tuple of ComparedMethod
        The logger first, and then the methods in their order: ``method``, ``estimate``,
        ``interval``, ``difference`` and ``difference_interval`` (to the logger),
        ``seconds``, ``megabytes``, ``outcomes`` (rows of a reward that is not the
        commonest, as many as speak of the policy), ``failure`` and ``warnings``.
    skipped : dict of str to str
        Methods that were not run, and why.
    confidence_level : float
        Probability that all intervals of a column hold at once, or each of them.
    simultaneous : bool
        Whether all do.
    discount : float
        γ of the values.
    n_folds, n_episodes, n_transitions : int
        Of the log, and the folds that its episodes were divided into.
    """

    rows: tuple[ComparedMethod, ...]
    skipped: dict[str, str]
    confidence_level: float
    simultaneous: bool
    discount: float
    n_folds: int
    n_episodes: int
    n_transitions: int

    def to_dicts(self) -> list[dict[str, Any]]:
        """The figures, a dict for each method.

        Returns
        -------
        list of dict
            ``method``, ``value``, ``standard_error``, ``low``, ``high``,
            ``difference``, ``difference_standard_error``, ``difference_low``,
            ``difference_high`` and ``p_value`` (of each difference alone),
            ``bias_bound``, ``rests_on_unsupported``, ``effective_sample_size``,
            ``outcomes``, ``seconds``, ``megabytes`` and ``failure``; NaN where there is
            none.
        """
        return [_figures_of(row) for row in self.rows]

    def to_frame(self) -> Any:
        """The figures as a pandas DataFrame, with the columns of `to_dicts`.

        Returns
        -------
        DataFrame
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame makes a pandas DataFrame, and pandas is not installed: pip "
                "install pandas, or use to_dicts()."
            ) from error
        return pd.DataFrame(self.to_dicts())

    def to_csv(self) -> str:
        """The figures as comma-separated values, with the columns of `to_dicts`.

        Returns
        -------
        str
        """
        out, rows = io.StringIO(), self.to_dicts()
        writer = csv.DictWriter(out, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def to_markdown(self) -> str:
        """The table in Markdown, with its notes.

        Returns
        -------
        str
        """
        lines = [
            "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |"
            for line in self._cells()
        ]
        rule = "| --- |" + " ---: |" * (len(self._cells()[0]) - 1)
        return "\n".join([lines[0], rule, *lines[1:], "", " ".join(self._notes())])

    def to_latex(self) -> str:
        """The table in LaTeX, with its notes; it needs the package booktabs.

        Returns
        -------
        str
        """
        header, *lines = [
            " & ".join(map(_in_latex, line)) + r" \\" for line in self._cells()
        ]
        columns = "l" + "r" * (len(self._cells()[0]) - 1)
        notes = " ".join(map(_in_latex, self._notes()))
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                header,
                r"\midrule",
                *lines,
                r"\bottomrule",
                r"\end{tabular}",
                rf"\par\smallskip{{\footnotesize {notes}}}",
            ]
        )

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        table = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True))
            for line in cells
        ]
        return "\n".join([*(line.rstrip() for line in table), *self._notes()])

    def _repr_html_(self) -> str:
        header, *lines = self._cells()
        return html_table(header, lines, " ".join(self._notes()))

    def _cells(self) -> list[list[str]]:
        level = f"{100 * self.confidence_level:g} % interval"
        header = ["method", "value", level, "less logger", level, "fit, s", "MB"]
        # One number of decimals for all, so that columns read; by the usual error, as
        # one that is too small shall not make all others long.
        errors = [
            row.estimate.standard_error
            for row in self.rows
            if row.estimate is not None and row.estimate.standard_error > 0
        ]
        usual = median(errors) if errors else math.nan
        return [header, *(_cells_of(row, usual) for row in self.rows)]

    def _notes(self) -> list[str]:
        hold = "all of a column at once"
        if not self.simultaneous:
            hold = "each alone, and so not for the best of several"
        notes = [
            f"{self.n_episodes:,} episodes, {self.n_transitions:,} decisions, "
            f"discount {self.discount:g}.",
            f"Value ± standard error of policies learned without the fold that they "
            f"are evaluated on ({self.n_folds} folds); {100 * self.confidence_level:g} "
            f"% intervals, {hold}.",
        ]
        marks = "".join(map(_mark, self.rows))
        if _DAGGER in marks:
            notes.append(
                f"{_DAGGER} Leads to where the log has few rows, or takes actions that "
                "it does not support: the bound of this bias, which the interval "
                "includes, is larger than the standard error."
            )
        if _DOUBLE in marks:
            notes.append(
                f"{_DOUBLE} The same, and the bound is half of what returns can be: "
                "the value rests on no data."
            )
        if _SECTION in marks:
            notes.append(
                f"{_SECTION} Fewer than {_FEW_OUTCOMES:g} decisions with an outcome "
                "other than the commonest are as the policy would have them: do not "
                "rely on its standard error."
            )
        return notes


def _cells_of(row: ComparedMethod, usual: float) -> list[str]:
    if row.estimate is None or row.interval is None:
        return [row.method, f"failed: {row.failure}", *[""] * 5]
    cells = [row.method, *_shown(row.estimate, row.interval, usual)]
    cells[1] += _mark(row)
    if row.difference is None or row.difference_interval is None:
        return [*cells, *[""] * 4]
    cells += _shown(row.difference, row.difference_interval, usual)
    return [*cells, *map(_rounded, (row.seconds, row.megabytes))]


def _mark(row: ComparedMethod) -> str:
    found, mark = row.estimate, ""
    if found is not None and row.rests_on_unsupported:
        mark = _DOUBLE if found.rests_on_no_data else _DAGGER
    return mark + _SECTION * (row.outcomes < _FEW_OUTCOMES)


def _shown(estimate: OffPolicyEstimate, ends: Limits, usual: float) -> list[str]:
    error = estimate.standard_error
    value, error_text, low, high = shown((estimate.value, error, *ends), usual)
    return [f"{value} ± {error_text}", f"[{low}, {high}]"]


def _rounded(number: float) -> str:
    if math.isnan(number):
        return "–"
    return f"{number:.2f}" if number < 10 else f"{number:,.0f}"


def _figures_of(row: ComparedMethod) -> dict[str, Any]:
    nan = math.nan
    found, less = row.estimate, row.difference
    low, high = row.interval or (nan, nan)
    less_low, less_high = row.difference_interval or (nan, nan)
    return {
        "method": row.method,
        "value": found.value if found else nan,
        "standard_error": found.standard_error if found else nan,
        "low": low,
        "high": high,
        "difference": less.value if less else nan,
        "difference_standard_error": less.standard_error if less else nan,
        "difference_low": less_low,
        "difference_high": less_high,
        "p_value": less.p_value() if less else nan,
        "bias_bound": found.bias_bound if found else nan,
        "rests_on_unsupported": row.rests_on_unsupported,
        "effective_sample_size": found.effective_sample_size if found else nan,
        "outcomes": row.outcomes,
        "seconds": row.seconds,
        "megabytes": row.megabytes,
        "failure": row.failure,
    }


def _in_latex(text: str) -> str:
    escaped = "".join(_LATEX.get(c, c) for c in text)
    # A minus sign, where a hyphen stands before a number and behind none.
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def caption_of(skipped: dict[str, str]) -> Sequence[str]:
    """A sentence for each reason that methods were not run for."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
