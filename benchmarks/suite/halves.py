"""The halves of the suite: the families, and problems that are others' or real."""

from __future__ import annotations

from benchmarks.families import CHOOSE, EVALUATE, Problem
from benchmarks.families.amounts import Battery, Bids, Infusion, PatientDoses
from benchmarks.families.environments import FORCE, HILL, LANDER, TORQUE
from benchmarks.families.explorers import Greenhouse, Line, Retention
from benchmarks.families.glucose import Glucose
from benchmarks.families.icu_sepsis import IcuSepsis
from benchmarks.families.noise import MostlyNoise
from benchmarks.families.tank import Tank
from benchmarks.families.trial import Trial

HALVES: dict[str, tuple[Problem, ...]] = {
    # What earlier figures of `docs/benchmarks.md` were tuned by can only be here.
    "choose": (
        *CHOOSE,
        TORQUE,
        FORCE,
        IcuSepsis(),
        # To evaluate, until less support and more candidates were tried on them.
        Tank(),
        HILL,
        Line(0.1),
        Line(0.3),
        # By which `beta` of amounts was chosen.
        PatientDoses(0.5, 0.6),
        PatientDoses(0.9, 0.3),
        Bids(),
        Infusion(),
    ),
    "evaluate": (
        *EVALUATE,
        LANDER,
        Glucose("adult#003"),
        Trial(),
        MostlyNoise(),
        Greenhouse(),
        Retention(),
        Battery(),
    ),
}
# Fewer logs than lie between them are ever made.
FIRST_SEED = {"choose": 0, "evaluate": 5_000}
