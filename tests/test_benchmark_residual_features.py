"""The prototype of features grown on the Bellman residual."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium")
from benchmarks.families import CHOOSE
from benchmarks.residual_features import LSPI, Coded, Game, Grown, evidence, grow

RING, BANDIT = (
    next(p for p in CHOOSE if p.name == name)
    for name in ("ring", "bandit, uniform logger, gains")
)


def test_evidence_is_for_what_lowers_the_squares():
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(2, 400))
    episode = np.arange(400) // 10
    assert evidence(signal + noise, signal, episode) > 2.0
    assert evidence(noise, signal, episode) < 0.0
    assert evidence(noise, np.zeros(400), episode) == 0.0


def test_a_grown_feature_is_of_size_1_and_follows_the_residual():
    data = Coded.of(BANDIT.log(0))
    target = np.where(data.log.action == 2, 5.0, -1.0)
    feature = Grown(data, target, seed=0)
    values = feature(data.log.state, data.log.action)
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1.0, abs=0.1)
    assert np.corrcoef(values, target)[0, 1] > 0.95


@pytest.mark.parametrize("solve", [Game, LSPI])
def test_a_round_adds_a_feature_and_keeps_the_labels(solve):
    data = Coded.of(RING.log(0)[:600])
    rows = np.arange(600)
    rounds = grow(solve, data[rows < 450], RING.discount, 0, 1, data[rows >= 450])
    assert len(rounds.solutions) == len(rounds.out_of_bag) == len(rounds.held_out) == 1
    rounds = grow(solve, data, RING.discount, 0, 1)
    assert len(rounds.solutions) == 2
    assert not rounds.held_out
    for solution in rounds.solutions:
        assert set(solution.predict(RING.codes)) <= {0, 1, 2}
        assert np.isfinite(solution.residuals(data.log)).all()
