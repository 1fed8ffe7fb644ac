"""Trials and cohorts that packages for survival and causal analysis ship."""

from __future__ import annotations

from typing import Any

from sklearn.utils import Bunch

from ._installed import describe, installed_file, pandas_for

_ACTG_STATE = [
    *("strat2", "sex", "raceth", "ivdrug", "hemophil", "karnof"),
    *("cd4", "priorzdv", "age"),
]
_ARMS = {0: "two drugs", 1: "with indinavir"}
_STAGES = 3


def load_actg320(*, days: int = 180, return_X_y: bool = False) -> Any:
    """Load a randomised trial of HIV treatment, with censored follow-up.

    ACTG 320: 1,151 patients, two nucleosides with or without indinavir, drawn at one to
    one within strata of the CD4 count, followed until AIDS or death. One decision each:
    use ``discount=0``.

    Parameters
    ----------
    days : int, default=180
        The reward is the share of so many days that were lived without AIDS.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of the whole.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : DataFrame of shape (1151, 9)
            The states: what was known when treatment was drawn.
        target : DataFrame of shape (1151, 3)
            The decision table: ``action`` ("two drugs" or "with indinavir"), ``reward``
            from 0 to 1, and ``propensity``, 0.5.
        censored : Series of bool of shape (1151,)
            Whether follow-up ended before `days` without an event. There the reward is
            only the least that it can be: weight the others for it, or say so.
        frame : DataFrame of shape (1151, 15)
            The trial as it was written, under its own names.
        feature_names, target_names : list of str
            The columns of states and decisions.
        DESCR, filename : str
            The description, with source and licence, and where the table lies.

    (data, target) : tuple if `return_X_y`
        As above: what ``fit(X, y)`` takes.

    Raises
    ------
    ImportError
        If the package ``scikit-survival``, which ships the table, or pandas is not
        installed.

    Examples
    --------
    >>> from sklearn_stackelberg.datasets import load_actg320
    >>> trial = load_actg320()  # doctest: +SKIP
    >>> trial.target.groupby("action")["reward"].mean().round(3)  # doctest: +SKIP
    """
    if not days > 0:
        raise ValueError(f"days is {days!r}; expected a positive number.")
    pd = pandas_for("load_actg320")
    table = installed_file(
        "sksurv",
        "datasets/data/actg320.arff",
        "pip install scikit-survival",
        "load_actg320",
    )
    # ARFF: a line for each attribute, then the rows as in a file of commas.
    head, rows = table.read_text(encoding="utf-8").split("@data\n")
    names = [line.split()[1] for line in head.splitlines() if "@attribute" in line]
    values = [line.split(",") for line in rows.splitlines() if line]
    frame = pd.DataFrame(values, columns=names).apply(pd.to_numeric)
    data = frame[_ACTG_STATE].copy()
    target = pd.DataFrame(
        {
            "action": frame["tx"].map(_ARMS),
            "reward": frame["time"].clip(upper=days) / days,
            "propensity": 0.5,
        }
    )
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        censored=(frame["time"] < days) & (frame["censor"] == 0),
        frame=frame,
        feature_names=list(_ACTG_STATE),
        target_names=[*target],
        DESCR=describe("actg320"),
        filename=str(table),
    )


def load_three_stages(*, return_X_y: bool = False) -> Any:
    """Load a cohort of 1,000 with a treatment at each of three stages.

    The simulated cohort by which zEpid shows its estimators of time-varying treatments:
    a baseline column, one that changes and is changed by treatment, and an outcome
    after each stage, which ends the follow-up where it occurs.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of the whole.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : DataFrame of shape (2330, 3)
            The states, a row for each stage that a person reached: ``W``, ``L`` and
            ``stage``.
        target : DataFrame of shape (2330, 5)
            The decision table: ``action``, ``reward`` (−1 where the outcome occurred,
            else 0), ``episode`` (the person), ``step`` (1 to 3) and ``terminated``.
        frame : DataFrame of shape (1000, 11)
            The wide table as it was written: a row for each person, ``L1``, ``A1``,
            ``Y1`` to ``Y3``; missing after the outcome.
        feature_names, target_names : list of str
            The columns of states and decisions.
        DESCR, filename : str
            The description, with source and licence, and where the table lies.

    (data, target) : tuple if `return_X_y`
        As above: what ``fit(X, y)`` takes.

    Raises
    ------
    ImportError
        If the package ``zepid``, which ships the table, or pandas is not installed.

    Examples
    --------
    >>> from sklearn_stackelberg.datasets import load_three_stages
    >>> cohort = load_three_stages()  # doctest: +SKIP
    >>> cohort.frame.shape, cohort.data.shape  # doctest: +SKIP
    ((1000, 11), (2330, 3))
    """
    pd = pandas_for("load_three_stages")
    table = installed_file(
        "zepid", "datasets/longitudinal.dat", "pip install zepid", "load_three_stages"
    )
    frame = pd.read_csv(table)
    parts = []
    for stage in range(1, _STAGES + 1):
        part = frame[["id", "W"]].assign(stage=stage)
        part[["L", "A", "Y"]] = frame[[f"L{stage}", f"A{stage}", f"Y{stage}"]]
        # What stands in A2 of some who had the outcome at stage 1 was not decided.
        parts.append(part[part["L"].notna()])
    rows = pd.concat(parts).sort_values(["id", "stage"], ignore_index=True)
    data = rows[["W", "L", "stage"]].copy()
    target = pd.DataFrame(
        {
            "action": rows["A"].astype(int),
            "reward": -rows["Y"],
            "episode": rows["id"],
            "step": rows["stage"],
            "terminated": (rows["Y"] == 1) | (rows["stage"] == _STAGES),
        }
    )
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=[*data],
        target_names=[*target],
        DESCR=describe("three_stages"),
        filename=str(table),
    )
