"""A picture's file as a `data:` URL, as records and requests carry it, and back."""

from __future__ import annotations

import base64
import binascii

from gemwright.errors import UserError
from gemwright.image.formats import recognise

_SCHEME = "data:"
_HINT = "write data:image/png;base64,…"


def is_data_url(address: str) -> bool:
    """Whether an address holds the file itself."""
    return address[: len(_SCHEME)].lower() == _SCHEME


def read_data_url(url: str) -> bytes:
    """The bytes of the file in a `data:` URL. Raises `UserError` for one that is not in base64, or damaged."""
    head, comma, data = url.partition(",")
    if not is_data_url(head) or not comma or not head.lower().endswith(";base64"):
        raise UserError("a data: URL of a picture is not in base64", hint=_HINT)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"a data: URL is damaged ({error})", hint=_HINT) from error


def data_url(file: bytes) -> str:
    """The bytes of a picture's file as a `data:` URL. Raises `UserError` for what is no picture."""
    kind = recognise(file, "the picture").lower()
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"
