"""The text that every Python installation carries: its documentation topics and its standard library's source.

Whole modules are kept, code around docstrings and comments: half prose, half program. Left out are the tests, what is
a table rather than a text (character maps, entity lists), and what differs from machine to machine. A module is given
in parts that begin where a statement begins, so that a model trained on them has seen texts start with `def` or
`class`, and not only with a licence.
"""

from __future__ import annotations

import platform
import re
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from gemwright.data.documents import Document
from gemwright.errors import UserError

PART = 1500  # characters after which a module is cut before its next statement
# The share (see `documents.held_out`) that no recipe learns from: any model of theirs may be asked about it.
HELD_OUT = 0.005

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "lib-dynload", "pydoc_data"}
_TABLES = {"html/entities.py", "sitecustomize.py", "usercustomize.py", "this.py"}
_LOCAL = re.compile(r"^(_sysconfigdata|config-|plat-|__phello__|__pycache__)")
_STATEMENT = re.compile(r"(async def |def |class |@|if __name__)")
_METHOD = re.compile(r" {4}(async def |def |class |@)")


def documents() -> Iterator[Document]:
    """Documentation topics sorted by name, then modules sorted by path, in parts of at least `PART` characters where
    a statement allows it. The same installation gives the same documents in the same order; another build of the
    same version may not, since distributions patch the library and split it up.

    Raises `UserError` where the installation carries no source (an archive of compiled modules, say).
    """
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield Document(name=f"topics/{name}", key=f"topics/{name}", text=text.strip() + "\n")
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted((path.relative_to(root).as_posix(), path) for path in root.rglob("*.py"))
    kept = [(name, path) for name, path in paths if _kept(name)]
    if not kept:
        raise UserError(f"this Python keeps no source under {root}", hint="use a Python that is installed with source")
    for name, path in kept:
        try:
            with tokenize.open(path) as file:  # obeys the coding line that some modules begin with
                source = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {error}", hint="repair this Python's standard library") from error
        for number, text in enumerate(cut(source), start=1):
            yield Document(name=f"{name}#{number}", key=name, text=text)


def version() -> str:
    """The Python whose text `documents` gives, as `3.11.7`."""
    return platform.python_version()


def cut(source: str) -> Iterator[str]:
    """Parts of a module whose concatenation is the module but for blank lines between them.

    A part ends before a statement of the top level once it has `PART` characters, or before one of a class's body
    once it has twice as many. Decorators and the comments above a statement stay with it.
    """
    part: list[str] = []
    size = pending = 0  # pending: lines at the end of the part that belong to the statement which follows them
    for line in source.splitlines(keepends=True):
        starts = _STATEMENT.match(line) or (size >= 2 * PART and _METHOD.match(line))
        head = len(part) - pending
        if starts and size >= PART and head > 0:
            yield "".join(part[:head]).strip("\n") + "\n"
            part = part[head:]
            size = sum(map(len, part))
        part.append(line)
        size += len(line)
        pending = pending + 1 if line.lstrip().startswith(("#", "@")) else 0
    rest = "".join(part).strip("\n")
    if rest.strip():
        yield rest + "\n"


def _kept(name: str) -> bool:
    parts = name.split("/")
    return name not in _TABLES and not any(part in _LEFT_OUT or _LOCAL.match(part) for part in parts)
