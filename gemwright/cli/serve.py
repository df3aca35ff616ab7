"""`gemwright serve`: a model behind HTTP, in the shape of OpenAI's API."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.lm import LM
    from gemwright.server.settings import Settings

KEY = "GEMWRIGHT_API_KEY"

KeyFile = Annotated[
    Path | None, typer.Option(help=f"API keys, one on a line; or set {KEY}.", show_default="none: everybody may ask")
]
RemoteImages = Annotated[
    bool, typer.Option("--remote-images", help="Fetch pictures that clients name by http and https addresses.")
]
Origins = Annotated[
    list[str] | None,
    typer.Option(help="A web origin that browsers may ask from; may be given again.", show_default=False),
]


def run(
    model: options.Model = "pocket",
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0: every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="What clients call the model.", show_default="the model's own name")
    ] = None,
    key_file: KeyFile = None,
    waiting: Annotated[int, typer.Option(min=0, help="Answers that may wait for a place.")] = 64,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Requests of one key at once.", show_default="no limit")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Tokens of one key, read and drawn.", show_default="no limit")
    ] = None,
    body_limit: Annotated[str, typer.Option(help="Of one request's body, such as 8M.")] = "32M",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request may take.")] = 600.0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that requests get to end on SIGTERM.")] = 30.0,
    remote_images: RemoteImages = False,
    origin: Origins = None,
    sequences: options.Sequences = None,
    reuse: options.Reuse = None,
    reuse_limit: options.ReuseLimit = None,
    disk: options.Disk = None,
    disk_limit: options.DiskLimit = "20G",
    context: options.Context = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quant: options.Quant = None,
    int8_cache: options.Int8Cache = False,
    adapter: options.Adapters = None,
    speculate: options.Speculate = "auto",
    draft: options.DraftModel = None,
    threads: options.Threads = None,
) -> None:
    """Serve a model over HTTP.

    Clients of OpenAI's API take http://HOST:PORT/v1 as their base URL; a browser finds a page to chat at
    http://HOST:PORT.

    Example: [bold]gemwright serve --port 8000[/bold]
    """
    from gemwright.server.settings import Settings

    settings = Settings(
        name=name,
        keys=keys(key_file),
        body_bytes=show.read_size(body_limit),
        waiting=waiting,
        concurrent=concurrent,
        tokens_per_minute=tokens_per_minute,
        request_seconds=timeout,
        drain_seconds=drain,
        remote_images=remote_images,
        reuse=reuse,
        origins=tuple(origin or ()),
    )
    inside, named = options.read_adapters(adapter)
    more = {"speculate": speculate, "draft": draft, "adapters": named, "sequences": sequences, "disk": disk}
    more |= {"reuse_bytes": show.read_size(reuse_limit) if reuse_limit else None}
    more |= {"disk_bytes": show.read_size(disk_limit)}
    with _listening(host, port) as listener:
        lm = options.load(model, device, dtype, threads, context, quant, inside, int8_cache, **more)
        _serve(lm, settings, listener, host)


def _serve(lm: LM, settings: Settings, listener: socket.socket, host: str) -> None:
    """Answers at the listener until the process is told to end."""
    from gemwright.server.http import app
    from gemwright.server.listen import server

    where = listener.getsockname()
    serving = server(app(lm, settings), settings, host=host, port=where[1])
    address = f"[{where[0]}]" if ":" in where[0] else where[0]
    show.note(f"serving {settings.name or lm.spec.name} at http://{address}:{where[1]}")
    if not settings.keys and host not in ("127.0.0.1", "::1", "localhost"):
        show.note(f"no API key is set, and {host} can be reached from elsewhere: anybody there may ask")
    # uvicorn raises the signal that ended it once more: a drained server has ended well.
    signal.signal(signal.SIGTERM, lambda *_: None)
    serving.run(sockets=[listener])


def keys(file: Path | None) -> tuple[str, ...]:
    """The keys of a file, one on a line, and the one in the environment; lines that begin with # are remarks."""
    found = [line.strip() for line in options.read_file(file).splitlines()] if file else []
    found = [key for key in found if key and not key.startswith("#")]
    if file and not found:
        raise UserError(f"{file} has no key", hint="write one on a line")
    given = os.environ.get(KEY, "").strip()
    return tuple(dict.fromkeys([*found, *([given] if given else [])]))


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, before the model is loaded: a port that is taken is found out at once."""
    listener = None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as error:
        if listener is not None:
            listener.close()
        said = error.strerror or error
        raise UserError(f"cannot listen on {host}:{port}: {said}", hint="choose another --port or --host") from error
    return listener
