"""Settings of every test, made before numpy and matplotlib are imported."""

from __future__ import annotations

import os

from hypothesis import settings

# scikit-learn checks an estimator's array API conformance only when asked so.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests' logs are small: more threads than one only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time says more about a busy machine than about the code; failures are repeatable.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
