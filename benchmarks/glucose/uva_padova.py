"""The UVA/Padova patient of simglucose, alone and many at once.

simglucose registers itself with an old gym and finds its tables with pkg_resources.
Neither is needed to simulate a patient: its submodules are imported without its
``__init__``, and pkg_resources is stood in for meanwhile.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Dormand and Prince's fifth-order formula: scipy's dopri5 takes the same stages.
_STAGES = [
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
]
_WEIGHTS = [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]


class Patients(Protocol):
    """Copies of one patient, of whom each lives a day of its own."""

    basal: float  # U/min that hold the glucose of a fasting patient where it is

    def minute(self, insulin: FloatArray, carbs: FloatArray) -> FloatArray:
        """Infuse U/min and start meals of so many grams, each (n,), for a minute.

        Returns the glucose after it, mg/dL, (n,).
        """
        ...


def submodule(name: str) -> ModuleType:
    """Return ``simglucose.<name>`` without the import of gym in its ``__init__``."""
    if "simglucose" not in sys.modules:
        spec = find_spec("simglucose")
        if spec is None:
            raise ImportError(
                "The simulator is not installed. It pins an old gym that it does not "
                "need here: python -m pip install --no-deps simglucose==0.2.11"
            )
        sys.modules["simglucose"] = module_from_spec(spec)  # not executed
    stand_in = ModuleType("pkg_resources")
    vars(stand_in)["resource_filename"] = lambda package, path: os.path.join(
        sys.modules[package].__path__[0], path
    )
    before = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in
    try:
        return importlib.import_module(f"simglucose.{name}")
    finally:
        del sys.modules["pkg_resources"]
        if before is not None:
            sys.modules["pkg_resources"] = before


def parameters(name: str) -> Any:
    """Return a patient's row of simglucose's table, a pandas Series."""
    return submodule("patient.t1dpatient").T1DPatient.withName(name)._params


def start(params: Any, glucose: FloatArray) -> FloatArray:
    """Return states (n, 13) at rest but for their glucose, mg/dL, (n,)."""
    states = np.tile(np.asarray(params.iloc[2:15], dtype=float), (len(glucose), 1))
    # Plasma, tissue and subcutaneous glucose: those that random_init_bg draws.
    states[:, [3, 4, 12]] *= (glucose * params.Vg / states[0, 12])[:, None]
    return states


class OwnPatients:
    """simglucose's T1DPatient, its equations and its solver, one object a patient.

    Its parameters become plain attributes (unless not `plain`): looking them up in a
    pandas Series, dozens of times an evaluation, takes most of its time.
    """

    def __init__(self, params: Any, states: FloatArray, plain: bool = True) -> None:
        module = submodule("patient.t1dpatient")
        self.basal = float(params.u2ss * params.BW / 6000)
        self._action = module.Action
        self._copies = []
        for state in states:
            patient = module.T1DPatient(params, init_state=state.copy())
            if plain:
                patient._params = SimpleNamespace(**params.to_dict())
            self._copies.append(patient)

    def minute(self, insulin: FloatArray, carbs: FloatArray) -> FloatArray:
        """See `Patients`."""
        for patient, dose, meal in zip(self._copies, insulin, carbs, strict=True):
            patient.step(self._action(CHO=float(meal), insulin=float(dose)))
        return np.array([patient.observation.Gsub for patient in self._copies])

    @property
    def states(self) -> FloatArray:
        """All thirteen compartments, (n, 13)."""
        return np.array([patient.state for patient in self._copies])


class BatchPatients:
    """The same equations for all patients at once, one fixed step a minute.

    Within 0.05 mg/dL of `OwnPatients` all day, 0.0003 in the median: the step is long
    only for the first minutes of a small meal.
    """

    _EAT_RATE = 5.0  # g/min

    def __init__(self, params: Any, states: FloatArray) -> None:
        self.basal = float(params.u2ss * params.BW / 6000)
        self._p = SimpleNamespace(**params.to_dict())
        self._x = np.ascontiguousarray(states.T)  # (13, n)
        n = len(states)
        self._planned, self._eating = np.zeros(n), np.zeros(n, dtype=bool)
        self._meal, self._stomach = np.zeros(n), self._x[0] + self._x[1]

    def minute(self, insulin: FloatArray, carbs: FloatArray) -> FloatArray:
        """See `Patients`."""
        self._planned = self._planned + carbs
        bite = np.minimum(self._EAT_RATE, self._planned)  # g
        self._planned = self._planned - bite
        starts = (bite > 0) & ~self._eating
        self._stomach = np.where(starts, self._x[0] + self._x[1], self._stomach)
        self._meal = np.where(starts, 0.0, self._meal) + bite
        self._eating = bite > 0
        full = self._stomach + 1000 * self._meal  # mg
        slopes: list[FloatArray] = []
        for weights in ([], *_STAGES):
            x = self._x
            if weights:
                x = x + sum(w * k for w, k in zip(weights, slopes, strict=True))
            slopes.append(derivative(self._p, x, insulin, bite, full))
        self._x = self._x + sum(w * k for w, k in zip(_WEIGHTS, slopes, strict=True))
        return self._x[12] / self._p.Vg

    @property
    def states(self) -> FloatArray:
        """All thirteen compartments, (n, 13)."""
        return self._x.T.copy()


def derivative(
    p: Any, x: FloatArray, insulin: FloatArray, bite: FloatArray, full: FloatArray
) -> FloatArray:
    """Return T1DPatient.model for columns of x (13, n): the rate of each compartment.

    insulin is in U/min, bite in g/min; full is what the stomach held, in mg, when the
    meal began, and what of the meal has been eaten.
    """
    rate = np.empty_like(x)
    held = x[0] + x[1]
    # The stomach empties slowly while it is half full of the meal, else fast.
    some = full > 0
    of = np.where(some, full, 1.0)
    early = np.tanh(5 / (2 * of * (1 - p.b)) * (held - p.b * of))
    late = np.tanh(5 / (2 * of * p.d) * (held - p.d * of))
    emptying = p.kmin + (p.kmax - p.kmin) / 2 * (early - late + 2)
    emptying = np.where(some, emptying, p.kmax)
    rate[0] = -p.kmax * x[0] + 1000 * bite
    rate[1] = p.kmax * x[0] - emptying * x[1]
    rate[2] = emptying * x[1] - p.kabs * x[2]
    # Glucose in plasma and tissue: from the gut and the liver, to cells and kidneys.
    appearing = p.f * p.kabs * x[2] / p.BW
    produced = np.maximum(p.kp1 - p.kp2 * x[3] - p.kp3 * x[8], 0.0)
    excreted = p.ke1 * np.maximum(x[3] - p.ke2, 0.0)
    exchanged = p.k1 * x[3] - p.k2 * x[4]
    rate[3] = produced + appearing - p.Fsnc - excreted - exchanged
    rate[4] = exchanged - (p.Vm0 + p.Vmx * x[6]) * x[4] / (p.Km0 + x[4])
    # Insulin in plasma, its delayed actions, in the liver, under the skin.
    plasma = x[5] / p.Vi
    rate[5] = -(p.m2 + p.m4) * x[5] + p.m1 * x[9] + p.ka1 * x[10] + p.ka2 * x[11]
    rate[6] = p.p2u * (plasma - p.Ib - x[6])
    rate[7] = p.ki * (plasma - x[7])
    rate[8] = p.ki * (x[7] - x[8])
    rate[9] = -(p.m1 + p.m30) * x[9] + p.m2 * x[5]
    rate[10] = insulin * 6000 / p.BW - (p.ka1 + p.kd) * x[10]
    rate[11] = p.kd * x[10] - p.ka2 * x[11]
    rate[12] = p.ksc * (x[3] - x[12])
    # What is used up cannot be used up further.
    guarded = [3, 4, 5, 9, 10, 11, 12]
    rate[guarded] *= x[guarded] >= 0
    return rate
