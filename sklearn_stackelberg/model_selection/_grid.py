"""The settings that a search chooses among, by the axes that they lie on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .._fitting.hyperparameters import Hyperparameters

Params = dict[str, Any]  # any parameters of `StackelbergPolicyEstimator`

# A place on each axis, in their order.
Candidate = tuple[int, ...]

_KERNEL_NAMES = ("kernel", "linear_terms", "q_function", "policy")

# Where the estimator's own λ is no number.
_LAM = 10.0


@dataclass(frozen=True, eq=False)
class Axis:
    """One thing that is chosen, and its options.

    ``start`` is the place of the estimator's own. The options are ordered from
    ``first_number`` on, so that the best one at an end says that there may be better
    ones beyond it; an end that is the least that there can be says nothing.
    """

    name: str
    options: tuple[Params, ...]
    start: int
    first_number: int = 0

    def __len__(self) -> int:
        return len(self.options)

    def end(self, place: int) -> str | None:
        """Which end of three numbers or more a place is, "lowest" or "highest"."""
        n_numbers = len(self.options) - self.first_number
        if n_numbers < 3 or place < self.first_number:
            return None
        if place == len(self.options) - 1:
            return "highest"
        lowest = place == self.first_number
        # Of a ridge or a support there is nothing less than none.
        is_none = self.options[place][self.name] == 0.0
        return "lowest" if lowest and not is_none else None


class Grid:
    """All combinations of a few axes, of which a search tries some.

    Parameters
    ----------
    hp : Hyperparameters
        The estimator's own, which are always among them.
    is_continuous : bool
        Of the actions.
    discount : float
        Of a row.
    lams, betas, ridges, kernels, bandwidths, supports : sequences
        As of `StackelbergPolicyCV`.
    """

    def __init__(
        self,
        hp: Hyperparameters,
        is_continuous: bool,
        discount: float,
        *,
        lams: Sequence[float],
        betas: Sequence[float],
        ridges: Sequence[float],
        kernels: Sequence[Any],
        bandwidths: Sequence[Any],
        supports: Sequence[float | str],
    ) -> None:
        self._hp, self._is_continuous = hp, is_continuous
        for name, values in {"kernels": kernels, "bandwidths": bandwidths}.items():
            if not _is_sequence(values):
                raise ValueError(
                    f"{name} must be a sequence of what is chosen among, such as "
                    f"({values!r},), got {values!r}."
                )
        action_type = "continuous" if is_continuous else "discrete"
        lam = _LAM if isinstance(hp.lam, str) else float(hp.lam)
        if isinstance(hp.lam, str) and lam not in lams:
            lam = float(sorted(lams)[len(lams) // 2])
        # A ridge is of the directions of features, and a network has none.
        ridges = () if hp.q_is_network else ridges
        self.axes = (
            self._kernel_axis(kernels),
            self._bandwidth_axis(bandwidths),
            _numbers("support", supports, hp.support),
            _numbers("lam", lams, lam),
            _numbers("beta", betas, hp.beta_for(action_type, discount)),
            _numbers("ridge", ridges, hp.ridge_for(action_type, discount)),
        )
        self.start: Candidate = tuple(axis.start for axis in self.axes)

    def __len__(self) -> int:
        return int(np.prod([len(axis) for axis in self.axes]))

    def options(self) -> Iterator[Params]:
        """Each one of them alone."""
        for axis in self.axes:
            yield from axis.options

    def largest_support(self, hp: Hyperparameters) -> Hyperparameters:
        """The start's hyperparameters with a number for λ, and the largest support."""
        own = replace(hp, **self.params(self.start))
        options = self._axis("support").options
        return max(
            (replace(own, **option) for option in options),
            key=lambda one: one.least_support,
        )

    def place(self, name: str) -> int:
        """Where an axis stands among them."""
        return [axis.name for axis in self.axes].index(name)

    def params(self, candidate: Candidate) -> Params:
        """What is set of the estimator; the same names for all candidates."""
        found: Params = {}
        for axis, place in zip(self.axes, candidate, strict=True):
            found |= axis.options[place]
        return found

    def known(self, candidate: Candidate) -> Candidate:
        """The same, with the start's bandwidth where the kernel has none."""
        kernel, where = self.axes[0].options[candidate[0]], self.place("bandwidth")
        if kernel.get("q_function") != "linear" and _has_lengths(kernel.get("kernel")):
            return candidate
        return (*candidate[:where], self.axes[where].start, *candidate[where + 1 :])

    def moved(self, candidate: Candidate, **places: int) -> Candidate:
        """With other places on some axes."""
        found = list(candidate)
        for name, place in places.items():
            found[self.place(name)] = place
        return self.known(tuple(found))

    def trusting(self, candidate: Candidate) -> Candidate:
        """With a larger λ, and a ridge."""
        lam, ridge = self._axis("lam"), self._axis("ridge")
        place = candidate[self.place("ridge")]
        values = [option.get("ridge", 0.0) for option in ridge.options]
        some = [i for i, value in enumerate(values) if value > 0.0]
        return self.moved(
            candidate,
            lam=min(candidate[self.place("lam")] + 1, len(lam) - 1),
            ridge=some[len(some) // 2] if some and values[place] == 0.0 else place,
        )

    def crossed(self, candidate: Candidate, *names: str) -> Iterator[Candidate]:
        """All combinations of some axes, the candidate's places on the others."""
        for places in product(*(range(len(self._axis(name))) for name in names)):
            yield self.moved(candidate, **dict(zip(names, places, strict=True)))

    def near(self, candidate: Candidate, *names: str) -> Iterator[Candidate]:
        """One step in both directions of each of some axes."""
        for name in names:
            place = candidate[self.place(name)]
            for other in (place - 1, place + 1):
                if 0 <= other < len(self._axis(name)):
                    yield self.moved(candidate, **{name: other})

    def beyond(self, before: Candidate, best: Candidate) -> list[Candidate]:
        """One more step of those from one candidate to another; none at an end."""
        pairs = zip(before, best, strict=True)
        onward = tuple(place + np.sign(place - last) for last, place in pairs)
        ends = [len(axis) for axis in self.axes]
        inside = all(0 <= p < n for p, n in zip(onward, ends, strict=True))
        return [self.known(tuple(map(int, onward)))] if inside else []

    def ends(self, candidate: Candidate) -> dict[str, str]:
        """The axes on which a candidate is an end of a grid, and which."""
        pairs = zip(self.axes, self.known(candidate), strict=True)
        found = {axis.name: axis.end(place) for axis, place in pairs}
        return {name: end for name, end in found.items() if end is not None}

    def _axis(self, name: str) -> Axis:
        return self.axes[self.place(name)]

    def _kernel_axis(self, kernels: Sequence[Any]) -> Axis:
        hp = self._hp
        own = {name: getattr(hp, name) for name in _KERNEL_NAMES}
        fixed = Axis("kernel", ({},), 0)
        # Networks have no kernel to be chosen, and pairs of state and action no terms
        # that are linear in the states.
        if hp.q_is_network or hp.policy_is_network:
            return fixed
        options: list[Params] = []
        for given in kernels:
            option = dict(own, q_function="kernel", policy="kernel")
            if isinstance(given, str) and given == "linear":
                if self._is_continuous:
                    continue
                option = dict(own, q_function="linear", policy="linear")
            elif isinstance(given, str) and given in ("both", "local"):
                linear = given == "both" or self._is_continuous
                option["linear_terms"] = hp.linear_terms if linear else False
                option["linear_terms"] |= given == "both"
            else:
                option["kernel"] = given
            if not any(_same(option, other) for other in options):
                options.append(option)
        start = next((i for i, o in enumerate(options) if _same(o, own)), None)
        if start is None:
            options, start = [own, *options], 0
        if len(options) == 1:
            return fixed
        # Kernels have no order, so that none is an end.
        return Axis("kernel", tuple(options), start, len(options))

    def _bandwidth_axis(self, bandwidths: Sequence[Any]) -> Axis:
        hp, own = self._hp, self._hp.bandwidth
        fixed = Axis("bandwidth", ({},), 0)
        if hp.q_is_network or hp.kernel_params or not _has_lengths(hp.kernel):
            return fixed
        # Of pairs of state and action, and as a number, both are the median.
        median = ("median", "relevance") if self._is_continuous else ("median",)

        def as_given(value: Any) -> Any:
            return 1.0 if isinstance(value, str) and value in median else value

        given = [as_given(value) for value in (own, *bandwidths)]
        numbers = sorted({float(value) for value in given if isinstance(value, Real)})
        named = [value for value in given if not isinstance(value, Real)]
        unique: list[Any] = []
        for value in named:
            if not any(np.array_equal(value, other) for other in unique):
                unique.append(value)
        options = tuple({"bandwidth": value} for value in (*unique, *numbers))
        start = next(
            i for i, o in enumerate(options) if np.array_equal(o["bandwidth"], given[0])
        )
        if len(options) == 1:
            return fixed
        return Axis("bandwidth", options, start, len(unique))


def _numbers(name: str, values: Sequence[float | str], own: float | str) -> Axis:
    given = (*values, own) if _is_sequence(values) else (own,)
    named = ["auto"] if name == "support" and "auto" in given else []
    numbers = [value for value in given if value not in named]
    if not _is_sequence(values) or not all(
        isinstance(value, Real) for value in numbers
    ):
        named_too = " or 'auto'" if name == "support" else ""
        raise ValueError(
            f"{name}s must be a sequence of numbers{named_too} that {name} is chosen "
            f"among, got {values!r}."
        )
    ordered = [*named, *sorted({float(value) for value in numbers})]
    options = tuple({name: value} for value in ordered)
    return Axis(name, options, ordered.index(own), len(named))


def _is_sequence(values: object) -> bool:
    return isinstance(values, Iterable) and not isinstance(values, str)


def _has_lengths(kernel: Any) -> bool:
    """Whether a kernel takes a bandwidth; None is the estimator's own."""
    if kernel is None or (isinstance(kernel, str) and kernel == "auto"):
        return True
    from ..kernels._registry import record_of

    return record_of(kernel).metric is not None


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # Kernels of scikit-learn compare by their parameters, callables by identity.
    return all(one[name] is other[name] or one[name] == other[name] for name in one)
