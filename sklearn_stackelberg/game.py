"""The game's equations, and nothing else.

Rows are logged transitions (s, a, r, s', terminated). The leader's policy is π, the
follower's Q-function q, and q(s, π) stands for E_{a~π(·|s)} q(s, a). The equations are
those of *Stackelberg Batch Policy Learning* (arXiv 2309.16188), numbered as in
``docs/game.md``; what differs from the paper is listed in ``docs/departures.md``.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.floating]


def expected_value(q_values: Tensor, probabilities: Tensor) -> Tensor:
    """q(s, π) = Σ_a π(a|s) q(s, a), (n,), of two tensors (n, n_actions)."""
    # Eq. (1) of docs/game.md.
    return (q_values * probabilities).sum(dim=1)


def td_residual(
    q_logged: Tensor,
    next_value: Tensor,
    reward: Tensor,
    terminated: Tensor,
    discount: float,
) -> Tensor:
    """δ = r + γ (1 − terminated) q(s', π) − q(s, a), (n,).

    ``q_logged`` and ``next_value`` are q(s, a) of the logged actions, and q(s', π).
    """
    # Eq. (2) of docs/game.md.
    return reward + discount * (1.0 - terminated) * next_value - q_logged


def average_value(
    reward: Floats, terminated: Floats, discount: float, weight: Floats | None = None
) -> float:
    """q₀ = r̄ / (1 − γ (1 − t̄)), the return of an average row.

    Each step pays the log's mean reward r̄ and ends the episode as often as its rows do,
    with frequency t̄. It is what rewards are measured from, so that a constant added to
    all rewards of a process that never ends adds to q₀ alone.
    """
    not_done = 1.0 - float(np.average(terminated, weights=weight))
    # Eq. (8) of docs/game.md.
    return float(np.average(reward, weights=weight)) / (1.0 - discount * not_done)


def anchored_reward(
    reward: Floats, terminated: Floats, anchor: float, discount: float
) -> Floats:
    """r − (1 − γ (1 − terminated)) q₀: the rewards of what q adds to a constant q₀.

    q satisfies the Bellman equation of r where q − q₀ satisfies that of these rewards,
    so a q that is drawn to zero on them is drawn to q₀, the ``anchor``, on r. The mean
    of these rewards over the log is zero.
    """
    # Eq. (9) of docs/game.md.
    return reward - (1.0 - discount * (1.0 - terminated)) * anchor


def curvature(beta: float, discount: float) -> float:
    """β (1 − γ)²: what β/2 |w|² of F has for β.

    Rewards of size one make q of size 1 / (1 − γ), so that this penalty of it is of the
    same size for every discount.
    """
    # Eq. (60) of docs/game.md.
    return beta * (1.0 - discount) ** 2


def bellman_error(
    residual: Tensor,
    embedding: Tensor,
    weight: Tensor | None = None,
    ridge: float = 0.0,
) -> Tensor:
    """E_K = n⁻² Σ_ij δ_i k(x_i, x_j) δ_j = |Zᵀδ|² / n² with K = Z Zᵀ.

    It is the square of the largest weighted average Bellman error n⁻¹ Σ_i f(x_i) δ_i
    over the unit ball of the kernel's space. With a ridge ρ it is |Zᵀδ / n − ρ w|²: the
    error on a log to which every direction e_j of the features adds ρ n rows with
    φ = e_j that end at once, with nothing.

    ``residual`` is δ, (n,); ``embedding`` Z, the kernel's features of logged (s, a),
    (n, p); ``weight`` w of a q linear in the same features, (p,), needed where there is
    a ridge, which draws q to zero where the log is thin, step after step.
    """
    # Eq. (3) of docs/game.md.
    mean = embedded_residual(residual, embedding, weight, ridge)
    return mean @ mean


def embedded_residual(
    residual: Tensor,
    embedding: Tensor,
    weight: Tensor | None = None,
    ridge: float = 0.0,
) -> Tensor:
    """Zᵀδ / n − ρ w, (p,), whose square is the Bellman error; parameters as there."""
    mean = embedding.T @ residual / len(residual)
    # Where there is no ridge, as of networks, w need not be in the embedding's order.
    if weight is not None and ridge:
        mean = mean - ridge * weight
    return mean


def minibatch_bellman_error(
    residual: Tensor,
    embedding: Tensor,
    n: int,
    weight: Tensor | None = None,
    ridge: float = 0.0,
) -> Tensor:
    """E_K of a log of n rows, estimated without bias from B rows drawn from it.

        (1 − 1/n) U_B + (1/n) mean_B(k_ii δ_i²),
        U_B = (|Zᵀδ|² − Σ_i |z_i|² δ_i²) / (B (B − 1)).

    Of the n² pairs in E_K, n are of a row with itself; the plain double sum over the
    batch would count those n/B times too often, and its minimiser would be that of the
    squared residuals, double sampling bias and all. All rows in the batch give E_K
    itself; fewer, a number that may be negative.
    """
    size = len(residual)
    diagonal = torch.sum((embedding * embedding).sum(dim=1) * residual * residual)
    total = embedding.T @ residual  # (p,)
    if size == 1:
        # One row, of more, has no pairs to estimate U_B from. Its k_ii δ_i² is what E_K
        # never exceeds in the mean.
        error = diagonal
    else:
        # U_B of Eq. (38) of docs/game.md.
        pairs = (total @ total - diagonal) / (size * (size - 1))
        error = (1.0 - 1.0 / n) * pairs + diagonal / (size * n)
    if weight is not None and ridge:
        # |m − ρw|² = |m|² + ρ w·(ρ w − 2m): what is linear in m has no bias to correct.
        error = error + ridge * weight @ (ridge * weight - 2.0 * total / size)
    return error


def leader_objective(initial_value: Tensor, discount: float) -> Tensor:
    """v = (1 − γ) E_{s0} q(s0, π), which the leader maximises.

    q(s0, π) is (n_initial,); the factor makes v a mean reward a step.
    """
    # Eq. (4) of docs/game.md.
    return (1.0 - discount) * initial_value.mean()


def follower_objective(
    value: Tensor, error: Tensor, weight: Tensor, n: float, lam: float, beta: float
) -> Tensor:
    """F = v + λ n E_K + (β/2) |w|², which the follower minimises.

    ``value`` is v, ``error`` E_K and ``weight`` w; n is the rows' number, or the sum of
    their weights: n E_K at the truth does not shrink with it, so that one λ serves logs
    of many sizes. Larger λ makes q agree more with the logged transitions; larger β
    bends F more, and keeps q smaller where the log is silent.
    """
    # Eq. (5) of docs/game.md.
    return value + lam * n * error + 0.5 * beta * torch.sum(weight * weight)
