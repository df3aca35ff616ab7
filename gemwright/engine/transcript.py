"""A conversation on its own, apart from the engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass

from gemwright.engine.request import PromptImage
from gemwright.text.turns import Message


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """A conversation on its own: what was said, without the system text, and the ids as the model has them, with the
    pictures among these. `closed`: the mark that ends the last reply is among them."""

    system: str | None
    messages: tuple[Message, ...]
    ids: tuple[int, ...]
    closed: bool
    images: tuple[PromptImage, ...] = ()
