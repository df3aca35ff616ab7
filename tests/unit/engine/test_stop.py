"""Stop strings: never shown, never missed, wherever the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.engine.stop import StopStrings

words = st.text("ab.", min_size=1, max_size=4)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """The rule on the whole text: read letter by letter until one is complete; the longest of those that are."""
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


def feed(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    watch = StopStrings(stops)
    shown = [watch.push(piece) for piece in pieces]
    return [*shown, watch.flush()], watch.found is not None


@given(st.lists(st.text("ab.", max_size=5), max_size=12), st.lists(words, max_size=3))
def test_any_cutting_gives_what_a_search_of_the_whole_text_gives(pieces: list[str], stops: list[str]) -> None:
    shown, found = feed(pieces, stops)
    assert ("".join(shown), found) == naive("".join(pieces), stops)


@given(st.lists(st.text("ab.", max_size=5), max_size=12), st.lists(words, min_size=1, max_size=3))
def test_what_is_shown_stays_right_however_the_text_goes_on(pieces: list[str], stops: list[str]) -> None:
    watch, text, shown = StopStrings(stops), "", ""
    for piece in pieces:
        text += piece
        shown += watch.push(piece)
        for rest in {stop[at:] for stop in stops for at in range(len(stop))}:
            assert naive(text + rest, stops)[0].startswith(shown)


@given(st.lists(st.text("ab.", max_size=5), max_size=12), st.lists(words, max_size=3))
def test_no_more_is_held_back_than_may_become_a_stop_string(pieces: list[str], stops: list[str]) -> None:
    watch, text, shown = StopStrings(stops), "", ""
    for piece in pieces:
        text += piece
        shown += watch.push(piece)
        held = text[len(shown) :]
        if watch.found is None:
            assert held == "" or any(stop.startswith(held) for stop in stops)


def test_the_stop_string_that_is_complete_first_counts() -> None:
    assert feed(["xab", "cd"], ["abcd", "b"]) == (["xa", "", ""], True)
    assert feed(list("xabc"), ["bc", "abc"]) == (["x", "", "", "", ""], True)


def test_an_end_of_text_releases_what_was_held() -> None:
    assert feed(["stop he"], ["here"]) == (["stop ", "he"], False)


def test_nothing_comes_after_a_stop_string() -> None:
    watch = StopStrings(["."])
    assert (watch.push("a.b"), watch.push("c"), watch.flush()) == ("a", "", "")


def test_an_empty_stop_string_is_misuse() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopStrings(["a", ""])
