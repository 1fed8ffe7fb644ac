"""The glucose log that ships with the package."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from sklearn.utils import Bunch

_STATE = ["hour", "glucose", "trend", "insulin_on_board", "carbs_on_board", "meal"]

# What each field of a decision table is called in the log.
_DECISIONS = {
    "action": "dose",
    "reward": "in_range",
    "episode": "day",
    "step": "step",
    "propensity": "propensity",
}


def load_glucose(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the log of a simulated patient's insulin doses, a decision every half hour.

    One adult with type 1 diabetes, 105 days of 48 decisions among five doses; the
    reward is the share of the following half hour with a glucose of 70 to 180 mg/dL. At
    half of the steps any dose was equally likely, at the others a noisy rule decided.
    Readings are missing where the sensor had gaps, and one column holds text. Each day
    ends with a row without an action, for the state in which the day was cut.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of the whole.
    as_frame : bool, default=True
        Whether states and decisions are DataFrames; else an object array and a
        structured array. Pandas reads the table in either case.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : DataFrame or ndarray of shape (5145, 6)
            The states, closing rows included.
        target : DataFrame or structured array of shape (5145,)
            The decision table: ``action`` (multiples of the basal rate), ``reward``
            (from 0 to 1), ``episode``, ``step`` and ``propensity``; in closing rows
            action, reward and propensity are NaN.
        frame : DataFrame of shape (5145, 11) or None
            The log as it was written, under its own names, if `as_frame`.
        feature_names, target_names : list of str
            The columns of the two.
        DESCR, filename : str
            The description, with what policies truly earn, and where the table lies.

    (data, target) : tuple if `return_X_y`
        As above: what ``fit(X, y)`` takes.

    Raises
    ------
    ImportError
        If pandas, which reads the table, is not installed.

    Examples
    --------
    >>> from sklearn_stackelberg import as_transitions
    >>> from sklearn_stackelberg.datasets import load_glucose
    >>> glucose = load_glucose()
    >>> log = as_transitions(glucose.data, glucose.target)
    >>> len(log), log.n_left_out
    (5040, 0)
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "load_glucose needs pandas to read its table: pip install pandas"
        ) from error
    # By importlib: the package may lie in an archive.
    folder = files("sklearn_stackelberg") / "data"
    table = folder / "glucose.csv"
    with table.open(encoding="utf-8") as lines:
        # "none" is a meal, or rather none; only what is empty is missing.
        frame = pd.read_csv(lines, keep_default_na=False, na_values=[""])
    data = frame[_STATE].copy()
    target = frame[[*_DECISIONS.values()]].set_axis([*_DECISIONS], axis=1)
    if not as_frame:
        data = data.to_numpy(dtype=object)
        # Not an array of objects: a decision table has names.
        target = target.to_records(index=False)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame if as_frame else None,
        feature_names=list(_STATE),
        target_names=list(_DECISIONS),
        DESCR=(folder / "glucose.rst").read_text(encoding="utf-8"),
        filename=str(table),
    )
