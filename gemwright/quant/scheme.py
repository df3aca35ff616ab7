"""Which form each weight takes: schemes as values."""

from __future__ import annotations

from dataclasses import dataclass

from gemwright.errors import UserError
from gemwright.ops.matmul import Form


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """`linear`: the form of the blocks' matrices. `table`: of the embedding table, which is also the head. Norms,
    biases, convolutions and the recurrence's gates stay as they are: they are small."""

    name: str
    linear: Form
    table: Form


# At 4 bits the table keeps 8: every answer is read off it, and rounding it costs the most (figures: docs/log.md).
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="bf16", linear="bf16", table="bf16"),
        Scheme(name="q8_0", linear="q8_0", table="q8_0"),
        Scheme(name="q4_0", linear="q4_0", table="q8_0"),
        Scheme(name="q4_0-all", linear="q4_0", table="q4_0"),
        Scheme(name="int8", linear="int8", table="int8"),
        Scheme(name="int4", linear="int4", table="int8"),
        Scheme(name="sfp8", linear="sfp8", table="sfp8"),
    )
}


def scheme(name: str | Scheme) -> Scheme:
    """The scheme of a name. Raises `UserError` for an unknown one."""
    if isinstance(name, Scheme):
        return name
    found = SCHEMES.get(name.lower())
    if found is None:
        raise UserError(f"no quantisation is called {name!r}", hint=f"use one of {', '.join(SCHEMES)}")
    return found
