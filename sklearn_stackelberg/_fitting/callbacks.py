"""Who observes a fit: printed lines, a user's callable, scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from .._problem.dataset import OfflineProblem
    from ..solvers._base import Weights
    from .fitted_policy import Fitted

try:  # from scikit-learn 1.9 on
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks; `callback` serves."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """The method as it is."""
        return method


Entry = dict[str, float]

# The policy and the Q-function as the solver has them then.
Point = Callable[[], "tuple[Weights, Weights]"]

# A true value stops the solver.
Listener = Callable[[Entry, Point], object]

# At verbose=1, every so many evaluations are printed: a fit has dozens.
_EVERY = 10


class ObserverGroup:
    """Passes each entry of a history on, in the units of ``history_``."""

    def __init__(self, problem: OfflineProblem, listeners: Sequence[Listener]) -> None:
        self._problem, self._listeners = problem, listeners

    def __call__(self, entry: Entry, point: Point) -> bool:
        problem = self._problem
        shown = entry | {
            "value": problem.initial_anchor + problem.unit * entry["value"],
            "pessimism": problem.unit * entry["pessimism"],
        }
        # Every listener gets the entry, also after one has stopped it.
        return any([bool(listener(dict(shown), point)) for listener in self._listeners])


class Printer:
    """Prints a line every few evaluations."""

    def __init__(self, verbose: int) -> None:
        self._every = _EVERY if verbose == 1 else 1
        self._seen = 0

    def __call__(self, entry: Entry, point: Point) -> None:
        if self._seen % self._every == 0:
            print(
                f"evaluation {self._seen}: value {entry['value']:.4g} "
                f"(pessimism {entry['pessimism']:.3g}), Bellman error "
                f"{entry['bellman_error']:.3g}, {entry['seconds']:.1f} s"
            )
        self._seen += 1


class CallbackBridge:
    """Hands scikit-learn's callbacks each evaluation as a task of the fit."""

    # Contexts are duck-typed: their class is of scikit-learn 1.9 alone. ``fit`` is a
    # `fits.Fit`, of a module that need not be imported for its name.
    def __init__(self, estimator: Any, fit: Any, data: dict[str, object]) -> None:
        self._estimator, self._fit, self._data = estimator, fit, data
        self._context = estimator._init_callback_context(max_subtasks=None)
        self._context.call_on_fit_task_begin(estimator=estimator, **data)

    def __call__(self, entry: Entry, point: Point) -> bool:
        task = self._context.subcontext(task_name="evaluation")
        task.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return self._end(task, lambda: self._fit.fitted(*point()))

    def finish(self, fitted: Fitted) -> None:
        self._end(self._context, lambda: fitted)

    def _end(self, task: Any, fitted: Callable[[], Fitted]) -> bool:
        # What is reconstructed costs an evaluation, and few callbacks ask for it.
        return task.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._fit.reconstruction(fitted()),
            **self._data,
        )


def make_observer(
    estimator: BaseEstimator, fit: Any, X: object, y: object
) -> tuple[ObserverGroup | None, Callable[[Fitted], None]]:
    """Who observes a fit, None if nobody does, and what to call with its result."""
    listeners: list[Listener] = []
    hp, finish = fit.hp, _nothing
    callback = hp.callback
    if hp.verbose:
        listeners.append(Printer(int(hp.verbose)))
    if callback is not None:
        listeners.append(lambda entry, point: callback(entry))
    # The second is what a search that hands its callbacks on has set.
    own = getattr(estimator, "_skl_callbacks", None)
    if own or hasattr(estimator, "_parent_callback_ctx"):
        bridge = CallbackBridge(estimator, fit, {"X": X, "y": y})
        listeners.append(bridge)
        finish = bridge.finish
    return (ObserverGroup(fit.problem, listeners) if listeners else None), finish


def _nothing(fitted: Fitted) -> None:
    """What is called where nobody waits for the end."""
