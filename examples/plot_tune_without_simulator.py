"""
Tuning and evaluation without a simulator: insulin doses
========================================================

A clinic's table: what was measured every half hour, with gaps and a column of text,
which dose of insulin was given, and for how much of the following half hour the glucose
was in range. A policy cannot be tried out. Its settings have to be selected from the
table, and the selection justified: what is the value of the policy, how certain is it,
and which rows does it depend on?

The patient is simulated, so that the true values are known. They were computed
beforehand, are used only at the end, and influence nothing before.

The script takes about three minutes and saves ``plot_tune_without_simulator.png``.
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import load_glucose
from sklearn_stackelberg.inspection import (
    CoverageDisplay,
    TuningDisplay,
    coverage_report,
)
from sklearn_stackelberg.metrics import doubly_robust_value, fitted_q_value

# %%
# 1. The table
# ------------
# ``X`` is what was known when a dose was decided on, and ``y`` is the *decision table*:
# the action, the reward, and which step of which episode it was. An episode is a day.
# The last 30 days are held out, to evaluate the policy learned from the others.

DISCOUNT = 0.95  # a half hour counts 5 % less than the one before it

X, y = load_glucose(return_X_y=True)
kept = y["episode"] >= 75
X_train, y_train, X_test, y_test = X[~kept], y[~kept], X[kept], y[kept]

print("The table\n---------")
print(X.join(y).head(4).to_string(index=False))
print(f"{len(X):,} rows; readings missing: {X['glucose'].isna().mean():.0%}")

# %%
# 2. The policy, a pipeline like any other
# ----------------------------------------

numbers = make_pipeline(SimpleImputer(), StandardScaler())
columns = ColumnTransformer(
    [
        ("numbers", numbers, X.columns.drop("meal")),
        ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["meal"]),
    ]
)
policy = make_pipeline(
    columns,
    StackelbergPolicyEstimator(discount=DISCOUNT, n_components=100, random_state=0),
)

# %%
# 3. The search
# -------------
# ``lam`` is the weight of agreement with the log: the smaller, the more pessimistic.
# ``beta`` and ``bandwidth`` determine how smooth the values are. Folds are of whole
# days, and the score is the estimator's own: an estimate of the policy's value,
# corrected by days that it was not learned from.

grid = {
    "stackelbergpolicyestimator__lam": [0.1, 1.0, 10.0, 100.0, 1e3, 1e4],
    "stackelbergpolicyestimator__beta": [0.01, 1.0],
    "stackelbergpolicyestimator__bandwidth": [0.5, 1.0],
}
search = GridSearchCV(policy, grid, cv=EpisodeKFold(3)).fit(X_train, y_train)

chosen = {name.split("__")[1]: value for name, value in search.best_params_.items()}
print(f"\nThe search: {len(search.cv_results_['params'])} candidates, 3 folds of days")
print("----------")
print("chosen:", ", ".join(f"{name} {value:g}" for name, value in chosen.items()))

# %%
# 4. What is its value, and how certain is that?
# ----------------------------------------------
# Estimated on the held-out days, in two ways, each with a standard error over days.
# ``greedy=True`` evaluates the doses that ``predict`` returns. A value is a discounted
# return, here at most 20 half hours in range; the logger's own rewards on those days
# are summed in the same way, as if every day continued as it began.


def logged_value(y):
    """Mean over days of Σ γ^t r_t, for the time after midnight, too; and its error."""
    decided = y.dropna(subset="reward")
    parts = DISCOUNT ** decided["step"] * decided["reward"]
    days = parts.groupby(decided["episode"]).sum() / (1 - DISCOUNT**48)
    return days.mean(), days.sem()


print("\nValue on 30 held-out days\n-------------------------")
print("The logger: {:.2f} ± {:.2f}".format(*logged_value(y_test)))
for value_of in (fitted_q_value, doubly_robust_value):
    print(value_of(search, X_test, y_test, discount=DISCOUNT, greedy=True))

# %%
# 5. Which rows does the value depend on?
# ---------------------------------------
# The value is a weighted average of logged rewards. If it depended on a handful of
# rows, ``coverage_report`` would warn and name them; the report always lists the
# heaviest.

report = coverage_report(search, X_test, y_test, discount=DISCOUNT, greedy=True)
print("\nCoverage\n--------")
print(report)
print("\nThe heaviest rows of X_test:")
heavy = report.to_frame().head(5).drop(columns="probability")
heavy.insert(3, "glucose", X_test["glucose"].iloc[heavy["row"]].to_numpy())
print(heavy.to_string(index=False, formatters={"share": "{:.1%}".format}))

# %%
# 6. The truth
# ------------
# Each candidate, fitted on the same 75 days, was applied to the simulated patient:
# ``python -m benchmarks.glucose.candidates`` made the table. ``truth`` is the value of
# the policy's probabilities, ``truth_greedy`` that of the doses that ``predict`` gives.

file = Path(__file__).with_name("glucose_true_values.csv")
truth = None
if file.exists():
    table = pd.read_csv(file)
    logger = table[table["lam"].isna()].iloc[0]
    truth = table.dropna().set_index(list(chosen))
    of_chosen = truth.loc[tuple(chosen.values())]
    best = truth.loc[truth["truth_greedy"].idxmax()]
    print("\nThe truth: value, and share of the day in range")
    print("------------------------------------------------")
    print(f"logger:             {logger['truth']:5.2f}  {logger['in_range']:.2f}")
    for name, row in (("chosen policy", of_chosen), ("best candidate", best)):
        print(f"{name + ':':<19} {row['truth_greedy']:5.2f}  {row['in_range']:.2f}")

# %%
# The value of the chosen policy is far above the logger's, and the estimates on the
# held-out days are too low. Thirty days are few, and these were worse than most:
# compare the logger's value on them with its true value. Nor do the columns contain the
# whole state of the patient: a logged state was reached by other doses than the
# policy's, and what follows it depends on more than the columns. No standard error
# includes that, and more days of the same table would not correct it.


def true_value(lam, column="truth"):
    """True value of the candidate that differs from the chosen one in ``lam`` alone."""
    return truth.loc[tuple((chosen | {"lam": lam}).values()), column]


# %%
# 7. A picture
# ------------
# Left, the held-out value for every ``lam``, and the true one; right, how many rows the
# evaluation on the held-out days depends on. Half hours that are all in range are worth
# 20, and none of them is worth less than nothing. Where ``lam`` is small an estimate
# may lie far outside, with an error as large: it is left out of the picture.

figure = Figure(figsize=(11, 4.4), layout="constrained")
tuning_axes, coverage_axes = figure.subplots(1, 2, width_ratios=[1.5, 1])
display = TuningDisplay.from_search(
    search,
    "stackelbergpolicyestimator__lam",
    truth=None if truth is None else true_value,
    ax=tuning_axes,
)
if truth is not None:
    tuning_axes.plot(
        display.values,
        [true_value(lam, "truth_greedy") for lam in display.values],
        color="0.5",
        ls=":",
        marker="s",
        ms=4,
        label="truth, greedy",
    )
    tuning_axes.legend(loc="upper center", ncols=3, frameon=False)
tuning_axes.set(
    title=f"beta {chosen['beta']:g}, bandwidth {chosen['bandwidth']:g}",
    xlabel="lam (smaller is more pessimistic)",
    ylabel="discounted half hours in range",
    ylim=(0.0, 30.0),
)
CoverageDisplay.from_report(report, ax=coverage_axes)
coverage_axes.set_title("the chosen policy on 30 held-out days")
figure.savefig("plot_tune_without_simulator.png", dpi=120)
print("\nSaved plot_tune_without_simulator.png")
