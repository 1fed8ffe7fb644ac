"""Types of arrays that many modules share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]
# Discrete actions: of any type that numpy holds.
AnyArray = NDArray[Any]

# What `sklearn.utils.check_random_state` takes.
RandomStateLike = int | np.random.RandomState | None
