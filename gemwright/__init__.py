"""Gemwright: the Gemma family, whole, in one package.

The public face is fetched on first touch, so that `import gemwright` costs nothing and imports no torch:

    import gemwright as gw
    lm = gw.load("folder-or-hub-name")
    lm.generate("Once upon a time", sampling=gw.Sampling(max_tokens=64, temperature=0))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemwright.engine.chat import Chat as Chat
    from gemwright.engine.engine import Engine as Engine
    from gemwright.engine.request import Sampling as Sampling
    from gemwright.errors import UserError as UserError
    from gemwright.lm import load as load
    from gemwright.planner.fit import plan as plan

__version__ = "0.1.0"

_FACE = {
    "Chat": "gemwright.engine.chat",
    "Engine": "gemwright.engine.engine",
    "Sampling": "gemwright.engine.request",
    "UserError": "gemwright.errors",
    "load": "gemwright.lm",
    "plan": "gemwright.planner.fit",
}

__all__ = ["Chat", "Engine", "Sampling", "UserError", "__version__", "load", "plan"]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'gemwright' has no attribute {name!r}")
    value = getattr(import_module(_FACE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_FACE))
