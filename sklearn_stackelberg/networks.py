"""Neural networks for policies and Q-functions: specified, built and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from numbers import Integral
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ._numpy_state import NumpyModule

Factory = Callable[[int, int], nn.Module]

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "logistic": nn.Sigmoid,
}
_NAMES: dict[type, str] = {kind: name for name, kind in ACTIVATIONS.items()}

# Rows on which a network is tried before it is trained; more than one, so that an
# output without a batch dimension is seen.
_TRIED_ROWS = 3


class MLP(BaseEstimator):
    """A multilayer perceptron to be built once inputs and outputs are known.

    A search reaches its parameters, as ``q_function__hidden_layer_sizes``.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(64, 64)
        Units of each hidden layer. More units or layers bend further and cost more;
        none at all is a linear map.
    activation : str, default="relu"
        ``"relu"``, ``"tanh"``, ``"silu"``, ``"gelu"``, ``"elu"`` or ``"logistic"``,
        after every hidden layer. The smooth ones suit the total derivative, which
        differentiates Q twice.

    Examples
    --------
    >>> from sklearn_stackelberg.networks import MLP
    >>> MLP(hidden_layer_sizes=(8,), activation="tanh")(4, 2)
    Perceptron(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): Tanh()
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (64, 64),
        activation: str = "relu",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation

    def __call__(self, n_inputs: int, n_outputs: int) -> nn.Module:
        """Build the network, with torch's own initial weights.

        Parameters
        ----------
        n_inputs, n_outputs : int

        Returns
        -------
        Module
            (k, n_inputs) to (k, n_outputs).

        Raises
        ------
        ValueError
            If a size is not a positive integer or the activation is not known.
        """
        given = self.hidden_layer_sizes
        # One number is one layer, as in scikit-learn.
        sizes = list(given) if isinstance(given, Iterable) else [given]
        for size in sizes:
            if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
                raise ValueError(
                    "hidden_layer_sizes must be positive integers, one for each hidden "
                    f"layer, got {self.hidden_layer_sizes!r}."
                )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {sorted(ACTIVATIONS)}, "
                f"got {self.activation!r}."
            )
        layers: list[nn.Module] = []
        for size in sizes:
            layers += [nn.Linear(n_inputs, size), ACTIVATIONS[self.activation]()]
            n_inputs = size
        return Perceptron(*layers, nn.Linear(n_inputs, n_outputs))


class Perceptron(NumpyModule, nn.Sequential):
    """Layers one after the other, whose pickled state is arrays and names."""

    def __getstate__(self) -> dict[str, object]:
        layers = list(self)
        if not all(type(layer) in (nn.Linear, *_NAMES) for layer in layers):
            # A user has put in a layer of another kind, which is pickled as it is.
            return super().__getstate__()
        trained = any(parameter.requires_grad for parameter in self.parameters())
        return {
            "training": self.training,
            "requires_grad": trained,
            "layers": [
                [part.detach().cpu().numpy() for part in layer.parameters()]
                if isinstance(layer, nn.Linear)
                else _NAMES[type(layer)]
                for layer in layers
            ],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "layers" not in state:
            super().__setstate__(state)
            return
        nn.Module.__init__(self)
        for layer in state["layers"]:
            if isinstance(layer, str):
                self.append(ACTIVATIONS[layer]())
                continue
            weight, bias = map(torch.from_numpy, layer)
            # Without first weights, which torch would draw from the user's generator.
            linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
            linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.append(linear)
        self.requires_grad_(state["requires_grad"]).train(state["training"])


def build_network(
    factory: Factory,
    n_inputs: int,
    n_outputs: int,
    *,
    name: str = "The factory",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    device: torch.device | str = "cpu",
    examples: Tensor | None = None,
) -> nn.Module:
    """Build a network, reproducibly, and see that it can be trained.

    Parameters
    ----------
    factory : callable
        ``factory(n_inputs, n_outputs)`` returns a `torch.nn.Module`, which is copied.
    n_inputs, n_outputs : int
    name : str, default="The factory"
        What messages call it.
    dtype : dtype, default=torch.float64
    seed : int, default=0
        Of the initial weights. torch's own generator is left as it was found.
    device : device or str, default="cpu"
    examples : Tensor of shape (k, n_inputs), default=None
        Inputs that the network is tried on; zeros if None.

    Returns
    -------
    Module
        In evaluation mode, which it stays in: dropout would make the objectives others
        at each step.

    Raises
    ------
    TypeError, ValueError
        If the factory returns no module, or one that cannot be trained, lies on several
        devices, or does not map the inputs to finite outputs of the right shape.

    Examples
    --------
    >>> build_network(MLP(()), 4, 2)[0]
    Linear(in_features=4, out_features=2, bias=True)
    """
    if not callable(factory) or isinstance(factory, nn.Module):
        raise TypeError(
            f"{name} must be a callable, factory(n_inputs, n_outputs), that returns a "
            f"torch.nn.Module; got {factory!r}."
        )
    # Weights are drawn on the CPU: the same ones for every device. The user's own draws
    # are to be the same with and without a fit in between.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = factory(n_inputs, n_outputs)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"{name} must return a torch.nn.Module, and returned {type(module)!r} for "
            f"n_inputs={n_inputs}, n_outputs={n_outputs}."
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(
            f"{name} returned a module without parameters to train "
            f"({type(module).__name__}). Give it a layer, and leave requires_grad be."
        )
    _check_devices(module, torch.device(device), name)
    # A factory may return a module that its owner keeps: that one stays as it is.
    module = deepcopy(module).to(device=device, dtype=dtype).eval()
    if examples is None:
        examples = torch.zeros(_TRIED_ROWS, n_inputs)
    _try_out(module, examples.to(device=device, dtype=dtype), n_outputs, name)
    return module


def _check_devices(module: nn.Module, device: torch.device, name: str) -> None:
    found: dict[str, str] = {}
    for key, tensor in chain(module.named_parameters(), module.named_buffers()):
        found.setdefault(tensor.device.type, key)
    elsewhere = sorted({*found} - {"cpu"})
    # All on the CPU will move; all on the requested device is there already. A module
    # that is split between devices would have some part where its inputs are not.
    if not elsewhere or [*found] == [device.type]:
        return
    beside = ", others on cpu" if "cpu" in found else ""
    raise ValueError(
        f"{name} returned a module whose {found[elsewhere[0]]!r} is on the device "
        f"{elsewhere[0]!r}{beside}. Build all parameters and buffers on the CPU; they "
        f"move to the requested device, {str(device)!r}."
    )


def _try_out(module: nn.Module, examples: Tensor, n_outputs: int, name: str) -> None:
    inputs = f"{tuple(examples.shape)} inputs in {examples.dtype}"
    expected = (len(examples), n_outputs)
    try:
        with torch.no_grad():
            output: object = module(examples)
    except RuntimeError as error:
        # torch's own message names the operation, not whose fault it is.
        raise ValueError(
            f"{name} returned a module that fails on {inputs}, on the device "
            f"{str(examples.device)!r}: {error} (Its own tensors must be buffers.)"
        ) from error
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{name} returned a module whose output is {type(output)!r}, expected a "
            f"tensor of shape {expected}."
        )
    # A column of outputs for one action would broadcast to all, and train silently.
    if tuple(output.shape) != expected:
        raise ValueError(
            f"{name} returned a module that gives {tuple(output.shape)} outputs for "
            f"{inputs}; expected {expected}, one column for each of {n_outputs}."
        )
    if not bool(torch.isfinite(output).all()):
        raise ValueError(
            f"{name} returned a module whose initial outputs are not finite. Check its "
            "initial weights, and scale the states (a StandardScaler before it)."
        )
