"""Settings of every test, made before numpy and matplotlib are imported."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# scikit-learn checks an estimator's array API conformance only when asked so.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests' logs are small: more threads than one only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time says more about a busy machine than about the code; failures are repeatable. The
# same examples every time: more of them would be looked at again and again.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=30
)
settings.load_profile("repeatable")


@pytest.fixture
def short_response(monkeypatch):
    """Stochastic fits whose last best response, most of their time, is cut short.

    For tests that compare one fit with another; `monkeypatch.undo()` lets it be found.
    """
    # By its name: coverage is to see the package being imported.
    monkeypatch.setattr("sklearn_stackelberg.solvers._stochastic._RESPONSE_STEPS", 2)
