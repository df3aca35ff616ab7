"""Pictures from addresses that clients name. Off unless the server was told to.

Whoever names an address must not reach through this server what only this server can reach. So a name is resolved
once, every address that it stands for is checked, and the connection goes to the very address that was checked; each
redirect goes through the same. Bytes, time and redirects are bounded. Needs h11, which uvicorn brings.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from gemwright.errors import UserError

if TYPE_CHECKING:
    import h11

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = 3
_AT_ONCE = 16  # connections of all clients together
_SAFE = "/%:@!$&'()*+,;=~-._?"  # what may stand in a path or a query as it is
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind a translator (RFC 6052)
_UNICAST = ipaddress.ip_network("2000::/3")  # what IPv6 has given out (RFC 4291); all else is special
_HINT = "put the picture itself into the request, as a data: URL"


def is_public(address: Address) -> bool:
    """Whether an address is one of the open Internet: not private, loopback, link-local, multicast or reserved, nor an
    IPv6 address that stands for such an IPv4 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    if address.ipv4_mapped is not None or address in _TRANSLATED:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _UNICAST and address.is_global and address.sixtofour is None


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system gives them. Raises `OSError`."""
    return [str(where[0]) for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Budget:
    """Bytes that several files may have together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def take(self, count: int) -> None:
        """Some more have come. Raises `UserError` where they are too many."""
        self._left -= count
        if self._left < 0:
            raise UserError(
                f"the pictures have more than {self._most} bytes in all", hint="show fewer, or smaller ones"
            )


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches for one server.

    Attributes:
        size: bytes of one file, at most.
        seconds: for one file, redirects included.
        public: says which addresses may be connected to.
        resolve: gives the addresses of a name; it may block.
    """

    size: int
    seconds: float
    public: Callable[[Address], bool] = is_public
    resolve: Resolve = resolve

    async def get(self, url: str, budget: Budget | None = None) -> bytes:
        """The file at an address, counted in `budget`. Raises `UserError`, which tells nothing of what was found there
        but its status."""
        short, budget = url[:80], budget or Budget(self.size)
        try:
            async with asyncio.timeout(self.seconds), self._slots:
                for _ in range(_REDIRECTS + 1):
                    found = await self._once(url, budget)
                    if isinstance(found, bytes):
                        return found
                    url = _joined(url, found)
        except TimeoutError:
            raise UserError(f"{short} took longer than {self.seconds:g} s to fetch", hint=_HINT) from None
        raise UserError(f"{short} redirects more than {_REDIRECTS} times", hint=_HINT)

    async def all(self, urls: Sequence[str], most: int) -> Mapping[str, bytes]:
        """The files of several addresses, each fetched once. Raises as `get`, and for more than `most` bytes in all."""
        budget = Budget(most)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {url: group.create_task(self.get(url, budget)) for url in dict.fromkeys(urls)}
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None  # of several the first; the others were cut off by it
        return {url: task.result() for url, task in tasks.items()}

    async def _once(self, url: str, budget: Budget) -> bytes | str:
        """The file, or where it is said to be instead."""
        parts, host, port = _place(url)
        address = await self._address(host, port)
        secure = self._secure if parts.scheme == "https" else None
        try:
            reader, writer = await asyncio.open_connection(
                str(address), port, ssl=secure, server_hostname=host if secure else None
            )
        except (OSError, ssl.SSLError) as error:
            raise UserError(f"{host} does not answer", hint=_HINT) from error
        try:
            return await self._spoken(reader, writer, parts, host, budget)
        except OSError as error:
            raise UserError(f"{host} broke off", hint=_HINT) from error
        finally:
            writer.transport.abort()

    async def _address(self, host: str, port: int) -> Address:
        """The address to connect to. One forbidden address among several is enough to refuse."""
        try:
            names = await asyncio.get_running_loop().run_in_executor(self._names, self.resolve, host, port)
            found = [ipaddress.ip_address(name) for name in names]
        except (OSError, UnicodeError, ValueError) as error:
            raise UserError(f"{host[:80]} has no address", hint=_HINT) from error
        if not found or not all(self.public(one) for one in found):
            raise UserError(f"{host[:80]} is no address of the open Internet", hint=_HINT)
        return found[0]

    async def _spoken(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parts: SplitResult, host: str, budget: Budget
    ) -> bytes | str:
        """One request and its answer."""
        import h11

        target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        name = f"[{host}]" if ":" in host else host
        headers = [("Host", name if parts.port is None else f"{name}:{parts.port}"), ("Accept", "image/*")]
        headers += [("Accept-Encoding", "identity"), ("User-Agent", "gemwright"), ("Connection", "close")]
        talk = h11.Connection(h11.CLIENT)
        try:
            writer.write(talk.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
            talk.send(h11.EndOfMessage())
            await writer.drain()
            return await self._read(talk, reader, host, budget)
        except h11.ProtocolError as error:
            raise UserError(f"{host} does not speak HTTP/1.1", hint=_HINT) from error

    async def _read(self, talk: h11.Connection, reader: asyncio.StreamReader, host: str, budget: Budget) -> bytes | str:
        """The file, or where a redirect leads."""
        import h11

        file = bytearray()
        while True:
            event: Any = talk.next_event()
            if event is h11.NEED_DATA:
                talk.receive_data(await reader.read(2**16))
            elif isinstance(event, h11.Response):
                said = {key.lower(): value.decode("latin-1") for key, value in event.headers}
                if event.status_code in (301, 302, 303, 307, 308) and (where := said.get(b"location")):
                    return where
                if event.status_code != 200:
                    raise UserError(f"{host} answered with status {event.status_code}", hint=_HINT)
                self._check(int(said.get(b"content-length", 0)), host)
            elif isinstance(event, h11.Data):
                file += event.data
                self._check(len(file), host)
                budget.take(len(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return bytes(file)
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise UserError(f"{host} broke off", hint=_HINT)

    def _check(self, size: int, host: str) -> None:
        if size > self.size:
            raise UserError(f"the picture at {host} has more than {self.size} bytes", hint="make it smaller")

    @cached_property
    def _names(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(4, "names")  # a name that nobody answers for holds up pictures, nothing else

    @cached_property
    def _slots(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(_AT_ONCE)

    @cached_property
    def _secure(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _joined(url: str, location: str) -> str:
    """Where a redirect leads."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise UserError(f"{url[:80]} redirects to no address", hint=_HINT) from error


def _place(url: str) -> tuple[SplitResult, str, int]:
    """An address's parts, its host and its port. Raises `UserError` for what is not fetched."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if ":" not in (parts.hostname or "") else parts.hostname
    except (ValueError, UnicodeError) as error:
        raise UserError(f"{url[:80]} is no address", hint=_HINT) from error
    if parts.scheme not in _PORTS or not host or parts.username is not None:
        raise UserError(f"{url[:80]} is no address that is fetched: http and https are", hint=_HINT)
    return parts, host, port if port is not None else _PORTS[parts.scheme]
