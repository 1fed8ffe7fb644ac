"""What hyperparameters must be, as data, and the sentence where one is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import NamedTuple, TypeGuard

import numpy as np

# M and 2λn MᵀM + βI, in float64, and as much again to solve with.
_GAME_BYTES = 4 * 2**30


class Rule(NamedTuple):
    """What a hyperparameter must be, in words, and whether a value is."""

    expected: str
    holds: Callable[[object], bool]


def check_rules(values: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    """Refuse the first value that does not keep its rule."""
    for name, rule in rules.items():
        if not rule.holds(values[name]):
            raise ValueError(f"{name} must be {rule.expected}, got {values[name]!r}.")


def positive(*others: str | None) -> Rule:
    """A positive finite number, or one of ``others``."""
    return _or(
        Rule("a positive finite number", lambda x: _is_real(x) and 0 < x < np.inf),
        others,
    )


def non_negative(*others: str | None) -> Rule:
    """A finite number that is at least zero, or one of ``others``."""
    return _or(Rule("a number >= 0", lambda x: _is_real(x) and 0 <= x < np.inf), others)


def integer(least: int, *others: str | None) -> Rule:
    """A whole number that is at least so much, or one of ``others``."""
    return _or(
        Rule(f"an integer >= {least}", lambda x: _is_whole(x) and x >= least), others
    )


def one_of(*options: str) -> Rule:
    """One of a few names."""
    return Rule(
        f"one of {list(options)}", lambda x: isinstance(x, str) and x in options
    )


def flag() -> Rule:
    """True or False, also numpy's."""
    return Rule("True or False", is_flag)


def is_flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def _or(rule: Rule, others: tuple[str | None, ...]) -> Rule:
    def holds(value: object) -> bool:
        # Arrays compare elementwise, so that only what is a name or None is compared.
        other = value is None or isinstance(value, str)
        return (other and value in others) or rule.holds(value)

    return Rule(" or ".join([rule.expected, *map(repr, others)]), holds)


# True and False are numbers to Python, and a mistake wherever a number is expected.
def _is_real(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not is_flag(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not is_flag(value)


def check_discount(discount: object) -> None:
    """Refuse a discount under which no values have a limit."""
    if not _is_real(discount) or not 0 <= discount <= 1:
        raise ValueError(
            f"discount must be a number in [0, 1], got {discount!r}. 0 counts the next "
            "reward alone; 0.99 looks about 100 steps ahead; 1 counts all that comes "
            "until an episode ends."
        )


def check_level(confidence_level: object) -> None:
    """Refuse what is not a probability strictly between 0 and 1."""
    if not _is_real(confidence_level) or not 0 < confidence_level < 1:
        raise ValueError(
            "confidence_level must be a number strictly between 0 and 1, such as "
            f"0.95; got {confidence_level!r}."
        )


def check_table_size(
    n_actions: int, n_features: int, n_rows: int | None = None
) -> None:
    """Refuse a game whose matrices would not fit in memory, before they are built.

    ``n_rows`` is that of the log, where it has no more directions than rows.
    """
    # Four float64 matrices, each square in the weights of Q or in the rows.
    n_weights = n_actions * n_features
    size = 4 * 8 * min(n_weights, n_rows or n_weights) ** 2
    if size > _GAME_BYTES:
        raise ValueError(
            f"{n_actions} actions times {n_features} features need matrices of "
            f"{size / 2**30:.1f} GiB, more than the {_GAME_BYTES / 2**30:.0f} GiB "
            "allowed. Set n_components lower, group the actions, or, if they are "
            "measurements, set action_type='continuous' or round them."
        )
