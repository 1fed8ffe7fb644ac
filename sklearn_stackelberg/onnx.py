"""A policy's whole decision as an ONNX graph, for programs without Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._fitting.fitted_policy import (
    ContinuousPolicy,
    DiscretePolicy,
    FittedPolicy,
    KernelScores,
    LinearFunction,
    SupportedLogits,
)
from ._fitting.support import ENOUGH, ENOUGH_IN_LEAF, ActionSupport
from ._forest import Forest
from ._typing import Floats
from .estimator import StackelbergPolicyEstimator
from .kernels._columns import LinearColumns, StateColumns
from .kernels._nystroem import LandmarkFeatures
from .kernels._registry import BoundKernel
from .model_selection._policy_cv import StackelbergPolicyCV
from .policies._base import NEVER
from .preprocessing._on_states import OnStates

__all__ = ["to_onnx"]

# The first versions in which all that is used here takes numbers in double precision.
_OPSET = {"": 18, "ai.onnx.ml": 3}


def to_onnx(policy: BaseEstimator, target_opset: dict[str, int] | None = None) -> Any:
    """The decision of a policy in closed form, from states to an action.

    In double precision throughout, so that a runtime decides as `predict` does:
    kernel, logits, what the log supports, probabilities, action.

    Parameters
    ----------
    policy : estimator
        A fitted `StackelbergPolicyEstimator` or `StackelbergPolicyCV` of discrete
        actions or of candidates, or a `Pipeline` that ends in one, of transformers that
        skl2onnx converts, inside `OnStates` or not.
    target_opset : dict, default=None
        Of operators, by their domain; None is 18, and 3 of ``"ai.onnx.ml"``.

    Returns
    -------
    onnx.ModelProto
        Of an input ``states``, doubles of shape (n, n_features), and outputs ``action``
        of shape (n,) or (n, n_action_columns), as `predict` returns it, and
        ``probabilities`` of shape (n, n_actions), as `predict_proba` does.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    ValueError
        If the policy is a Gaussian or a network, has a kernel that ONNX cannot
        compute, or was learned from a log with masks of available actions.

    Examples
    --------
    >>> from sklearn_stackelberg.onnx import to_onnx
    >>> model = to_onnx(policy)  # doctest: +SKIP
    >>> open("policy.onnx", "wb").write(model.SerializeToString())  # doctest: +SKIP
    """
    try:
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType
    except ImportError as error:
        raise ImportError(
            "to_onnx needs skl2onnx, which is not installed: pip install skl2onnx"
        ) from error
    check_is_fitted(policy)
    skl2onnx.update_registered_converter(
        StackelbergPolicyEstimator,
        "StackelbergPolicyEstimator",
        _set_shapes,
        _convert,
        parser=_parse,
        overwrite=True,  # by another call
    )
    columns: int = policy.n_features_in_
    return skl2onnx.to_onnx(
        _unwrapped(policy),
        initial_types=[("states", DoubleTensorType([None, columns]))],
        target_opset=_OPSET if target_opset is None else target_opset,
    )


def _unwrapped(estimator: Any) -> Any:
    """What it comes to in a graph: without wrappers that are for logs and fits."""
    if isinstance(estimator, StackelbergPolicyCV):
        return _unwrapped(estimator.best_estimator_)
    if isinstance(estimator, OnStates):
        return estimator.transformer_
    if isinstance(estimator, Pipeline):
        return Pipeline([(name, _unwrapped(step)) for name, step in estimator.steps])
    return estimator


def _parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        Int64TensorType,
        StringTensorType,
    )

    operator = scope.declare_local_operator("StackelbergPolicyEstimator", model)
    operator.inputs.append(inputs[0])
    actions = _labels(model._fitted_policy)
    of_kind = {"i": Int64TensorType, "U": StringTensorType, "f": DoubleTensorType}
    outputs = [
        scope.declare_local_variable("action", of_kind[actions.dtype.kind]()),
        scope.declare_local_variable("probabilities", DoubleTensorType()),
    ]
    operator.outputs.extend(outputs)
    return outputs


def _set_shapes(operator: Any) -> None:
    policy: FittedPolicy = operator.raw_operator._fitted_policy
    n, actions = operator.inputs[0].get_first_dimension(), _labels(policy)
    operator.outputs[0].type.shape = [n, *actions.shape[1:]]
    operator.outputs[1].type.shape = [n, len(actions)]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    policy: FittedPolicy = operator.raw_operator._fitted_policy
    graph = _Graph(scope, container)
    states = graph("Cast", operator.inputs[0].full_name, to=graph.DOUBLE)
    logits = graph.logits(policy, states)
    best = graph("ArgMax", logits, axis=1, keepdims=0)
    if policy.deterministic:
        eye = np.eye(len(_labels(policy)))
        probabilities = graph("Gather", graph.of(eye), best, axis=0)
    else:
        probabilities = graph("Softmax", logits, axis=1)
    action = graph("Gather", graph.of(_labels(policy)), best, axis=0)
    for found, output in zip((action, probabilities), operator.outputs, strict=True):
        graph("Identity", found, output=output.full_name)


def _labels(policy: FittedPolicy) -> NDArray[Any]:
    """What is chosen among, as the graph gives it: (A,), or (C, p) of candidates."""
    if isinstance(policy, ContinuousPolicy):
        outputs = policy.distribution.outputs
        scores = outputs.logits if isinstance(outputs, SupportedLogits) else outputs
        if not isinstance(scores, KernelScores):
            raise _refused("is a Gaussian or a network")
        softmax: Any = policy.distribution.policy
        return policy.actions.as_logged(softmax.exact.numpy())
    classes = np.asarray(policy.classes_)
    if classes.dtype.kind in "iub":
        return classes.astype(np.int64)
    return classes if classes.dtype.kind == "f" else classes.astype(str)


def _refused(why: str) -> ValueError:
    return ValueError(
        f"This policy {why}, and has no ONNX graph here: it is for policies in closed "
        "form, of discrete actions or of candidates, with a kernel of a name. Save it "
        "by persistence.save, or export a network's module by torch.onnx."
    )


class _Graph:
    """Adds operators to a graph, by the names of what they are given and return."""

    def __init__(self, scope: Any, container: Any) -> None:
        from onnx import TensorProto

        self.DOUBLE, self.FLOAT = TensorProto.DOUBLE, TensorProto.FLOAT
        self.INT64, self.STRING = TensorProto.INT64, TensorProto.STRING
        self._scope, self._container = scope, container

    def of(self, constant: Any) -> str:
        """A constant."""
        from onnx import numpy_helper

        name: str = self._scope.get_unique_variable_name("constant")
        array = np.asarray(constant)
        given: tuple[Any, Any, Any]
        if array.dtype.kind == "U":
            given = self.STRING, array.shape, array.ravel().tolist()
        else:
            given = None, None, numpy_helper.from_array(np.ascontiguousarray(array))
        self._container.add_initializer(name, *given)
        return name

    def __call__(
        self, kind: str, *inputs: str, output: str = "", domain: str = "", **given: Any
    ) -> str:
        output = output or self._scope.get_unique_variable_name(kind.lower())
        self._container.add_node(
            kind,
            list(inputs),
            [output],
            op_domain=domain,
            op_version=_OPSET[domain],
            name=self._scope.get_unique_operator_name(kind),
            **given,
        )
        return output

    def logits(self, policy: FittedPolicy, states: str) -> str:
        if isinstance(policy, DiscretePolicy):
            if policy.labels is not None or policy.actions.masked:
                raise _refused("was learned from a log with masks")
            if not isinstance(policy.logits, LinearFunction):
                raise _refused("is a network")
            logits = self._linear(policy.logits, states)
            support = policy.support
        else:
            # Of another kind `_labels` has refused it.
            scores: Any = policy.distribution.outputs
            support = getattr(scores, "support", None)
            logits = self._scores(getattr(scores, "logits", scores), states)
        if support is None:
            return logits
        return self("Add", logits, self._log_prior(support, states))

    def _linear(self, function: LinearFunction, states: str) -> str:
        """As `LinearFunction` is computed."""
        inputs: Any = function.inputs
        weight = function.module.get_parameter("weight").detach().double().numpy()
        weight = inputs.landmark_weights(weight)
        if isinstance(inputs, LinearColumns):
            return self._of_columns(inputs, states, weight)
        if not isinstance(inputs, LandmarkFeatures):
            raise _refused("is of features of another kind")
        split = len(inputs.landmarks_)
        gram = self._gram(inputs.bound_kernel(), states, inputs.landmarks_)
        found = self("MatMul", gram, self.of(weight[:split]))
        if inputs.linear_ is None:
            return found
        return self(
            "Add", found, self._of_columns(inputs.linear_, states, weight[split:])
        )

    def _of_columns(self, columns: LinearColumns, states: str, weight: Floats) -> str:
        scaled = self._standardised(columns, states)
        product = self("MatMul", scaled, self.of(weight[1:].astype(np.float64)))
        return self("Add", product, self.of(weight[:1].astype(np.float64)))

    def _standardised(self, columns: StateColumns, states: str) -> str:
        centred = self("Sub", states, self.of(columns.center_.astype(np.float64)))
        return self("Div", centred, self.of(columns.scale_.astype(np.float64)))

    def _scores(self, scores: KernelScores, states: str) -> str:
        """As `KernelScores` of a product kernel are."""
        features = scores.gram.features
        if not features.is_product:
            raise _refused("has a kernel that is no product of states' and actions'")
        own = slice(None, features.n_state_columns_)
        kernel = features.bound_kernel().of_columns(own, features.landmarks_.shape[1])
        gram = self._gram(kernel, states, features.landmarks_[:, own])
        actions = features.action_gram(scores.gram.candidates)  # (C, L)
        return self("MatMul", gram, self.of(actions.T * scores.landmark_weights))

    def _gram(self, kernel: BoundKernel, states: str, rows: Floats) -> str:
        """k(s, L), (n, L), as scikit-learn computes it."""
        name, rows = kernel.kernel, np.asarray(rows, dtype=np.float64)
        params: dict[str, Any] = dict(kernel.params)
        gamma: float | None = params.get("gamma")
        if gamma is None:
            gamma = 1.0 if name == "chi2" else 1.0 / rows.shape[1]
        for constant, kind in ((kernel.center, "Sub"), (kernel.bandwidth, "Div")):
            if constant is not None:
                constant = constant.astype(np.float64)
                states = self(kind, states, self.of(constant))
                rows = rows - constant if kind == "Sub" else rows / constant
        if name == "delta":
            return self._equal(states, rows)
        if name in ("rbf", "linear", "polynomial", "poly"):
            product = self("MatMul", states, self.of(rows.T))
            if name == "linear":
                return product
            if name != "rbf":
                scaled = self("Mul", product, self.of(float(gamma)))
                moved = self("Add", scaled, self.of(float(params.get("coef0", 1.0))))
                return self("Pow", moved, self.of(float(params.get("degree", 3))))
            square = self("Mul", states, states)
            square = self("ReduceSum", square, self.of(np.array([1])), keepdims=1)
            left = self("Add", square, self.of((rows**2).sum(axis=1)))
            distance = self("Sub", left, self("Mul", product, self.of(2.0)))
            # Rounding can leave a little less than zero.
            return self._falling(self("Relu", distance), gamma)
        if name not in ("laplacian", "chi2"):
            raise _refused(f"has the kernel {name!r}")
        one = self("Unsqueeze", states, self.of(np.array([1])))
        terms = self("Abs", self("Sub", one, self.of(rows)))  # (n, L, d)
        if name == "chi2":
            total = self("Add", one, self.of(rows))
            # Zero and zero are no distance apart.
            safe = self("Max", total, self.of(np.finfo(float).tiny))
            terms = self("Div", self("Mul", terms, terms), safe)
        distance = self("ReduceSum", terms, self.of(np.array([2])), keepdims=0)
        return self._falling(distance, gamma)

    def _falling(self, distance: str, gamma: float) -> str:
        return self("Exp", self("Mul", distance, self.of(-float(gamma))))

    def _equal(self, states: str, rows: Floats) -> str:
        """1 where a state is one of the rows, (n, L)."""
        one = self("Unsqueeze", states, self.of(np.array([1])))
        same = self("Cast", self("Equal", one, self.of(rows)), to=self.DOUBLE)
        return self("ReduceMin", same, self.of(np.array([2])), keepdims=0)

    def _log_prior(self, support: ActionSupport, states: str) -> str:
        """As `ActionSupport.log_prior`."""
        if hasattr(support, "forest_"):
            found, enough = self._shares(support, states), ENOUGH_IN_LEAF
            enough /= support.leaf_rows_
        else:
            same, enough = self._equal(states, support.known_), ENOUGH
            counts = self("MatMul", same, self.of(support.counts_))
            known = self("ReduceMax", same, self.of(np.array([1])), keepdims=1)
            # Of a state that was not logged, one of each action.
            unknown = self("Sub", self.of(1.0), known)
            found = self("Add", counts, unknown)
        largest = self("ReduceMax", found, self.of(np.array([1])), keepdims=1)
        least = self("Mul", largest, self.of(float(support.threshold)))
        least = self("Min", least, self.of(float(enough)))
        supported = self("GreaterOrEqual", found, least)
        if support.sides_ is not None:
            supported = self("Or", supported, self._between(support, found))
        supported = self("And", supported, self("Greater", found, self.of(0.0)))
        share = self("Div", self("Where", supported, found, largest), largest)
        return self("Where", supported, self("Log", share), self.of(float(NEVER)))

    def _between(self, support: ActionSupport, found: str) -> str:
        """Whether enough of the actions are on both sides, (n, n_actions)."""
        second = self.of(np.array([1]))
        shape = self.of(np.array([0, -1, support.n_actions_]))
        beyond = self("MatMul", found, self.of(support.sides_))
        beyond = self("Reshape", beyond, shape)
        least = self("ReduceMin", beyond, second, keepdims=0)
        total = self("ReduceSum", found, second, keepdims=1)
        return self("GreaterOrEqual", least, self("Mul", total, self.of(support.tail)))

    def _shares(self, support: ActionSupport, states: str) -> str:
        """The forest's shares of the actions, (n, n_actions)."""
        columns = self._standardised(support.columns_, states)
        # As trees see them.
        columns = self("Cast", columns, to=self.FLOAT)
        columns = self("Cast", columns, to=self.DOUBLE)
        # Only leaves are looked for in the trees: what ONNX sums there is single.
        leaves = self(
            "TreeEnsembleRegressor",
            columns,
            domain="ai.onnx.ml",
            **_tree_attributes(support.forest_),
        )
        leaves = self("Cast", leaves, to=self.INT64)  # (n, n_trees)
        state: Any = support.forest_.__getstate__()
        values = state["values"][:, 0]
        table = np.zeros((len(values), support.n_actions_))
        table[:, support.codes_] = values
        shares = self("Gather", self.of(table), leaves, axis=0)
        return self("ReduceMean", shares, self.of(np.array([1])), keepdims=0)


def _tree_attributes(forest: Forest) -> dict[str, Any]:
    """The trees as ONNX has them, each with an output: the number of the leaf."""
    from onnx import numpy_helper

    state: Any = forest.__getstate__()
    nodes, counts = state["nodes"], np.array(state["n_nodes"])
    tree = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    inner = nodes["left_child"] != -1
    leaves = np.flatnonzero(~inner)
    thresholds = np.where(inner, nodes["threshold"], 0.0)
    return {
        "n_targets": len(counts),
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": place.tolist(),
        "nodes_featureids": np.where(inner, nodes["feature"], 0).tolist(),
        "nodes_modes": np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        "nodes_truenodeids": np.where(inner, nodes["left_child"], 0).tolist(),
        "nodes_falsenodeids": np.where(inner, nodes["right_child"], 0).tolist(),
        "nodes_values_as_tensor": numpy_helper.from_array(thresholds),
        "target_treeids": tree[leaves].tolist(),
        "target_nodeids": place[leaves].tolist(),
        "target_ids": tree[leaves].tolist(),
        "target_weights_as_tensor": numpy_helper.from_array(leaves.astype(float)),
        "aggregate_function": "SUM",
        "post_transform": "NONE",
    }
