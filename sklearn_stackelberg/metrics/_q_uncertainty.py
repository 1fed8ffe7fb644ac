"""How sure the Q-function of an evaluation is of single states and actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.linalg import eigh
from scipy.stats import t as student_t
from sklearn.utils import gen_batches

from .._typing import Flags, Floats, Index
from ._fitted_q import FittedQ, piece_sums

# Numbers of the factor that are kept, 1 MB of a pickle: all of 500 weights, a quarter
# of 1,000. Directions that are left out count as ones that nothing is known of, and so
# do those of which next to nothing is, relative to τ².
_NUMBERS, _NOTHING = 250_000, 1e-4

# States at once: with ten actions and 250 directions, 20 MB.
_ROWS = 1_000


@dataclass(frozen=True, eq=False)
class QUncertainty:
    """Q = q₀ + zᵀw of states and actions, and the covariance of its error.

    Cov(Q(x), Q(x')) = τ² k(x, x') + Σ_k (l_k − τ²) (u_kᵀz) (u_kᵀz'), where l_k and u_k
    are of the covariance C of w, and τ² is the spread of Q about q₀ in the log: where
    the features of the log are silent, l_k is τ², so that Q there is q₀ ± τ.
    """

    features: Any  # LandmarkFeatures or StateActionFeatures
    weight: Floats  # (A, m), or (m,) where actions are continuous; see `of`
    anchor: float
    spread: float  # τ
    excess: Floats  # l − τ², (k,)
    directions: Floats  # u, (A, m, k), or (m, k)
    freedom: int  # pieces of the log, less one

    @classmethod
    def of(cls, fit: FittedQ) -> QUncertainty:
        """Of an evaluation fit in the features of the kernel, from its own algebra."""
        data, system = fit.data, fit.system
        size, n, n_pieces = fit.weight.size, data.total, data.n_pieces
        low, high = data.return_range(system.discount)
        # Eq. (68) of docs/game.md. Without a piece that the rest cannot do without: as
        # far as returns can differ.
        residual = np.nan_to_num(fit.left_out_residual, nan=high - low)
        meat, total = np.zeros((size, size)), np.zeros(size)
        for _, sums in piece_sums(system.features, data.weight * residual):
            meat += sums.T @ sums
            total += sums.sum(axis=0)
        meat -= np.outer(total, total) / n_pieces
        meat *= n_pieces / max(1, n_pieces - 1)
        # Eq. (69): the ridge takes B w off w, B = (ρ / n) M⁻¹. B of that is given back,
        # because its signs agree along an episode; of what is left, B² w, a prior
        # N(0, τ² I) says how large it may be: all of w where no row says anything.
        departure = system.features.times_all(fit.weight)
        spread = float(np.sqrt(data.weight @ departure**2))
        inverse = fit.linear.solve(np.eye(size))
        bias = system.ridge / n * inverse
        weight = fit.weight + (bias @ fit.weight.ravel()).reshape(fit.weight.shape)
        inverse += bias @ inverse
        covariance = inverse @ meat @ inverse.T
        bias = bias @ bias
        # By dsyevd: scipy's default, dsyevr, ends in an error for some such matrices.
        values, vectors = eigh(covariance + spread**2 * bias @ bias.T)
        excess = values - spread**2
        kept = np.argsort(-np.abs(excess))[: max(1, _NUMBERS // size)]
        kept = kept[np.abs(excess[kept]) > _NOTHING * spread**2]
        directions = vectors[:, kept].reshape(*fit.weight.shape, len(kept))
        return cls(
            system.features.kernel_features,
            weight,
            system.anchor,
            spread,
            excess[kept],
            directions.astype(np.float32),
            n_pieces - 1,
        )

    def q_values(
        self, states: Floats, actions: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Q, of the fit less its first-order ridge bias, and its error, (n, A) each.

        Of continuous ``actions`` in each state, (n, C, p): (n, C).
        """
        self._check_pieces()
        found = [
            (q, self._deviation(1.0, reached))
            for q, _, reached in self._read(states, actions)
        ]
        q, deviation = zip(*found, strict=True)
        return np.concatenate(q), np.concatenate(deviation)

    def not_worse(
        self,
        states: Floats,
        level: float,
        supported: Flags,
        actions: Floats | None = None,
    ) -> Flags:
        """Supported actions that are not significantly worse than the best, (n, A)."""
        self._check_pieces()
        reach = self.reach(level, supported.shape[1])
        out, start = np.empty_like(supported), 0
        for q, z, reached in self._read(states, actions):
            rows = slice(start, start + len(q))
            start += len(q)
            best = np.where(supported[rows], q, -np.inf).argmax(axis=1)[:, None]
            behind = np.take_along_axis(q, best, axis=1) - q
            deviation = self._apart(z, reached, best)
            out[rows] = supported[rows] & (behind <= reach * deviation)
            # Rounding shall not leave out the best itself.
            np.put_along_axis(out[rows], best, True, axis=1)
        return out

    def reach(self, level: float, n_actions: int) -> float:
        """From how many standard errors on one of so many actions is worse."""
        # Eq. (70). Bonferroni: the best is left out if any other beats it.
        others = max(1, n_actions - 1)
        return float(student_t.ppf(1.0 - (1.0 - level) / others, self.freedom))

    def advantages(
        self, states: Floats, chosen: Index, actions: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Q less that of the chosen one, (n,), of all, and its error, (n, A) each."""
        self._check_pieces()
        found, start = [], 0
        for q, z, reached in self._read(states, actions):
            at = chosen[start : start + len(q), None]
            start += len(q)
            more = q - np.take_along_axis(q, at, axis=1)
            found.append((more, self._apart(z, reached, at)))
        differences, deviation = zip(*found, strict=True)
        return np.concatenate(differences), np.concatenate(deviation)

    def _apart(self, z: Floats, reached: Floats, best: Index) -> Floats:
        """The error of the difference of each action to one, (b, 1), by state."""
        at = best[..., None]
        apart = np.take_along_axis(reached, at, axis=1) - reached
        # Labels share no feature; measurements those of their kernel.
        same: Floats = (np.arange(reached.shape[1]) == best).astype(float)
        if z.shape[1] > 1:
            same = (np.take_along_axis(z, at, axis=1) * z).sum(axis=-1)
        return self._deviation(2.0 - 2.0 * same, apart)

    def _deviation(self, prior: Floats | float, reached: Floats) -> Floats:
        variance = self.spread**2 * prior + reached**2 @ self.excess
        return np.sqrt(np.maximum(variance, 0.0))

    def _read(
        self, states: Floats, actions: Floats | None
    ) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Q (b, A), the features z (b, A or 1, m) and uᵀz (b, A, k), by batches."""
        for batch in gen_batches(len(states), _ROWS):
            some = states[batch]
            if actions is None:
                z = self.features.transform(some)
                q = z @ self.weight.T
                reached = np.stack([z @ one for one in self.directions], axis=1)
                yield self.anchor + q, z[:, None], reached
                continue
            each = np.moveaxis(actions[batch], 1, 0)
            z = np.stack([self.features.transform(some, one) for one in each], axis=1)
            yield self.anchor + z @ self.weight, z, z @ self.directions

    def _check_pieces(self) -> None:
        if self.freedom < 1:
            raise ValueError(
                "The standard deviation of Q is of episodes, or of blocks of one long "
                "one, and the log of fit is one short episode, so it has none. Fit on "
                "a log of more episodes, or of 50 rows at least."
            )
