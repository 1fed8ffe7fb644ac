"""ICU-Sepsis: a finite process made of intensive care records, with exact values."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from ._finite_mdp import FiniteMDP
from ._installed import describe, installed_file

_INSTALL = "pip install icu-sepsis"
_ASSETS = "envs/assets"

# Death, survival and a state that stands for no end in time: they end an episode.
_N_TERMINAL = 3


def load_icu_sepsis(*, encode: str = "integer") -> Bunch:
    """Load the treatment of sepsis as a finite process, and its clinicians' policy.

    716 states of patients, 25 doses (5 levels of fluids by 5 of vasopressors), of which
    2 to 3 are admissible in most states; the reward is 1 for survival. The process was
    estimated from the records of MIMIC-III, so that every policy has an exact value.

    Parameters
    ----------
    encode : {"integer", "one-hot"}, default="integer"
        How estimators and logs see states, as in `FiniteMDP`.

    Returns
    -------
    data : Bunch
        With the attributes:

        mdp : FiniteMDP
            The process, with the admissible actions as ``available``: its ``sample``
            gives logs with masks.
        clinicians : ndarray of shape (716, 25)
            What clinicians do, as estimated, among admissible actions: of each state
            the probabilities, divided by their sum.
        clinicians_unmasked : ndarray of shape (716, 25)
            As the package has it: 16 % of its probability lies on actions that are not
            admissible, whose effect in the process is the mean of the others.
        state_vectors : ndarray of shape (716, 47)
            The mean measurements of the patients of each state.
        sofa : ndarray of shape (716,)
            Their mean score of organ failure.
        DESCR, filename : str
            The description, with source and licence, and where the table lies.

    Raises
    ------
    ImportError
        If the package ``icu-sepsis``, which ships the table, is not installed.

    Examples
    --------
    >>> from sklearn_stackelberg.datasets import load_icu_sepsis
    >>> icu = load_icu_sepsis()  # doctest: +SKIP
    >>> log = icu.mdp.sample(icu.clinicians, 50_000, random_state=0)  # doctest: +SKIP
    >>> round(icu.mdp.policy_value(icu.clinicians, 1.0), 3)  # doctest: +SKIP
    0.782
    """
    table = installed_file(
        "icu_sepsis", f"{_ASSETS}/dynamics.npz", _INSTALL, "load_icu_sepsis"
    )
    actions = installed_file(
        "icu_sepsis", f"{_ASSETS}/admissible_actions.txt", _INSTALL, "load_icu_sepsis"
    )
    with np.load(table) as held:
        arrays = {name: held[name] for name in held.files}
    logged = arrays["expert_policy"]
    n_states, n_actions = logged.shape
    available = np.zeros((n_states, n_actions), dtype=bool)
    # The first line counts the actions of each state, each further line lists them.
    for state, line in enumerate(actions.read_text().splitlines()[1 : n_states + 1]):
        available[state, [int(number) for number in line.split()]] = True
    terminal = np.arange(n_states) >= n_states - _N_TERMINAL
    # The package has no probabilities where nothing is decided; any will do.
    logged[terminal] = 1.0 / n_actions
    admissible = logged * available
    mdp = FiniteMDP(
        arrays["tx_mat"],
        arrays["r_mat"],
        arrays["d_0"],
        terminal,
        encode=encode,
        available=available,
    )
    return Bunch(
        mdp=mdp,
        clinicians=admissible / admissible.sum(axis=1, keepdims=True),
        clinicians_unmasked=logged,
        state_vectors=arrays["state_cluster_centers"],
        sofa=arrays["sofa_scores"],
        DESCR=describe("icu_sepsis"),
        filename=str(table),
    )
