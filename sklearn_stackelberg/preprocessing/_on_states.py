"""Transformers of states, applied to whole logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, get_tags
from sklearn.utils._set_output import _safe_set_output
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_method_params,
    _num_samples,
    check_is_fitted,
    validate_data,
)

from ..transitions._as_transitions import LogOrStates, given_log
from ..transitions._episodes import EpisodeView
from ..transitions._tables import States, check_states
from ..transitions._transitions import Transitions
from ._recorded_states import RecordedStates, put_back, recorded_states


def _inner_has(method: str) -> Callable[[OnStates], bool]:
    def check(self: OnStates) -> bool:
        inner = self.transformer_ if hasattr(self, "transformer_") else self._inner()
        getattr(inner, method)  # not hasattr: its own AttributeError says more
        return True

    return check


# auto_wrap_output_keys: the transformer makes the container, and a log has none.
class OnStates(  # type: ignore[call-arg] # scikit-learn has no type information
    TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """A transformer of states, applied to the states and next states of a log alike.

    Fits a clone of `transformer` on every recorded state once: the log's states, and
    right behind its row each next state that is no row's state. What follows a
    terminated row is neither looked at nor transformed: the row's state takes its
    place. Plain states, as in `predict`, are transformed as by `transformer` itself.

    Parameters
    ----------
    transformer : transformer, Pipeline of transformers or "passthrough"
        With `fit` and `transform`, one dense row out for each row in.

    Attributes
    ----------
    transformer_ : transformer
        The clone, fitted.
    n_features_in_ : int
        Number of state columns in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if states were a DataFrame with names that are strings.

    Raises
    ------
    ValueError
        If y comes with a log, or transformed states are sparse or not a row for each.

    See Also
    --------
    sklearn_stackelberg.Transitions : The logs that it transforms.

    Examples
    --------
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from sklearn_stackelberg import OnStates, Transitions
    >>> log = Transitions([[0.0], [1.0]], [0, 1], [1.0, 0.0], [[1.0], [4.0]])
    >>> scaler = OnStates(MinMaxScaler()).fit(log)
    >>> scaler.transform(log).next_state, scaler.transform([[2.0]])
    (array([[0.25], [1.  ]]), array([[0.5]]))
    """

    # Read by the metrics, which pass other transformers states alone.
    _transforms_logs = True

    def __init__(self, transformer: BaseEstimator | str) -> None:
        self.transformer = transformer

    def fit(self, X: LogOrStates, y: ArrayLike | None = None, **params: object) -> Self:
        """Fit the transformer.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, d)
            A log (or its `episodes`), or states.
        y : array-like, default=None
            With states: passed on to the transformer. None with a log.
        **params : dict
            Passed on to the transformer's `fit`, or routed if metadata routing is on.
            Of length n, as ``sample_weight``, they hold one value for each row, which
            counts for the row's next state too, where that is no row's state.

        Returns
        -------
        OnStates
            Itself, fitted.
        """
        self._fit(X, y, params, "fit")
        return self

    def fit_transform(
        self, X: LogOrStates, y: ArrayLike | None = None, **params: object
    ) -> Transitions | States:
        """Fit the transformer, and transform what it was fitted on.

        Parameters
        ----------
        X, y, **params
            As in `fit`.

        Returns
        -------
        Transitions, or ndarray or DataFrame of shape (n, d')
            As `transform` returns it.
        """
        return self._fit(X, y, params, "fit_transform")

    def transform(self, X: LogOrStates) -> Transitions | States:
        """Transform states.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, d)
            A log (or its `episodes`), or states.

        Returns
        -------
        Transitions, or ndarray or DataFrame of shape (n, d')
            A log with transformed states and next states, or transformed states.
        """
        check_is_fitted(self)
        states, place = _split(X)
        out = self.transformer_.transform(states)
        if not hasattr(self.transformer_, "n_features_in_"):
            # It does not look at columns itself, or its complaint would be the first.
            validate_data(self, X=states, reset=False, skip_check_array=True)
        return _finished(out, self.transformer_, states, place)

    @available_if(_inner_has("inverse_transform"))
    def inverse_transform(self, X: LogOrStates) -> Transitions | States:
        """Undo the transform, where the transformer can.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, d')
            A transformed log, or transformed states.

        Returns
        -------
        Transitions, or ndarray or DataFrame of shape (n, d)
        """
        check_is_fitted(self)
        states, place = _split(X)
        out = self.transformer_.inverse_transform(states)
        return _finished(out, self.transformer_, states, place)

    @available_if(_inner_has("get_feature_names_out"))
    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Names of the transformed columns, as the transformer gives them.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns, where the transformer was not fitted on named ones.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return self.transformer_.get_feature_names_out(input_features)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container of transformed states, in a log or not.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            As scikit-learn's transformers take it.

        Returns
        -------
        OnStates
            Itself.
        """
        if transform is not None:
            # Under scikit-learn's name, because `clone` copies what bears it.
            self._sklearn_output_config = {"transform": transform}
            if hasattr(self, "transformer_"):
                _safe_set_output(self.transformer_, transform=transform)
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """Say which metadata go to the transformer.

        Returns
        -------
        MetadataRouter
        """
        inner = self._inner()
        joint = "fit_transform" if hasattr(inner, "fit_transform") else "fit"
        return MetadataRouter(owner=self).add(
            transformer=inner,
            method_mapping=MethodMapping()
            .add(caller="fit", callee="fit")
            .add(caller="fit_transform", callee=joint),
        )

    def __sklearn_tags__(self) -> Tags:
        """The transformer's tags, but that states are dense."""
        tags = super().__sklearn_tags__()
        inner = self._inner()
        if hasattr(inner, "__sklearn_tags__") and not isinstance(inner, type):
            given = get_tags(inner)
            tags.input_tags = given.input_tags
            if isinstance(inner, Pipeline) and inner.steps:
                # Its first step decides, but a Pipeline's tags do not say so.
                first = OnStates(inner.steps[0][1])
                tags.input_tags.allow_nan = get_tags(first).input_tags.allow_nan
            tags.target_tags = given.target_tags
            tags.transformer_tags = given.transformer_tags or tags.transformer_tags
            tags.non_deterministic = given.non_deterministic
            tags.no_validation = given.no_validation
        tags.input_tags.sparse = False
        return tags

    def _inner(self) -> BaseEstimator:
        """The transformer as given, unfitted."""
        if isinstance(self.transformer, str) and self.transformer == "passthrough":
            return _Identity()
        return self.transformer

    def _fit(
        self,
        X: LogOrStates,
        y: ArrayLike | None,
        params: Mapping[str, object],
        method: str,
    ) -> Transitions | States:
        """Fit, and return what `transform` would, if `method` is fit_transform."""
        inner = clone(_checked_transformer(self._inner()))
        if hasattr(self, "_sklearn_output_config"):
            _safe_set_output(inner, **self._sklearn_output_config)
        # Each recorded state once: of states and next states, one below the other, a
        # scaler would count most of them twice.
        states, place = _split(X, y)
        # fit_transform where it is there, as a Pipeline would on the states alone, so
        # that both ways give the same to the last bit.
        callee = method if hasattr(inner, method) else "fit"
        if params and get_config()["enable_metadata_routing"]:
            params = process_routing(self, method, **params).transformer[callee]
        if place is not None:
            recorded, log = place
            # What is given for each row counts for each state that the row records.
            params = _check_method_params(log, params, indices=recorded.log_rows)
        out = getattr(inner, callee)(states, y, **params)
        if method == "fit_transform":
            out = inner.transform(states) if callee == "fit" else out
            out = _finished(out, inner, states, place)
        # Only now, so that a fit that fails leaves nothing that looks fitted.
        validate_data(self, X=states, skip_check_array=True)
        self.transformer_ = inner
        return out


class _Identity(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """The transformer that "passthrough" stands for."""

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        validate_data(self, X=_as_table(X), skip_check_array=True)
        return self

    def transform(self, X: ArrayLike) -> States:
        X = _as_table(X)
        return validate_data(self, X=X, reset=False, skip_check_array=True)

    inverse_transform = transform

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.no_validation = True
        return tags


def _as_table(X: ArrayLike) -> ArrayLike:
    # A table of any library is passed on as it is.
    return X if hasattr(X, "columns") else check_states(X, "X")


Place = tuple[RecordedStates, Transitions] | None


def _split(X: LogOrStates, y: ArrayLike | None = None) -> tuple[ArrayLike, Place]:
    """Return the states to be transformed and, of a log, where they belong."""
    if isinstance(X, (Transitions, EpisodeView)):
        log = given_log(X, y)
        recorded = recorded_states(log)
        return recorded.states, (recorded, log)
    return (check_states(X, "X") if issparse(X) else X), None


def _checked_transformer(transformer: BaseEstimator) -> BaseEstimator:
    if isinstance(transformer, type):
        raise TypeError(
            f"transformer is the class {transformer.__name__}; an instance was "
            f"expected: OnStates({transformer.__name__}())."
        )
    methods = ("fit", "transform", "get_params")
    lacking = [method for method in methods if not hasattr(transformer, method)]
    if lacking:
        raise TypeError(
            f"transformer must be a transformer, a Pipeline of them, or 'passthrough'; "
            f"got {transformer!r:.200}, which has no {' and no '.join(lacking)} method."
        )
    return transformer


def _finished(
    out: States, transformer: BaseEstimator, states: ArrayLike, place: Place
) -> Transitions | States:
    """Return transformed states, in their log where they are of one."""
    name = type(transformer).__name__
    if issparse(out):
        raise ValueError(
            f"{name} returned a sparse matrix; dense states were expected. Set for "
            "example OneHotEncoder(sparse_output=False) or "
            "ColumnTransformer(..., sparse_threshold=0)."
        )
    # A list is made an array, a table of another library is what set_output chose.
    table = out if hasattr(out, "shape") else check_states(out, f"What {name} returned")
    n, n_out = _num_samples(states), _num_samples(table)
    if n_out != n:
        raise ValueError(
            f"{name} returned {n_out:,} rows for {n:,} states; one for each was "
            "expected. Drop rows of the log itself, with log[rows]."
        )
    return table if place is None else put_back(table, *place)
