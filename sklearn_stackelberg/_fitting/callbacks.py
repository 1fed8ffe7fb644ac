"""Who watches a fit: printed lines, a user's callable, scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._problem.dataset import OfflineProblem
from .result import holdout_evaluator_of

try:  # from scikit-learn 1.9 on
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks; `callback` serves."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """The method as it is."""
        return method


Entry = dict[str, float]

Point = Callable[[], Any]

# True where the climb is to stop.
Listener = Callable[[Entry, Point], Any]

# At verbose=1, every so many evaluations are told of.
_EVERY = 10


class ObserverGroup:
    """Passes each entry of a history on, in the units of ``history_``.

    Parameters
    ----------
    game : OfflineProblem
        Whose units they are.
    listeners : sequence of callables
        Each takes the entry and a callable that gives the players as they are then;
        True stops the climb.
    """

    def __init__(self, game: OfflineProblem, listeners: Sequence[Listener]) -> None:
        self._game, self._listeners = game, listeners

    def __call__(self, entry: Entry, point: Point) -> bool:
        """Whether anyone wants the climb to stop."""
        game = self._game
        told = entry | {
            "value": game.anchor + game.unit * entry["value"],
            "pessimism": game.unit * entry["pessimism"],
        }
        # Everyone is told, also after one has asked to stop.
        return any([bool(listener(dict(told), point)) for listener in self._listeners])


class Printer:
    """Prints a line every few evaluations.

    Parameters
    ----------
    verbose : int
        1 prints every tenth, 2 each.
    """

    def __init__(self, verbose: int) -> None:
        self._every = _EVERY if verbose == 1 else 1
        self._seen = 0

    def __call__(self, entry: Entry, point: Point) -> None:
        """Print the entry if it is one of those to be told of."""
        if self._seen % self._every == 0:
            print(
                f"evaluation {self._seen}: value {entry['value']:.4g} "
                f"(pessimism {entry['pessimism']:.3g}), Bellman error "
                f"{entry['bellman_error']:.3g}, {entry['seconds']:.1f} s"
            )
        self._seen += 1


class CallbackBridge:
    """Tells scikit-learn's callbacks of each evaluation as a task of the fit.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        Of the fit.
    estimator : estimator
    data : dict
        ``X`` and ``y`` of the fit.
    attributes : callable
        Fitted attributes, from the players as they are.
    """

    def __init__(
        self,
        context: Any,
        estimator: Any,
        data: dict[str, Any],
        attributes: Callable[[Any], dict[str, Any]],
    ) -> None:
        self._context, self._estimator = context, estimator
        self._data, self._attributes = data, attributes

    def __call__(self, entry: Entry, point: Point) -> bool:
        """Whether a callback wants the climb to stop."""
        task = self._context.subcontext(task_name="evaluation")
        task.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return task.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._attributes(point()),
            **self._data,
        )


def watch_fit(
    estimator: Any, fitting: Any, X: Any, y: Any
) -> tuple[ObserverGroup | None, Callable[[Any], None]]:
    """Who watches a fit of the estimator, and what to call when it is over.

    Parameters
    ----------
    estimator : StackelbergPolicyEstimator
        With ``verbose`` and ``callback``.
    fitting : object
        With ``game``, and ``players``, which makes fitted attributes of the two.
    X, y : object
        What `fit` was given.

    Returns
    -------
    watch : ObserverGroup or None
    finish : callable
        Takes the outcome.
    """
    listeners: list[Listener] = []
    if estimator.verbose:
        listeners.append(Printer(int(estimator.verbose)))
    if estimator.callback is not None:
        listeners.append(lambda entry, point: estimator.callback(entry))
    finish: Callable[[Any], None] = _nothing
    if getattr(estimator, "_skl_callbacks", None) or hasattr(
        estimator, "_parent_callback_ctx"
    ):
        data = {"X": X, "y": y}
        context = estimator._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=estimator, **data)

        def attributes(players: tuple[Any, Any]) -> dict[str, Any]:
            return _fitted(fitting, *fitting.players(*players))

        def finish(outcome: Any) -> None:
            context.call_on_fit_task_end(
                estimator=estimator,
                reconstruction_attributes=lambda: _fitted(
                    fitting, outcome.fitted_policy, outcome.attributes
                ),
                **data,
            )

        listeners.append(CallbackBridge(context, estimator, data, attributes))
    return (ObserverGroup(fitting.game, listeners) if listeners else None), finish


def _fitted(fitting: Any, fitted_policy: Any, shown: dict[str, Any]) -> dict[str, Any]:
    """What an estimator needs to predict and to score."""
    return shown | {
        "_fitted_policy": fitted_policy,
        "action_type_": fitting.actions.type,
        "evaluation_": holdout_evaluator_of(fitted_policy, fitting.game),
        "n_features_in_": fitting.game.states.shape[1],
    }


def _nothing(outcome: Any) -> None:
    """What is called where nobody waits for the end."""
