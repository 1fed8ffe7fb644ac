"""torch's optimisers by name, and their state on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy

import torch
from torch import Tensor

MakeOptimizer = Callable[[Iterable[Tensor], float], torch.optim.Optimizer]

GAUSS_NEWTON = "gauss-newton"


def named_optimizer(optimizer: str | MakeOptimizer) -> MakeOptimizer:
    """A callable of parameters and a step size, from the name of one in torch.optim.

    ``"gauss-newton"`` stands for Adam, whose steps the policy then takes.
    """
    if callable(optimizer):
        return optimizer
    known = {
        name.lower(): kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    }
    del known["optimizer"]  # the class that they are kinds of
    name = "adam" if optimizer == GAUSS_NEWTON else str(optimizer).lower()
    if name not in known:
        raise ValueError(
            f"optimizer must be {GAUSS_NEWTON!r}, one of {sorted(known)}, or a "
            f"callable of parameters and a step size, got {optimizer!r}."
        )
    kind: Callable[..., torch.optim.Optimizer] = known[name]
    # By its name, which all of torch's share.
    return lambda parameters, rate: kind(parameters, lr=rate)


def saved_state(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """A copy of an optimiser's state, on the CPU."""
    # `state_dict` shares the optimiser's own tensors, which go on to change.
    state = deepcopy(optimizer.state_dict())
    return {key: _on_cpu(value) for key, value in state.items()}


def _on_cpu(saved: object) -> object:
    if isinstance(saved, Tensor):
        return saved.cpu()
    if isinstance(saved, dict):
        return {key: _on_cpu(value) for key, value in saved.items()}
    if isinstance(saved, list | tuple):
        return type(saved)(_on_cpu(value) for value in saved)
    return saved
