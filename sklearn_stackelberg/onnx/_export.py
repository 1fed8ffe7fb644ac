"""`to_onnx`: a pipeline that ends in a policy as one graph, its modules by torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._fitting.fitted_policy import ContinuousPolicy, FittedPolicy
from .._typing import AnyArray
from ..estimator import StackelbergPolicyEstimator
from ..inspection._rule_columns import table_column
from ..policies._candidates import CandidateSoftmax
from ..policies._quadrature import head_dtype
from ..preprocessing._on_states import OnStates
from ..transitions._tables import States, collected, column_names, is_frame
from ..transitions._transitions import Transitions
from ._graph import AVAILABLE, OPSET, Graph

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto
    from skl2onnx.common._container import ModelComponentContainer as Container
    from skl2onnx.common._topology import Operator, Scope, Variable

# How far from the policy's what a graph gives may be, in either precision.
_NEAR = {"float64": 1e-5, "float32": 1e-3}

# Operators that onnxruntime has in single precision alone.
_SINGLE = {
    *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cosh", "Erf", "Sinh"),
    *("Tan", "Hardmax", "Mean", "Det", "Conv", "ConvTranspose", "AveragePool", "LRN"),
    *("LpPool", "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization"),
    *("GRU", "LSTM", "RNN", "Resize"),
}


def to_onnx(
    policy: BaseEstimator,
    X: States | Transitions | None = None,
    target_opset: dict[str, int] | None = None,
) -> Any:
    """The decision of a policy, from states to an action, as one graph.

    In double precision, so that a runtime decides as `predict` does: a pipeline's
    transformers by skl2onnx, networks by `torch.onnx`, and kernel, logits, what the log
    supports, probabilities and action operator by operator.

    Parameters
    ----------
    policy : estimator
        A fitted `StackelbergPolicyEstimator` or `StackelbergPolicyCV`, or a `Pipeline`
        or a search that ends in one, of transformers that skl2onnx converts, inside
        `OnStates` or not.
    X : Transitions, or array-like or DataFrame of shape (n, n_features), default=None
        Some states: a DataFrame for pipelines that begin with a ColumnTransformer, or
        read text, whose inputs are the columns. Where onnxruntime is installed, the
        graph is run on them, and has to give what the policy does.
    target_opset : dict, default=None
        Of operators, by their domain; None is 18, and 3 of ``"ai.onnx.ml"``.

    Returns
    -------
    onnx.ModelProto
        Of an input ``states``, doubles of shape (n, n_features), or inputs by the names
        of X's columns, doubles or strings of shape (n, 1); if the log had masks also
        ``available``, booleans of shape (n, n_actions). Outputs are ``action``, of
        shape (n,) or (n, n_action_columns), as `predict` returns it, and, but for a
        Gaussian, ``probabilities`` of shape (n, n_actions), as `predict_proba` does.

    Raises
    ------
    ImportError
        If skl2onnx is not installed, or onnxscript, which `torch.onnx` needs.
    ValueError
        If the policy has a kernel that ONNX cannot compute, if skl2onnx or `torch.onnx`
        cannot convert a part, or if the graph differs from the policy on X.

    Examples
    --------
    >>> from sklearn_stackelberg.onnx import to_onnx
    >>> model = to_onnx(policy, X)  # doctest: +SKIP
    >>> open("policy.onnx", "wb").write(model.SerializeToString())  # doctest: +SKIP
    """
    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError(
            "to_onnx needs skl2onnx, which is not installed: pip install skl2onnx"
        ) from error
    check_is_fitted(policy)
    plain = _unwrapped(policy)
    last = plain[-1] if isinstance(plain, Pipeline) else plain
    if not isinstance(last, StackelbergPolicyEstimator):
        raise ValueError(f"to_onnx takes a policy, or what ends in one, got {policy}.")
    states = collected(X.state if isinstance(X, Transitions) else X)
    states = np.empty((0, plain.n_features_in_)) if X is None else states
    if not is_frame(states) and np.shape(states)[1:] != (plain.n_features_in_,):
        expected = f"(n, {plain.n_features_in_}), as the policy was fitted on"
        raise ValueError(f"X has the shape {np.shape(states)}; expected is {expected}.")
    given = _inputs(plain, states)
    kind = StackelbergPolicyEstimator
    try:
        model = skl2onnx.convert_sklearn(
            plain,
            initial_types=[(name, _type_of(some)) for name, some in given.items()],
            target_opset=OPSET if target_opset is None else target_opset,
            custom_parsers={kind: _parse},
            custom_shape_calculators={kind: lambda operator: None},
            custom_conversion_functions={
                kind: _convert,
                SimpleImputer: _convert_imputer,
            },
        )
    except RuntimeError as error:
        raise ValueError(
            f"skl2onnx cannot convert the pipeline: {error} Where a step chooses "
            "columns by name or reads text, give X=, some states as a DataFrame."
        ) from error
    _complete(model)
    if X is not None and find_spec("onnxruntime"):
        _compare(model, plain, states, given)
    return model


def _unwrapped(estimator: Any) -> Any:
    """What it comes to in a graph: without wrappers that are for logs and fits."""
    if isinstance(estimator, OnStates):
        return estimator.transformer_
    if isinstance(estimator, Pipeline):
        return Pipeline([(name, _unwrapped(step)) for name, step in estimator.steps])
    best = getattr(estimator, "best_estimator_", None)  # of a search
    return estimator if best is None else _unwrapped(best)


def _inputs(plain: Any, states: States) -> dict[str, AnyArray]:
    """All columns at once, or each by its name, where text or a step asks for that."""
    if not is_frame(states):
        return {"states": np.asarray(states, dtype=np.float64)}
    found = {}
    for place, name in enumerate(column_names(states)):
        some = table_column(states, place)[:, None]
        # Text, of which onnxruntime takes objects.
        found[str(name)] = some.astype(str).astype("O") if some.dtype == "O" else some
    while isinstance(plain, Pipeline):
        plain = plain[0]
    by_name = isinstance(plain, ColumnTransformer)
    if by_name or any(some.dtype == "O" for some in found.values()):
        return found
    return {"states": np.hstack([*found.values()])}


def _type_of(values: AnyArray) -> Any:
    """The type that skl2onnx has for arrays of any number of such rows."""
    from skl2onnx.common import data_types

    numbers = {"i": data_types.Int64TensorType, "f": data_types.DoubleTensorType}
    kind = numbers.get(values.dtype.kind, data_types.StringTensorType)
    return kind([None, *values.shape[1:]])


def _labels_of(policy: FittedPolicy) -> NDArray[Any] | None:
    """What is chosen among: (A,), or (C, p) of candidates; None if any amount is."""
    if isinstance(policy, ContinuousPolicy):
        softmax = policy.distribution.policy
        if not isinstance(softmax, CandidateSoftmax):
            return None
        return policy.actions.as_logged(softmax.exact.numpy())
    classes = np.asarray(policy.classes_)
    if classes.dtype.kind in "iub":
        return classes.astype(np.int64)
    return classes if classes.dtype.kind == "f" else classes.astype(str)


def _parse(
    scope: Scope, model: Any, inputs: list[Variable], custom_parsers: object = None
) -> list[Variable]:
    operator = scope.declare_local_operator("StackelbergPolicyEstimator", model)
    operator.inputs.extend(inputs)
    policy = model._fitted_policy
    labels = _labels_of(policy)
    if labels is None:
        outputs = {"action": policy.actions.as_logged(policy.actions.low[None])}
    else:
        outputs = {"action": labels, "probabilities": np.eye(len(labels))}
    for name, some in outputs.items():
        operator.outputs.append(scope.declare_local_variable(name, _type_of(some)))
    return operator.outputs


def _convert(scope: Scope, operator: Operator, container: Container) -> None:
    policy: Any = operator.raw_operator._fitted_policy
    graph, labels = Graph(scope, container, _exported), _labels_of(policy)
    states = graph.beside(operator.inputs)
    if labels is None:
        found = [graph.amount(policy, states)]
    else:
        logits = graph.logits(policy, states)
        best = graph("ArgMax", logits, axis=1, keepdims=0)
        if policy.deterministic:
            eye = graph.of(np.eye(len(labels)))
            probabilities = graph("Gather", eye, best, axis=0)
        else:
            probabilities = graph("Softmax", logits, axis=1)
        found = [graph("Gather", graph.of(labels), best, axis=0), probabilities]
    for name, output in zip(found, operator.outputs, strict=True):
        graph("Identity", name, output=output.full_name)
    # skl2onnx orders nodes by their inputs, of which some have no name: left out.
    container.add_initializer("", graph.BOOL, [1], [True])


def _convert_imputer(scope: Scope, operator: Operator, container: Container) -> None:
    """In double precision, which the operator that ONNX has for it lacks."""
    from skl2onnx.common._registration import get_converter

    graph, model = Graph(scope, container, _exported), operator.raw_operator
    filled, lacking = np.asarray(model.statistics_), model.missing_values
    is_nan = isinstance(lacking, float) and np.isnan(lacking)
    if not is_nan or filled.dtype.kind != "f" or np.isnan(filled).any():
        get_converter(operator.type)(scope, operator, container)
        return
    columns = graph.beside(operator.inputs)
    output = operator.outputs[0].full_name
    lacks = graph("IsNaN", columns)
    graph("Where", lacks, graph.of(filled), columns, output=output)


def _complete(model: ModelProto) -> None:
    """Make an input of masks, and round what cannot be computed in double precision."""
    from onnx import TensorProto, helper, shape_inference

    graph = model.graph
    constants = {one.name: one for one in graph.initializer if one.name}
    if masks := constants.pop(AVAILABLE, None):
        shape = None, masks.dims[1]
        masks = helper.make_tensor_value_info(AVAILABLE, TensorProto.BOOL, shape)
        graph.input.append(masks)
    found = shape_inference.infer_shapes(model).graph
    known = *found.value_info, *graph.input, *graph.output
    types = {one.name: one.type.tensor_type.elem_type for one in known}
    types |= {name: one.data_type for name, one in constants.items()}
    nodes: list[object] = []
    cast = partial(helper.make_node, "Cast")
    for node in graph.node:
        parts, double = [node], TensorProto.DOUBLE
        for names in (node.input, node.output) if node.op_type in _SINGLE else ():
            for place, name in enumerate(names):
                if types.get(name) != double:
                    continue
                single = f"{name}_{len(nodes)}_{place}"
                if name in node.input:
                    parts.insert(0, cast([name], [single], to=TensorProto.FLOAT))
                else:
                    parts.append(cast([single], [name], to=double))
                names[place] = single
        nodes += parts
    for field, new in ((graph.initializer, constants.values()), (graph.node, nodes)):
        del field[:]
        field.extend(new)


def _compare(model: ModelProto, plain: Any, states: Any, given: Any) -> None:
    """See that a graph gives what the policy does, where all actions are available."""
    import onnxruntime

    last = plain[-1] if isinstance(plain, Pipeline) else plain
    bytes_, providers = model.SerializeToString(), ["CPUExecutionProvider"]
    masks = {}
    if model.graph.input[-1].name == AVAILABLE:
        masks[AVAILABLE] = np.ones((len(states), len(last.classes_)), dtype=bool)
    try:
        session = onnxruntime.InferenceSession(bytes_, providers=providers)
        action, *probabilities = session.run(None, given | masks)
    except Exception as error:  # onnxruntime has no class that all of its own are of
        raise ValueError(f"onnxruntime cannot run the graph: {error}") from error
    if probabilities:
        apart = probabilities[0] - plain.predict_proba(states, **masks)
    else:
        apart = action - plain.predict(states)
    if not np.abs(apart).max() <= _NEAR[last.dtype]:
        raise ValueError(
            f"The graph differs from the policy by up to {np.abs(apart).max():.2g} on "
            "X: ONNX has a transformer or a module otherwise. Transform the states "
            "before the graph, or save the policy by persistence.save."
        )


class _Called(nn.Module):
    """What is done by a module, or by a method of one."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.owner: Any = getattr(function, "__self__", function)
        self.dtype = head_dtype(self.owner)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.to(self.dtype)).double()


def _exported(function: Callable[[Tensor], Tensor], width: int) -> GraphProto:
    """The graph of what torch computes of doubles (n, width)."""
    if not find_spec("onnxscript"):
        raise ImportError(
            "The graph of a network or a Gaussian policy is made by torch.onnx, which "
            "needs onnxscript, and that is not installed: pip install onnxscript"
        )
    module, logger = _Called(function).eval(), logging.getLogger("torch.onnx")
    level = logger.level
    # It says what of other libraries is not installed.
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module,
                (torch.zeros(3, width, dtype=torch.float64),),
                dynamo=True,
                opset_version=OPSET[""],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                verbose=False,
            )
    except (RuntimeError, TypeError) as error:  # which torch before 2.6 raises
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(
            f"torch.onnx cannot export {type(module.owner).__name__}: {why} It takes "
            "torch 2.6 or later, and operations on tensors, the same in all states. "
            "Change the module, or save the policy by persistence.save."
        ) from error
    finally:
        logger.setLevel(level)
    return program.model_proto.graph
