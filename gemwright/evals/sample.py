"""A text that is at hand wherever Python is: docstrings of its standard library."""

from __future__ import annotations

import ast
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from gemwright.errors import UserError

# Modules with much to say in whole sentences, read in this order until there is enough.
_MODULES = ("statistics", "random", "textwrap", "difflib", "heapq", "fractions", "tempfile", "shutil", "pathlib")
LENGTH = 16_000  # characters: a few thousand tokens


def docstrings(length: int = LENGTH) -> str:
    """The first `length` characters of these modules' docstrings, each as it stands in the source without its
    indentation. The same installation gives the same text.

    Raises `UserError` where the installation carries no source.
    """
    parts: list[str] = []
    for name in _MODULES:
        parts += _docstrings(Path(sysconfig.get_paths()["stdlib"]) / f"{name}.py")
        if sum(map(len, parts)) >= length:
            break
    return "\n\n".join(parts)[:length]


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with tokenize.open(path) as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", hint="give a text of your own: --text FILE") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
