"""What every metric reports."""

from __future__ import annotations

from .estimate import OffPolicyEstimate
from .judged import JudgedLog


def reported(
    judged: JudgedLog,
    numbers: tuple[float, float, float],
    method: str,
    by: str,
    confidence_level: float,
    unit: str = "rows",
) -> OffPolicyEstimate:
    """The estimate of (value, standard error, effective sample size)."""
    value, error, size = numbers
    if judged.n_episodes == 1:
        by = f"{judged.counted} alone has none"
    return OffPolicyEstimate(
        value=float(value),
        standard_error=float(error),
        effective_sample_size=float(size),
        n_episodes=judged.n_episodes,
        n_transitions=len(judged),
        method=method,
        error_method=by,
        effective_unit=unit,
        confidence_level=float(confidence_level),
    )
