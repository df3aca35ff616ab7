"""Other programs that take part: a file that says how each is started and what it reads.

    {"llama.cpp": {"command": ["/…/bin/python", "/…/llama_worker.py"], "reads": "gguf", "load": {"flash": true}}}

Any program that speaks `protocol` can stand there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from gemwright.errors import UserError
from gemwright.paths import probe

FOLDER = Path("~/.cache/gemwright-bench")
FILE = "peers.json"
_HINT = "set them up from a checkout of the source: python bench/setup.py"

Reads = Literal["folder", "gguf"]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How another program is started, what files it reads, and what is said to it on loading."""

    name: str
    command: tuple[str, ...]
    reads: Reads
    load: dict[str, Any]


def write_peers(path: Path, peers: Sequence[Peer]) -> None:
    """Writes the file, over an older one."""
    tree = {peer.name: {"command": list(peer.command), "reads": peer.reads, "load": peer.load} for peer in peers}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def read_peers(path: Path | None = None) -> dict[str, Peer]:
    """The peers by name, from the file or the folder that holds it (default: `FOLDER`).

    Raises `UserError` for a file that is missing or says something else.
    """
    path = probe(FOLDER if path is None else path)
    path = path / FILE if path.is_dir() or not path.suffix else path
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return {name: _peer(name, fields) for name, fields in tree.items()}
    except OSError as error:
        raise UserError(f"no peers are set up: {path}: {error.strerror}", hint=_HINT) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not list peers: {error}", hint=_HINT) from error


def _peer(name: str, fields: dict[str, Any]) -> Peer:
    command, reads = fields["command"], fields["reads"]
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise ValueError(f"the command of {name} is {command!r}")
    if reads not in get_args(Reads):
        raise ValueError(f"{name} reads {reads!r}")
    return Peer(name=name, command=tuple(command), reads=reads, load=dict(fields.get("load", {})))


def choose(names: Sequence[str], peers: dict[str, Peer]) -> list[Peer]:
    """The peers of these names. Raises `UserError` naming those that are there."""
    for name in names:
        if name not in peers:
            raise UserError(f"no peer is called {name!r}", hint=f"set up: {', '.join(peers) or 'none'}")
    return [peers[name] for name in dict.fromkeys(names)]
