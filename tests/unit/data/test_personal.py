"""Personal data by its written form."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.data.documents import Document
from gemwright.data.personal import KINDS, find, luhn, masked, mod_97
from gemwright.data.python_text import documents


def _mask(text: str) -> str:
    return masked(text, find(text))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("write to jane.doe+x@mail.example.co.uk.", "write to <email>."),
        ("<o'brien@müller.de>", "<<email>>"),
        ("邮箱jane@example.com，电话+8613800138000", "邮箱<email>，电话<phone>"),
        ("call +49 30 1234567 now", "call <phone> now"),
        ("(+44 (0)20 7946 0958)", "(<phone>)"),
        ("+4915123456789,+1-415-555-2671", "<phone>,<phone>"),
        ("0033 1 42 68 53 00", "<phone>"),
        ("(415) 555-2671, 415.555.2671, 1-415-555-2671", "<phone>, <phone>, <phone>"),
        ("4111 1111 1111 1111 123", "<card> 123"),
        ("1,5555555555554444,12/29", "1,<card>,12/29"),
        ("3782 822463 10005; 30569309025904", "<card>; <card>"),
        ("DE89 3704 0044 0532 0130 00 EUR", "<iban> EUR"),
        ("IBAN:GB82WEST12345698765432.", "IBAN:<iban>."),
        ("ES91 2100 0418 4502 0005 1332 EUR", "<iban> EUR"),
        ("from 85.214.132.117:80 to 2a00:1450:4001:81b::200e", "from <ip>:80 to <ip>"),
        ("Received: from <85.214.132.117>, http://85.214.132.117/", "Received: from <<ip>>, http://<ip>/"),
        ("SSN 123-45-6789.", "SSN <ssn>."),
    ],
)
def test_what_is_personal_is_masked(text: str, after: str) -> None:
    assert _mask(text) == after


@pytest.mark.parametrize(
    "text",
    [
        "y = W@x.weight + a@b.T; z = q@k.shape",
        "@decorator.name",
        "git log v1.2.3..HEAD",
        "0.4111111111111111 and 4503599627370496 and 1700000000000",
        "4111 1111 1111 1112",  # the check digit is wrong
        "4006381333023",  # a bar code whose digits happen to satisfy Luhn's sum as well
        "9111111111111111",  # nobody issues such cards
        "DE88 3704 0044 0532 0130 00",
        "AB12CDEF34567890123456",
        "version 85.214.132.117, ==85.214.132.117, section 8.2.4.44, 1.3.6.1",
        "192.168.1.1 10.0.0.200 127.0.0.1 192.0.2.44 203.0.113.77 255.255.255.255 300.214.132.117",
        "::1 fe80::1 2001:db8::1 12:34:56 x[::2] 00:1b:63:84:45:e6 std::vector [2000::10]",
        "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000",
        "2024-01-02 2024-01-02T03:04:05+01:00 01.02.2024",
        "+3.14159265 +31.61234567 x+4915123456789 -1234567890 +2147483647",
        "115-555-2671 415-155-2671 911-555-2671",
        "0040 1234 5678 9abc\n0000020 6f6d 6520 7479",
        "123-456-7890123 ISBN 978-3-16-148410-0 3-16-148410-0",
    ],
)
def test_what_only_looks_alike_is_left(text: str) -> None:
    assert find(text) == []


def test_every_finding_is_of_a_known_kind_and_overlaps_no_other() -> None:
    text = "a@b.de +49 30 1234567 4111111111111111 DE89370400440532013000 85.214.132.117 123-45-6789 (415) 555-2671"
    found = find(text)
    assert {one.kind for one in found} == set(KINDS)
    assert all(one.end <= other.start for one, other in pairwise(found))


@given(st.integers(10**14, 10**15 - 1), st.integers(0, 14), st.integers(1, 9))
def test_luhn_takes_one_check_digit_and_sees_every_wrong_digit(number: int, at: int, step: int) -> None:
    valid = [f"{number}{check}" for check in range(10) if luhn(f"{number}{check}")]
    assert len(valid) == 1
    wrong = str((int(valid[0][at]) + step) % 10)
    assert not luhn(valid[0][:at] + wrong + valid[0][at + 1 :])


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=11, max_size=30))
def test_the_check_digits_of_an_account_are_98_less_its_remainder(account: str) -> None:
    check = 98 - mod_97("DE00" + account)  # how ISO 13616 makes them
    assert mod_97(f"DE{check:02d}{account}") == 1
    assert mod_97(f"DE{(check + 1) % 97:02d}{account}") != 1


@pytest.mark.parametrize("unit", ["a", "1", "1 ", "+1", "a@", "a@b.", "a-@", "2001:", "+49 ", "AB12", "0.", "(415"])
def test_no_text_takes_time_beyond_its_length(unit: str) -> None:
    assert len(find(unit * (200_000 // len(unit)))) == 0  # minutes, if a search began anew at each character


def test_programs_hold_next_to_nothing_but_addresses_of_their_authors() -> None:
    kinds: dict[str, int] = {}
    chosen: list[Document] = random.Random(0).sample(list(documents()), 800)
    for document in chosen:
        for one in find(document.text):
            kinds[one.kind] = kinds.get(one.kind, 0) + 1
    assert kinds.pop("email") > 5 and sum(kinds.values()) <= 2
