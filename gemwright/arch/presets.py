"""Names → models: every published size, and any size made from one of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from gemwright.arch import gemma1, gemma2, gemma3, recurrentgemma
from gemwright.arch.spec import Model, check
from gemwright.errors import UserError

_FAMILIES: tuple[tuple[Callable[..., Model], Mapping[str, dict[str, Any]]], ...] = (
    (gemma1.gemma1, gemma1.SIZES),
    (gemma2.gemma2, gemma2.SIZES),
    (gemma3.gemma3, gemma3.SIZES),
    (recurrentgemma.recurrentgemma, recurrentgemma.SIZES),
)


def names() -> tuple[str, ...]:
    """Every preset's name, oldest family first."""
    return tuple(name for _, sizes in _FAMILIES for name in sizes)


def sizes(name: str) -> dict[str, Any]:
    """The row of a preset: the keyword arguments of its family's function.

    A hub's owner prefix and the suffixes `-it` and `-pt` are ignored: `google/gemma-3-1b-it` is `gemma-3-1b`.
    """
    return dict(_find(name)[1])


def preset(name: str, **overrides: Any) -> Model:
    """The model of that name, with some of its sizes replaced (`preset("gemma-3-1b", depth=12, width=128)`).

    Raises `UserError` for an unknown name or size, and for sizes that make no model.
    """
    family, row = _find(name)
    unknown = sorted(set(overrides) - set(row))
    if unknown:
        raise UserError(f"{name} has no size called {', '.join(unknown)}", hint=f"it has: {', '.join(sorted(row))}")
    try:
        model = family(name=_plain(name), **(row | overrides))
        check(model)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{name} with these sizes is no model: {error}", hint="change the sizes") from error
    return model


def _find(name: str) -> tuple[Callable[..., Model], dict[str, Any]]:
    plain = _plain(name)
    for family, rows in _FAMILIES:
        if plain in rows:
            return family, rows[plain]
    near = difflib.get_close_matches(plain, names(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names())}"
    raise UserError(f"no model is called {name!r}", hint=hint)


def _plain(name: str) -> str:
    plain = name.rsplit("/", 1)[-1].lower()
    return plain.removesuffix("-it").removesuffix("-pt")
