"""Personal data in texts: e-mail addresses, phone numbers, payment cards, bank accounts, IP addresses, US social
security numbers, by their written form and the check that each form allows.

Found is what can be told from other numbers by its form alone. That leaves out names, postal addresses, and phone
numbers in a national form other than North America's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from gemwright.data import personal_tables as tables


@dataclass(frozen=True, kw_only=True)
class Found:
    """`text[start:end]` is of a kind, one of `KINDS`."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """What is found in a text, in order; no two overlap, and where two would, the earlier begun and then the one whose
    kind stands first in `KINDS` counts."""
    found = [(start, rank, end) for rank, kind in enumerate(_FORMS) for start, end in kind.find(text)]
    kept: list[Found] = []
    for start, rank, end in sorted(found):
        if not kept or start >= kept[-1].end:
            kept.append(Found(kind=_FORMS[rank].kind, start=start, end=end))
    return kept


def masked(text: str, found: Sequence[Found]) -> str:
    """The text with `<email>`, `<phone>` and so on in place of what `find` has found in it."""
    parts: list[str] = []
    done = 0
    for one in found:
        parts += [text[done : one.start], f"<{one.kind}>"]
        done = one.end
    return "".join(parts) + text[done:]


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How a kind is written: a `pattern`, and `accepted(match)`, how many characters of the match it really is. Texts
    without `sign` are not searched."""

    kind: str
    sign: str
    pattern: re.Pattern[str]
    accepted: Callable[[re.Match[str]], int]

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        if self.sign not in text:
            return
        for match in self.pattern.finditer(text):
            if length := self.accepted(match):
                yield match.start(), match.start() + length


# A pattern begins with one character and a look behind it: the search for that character is fast. Every repetition is
# bounded, so a long run of digits or letters costs time in proportion to its length, whatever it holds. Letters are
# ASCII's: in a script without spaces a number may follow a word directly.

_LETTER = "A-Za-z0-9À-ɏ"  # Latin letters and digits: a text in another script may stand before an address unspaced
_EMAIL = re.compile(
    rf"[{_LETTER}_%+](?<![{_LETTER}_.%+-].)(?:[{_LETTER}_.%+'-]{{0,62}}[{_LETTER}_%+-])?"
    rf"@(?:[{_LETTER}](?:[{_LETTER}]|-(?=[{_LETTER}-])){{0,62}}\.){{1,8}}(xn--[a-z0-9-]{{2,59}}|[A-Za-z]{{2,24}})"
    rf"(?![{_LETTER}_(\[]|-[{_LETTER}]|\.[{_LETTER}])"
)


def _email(match: re.Match[str]) -> int:
    # Programs write `a@b.c` for a product of matrices: the name at the end must be one that domains end in.
    top = match[1].lower()
    known = top.startswith("xn--") or top in tables.COUNTRY_DOMAINS or top in tables.DOMAINS
    return len(match[0]) if known and ".." not in match[0] else 0


# Groups of four with a separator, 4-6-5 or 4-6-4, or no separator at all.
_CARD = re.compile(
    r"[2-6](?<![\w.+*/-].)(?:[0-9]{11,18}|[0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?![\w*/+]|[.-][0-9])",
    re.ASCII,
)


def _card(match: re.Match[str]) -> int:
    separator = match[1] or match[2]
    written = [match[0]]
    if separator and match[0].count(separator) == 4:
        written.append(match[0].rpartition(separator)[0])  # the last group may be the code on the back
    return next((len(text) for text in written if _is_card(re.sub("[ -]", "", text))), 0)


def _is_card(digits: str) -> bool:
    issued = any(
        len(digits) in lengths and first <= int(digits[: len(str(first))]) <= last
        for first, last, lengths in tables.CARDS
    )
    return issued and luhn(digits)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = (int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


_IBAN = re.compile(
    r"[A-Z](?<!\w.)[A-Z][0-9]{2}(?:[A-Z0-9]{11,30}|([ -])[A-Z0-9]{4}(?:\1[A-Z0-9]{4}){1,6}(?:\1[A-Z0-9]{1,3})?)(?!\w)",
    re.ASCII,
)


def _iban(match: re.Match[str]) -> int:
    length = tables.IBAN_LENGTHS.get(match[0][:2], 0)
    if match[1]:
        length += (length - 1) // 4  # the separators; a word may follow as if it were a group
    text = match[0][:length]
    whole = length and len(text) == length and match[0][length : length + 1] in ("", match[1])
    return length if whole and mod_97(re.sub("[ -]", "", text)) == 1 else 0


def mod_97(account: str) -> int:
    """The remainder that is 1 for a valid IBAN (ISO 13616 by way of ISO 7064): the first four characters go to the
    end, and letters count from A = 10."""
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97


_IP4 = re.compile(r"[0-9](?<![\w.-].)[0-9]{0,2}\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}(?![\w-]|\.\w)", re.ASCII)
_IP6 = re.compile(r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,34}(?![\w:])", re.ASCII)  # 2000::/3, global unicast
_VERSION = re.compile(r"(?:\bv|\bver\.?|version|release|revision|sections?|chapters?|[=~<>!]=)[\s:=\"'(]{0,3}$", re.I)


def _ip4(match: re.Match[str]) -> int:
    """A public address that does not look like a version's or a section's number."""
    try:
        address = IPv4Address(match[0])
    except AddressValueError:
        return 0
    small = sum(part >= 20 for part in address.packed) < 2  # 1.3.6.1 and 7.1.4.34, but few addresses
    said = _VERSION.search(match.string[max(0, match.start() - 16) : match.start()])
    return 0 if small or said or not _public(address) else len(match[0])


def _ip6(match: re.Match[str]) -> int:
    text = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return 0
    # Two groups, as in `[2000::10]`, may be a slice.
    groups = [group for group in text.split(":") if group]
    return len(text) if len(groups) > 2 and _public(address) else 0


def _public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)


_SSN = re.compile(
    r"[0-8](?<![\w.+*/-].)[0-9]{2}(?<!000)(?<!666)-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-]|\.[0-9])", re.ASCII
)

# Numbers after +1, numbers after + or 00 and another country's code, numbers as North America writes them at home. Its
# area codes and exchanges never end in 11.
_AREA = r"[2-9](?!11)[0-9]{2}"
_BEFORE = r"[\w.+*/=)\]}-]"
_PHONE_AMERICA = re.compile(rf"\+(?<!{_BEFORE}.)1[ .-]?\(?{_AREA}\)?[ .-]?{_AREA}[ .-]?[0-9]{{4}}(?!\w)", re.ASCII)
_PHONE_ABROAD = re.compile(
    rf"[+0](?<!{_BEFORE}.)(?:(?<=\+)|(?<=0)(?<![0-9][ -]0)0)(?P<code>{tables.COUNTRY_CODES})"
    r"(?P<rest>(?:[ ./-]?\(0\))?(?:[ ./-]?\([0-9]{1,5}\))?(?:[ ./-]?[0-9]){4,13})(?![\w(]|\.[0-9])",
    re.ASCII,
)
_PHONE_HOME = re.compile(
    rf"[(1-9](?<!{_BEFORE}.)(?:(?<=\(){_AREA}\) ?|(?<=1)[ .-](?:\({_AREA}\) ?|{_AREA}[ .-])"
    rf"|(?<=[2-9])(?!11)[0-9]{{2}}[ .-]){_AREA}[.-][0-9]{{4}}(?![\w-]|\.[0-9])",
    re.ASCII,
)


def _phone(match: re.Match[str]) -> int:
    rest = match["rest"].replace("(0)", "", 1)
    digits = sum(character.isdigit() for character in rest)
    separators = re.findall(r"[ ./()-]+", match["rest"])
    if not 8 <= len(match["code"]) + digits <= 15:  # E.164, and the shortest in use
        return 0
    if set(separators) == {"."} and len(separators) < 2:  # a number with a decimal point
        return 0
    if match[0].startswith("00"):
        sizes = {len(group) for group in re.split(r"\D+", match[0])}
        if len(separators) < 2 or len(sizes) == 1:  # a number with zeros in front, or a dump of bytes
            return 0
    return len(match[0])


def _all(match: re.Match[str]) -> int:
    return len(match[0])


_FORMS = (
    _Form(kind="email", sign="@", pattern=_EMAIL, accepted=_email),
    _Form(kind="iban", sign="", pattern=_IBAN, accepted=_iban),
    _Form(kind="card", sign="", pattern=_CARD, accepted=_card),
    _Form(kind="ssn", sign="-", pattern=_SSN, accepted=_all),
    _Form(kind="ip", sign=".", pattern=_IP4, accepted=_ip4),
    _Form(kind="ip", sign=":", pattern=_IP6, accepted=_ip6),
    _Form(kind="phone", sign="+1", pattern=_PHONE_AMERICA, accepted=_all),
    _Form(kind="phone", sign="", pattern=_PHONE_ABROAD, accepted=_phone),
    _Form(kind="phone", sign="", pattern=_PHONE_HOME, accepted=_all),
)
KINDS = tuple(dict.fromkeys(form.kind for form in _FORMS))
