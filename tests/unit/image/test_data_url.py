"""Pictures' files as data: URLs."""

from __future__ import annotations

import base64

import pytest

from gemwright.errors import UserError
from gemwright.image.data_url import data_url, is_data_url, read_data_url

PNG = b"\x89PNG\r\n\x1a\n and so on"


def test_a_file_comes_back_byte_for_byte_with_its_kind_named() -> None:
    url = data_url(PNG)
    assert url == "data:image/png;base64," + base64.b64encode(PNG).decode() and read_data_url(url) == PNG


def test_the_scheme_may_be_written_in_capitals() -> None:
    assert is_data_url("DATA:image/png;BASE64,AAEC") and read_data_url("DATA:image/png;BASE64,AAEC") == b"\0\1\2"


@pytest.mark.parametrize("url", ["data:image/png,abc", "data:;base64", "image/png;base64,AAEC", ""])
def test_what_is_not_base64_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="not in base64"):
        read_data_url(url)


@pytest.mark.parametrize("data", ["%%%", "A", "AA==A", "AÄ=="])
def test_what_is_damaged_is_refused(data: str) -> None:
    with pytest.raises(UserError, match="damaged"):
        read_data_url("data:image/png;base64," + data)


def test_no_picture_makes_no_url() -> None:
    with pytest.raises(UserError):
        data_url(b"just words")
