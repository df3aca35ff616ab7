"""`multipleOf` in a JSON schema: how many remainders the parser has to tell apart. No torch.

To follow a number by its digits it keeps what is left of them: as many states as the step has units in its last place,
25 for 0.25. Where several steps hold for one number it is their least common multiple. Ten thousand take a tenth of a
second, a million half a minute, and nothing in the parser ends it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Any

from gemwright.errors import UserError

REMAINDERS = 10_000
"""The most that a number may have."""

_COMBINED = ("allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "$recursiveRef")


def check(schema: Any) -> None:
    """Raises `UserError` for a step with more remainders than `REMAINDERS`, and for steps that have more together,
    where parts of the schema may hold for one number. `schema`: as `json` reads it."""
    steps: set[Decimal] = set()
    combined = False
    for key, value in keywords(schema):
        combined = combined or key in _COMBINED
        if key == "multipleOf" and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            steps.add(Decimal(repr(value)))
    each = [_remainders([step]) for step in steps]
    count = _remainders(steps) if combined and steps else max(each, default=1)
    if count > REMAINDERS:
        said = ", ".join(str(step) if len(str(step)) < 24 else f"{step:.3e}" for step in sorted(steps)[:4])
        raise UserError(
            f"multipleOf {said} in the JSON schema has too many remainders: {Decimal(count):.6g}, at most "
            f"{REMAINDERS:,} can be followed",
            hint="leave it out, and check the number afterwards",
        )


def keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth; names of properties among them."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield from node.items()
            pending += node.values()
        elif isinstance(node, list):
            pending += node


def _remainders(steps: Collection[Decimal]) -> int:
    """Of a number that all the steps divide."""
    place = min(_exponent(step) for step in steps)
    return math.lcm(*(int(step.scaleb(-place)) for step in steps))


def _exponent(step: Decimal) -> int:
    """Of its last place, at most 0: zeros before the point are units, too."""
    return min(0, int(step.normalize().as_tuple().exponent))
