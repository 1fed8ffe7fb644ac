"""
What it does, how sure that is, and what it is worth: insulin doses in pictures
===============================================================================

A policy was learned from 60 days of one simulated patient: which dose of insulin to
give every half hour. Each question about it has a picture: what it does beside what was
logged, where, how sure the log is of that, what it is worth beside other policies, how
λ was chosen, and whether the fit had ended.

The script takes less than half a minute and saves ``plot_policy_pictures_1.png`` to
``plot_policy_pictures_6.png``.
"""

import warnings

from matplotlib import pyplot
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.inspection import PartialDependenceDisplay
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.baselines import BehaviourCloning
from sklearn_stackelberg.datasets import load_glucose
from sklearn_stackelberg.inspection import (
    FrozenPolicy,
    HistoryDisplay,
    PolicyDisplay,
    TuningDisplay,
    ValueDisplay,
)
from sklearn_stackelberg.metrics import HiddenStateWarning, compare_policies

# The columns are not the whole state, which plot_tune_without_simulator.py speaks of.
warnings.filterwarnings("ignore", category=HiddenStateWarning)

X, y = load_glucose(return_X_y=True)
held_out = y["episode"] >= 60
X_train, y_train, X_test, y_test = X[~held_out], y[~held_out], X[held_out], y[held_out]


def pipeline(policy):
    """Missing readings and a column of text are dealt with before the policy."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    text = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", numbers, X.columns.drop("meal").tolist()),
            ("text", text, ["meal"]),
        ]
    )
    return make_pipeline(columns, policy)


settings = {"discount": 0.95, "n_components": 60, "random_state": 0}
learned = pipeline(StackelbergPolicyEstimator(**settings)).fit(X_train, y_train)

# %%
# 1. What does it do?
# -------------------
# Shares of the doses, in multiples of the basal rate, in the 45 days held out. The
# policy gives more of the smallest and of the largest doses than the logger, half of
# whose doses were drawn at random. Hatched is what the log is not sure of: another dose
# may be as good, at the level of ``predict_set``. That is nearly everything, because a
# single dose moves the return of a day by little.

display = PolicyDisplay.from_estimator(learned, X_test, y_test)
display.figure_.savefig("plot_policy_pictures_1.png", dpi=100)

# %%
# 2. Where?
# ---------
# Over one column, before the pipeline: bins hold as many states each, and readings that
# are missing have one of their own. The line says in how many states no other dose may
# be as good.

figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for ax, of in zip(axes, ("logger", "policy"), strict=True):
    PolicyDisplay.from_estimator(
        learned, X_test, y_test, columns="glucose", of=of, ax=ax
    )
figure.savefig("plot_policy_pictures_2.png", dpi=100)

# %%
# Over two columns, the commonest dose of each cell: at the same glucose less is given
# while much insulin is still at work. And by how sure the log is: by how many standard
# errors the dose is ahead of every other. Below zero another one looks better to the
# evaluation, which is not pessimistic.

figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for ax, columns in zip(
    axes, (["glucose", "insulin_on_board"], "certainty"), strict=True
):
    PolicyDisplay.from_estimator(learned, X_test, y_test, columns=columns, ax=ax)
figure.savefig("plot_policy_pictures_3.png", dpi=100)

# %%
# scikit-learn's partial dependence asks another question: how often no insulin would be
# given if one column had this value in every row and the others stayed as they are.
# At a glucose of 50 it is half of the time, and over 160 hardly ever; what was given in
# the last hours counts for less.

measured = X_test.dropna()
figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for ax, column in zip(axes, ("glucose", "insulin_on_board"), strict=True):
    PartialDependenceDisplay.from_estimator(
        FrozenPolicy(learned), measured, [column], target=0.0, ax=ax
    )
figure.savefig("plot_policy_pictures_4.png", dpi=100)

# %%
# 3. What is it worth?
# --------------------
# Beside the logger and two other policies: what the logger does, learned by imitation,
# and a policy that trusts the log less. A mark is hollow if its interval holds what it
# is compared with: by 45 days no difference is sure. (The patient is simulated, and
# plot_tune_without_simulator.py has what such policies truly earn.)

policies = {
    "learned": learned,
    "learned, λ = 0.1": pipeline(StackelbergPolicyEstimator(lam=0.1, **settings)),
    "imitation": pipeline(BehaviourCloning()),
}
for name in [*policies][1:]:
    policies[name].fit(X_train, y_train)
comparison = compare_policies(policies, X_test, y_test, discount=0.95)
print(comparison)

figure, axes = pyplot.subplots(2, 1, figsize=(7, 4.6), layout="constrained")
ValueDisplay.from_estimates(comparison, ax=axes[0])
ValueDisplay.from_estimates(comparison, difference=True, ax=axes[1])
figure.savefig("plot_policy_pictures_5.png", dpi=100)

# %%
# 4. How did the fit come there?
# ------------------------------
# ``lam="calibrated"`` takes the λ whose policies have the highest lower bound on days
# that they were not learned from; here on 20 days, to be quick. Beside it the value by
# evaluation of the fit, and how much of it pessimism takes off: it had ended.

few = y_train["episode"] < 20
calibrated = pipeline(
    StackelbergPolicyEstimator(
        lam="calibrated", discount=0.95, n_components=30, random_state=0
    )
).fit(X_train[few], y_train[few])
figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
TuningDisplay.from_estimator(calibrated, ax=axes[0])
HistoryDisplay.from_estimator(learned, ax=axes[1])
figure.savefig("plot_policy_pictures_6.png", dpi=100)
print("\nSaved plot_policy_pictures_1.png to plot_policy_pictures_6.png")
