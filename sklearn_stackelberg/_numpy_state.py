"""Numpy arrays in what is pickled, where there are tensors in an object."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Of a module's attributes those that say what it computes; hooks are not kept.
_KEPT = ("training", "_parameters", "_buffers", "_modules")
_LEFT_OUT = {*vars(nn.Module())} - {*_KEPT}


class StoredTensor(NamedTuple):
    """A tensor, as an array, or a module's parameter."""

    array: NDArray[Any]
    is_parameter: bool
    requires_grad: bool


def stored(value: object) -> object:
    """The same, with arrays in place of the tensors in it."""
    if isinstance(value, Tensor):
        array = value.detach().cpu().numpy()
        return StoredTensor(array, isinstance(value, nn.Parameter), value.requires_grad)
    return _mapped(stored, value)


def restored(value: object) -> object:
    """What was `stored`."""
    if not isinstance(value, StoredTensor):
        return _mapped(restored, value)
    tensor = torch.from_numpy(np.asarray(value.array))
    if value.is_parameter:
        return nn.Parameter(tensor, requires_grad=value.requires_grad)
    return tensor.requires_grad_(value.requires_grad)


def _mapped(function: Any, value: Any) -> object:
    """A container of what the function gives of its values; anything else as it is."""
    if type(value) is dict:
        return {key: function(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(function, value))
    # A NamedTuple.
    return value._make(map(function, value)) if hasattr(value, "_make") else value


class NumpyState:
    """An object whose pickled state holds arrays where it holds tensors."""

    def __getstate__(self) -> dict[str, object]:
        return {name: stored(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update({name: restored(value) for name, value in state.items()})


class NumpyModule(NumpyState, nn.Module):
    """A module whose pickled state holds arrays, on the CPU, and no hooks."""

    def __getstate__(self) -> dict[str, object]:
        state = super().__getstate__()
        return {name: state[name] for name in state if name not in _LEFT_OUT}

    def __setstate__(self, state: dict[str, object]) -> None:
        # All that a module has besides, as torch of this version has it.
        nn.Module.__init__(self)
        super().__setstate__(state)
