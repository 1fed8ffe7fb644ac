"""Files of fitted policies that can be opened without trust in who wrote them."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ._versions import __version__

__all__ = ["TRUSTED_TYPES", "load", "save"]

# Goes up where files of this version could not be read by the last.
_FORMAT = 1

# Beside skops' own entries: who wrote the file, which skops does not say.
_ABOUT = "sklearn_stackelberg.json"

_OURS = {
    "_action_scale": ["ActionScale"],
    "_fitting.fit": ["FitState"],
    "_fitting.fitted_policy": [
        "ActionDistribution",
        "ContinuousPolicy",
        "DiscretePolicy",
        "KernelScores",
        "KernelValues",
        "LinearFunction",
        "NetworkFunction",
        "NetworkValues",
        "RangedOutputs",
        "SupportedLogits",
    ],
    "_fitting.state_inputs": [
        "DifferentiableFeatures",
        "PlayerInputs",
        "StateActionColumns",
    ],
    "_fitting.never_taken": ["NeverTaken"],
    "_fitting.support": ["ActionRange", "ActionSupport"],
    "_forest": ["Forest"],
    "_numpy_state": ["StoredTensor"],
    "_problem.action_space": ["ContinuousActions", "DiscreteActions"],
    "_problem.dataset": ["RewardUnits"],
    "_problem.state_anchor": ["StateAnchor"],
    "_sampling": ["Minibatches"],
    "equilibrium": ["Equilibrium"],
    "estimator": ["StackelbergPolicyEstimator"],
    "kernels._columns": ["LinearColumns", "StateColumns"],
    "kernels._nystroem": ["LandmarkFeatures"],
    "kernels._registry": ["BoundKernel", "delta_kernel"],
    "kernels._state_action": ["CandidateGram", "StateActionFeatures"],
    "metrics._holdout": ["HoldoutEvaluator"],
    "metrics._lower_bound": ["LowerBound"],
    "metrics._q_uncertainty": ["QUncertainty"],
    "metrics._selected_value": ["SelectedValue"],
    "metrics._training_rows": ["Known", "TrainingRows"],
    "model_selection._folds": ["BlockKFold", "EpisodeKFold"],
    "model_selection._policy_cv": ["StackelbergPolicyCV"],
    "model_selection._refit": ["PessimisticRefit"],
    "model_selection._scorers": [
        "BellmanErrorScorer",
        "DoublyRobustScorer",
        "FittedQScorer",
        "ImportanceSamplingScorer",
    ],
    "networks": ["MLP", "Perceptron"],
    "policies._candidates": ["CandidateSoftmax"],
    # The second is a method, which a policy of networks is stored by.
    "policies._gaussian": ["SquashedGaussian", "SquashedGaussian.outputs"],
    "policies._quadrature": ["LinearHead"],
    "policies._softmax": ["NetworkSoftmax", "SoftmaxPolicy"],
    "preprocessing._history_states": ["HistoryStates"],
    "preprocessing._on_states": ["OnStates"],
    "q_functions": ["ContinuousQ", "DiscreteQ", "LinearQ"],
    "solvers._base": ["BestPoint", "Point", "SolverState"],
    "solvers._closed_form": ["ClosedForm"],
    "solvers._stochastic": ["Stochastic"],
    "transitions._history": ["HistoryLayout"],
    "transitions._step_anchor": ["StepAnchor"],
    # A scorer's reference.
    "transitions._transitions": ["Transitions"],
}

# Of scikit-learn, whose estimators skops knows.
_KERNELS = (
    *("CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared"),
    *("Exponentiation", "Matern", "PairwiseKernel", "Product", "RBF"),
    *("RationalQuadratic", "Sum", "WhiteKernel"),
)

#: What a policy's file may hold besides what skops trusts itself: numbers, text, numpy
#: arrays and scikit-learn's estimators (those of trees not among them, whose nodes
#: scikit-learn follows wherever they lead). For `skops.io.load` as well.
TRUSTED_TYPES: list[str] = [
    *(
        f"sklearn_stackelberg.{module}.{name}"
        for module, names in _OURS.items()
        for name in names
    ),
    *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
    # Of a search that scores by the estimator's own `score`.
    "sklearn.metrics._scorer._PassthroughScorer",
    # Of imputers: read as the type of an array without entries.
    "numpy.dtype",
]


def save(policy: BaseEstimator, path: str | PathLike[str]) -> None:
    """Write a fitted policy to a file that others can open without trusting it.

    By `skops.io`, as arrays and names of types: unlike a pickle, the file holds nothing
    that runs when it is opened.

    Parameters
    ----------
    policy : estimator
        A fitted `StackelbergPolicyEstimator` or `StackelbergPolicyCV`, or a `Pipeline`
        or a search of them.
    path : str or path-like
        By convention ``*.skops``.

    Raises
    ------
    ImportError
        If skops is not installed.
    TypeError
        If it holds what such files cannot: a network that is no ``"mlp"`` or
        `networks.MLP`, a lambda.

    See Also
    --------
    load : Opens the file, with an example.

    Examples
    --------
    >>> from sklearn_stackelberg import persistence
    >>> persistence.save(policy, "policy.skops")  # doctest: +SKIP
    """
    skops = _skops("save")
    check_is_fitted(policy)
    try:
        data = skops.dumps(policy, compression=ZIP_DEFLATED)
        for name in {*skops.get_untrusted_types(data=data)} - {*TRUSTED_TYPES}:
            resolve_name(name)  # by which `load` will have to find it
    # Whatever an object of the user's raises, where it is asked for its state.
    except Exception as error:
        raise TypeError(
            f"This {type(policy).__name__} cannot be saved, as it holds what a skops "
            f"file cannot ({error}). Networks must be made by 'mlp' or MLP(...), and "
            "kernels, callbacks and rules be functions of a module, or set to None "
            "before. joblib.dump takes any object, for readers who trust you."
        ) from error
    buffer = io.BytesIO(data)
    with ZipFile(buffer, "a") as archive:
        archive.writestr(
            _ABOUT, json.dumps({"format": _FORMAT, "version": __version__})
        )
    Path(path).write_bytes(buffer.getvalue())


def load(path: str | PathLike[str], trusted: Iterable[str] = ()) -> Any:
    """Open a file of `save`, if it holds no type but those of `TRUSTED_TYPES`.

    Nothing in the file is imported or called before all of its types are known.

    Parameters
    ----------
    path : str or path-like
    trusted : iterable of str, default=()
        Names of further types and functions that you know, such as
        ``"my_package.my_kernel"``, of a policy with a kernel of your own.

    Returns
    -------
    estimator
        As it was saved: its predictions are the same to the last bit.

    Raises
    ------
    ImportError
        If skops is not installed.
    TypeError
        If the file holds another type, in a sentence that names it.
    ValueError
        If it is no such file, is damaged, or was written in a later format.

    Warns
    -----
    UserWarning
        If another version of this package wrote the file.

    See Also
    --------
    save : Writes the file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg import persistence
    >>> rng = np.random.default_rng(0)
    >>> ill, treated = rng.integers(2, size=(100, 1)), rng.integers(2, size=100)
    >>> log = Transitions(ill, treated, ill[:, 0] == treated, ill, np.ones(100))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> with TemporaryDirectory() as folder:
    ...     persistence.save(policy, Path(folder, "policy.skops"))
    ...     opened = persistence.load(Path(folder, "policy.skops"))
    >>> opened.predict([[0], [1]])
    array([0, 1])
    """
    skops = _skops("load")
    path, data = Path(path), Path(path).read_bytes()
    _check_format(path, data)
    known = [*TRUSTED_TYPES, *trusted]
    try:
        others = sorted({*skops.get_untrusted_types(data=data)} - {*known})
        if not others:
            found = skops.loads(data, trusted=known)
    # What a damaged or forged file brings about can be anything.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be opened ({type(error).__name__}: {error}). It is damaged "
            "or was not written by persistence.save, or by versions that differ too "
            "much from those installed, which show_versions() lists."
        ) from error
    if others:
        raise TypeError(
            f"{path} was not opened, as it holds what is not among TRUSTED_TYPES: "
            f"{', '.join(others)}. Whoever wrote the file could run a program by it. "
            f"If you know that this is harmless: load(path, trusted={others})."
        )
    if not hasattr(found, "predict"):
        raise ValueError(f"{path} holds a {type(found).__name__}, and no policy.")
    return found


def _check_format(path: Path, data: bytes) -> None:
    """Refuse what is no file of `save`, or of a later format."""
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            entries = archive.namelist()
            # What skops.io.dump has written lacks this entry.
            text = archive.read(_ABOUT) if _ABOUT in entries else b"{}"
            about = {"format": _FORMAT, "version": __version__} | json.loads(text)
    except (BadZipFile, EOFError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is no file of persistence.save, or is cut off: {error}. A pickle "
            "is opened by joblib.load, if you trust who wrote it."
        ) from error
    if "schema.json" not in entries:
        raise ValueError(f"{path} is a zip archive, and not of persistence.save.")
    wrote = f"{path} was written by sklearn_stackelberg {about['version']}"
    if about["format"] != _FORMAT:
        raise ValueError(
            f"{wrote}, in format {about['format']}; this version, {__version__}, reads "
            f"format {_FORMAT}. Update it: pip install -U sklearn-stackelberg."
        )
    if about["version"] != __version__:
        warnings.warn(
            f"Another version saved this policy: {wrote}, and {__version__} opens it, "
            "whose policies may differ. Compare a few predictions before use. "
            "[pitfalls: other-version]",
            stacklevel=3,
        )


def _skops(name: str) -> Any:
    try:
        from skops import io as skops
    except ImportError as error:
        raise ImportError(
            f"persistence.{name} needs skops, which is not installed: pip install skops"
        ) from error
    return skops
