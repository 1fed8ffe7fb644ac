"""The operators of a policy's graph, but those of its modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from .._fitting.fitted_policy import (
    ContinuousPolicy,
    FittedPolicy,
    KernelScores,
    LinearFunction,
    NetworkFunction,
    RangedOutputs,
)
from .._fitting.never_taken import NeverTaken
from .._fitting.support import (
    ENOUGH,
    ENOUGH_IN_LEAF,
    ActionRange,
    ActionSupport,
)
from .._forest import Forest
from .._typing import Floats
from ..kernels._columns import LinearColumns, StateColumns
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._registry import BoundKernel
from ..policies._base import NEVER

if TYPE_CHECKING:
    from onnx import GraphProto
    from skl2onnx.common._container import ModelComponentContainer as Container
    from skl2onnx.common._topology import Scope, Variable

# The first versions in which all that is used here takes numbers in double precision.
OPSET = {"": 18, "ai.onnx.ml": 3}

# The input of masks.
AVAILABLE = "available"

# What makes a graph of a function of (n, width), see `_export`.
Exporter = Callable[[Callable[[Tensor], Tensor], int], "GraphProto"]


def _refused(why: str) -> ValueError:
    return ValueError(
        f"This policy {why}, and has no ONNX graph here: of kernels only those of a "
        "name, and of amounts only products of a kernel of states and one of actions, "
        "have any. Save it by persistence.save."
    )


class Graph:
    """Adds operators to a graph, by the names of what they are given and return."""

    def __init__(self, scope: Scope, container: Container, export: Exporter) -> None:
        from onnx import TensorProto

        self._scope, self._container, self._export = scope, container, export
        self.DOUBLE, self.FLOAT = TensorProto.DOUBLE, TensorProto.FLOAT
        self.INT64, self.STRING = TensorProto.INT64, TensorProto.STRING
        self.BOOL = TensorProto.BOOL

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
            op_version=OPSET[domain],
            name=self._scope.get_unique_operator_name(kind),
            **given,
        )
        return output

    def beside(self, inputs: list[Variable]) -> str:
        """All columns of an operator's inputs, as doubles."""
        columns = [self("Cast", one.full_name, to=self.DOUBLE) for one in inputs]
        return self("Concat", *columns, axis=1)

    def logits(self, policy: FittedPolicy, states: str) -> str:
        outputs: Any = policy
        if isinstance(policy, ContinuousPolicy):
            outputs = policy.distribution.outputs
        scores: Any = getattr(outputs, "logits", outputs)
        if isinstance(scores, LinearFunction):
            weight = scores.module.get_parameter("weight").detach().double().numpy()
            found = self._projected(scores.inputs, states, weight)
        elif isinstance(scores, KernelScores):
            found = self._scores(scores, states)
        else:
            found = self._network(scores, states)
        masks, support = "", getattr(outputs, "support", None)
        if getattr(policy, "labels", None) is not None:
            masks, n = AVAILABLE, len(outputs.classes_)
            # To be made an input, of which pipelines have none but states.
            self._container.add_initializer(masks, self.BOOL, [1, n], [True] * n)
        if support is not None:
            return self("Add", found, self._log_prior(support, states, masks))
        return self("Where", masks, found, self.of(NEVER)) if masks else found

    def amount(self, policy: ContinuousPolicy, states: str) -> str:
        """What a policy recommends that may take any amount."""
        outputs: Any = policy.distribution.outputs
        module = policy.distribution.policy
        found = self._network(getattr(outputs, "outputs", outputs), states)
        width = module.n_outputs
        if isinstance(outputs, RangedOutputs):
            ends = np.vstack(outputs.range.ends_)
            limits = self._mean_of(ends, self._leaves(outputs.range, states))
            width += ends.shape[1]
            found = self("Concat", found, limits, axis=1)
        found = self._module(module.mode, width, found)
        if policy.actions.is_flat:
            return self("Squeeze", found, self.of(np.array([1])))
        return found

    def _network(self, function: NetworkFunction, states: str) -> str:
        """As `NetworkFunction` is computed, of a policy."""
        inputs: Any = function.inputs
        if isinstance(inputs, LandmarkFeatures | LinearColumns):
            width = inputs.n_features_out_
            states = self._projected(inputs, states, np.eye(width))
        elif inputs.standardise:
            states = self._standardised(inputs, states)
        return self._module(function.module, inputs.n_features_out_, states)

    def _module(
        self, function: Callable[[Tensor], Tensor], width: int, inputs: str
    ) -> str:
        """What torch computes of inputs (n, width)."""
        from onnx import compose

        prefix = f"{self._scope.get_unique_variable_name('module')}_"
        graph = compose.add_prefix_graph(self._export(function, width), prefix)
        self("Identity", inputs, output=graph.input[0].name)
        self._container.nodes.extend(graph.node)
        self._container.initializers.extend(graph.initializer)
        found: str = graph.output[0].name
        return found

    def _projected(self, inputs: Any, states: str, weight: Floats) -> str:
        """Features times weights, as `LinearFunction` computes them."""
        if not isinstance(inputs, LandmarkFeatures | LinearColumns):
            raise _refused("is of features of another kind")
        weight = inputs.landmark_weights(weight)
        if isinstance(inputs, LinearColumns):
            return self._of_columns(inputs, states, weight)
        split = len(inputs.landmarks_)
        gram = self._gram(inputs.bound_kernel(), states, inputs.landmarks_)
        found = self("MatMul", gram, self.of(weight[:split].astype(np.float64)))
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

    def _log_prior(self, support: ActionSupport, states: str, masks: str) -> str:
        """As `ActionSupport.log_prior`."""
        if hasattr(support, "forest_"):
            state: Any = support.forest_.__getstate__()
            values = state["values"][:, 0]
            table = np.zeros((len(values), support.n_actions_))
            table[:, support.codes_] = values
            found = self._mean_of(table, self._leaves(support, states))
            enough = ENOUGH_IN_LEAF / support.leaf_rows_
            if support.never_ is not None:
                found = self._without(support.never_, states, found)
        else:
            same, enough = self._equal(states, support.known_), ENOUGH
            counts = self("MatMul", same, self.of(support.counts_))
            known = self("ReduceMax", same, self.of(np.array([1])), keepdims=1)
            # Of a state that was not logged, one of each action.
            unknown = self("Sub", self.of(1.0), known)
            found = self("Add", counts, unknown)
        if masks:
            found = self("Where", masks, found, self.of(0.0))
            some = self("ReduceMax", found, self.of(np.array([1])), keepdims=1)
            # All that can be taken, where none of it was logged.
            alike = self("Cast", masks, to=self.DOUBLE)
            found = self("Where", self("Greater", some, self.of(0.0)), found, alike)
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

    def _without(self, never: NeverTaken, states: str, found: str) -> str:
        """As `ActionSupport.counts` leaves out what is never taken, (n, n_actions)."""
        # Of a leaf of each tree, its own action's column.
        of = np.repeat(never.codes_, never.forest_.n_nodes)[:, None]
        own = of == np.arange(never.n_actions_)
        table = own * np.concatenate(never.empty_)[:, None].astype(float)
        barred = self._mean_of(table, self._leaves(never, states))
        left = self("Where", self("Greater", barred, self.of(0.0)), self.of(0.0), found)
        some = self("ReduceMax", left, self.of(np.array([1])), keepdims=1)
        return self("Where", self("Greater", some, self.of(0.0)), left, found)

    def _leaves(self, of: ActionSupport | ActionRange | NeverTaken, states: str) -> str:
        """The numbers of the leaves, (n, n_trees)."""
        columns = self._standardised(of.columns_, states)
        columns = self._as_trees_see(columns)
        if isinstance(of, NeverTaken):
            turned = self("MatMul", columns, self.of(of.turned_))
            one, other = (
                self("Gather", columns, self.of(k), axis=1)
                for k in (of.one_, of.other_)
            )
            product = self("Mul", one, other)
            columns = self("Concat", columns, turned, product, axis=1)
            columns = self._as_trees_see(columns)
        # Only leaves are looked for in the trees: what ONNX sums there is single.
        leaves = self(
            "TreeEnsembleRegressor",
            columns,
            domain="ai.onnx.ml",
            **_tree_attributes(of.forest_),
        )
        return self("Cast", leaves, to=self.INT64)

    def _as_trees_see(self, columns: str) -> str:
        return self("Cast", self("Cast", columns, to=self.FLOAT), to=self.DOUBLE)

    def _mean_of(self, table: Floats, leaves: str) -> str:
        """The mean over trees of what a table has for their leaves, (n, columns)."""
        found = self("Gather", self.of(table), leaves, axis=0)
        return self("ReduceMean", found, self.of(np.array([1])), keepdims=0)


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
