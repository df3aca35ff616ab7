"""What a server allows. Sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The limits of one server.

    Attributes:
        name: what clients call the model; None: the model's own name.
        keys: API keys that open the door; none: everybody may ask.
        body_bytes: of one request's body.
        header_bytes: of one request's line and headers.
        waiting: answers that may wait for a place; more are refused.
        choices: answers of one request (`n` times its prompts).
        concurrent: requests of one key under way at once; None: no limit.
        tokens_per_minute: prompt and answer tokens of one key; None: no limit.
        images: pictures of one request.
        image_pixels: of one picture; decoding takes 9 bytes each for a moment.
        remote_images: pictures are fetched from http and https addresses of the open Internet.
        remote_bytes: of one fetched picture; all of a request have `body_bytes`.
        remote_seconds: for one fetch.
        embedding_inputs: texts of one request for embeddings.
        request_seconds: from a request's arrival to its last byte.
        header_seconds: from a connection's opening, or a later request's first byte, to the end of its headers.
        stall_seconds: that a reader may leave what was sent to it unread, and that a sender may pause within a body.
        backlog: drawn tokens that may wait for a slow reader.
        drain_seconds: that requests under way may take after the server was told to stop.
        reuse: beginnings of prompts that are kept for later requests; None: 8, if memory allows.
        origins: web origins that browsers may ask from (CORS); none: only the server's own page.
    """

    name: str | None = None
    keys: tuple[str, ...] = ()
    body_bytes: int = 32 * 2**20
    header_bytes: int = 32 * 2**10
    waiting: int = 64
    choices: int = 16
    concurrent: int | None = None
    tokens_per_minute: int | None = None
    images: int = 16
    image_pixels: int = 25_000_000
    remote_images: bool = False
    remote_bytes: int = 16 * 2**20
    remote_seconds: float = 10.0
    embedding_inputs: int = 256
    request_seconds: float = 600.0
    header_seconds: float = 15.0
    stall_seconds: float = 30.0
    backlog: int = 4096
    drain_seconds: float = 30.0
    reuse: int | None = None
    origins: tuple[str, ...] = ()
