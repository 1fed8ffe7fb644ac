"""Landmark features against the kernels that they stand for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from _problems import (
    GAUSSIAN_PROCESS_KERNEL,
    INDEFINITE,
    KERNELS,
    NAMED_KERNELS,
    callable_kernel,
    kernel_id,
    kernel_states,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import RBF, DotProduct, Matern, WhiteKernel
from sklearn.metrics.pairwise import (
    chi2_kernel,
    laplacian_kernel,
    linear_kernel,
    pairwise_distances,
    pairwise_kernels,
    polynomial_kernel,
    rbf_kernel,
)

from sklearn_stackelberg.kernels import (
    LandmarkFeatures,
    check_kernel,
    delta_kernel,
    median_bandwidth,
)
from sklearn_stackelberg.kernels import _nystroem as landmarks

HAVE_BANDWIDTH = ("rbf", "laplacian", "chi2")
HAVE_NONE = [
    kernel
    for kernel in KERNELS
    if not (isinstance(kernel, str) and kernel in HAVE_BANDWIDTH)
]


def fit(kernel, states, **kwargs):
    """Every hyperparameter given, so that the defaults are nobody's business here."""
    settings = {
        "bandwidth": "median",
        "kernel_params": None,
        "n_components": None,
        "dtype": "float64",
        "random_state": 0,
    }
    return LandmarkFeatures(kernel, **{**settings, **kwargs}).fit(states)


def gram_of(features, X, Y=None):
    scale = features.mean_similarity_
    return scale * features.transform(X) @ features.transform(X if Y is None else Y).T


def named_gram(features, X, Y=None):
    """The kernel itself, called by its own name and in its own units."""
    kernel = features.kernel
    if not isinstance(kernel, str):
        return kernel(X, X if Y is None else Y)
    if kernel == "delta":
        other = X if Y is None else Y
        return (X[:, None, :] == other[None, :, :]).all(axis=2).astype(float)
    if features.bandwidth_ is None:
        return pairwise_kernels(X, Y, metric=kernel)
    gamma = 0.5 if kernel == "rbf" else 1.0
    h = features.bandwidth_
    return pairwise_kernels(
        X / h, None if Y is None else Y / h, metric=kernel, gamma=gamma
    )


# What the features stand for.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
@pytest.mark.parametrize("d", [1, 3])
def test_features_reproduce_the_gram_on_landmarks(kernel, d, dtype):
    states = kernel_states(kernel, np.random.default_rng(0), n=25, d=d)
    features = fit(kernel, states, dtype=dtype)
    gram = named_gram(features, states)
    # What is dropped is under 1e-10 (1e-5 in float32) of the largest eigenvalue.
    atol = {"float64": 1e-9, "float32": 1e-3}[dtype] * np.abs(gram).max()
    found = features.transform(states)
    assert found.dtype == dtype
    assert found.shape == (25, features.n_features_out_)
    gram_found = features.mean_similarity_ * found @ found.T
    assert_allclose(gram_found, gram, rtol=0, atol=atol)


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_elsewhere_features_are_the_projection_on_the_landmarks(kernel):
    rng = np.random.default_rng(1)
    states = kernel_states(kernel, rng, n=15)
    other = kernel_states(kernel, rng, n=10)
    features = fit(kernel, states)
    # With the landmarks the kernel is exact, whoever the other state is ...
    gram = named_gram(features, other, features.landmarks_)
    assert_allclose(
        gram_of(features, other, features.landmarks_),
        gram,
        atol=1e-4 * np.abs(gram).max(),
    )
    # ... and what a projection leaves out is never negative.
    missing = named_gram(features, other) - gram_of(features, other)
    assert np.linalg.eigvalsh(missing).min() > -1e-4


@pytest.mark.parametrize("kernel", ["linear", "polynomial"])
def test_finite_dimensional_kernels_are_exact_everywhere(kernel):
    rng = np.random.default_rng(2)
    states, other = rng.normal(size=(40, 2)), rng.normal(size=(20, 2))
    params = {} if kernel == "linear" else {"degree": 2}
    features = fit(kernel, states, kernel_params=params)
    # Columns: x, y; and with a constant and degree 2 also 1, x², xy, y².
    assert features.n_features_out_ == (2 if kernel == "linear" else 6)
    expected = pairwise_kernels(other, metric=kernel, **params)
    assert_allclose(gram_of(features, other), expected, atol=1e-10)


@pytest.mark.parametrize("n_components", [None, 4])
def test_the_linear_kernel_is_linear_features(n_components):
    rng = np.random.default_rng(3)
    states, other = rng.normal(size=(30, 3)), rng.normal(size=(7, 3))
    features = fit("linear", states, n_components=n_components)
    # A rotation of the states: same inner products, same linear functions.
    rotation = features.transform(np.eye(3))
    scale = features.mean_similarity_
    assert_allclose(scale * rotation @ rotation.T, np.eye(3), atol=1e-11)
    assert_allclose(features.transform(other), other @ rotation, atol=1e-11)


def test_features_are_ordered_by_the_kernels_eigenvalues():
    states = np.random.default_rng(0).normal(size=(20, 2))
    features = fit("rbf", states, bandwidth=1.0)
    found = features.transform(features.landmarks_)
    sizes = (found**2).sum(axis=0)
    assert (np.diff(sizes) < 0).all()
    # Orthogonal columns: each eigenvector of the Gram matrix is one feature.
    assert_allclose(found.T @ found, np.diag(sizes), atol=1e-10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_directions_that_hold_only_rounding_are_dropped(dtype):
    line = np.linspace(0.0, 1.0, 50)[:, None]
    features = fit("rbf", line, bandwidth=[5.0], dtype=dtype)
    assert features.n_features_out_ < 10
    close = line + 1e-4
    moved = features.transform(close) - features.transform(line)
    assert np.abs(moved).max() < 0.1


def test_float32_keeps_no_direction_that_it_cannot_tell_from_rounding():
    line = np.linspace(0.0, 1.0, 50, dtype=np.float32)[:, None]
    single = fit("rbf", line, bandwidth=[1.0], dtype="float32")
    double = fit("rbf", line.astype(float), bandwidth=[1.0])
    assert 3 <= single.n_features_out_ < double.n_features_out_
    # Features of one and the same projection, in either precision.
    there = np.linspace(-0.5, 1.5, 31, dtype=np.float32)[:, None]
    gram = rbf_kernel(there.astype(float), line.astype(float), gamma=0.5)
    expected = gram @ single.projection_
    assert_allclose(single.transform(there), expected, atol=2e-3)


@pytest.mark.parametrize("kernel", ["linear", "polynomial"])
def test_the_unit_of_a_kernel_is_none(kernel):
    states = np.random.default_rng(0).normal(size=(40, 2))
    features = fit(kernel, states)
    assert_allclose(features.similarity_to_itself(states).mean(), 1.0)
    thrice = fit(lambda X, Y: 9.0 * pairwise_kernels(X, Y, metric=kernel), states)
    assert_allclose(gram_of(thrice, states) / 9, gram_of(features, states), atol=1e-9)
    z, other = features.transform(states), thrice.transform(states)
    assert_allclose(z @ z.T, other @ other.T, atol=1e-9)


# The delta kernel.


@given(
    arrays(
        np.int64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 2)
    )
)
def test_delta_is_whether_rows_are_equal(X):
    gram = delta_kernel(X, X[::-1])
    for i, a in enumerate(X):
        for j, b in enumerate(X[::-1]):
            assert gram[i, j] == float(tuple(a) == tuple(b))
    assert_array_equal(delta_kernel(X), delta_kernel(X, X))


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 20), st.just(1)),
        elements=st.integers(0, 5),
    )
)
def test_delta_features_are_a_one_hot_code_of_the_states(states):
    features = fit("delta", states)
    found = features.transform(states)
    assert features.n_features_out_ == len(np.unique(states))
    assert_array_equal(np.sort(np.abs(found), axis=1)[:, :-1], 0.0)
    assert_array_equal(np.abs(found).max(axis=1), 1.0)
    assert_array_equal(found @ found.T, states == states.T)


def test_a_state_that_delta_never_saw_has_no_features():
    features = fit("delta", np.array([[0.0], [1.0]]))
    assert_array_equal(features.transform(np.array([[2.0], [1.0]]))[0], 0.0)


def test_delta_is_refused_with_more_states_than_landmarks():
    states = np.arange(10.0)[:, None]
    assert fit("delta", states, n_components=10).n_features_out_ == 10
    with pytest.raises(ValueError, match=r"delta.*n_components=9.*n_components=None"):
        fit("delta", states, n_components=9)


# Landmarks.


@given(
    distinct=st.integers(1, 12),
    copies=st.integers(1, 4),
    wanted=st.integers(1, 14) | st.none(),
)
def test_every_distinct_state_is_a_landmark_where_there_is_room(
    distinct, copies, wanted
):
    states = np.repeat(np.arange(float(distinct)), copies)[:, None]
    states = np.random.default_rng(0).permutation(states)
    features = fit("rbf", states, bandwidth=[0.3], n_components=wanted)
    if wanted is None or wanted >= distinct:
        assert_array_equal(features.landmarks_[:, 0], np.arange(distinct))
        gram = rbf_kernel(states, gamma=0.5 / 0.09)
        assert_allclose(gram_of(features, states), gram, atol=1e-10)
    else:
        assert len(features.landmarks_) == wanted
        assert np.isin(features.landmarks_, states).all()


def test_many_distinct_states_hidden_behind_repeated_ones():
    """The first rows alone do not decide whether every state can be a landmark."""
    states = np.concatenate([np.zeros(100), np.arange(1.0, 31.0)])[:, None]
    assert len(fit("rbf", states, bandwidth=1.0, n_components=31).landmarks_) == 31
    assert len(fit("rbf", states, bandwidth=1.0, n_components=30).landmarks_) == 30


def test_landmarks_are_drawn_by_the_random_state():
    states = np.random.default_rng(0).normal(size=(200, 2))

    def landmarks(random_state):
        return fit("rbf", states, n_components=10, random_state=random_state)

    first, again, other = landmarks(3), landmarks(3), landmarks(4)
    assert_array_equal(first.landmarks_, again.landmarks_)
    assert_array_equal(first.projection_, again.projection_)
    assert not np.array_equal(first.landmarks_, other.landmarks_)
    drawn = landmarks(np.random.RandomState(3))
    assert_array_equal(first.landmarks_, drawn.landmarks_)
    # Nearly all of the states, and none of them twice.
    most = fit("rbf", states, n_components=199)
    assert len(np.unique(most.landmarks_, axis=0)) == 199
    # Drawn without the global generator, and without moving it.
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    landmarks(5)
    assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("n_components", [None, 18_000])
def test_a_gram_that_would_not_fit_is_refused_before_it_is_built(n_components):
    def untouchable(X, Y):
        raise AssertionError("the kernel was called")

    states = np.arange(20_000.0)[:, None]
    wanted = n_components or 20_000
    size = f"{8 * wanted**2 / 2**30:.1f} GiB"
    with pytest.raises(ValueError, match=rf"{wanted} landmarks.*{size}.*n_components"):
        fit(untouchable, states, n_components=n_components)


# Bandwidths.


@given(bandwidth=st.floats(0.05, 20.0))
def test_a_length_becomes_the_kernels_own_parameter(bandwidth):
    states = np.random.default_rng(0).random((12, 2))
    h = bandwidth
    for kernel, expected in (
        ("rbf", rbf_kernel(states, gamma=1 / (2 * h**2))),
        ("laplacian", laplacian_kernel(states, gamma=1 / h)),
        ("chi2", chi2_kernel(states, gamma=1 / h)),
    ):
        found = gram_of(fit(kernel, states, bandwidth=[h, h]), states)
        assert_allclose(found, expected, atol=1e-8, err_msg=kernel)


@pytest.mark.parametrize("as_given", [np.array, list, tuple])
def test_a_bandwidth_for_each_column(as_given):
    states = np.random.default_rng(1).random((12, 2))
    h = np.array([0.2, 3.0])
    x, y = states[:, :1], states[:, 1:]
    for kernel, expected in (
        # Products of one-dimensional kernels.
        ("rbf", rbf_kernel(x, gamma=1 / 0.08) * rbf_kernel(y, gamma=1 / 18)),
        ("laplacian", laplacian_kernel(x, gamma=5) * laplacian_kernel(y, gamma=1 / 3)),
        ("chi2", chi2_kernel(x, gamma=5) * chi2_kernel(y, gamma=1 / 3)),
    ):
        features = fit(kernel, states, bandwidth=as_given(h))
        assert_array_equal(features.bandwidth_, h)
        assert_allclose(gram_of(features, states), expected, atol=1e-8, err_msg=kernel)


def test_a_bandwidth_for_the_wrong_number_of_columns():
    states = np.random.default_rng(1).random((12, 2))
    with pytest.raises(ValueError, match=r"shape \(3,\).*2 columns"):
        fit("rbf", states, bandwidth=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("kernel", HAVE_BANDWIDTH)
def test_gamma_is_given_once(kernel):
    states = np.random.default_rng(1).random((12, 2))
    features = fit(kernel, states, kernel_params={"gamma": 0.8})
    assert features.bandwidth_ is None
    expected = pairwise_kernels(states, metric=kernel, gamma=0.8)
    assert_allclose(gram_of(features, states), expected, atol=1e-8)
    with pytest.raises(ValueError, match=r"gamma=0.8 and bandwidth=2.0.*one of them"):
        fit(kernel, states, kernel_params={"gamma": 0.8}, bandwidth=2.0)


@pytest.mark.parametrize("kernel", HAVE_NONE, ids=kernel_id)
def test_kernels_without_a_bandwidth_ignore_multiples_and_refuse_lengths(kernel):
    states = kernel_states(kernel, np.random.default_rng(0))
    plain = fit(kernel, states)
    assert plain.bandwidth_ is None
    lengths = [np.ones(states.shape[1])]
    if isinstance(kernel, str):
        # So that a grid of kernels and bandwidths may be a product.
        given = fit(kernel, states, bandwidth=2.0)
        assert given.bandwidth_ is None
        assert_array_equal(given.transform(states), plain.transform(states))
    else:
        lengths.append(2.0)
    for bandwidth in lengths:
        with pytest.raises(ValueError, match=r"has no bandwidth.*'rbf'"):
            fit(kernel, states, bandwidth=bandwidth)


def test_kernel_params_reach_the_kernel():
    states = np.random.default_rng(0).normal(size=(10, 2))
    params = {"degree": 2, "gamma": 0.3, "coef0": 0.5}
    features = fit("poly", states, kernel_params=params)
    expected = polynomial_kernel(states, **params)
    assert_allclose(gram_of(features, states), expected, atol=1e-9)
    features = fit(
        lambda X, Y, scale: scale * linear_kernel(X, Y),
        states,
        kernel_params={"scale": 3.0},
    )
    assert_allclose(gram_of(features, states), 3.0 * states @ states.T, atol=1e-9)
    with pytest.raises(TypeError, match="no_such"):
        fit("rbf", states, kernel_params={"no_such": 1})


@pytest.mark.parametrize("kernel", HAVE_BANDWIDTH)
def test_a_number_is_a_multiple_of_the_median(kernel):
    states = np.random.default_rng(0).random((30, 2)) * [1.0, 1e3]
    median = fit(kernel, states).bandwidth_
    assert_array_equal(fit(kernel, states, bandwidth=1.0).bandwidth_, median)
    assert_array_equal(fit(kernel, states, bandwidth=0.5).bandwidth_, 0.5 * median)


# The median.


@pytest.mark.parametrize("kernel", HAVE_BANDWIDTH)
def test_the_median_follows_the_units_of_each_column(kernel):
    states = np.random.default_rng(0).random((40, 3))
    units = np.array([1e-3, 1.0, 1e4])
    features = fit(kernel, states)
    scaled = fit(kernel, states * units)
    assert_allclose(scaled.bandwidth_, features.bandwidth_ * units)
    # chi2 is not a function of differences, but it is of ratios to the bandwidth.
    assert_allclose(
        gram_of(scaled, states * units), gram_of(features, states), atol=1e-8
    )


@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
def test_the_median_is_that_of_distances_in_standard_deviations(metric):
    states = np.random.default_rng(0).random((40, 3)) * [1.0, 5.0, 0.1]
    rng = np.random.RandomState(0)
    found = median_bandwidth(states, metric, rng) / states.std(axis=0)
    middle = np.median(
        pairwise_distances(states / states.std(axis=0), metric=metric)[
            np.triu_indices(40, 1)
        ]
    )
    # One share of the median for all columns, whatever the share.
    assert_allclose(found, found[0])
    share = found[0] / middle
    assert 0.1 <= share <= 2.0
    more = median_bandwidth(states**3, metric, rng) / (states**3).std(axis=0)
    cubes = states**3 / (states**3).std(axis=0)
    other = np.median(pairwise_distances(cubes, metric=metric)[np.triu_indices(40, 1)])
    assert_allclose(more[0] / other, share)


@pytest.mark.parametrize(
    ("kernel", "metric"),
    [("rbf", "euclidean"), ("laplacian", "cityblock"), ("chi2", "cityblock")],
)
def test_the_median_is_of_the_distance_that_the_kernel_measures(kernel, metric):
    states = np.random.default_rng(0).random((40, 3))
    expected = median_bandwidth(states, metric, np.random.RandomState(0))
    assert_allclose(fit(kernel, states).bandwidth_, expected)


def test_repeated_states_and_constant_columns_leave_the_median_positive():
    rng = np.random.RandomState(0)
    mostly = np.concatenate([np.zeros((95, 2)), np.eye(2), -np.eye(2)])
    assert (median_bandwidth(mostly, "euclidean", rng) > 0.05).all()
    constant = np.column_stack([np.linspace(0, 1, 20), np.full(20, 7.0)])
    found = median_bandwidth(constant, "euclidean", rng)
    alone = median_bandwidth(constant[:, :1], "euclidean", rng)
    assert_allclose(found[0], alone[0])
    assert np.isfinite(found).all()
    assert (found > 0).all()
    same = median_bandwidth(np.ones((5, 2)), "euclidean", rng)
    assert np.isfinite(same).all()
    assert (same > 0).all()
    assert fit("rbf", np.ones((5, 2))).n_features_out_ == 1


def test_the_median_of_many_states_is_that_of_some():
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(900, 2)), rng.normal(size=(5000, 2))
    a = median_bandwidth(few, "euclidean", np.random.RandomState(0))
    b = median_bandwidth(many, "euclidean", np.random.RandomState(0))
    assert_allclose(a, b, rtol=0.1)


# Large columns.

STATIONARY = ["rbf", "laplacian", RBF(0.5), Matern(0.5, nu=2.5) * 2.0]
# Multiples of 1/1024, which 1e9 more or less does not round.
GRID = np.round(1024 * np.random.default_rng(0).normal(size=(30, 2))) / 1024
FAR = np.array([1e9, -1.7e9])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", STATIONARY, ids=str)
def test_an_offset_changes_nothing_of_a_function_of_differences(kernel, dtype):
    expected = fit(kernel, GRID, dtype=dtype)
    found = fit(kernel, GRID + FAR, dtype=dtype)
    moved = GRID[:5] + 1 / 8
    gram = gram_of(expected, GRID, moved)
    atol = {"float64": 1e-8, "float32": 1e-3}[dtype]
    assert_allclose(gram_of(found, GRID + FAR, moved + FAR), gram, atol=atol)
    # Columns that are the same in every row, exactly or but for rounding.
    for column in (np.full(30, 1.7e9), 0.1 * 3 + np.resize([0.0, 5e-17], 30)):
        wide = np.column_stack([GRID, column])
        more = np.column_stack([moved, column[:5]])
        gram_of_wide = gram_of(fit(kernel, wide, dtype=dtype), wide, more)
        assert_allclose(gram_of_wide, gram, atol=atol)


def test_kernels_that_are_not_of_differences_are_not_moved():
    for kernel in ("linear", "cosine", "polynomial", "chi2", "delta", DotProduct()):
        states = kernel_states(kernel, np.random.default_rng(0))
        assert fit(kernel, states).center_ is None


# What cannot be used, in a sentence.


@pytest.mark.parametrize("kernel", sorted(INDEFINITE))
def test_kernels_that_are_not_positive_semidefinite_are_refused(kernel):
    with pytest.raises(ValueError, match=f"kernel='{kernel}' cannot be used") as caught:
        fit(kernel, np.ones((3, 1)))
    for name in (*NAMED_KERNELS, "delta"):
        assert repr(name) in str(caught.value)
    usable = str(caught.value).rsplit("Use one of", 1)[1]
    assert not any(repr(name) in usable for name in INDEFINITE)


@pytest.mark.parametrize("kernel", ["gaussian", "RBF", "", None, 3, ["rbf"]])
def test_unknown_kernels_are_refused(kernel):
    with pytest.raises(ValueError, match="is unknown") as caught:
        check_kernel(kernel)
    assert repr(kernel) in str(caught.value)
    for name in (*NAMED_KERNELS, "delta"):
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_usable_kernels_are_accepted(kernel):
    check_kernel(kernel)


@pytest.mark.parametrize(
    ("kernel", "shape"),
    [
        (lambda X, Y: np.ones(len(X)), r"\(4,\)"),
        (lambda X, Y: 1.0, r"\(\)"),
        (lambda X, Y: np.ones((len(X), len(Y), 1)), r"\(4, 4, 1\)"),
        (lambda X, Y: np.eye(len(X))[:2], r"\(2, 4\)"),
    ],
)
def test_a_callable_that_returns_another_shape(kernel, shape):
    with pytest.raises(ValueError, match=rf"shape {shape} for 4 and 4.*\(4, 4\)"):
        fit(kernel, np.arange(4.0)[:, None])


def test_a_callable_whose_shape_is_wrong_only_at_prediction():
    features = fit(lambda X, Y: rbf_kernel(X), np.arange(4.0)[:, None])
    with pytest.raises(ValueError, match=r"\(3, 3\) for 3 and 4 rows"):
        features.transform(np.arange(3.0)[:, None])


@pytest.mark.parametrize(
    "kernel",
    [
        lambda X, Y: -rbf_kernel(X, Y),
        lambda X, Y: np.tanh(X @ Y.T - 1.0),
        lambda X, Y: -pairwise_distances(X, Y),
    ],
)
def test_a_callable_that_is_not_positive_semidefinite(kernel):
    with pytest.raises(ValueError, match=r"not positive semi-definite.*eigenvalues"):
        fit(kernel, np.random.default_rng(0).normal(size=(10, 2)))


def test_a_callable_that_is_not_symmetric():
    # Half of it is a kernel; eigh would read that half and never see the other.
    def kernel(X, Y):
        gram = rbf_kernel(X, Y)
        return gram + 0.1 * np.triu(gram, 1)

    with pytest.raises(ValueError, match=r"not symmetric.* differ by up to 0\.0\d"):
        fit(kernel, np.random.default_rng(0).normal(size=(10, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_kernel_that_gives_nan_or_infinity(bad):
    def kernel(X, Y):
        gram = rbf_kernel(X, Y)
        gram[0, -1] = bad
        return gram

    with pytest.raises(ValueError, match="NaN or infinity on the logged states"):
        fit(kernel, np.arange(4.0)[:, None])


# Use.


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_a_pickle_has_the_same_features(kernel):
    states = kernel_states(kernel, np.random.default_rng(0), n=20)
    features = fit(kernel, states)
    again = pickle.loads(pickle.dumps(features))
    assert_array_equal(again.transform(states), features.transform(states))
    assert again.n_features_out_ == features.n_features_out_


def test_an_unfitted_pickle_can_be_fitted():
    states = np.random.default_rng(0).normal(size=(6, 2))
    features = LandmarkFeatures("rbf", bandwidth=1.0, n_components=None)
    again = pickle.loads(pickle.dumps(features))
    assert_array_equal(
        again.fit(states).transform(states), features.fit(states).transform(states)
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_landmark_weights_predict_as_the_features_do(kernel, batch_rows, monkeypatch):
    rng = np.random.default_rng(0)
    states, other = kernel_states(kernel, rng, n=12), kernel_states(kernel, rng, n=10)
    features = fit(kernel, states)
    weight = rng.normal(size=(features.n_features_out_, 3))
    expected = features.transform(other) @ weight
    bytes_of_a_row = 8 * len(features.landmarks_)
    monkeypatch.setattr(landmarks, "_BATCH_BYTES", batch_rows * bytes_of_a_row)
    found = features.project(other, features.landmark_weights(weight))
    assert found.shape == (10, 3)
    # Weights on landmarks are as large as the smallest eigenvalue kept is small.
    assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_batches_hold_as_many_rows_as_they_are_allowed(monkeypatch):
    seen = []

    def kernel(X, Y):
        seen.append(len(X))
        return rbf_kernel(X, Y)

    features = fit(kernel, np.arange(5.0)[:, None])
    monkeypatch.setattr(landmarks, "_BATCH_BYTES", 4 * 8 * 5)
    seen.clear()
    assert features.transform(np.arange(11.0)[:, None]).shape[0] == 11
    assert seen == [4, 4, 3]


@pytest.mark.parametrize("kernel", HAVE_BANDWIDTH)
def test_states_that_are_whole_numbers(kernel):
    """A bandwidth is a length, not a whole number, even where the states are."""
    states = np.arange(6)[:, None]
    found = fit(kernel, states, bandwidth=0.5)
    as_floats = fit(kernel, states.astype(float), bandwidth=0.5)
    assert_allclose(
        found.transform(states), as_floats.transform(states.astype(float)), atol=1e-9
    )


def test_gaussian_process_kernels_are_called_as_they_are():
    states = np.random.default_rng(0).normal(size=(10, 2))
    for kernel in (RBF(0.4), RBF(2.0) + 0.5 * DotProduct(1.0), GAUSSIAN_PROCESS_KERNEL):
        found = gram_of(fit(kernel, states), states)
        assert_allclose(found, kernel(states), atol=1e-8)
        before = kernel.get_params()
        fit(kernel, states)
        assert kernel.get_params() == before


def test_a_callable_is_its_named_namesake():
    states = np.random.default_rng(0).normal(size=(10, 2))
    by_call = fit(callable_kernel, states)
    by_name = fit("rbf", states, kernel_params={"gamma": 0.7})
    assert_allclose(gram_of(by_call, states), gram_of(by_name, states))


@pytest.mark.parametrize("kernel", ["linear", "cosine", WhiteKernel(1.0)], ids=repr)
def test_a_kernel_that_is_zero_on_the_log_is_refused(kernel):
    with pytest.raises(ValueError, match="is zero on all logged states"):
        fit(kernel, np.zeros((4, 2)))


def test_leading_directions_hold_nearly_all_of_the_kernel():
    states = np.random.default_rng(0).normal(size=(500, 3))
    features = LandmarkFeatures("rbf", linear_terms=True, random_state=0).fit(states)
    gram = features.transform(states) @ features.transform(states).T
    n_features = features.n_features_out_
    features.keep_leading(n_features)
    assert features.n_features_out_ == n_features
    features.keep_leading(40)
    assert features.n_features_out_ == features.transform(states).shape[1] == 40
    left = features.transform(states) @ features.transform(states).T
    assert 0.95 <= np.trace(left) / np.trace(gram) < 1.0
    # States that are equal or not have no direction to spare.
    features = LandmarkFeatures("delta").fit(states[:50])
    features.keep_leading(10)
    assert features.n_features_out_ >= 47
