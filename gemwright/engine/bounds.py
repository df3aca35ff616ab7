"""Bounds of numbers in a JSON schema, as the parser that follows them counts: within 64 bits, in doubles, and in the
fewest digits that tell a double from the next. No torch.

Given as they stand, an integer beyond 2^53 is rounded in silence, to the wrong side of its bound too, and one beyond
2^63 is refused, or worse. Here bounds move inward, to the next number that is as it is written; what lies within is
within the schema's own. A constant cannot move: one that would be written as another is refused.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from gemwright.errors import UserError

LARGEST = 2**63 - 119_808
"""The largest integer of 64 bits that can be followed: a double, and all its digits are written."""

_LEAST = ("minimum", "exclusiveMinimum")
_MOST = ("maximum", "exclusiveMaximum")
_ONE_SIDED = 10**18  # what reaches so far needs an end on its other side
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_CONSTANT = ("const", "enum")


def followed(schema: Any) -> Any:
    """The schema, as `json` reads it, with bounds that can be followed; everything else as it was, and what is
    no schema too.

    Raises:
        UserError: no number of 64 bits lies within a bound, or a constant is an integer that would be rounded.
    """
    if isinstance(schema, list):
        return [followed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _CONSTANT:
            _constant(value)
            found[key] = value
        elif key in _NAMED and isinstance(value, dict):
            found[key] = {name: followed(one) for name, one in value.items()}
        elif _number(value) and key in _LEAST + _MOST:
            found[key] = _inward(key, value)
        else:
            found[key] = followed(value)
    least = [found[key] for key in _LEAST if _number(found.get(key))]
    most = [found[key] for key in _MOST if _number(found.get(key))]
    if least and not most and max(least) >= _ONE_SIDED:
        found["maximum"] = LARGEST
    if most and not least and min(most) <= -_ONE_SIDED:
        found["minimum"] = -LARGEST
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _said(value: int | float) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:20]}… ({len(text)} characters)"


def _inward(key: str, value: int | float) -> int | float:
    """The nearest bound within `value` that can be followed."""
    sign = 1 if key in _LEAST else -1
    if sign * value > LARGEST:
        raise UserError(f"no number of 64 bits follows {key} {_said(value)}", hint="ask for such a number as a text")
    if sign * value < -LARGEST:
        return -sign * LARGEST
    if isinstance(value, float) and not value.is_integer():
        return value
    near = float(value)
    while sign * int(near) < sign * value or not _exact(int(near)):
        near = math.nextafter(near, sign * math.inf)
    return value if near == value else int(near)


def _constant(value: Any) -> None:
    """Refuses what would become another number. A reference may point in here, so that bounds are looked at too."""
    if isinstance(value, dict):
        for key, one in value.items():
            if _number(one) and key in _LEAST + _MOST and not -LARGEST <= one <= LARGEST:
                raise UserError(f"a constant of the JSON schema has {key} {_said(one)}", hint="give it as a text")
            _constant(one)
    elif isinstance(value, list):
        for one in value:
            _constant(one)
    elif isinstance(value, int) and not _exact(value):
        raise UserError(f"{_said(value)}, a constant of the JSON schema, would be rounded", hint="give it as a text")


def _exact(value: int) -> bool:
    """Whether it is written with all its digits."""
    return abs(value) <= 2**53 or (abs(value) < 2**1023 and Decimal(repr(float(value))) == value)
