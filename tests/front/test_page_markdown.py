"""The Markdown that models write, as the page shows it: elements, and never HTML of theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules beside the tests

pytest.importorskip("websockets")
from browser import CHROMIUM, Page, browser
from stand_in import standing_in

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page for tests that change nothing on it."""
    with browser(tmp_path_factory.mktemp("chromium")) as wire, standing_in() as server:
        tab = Page(wire)
        tab.open(server.url)
        yield tab
        tab.close()


CASES = {
    "one\ntwo\n\nthree": "<p>one\ntwo</p><p>three</p>",
    "## A *b* `c*d*`": '<h4 class="heading-2">A <em>b</em> <code>c*d*</code></h4>',
    "**a *b* c** __d__ ~~e~~": "<p><strong>a <em>b</em> c</strong> <strong>d</strong> <s>e</s></p>",
    "2 * 3 * 4 snake_case_name": "<p>2 * 3 * 4 snake_case_name</p>",
    r"\*no\* \# no": "<p>*no* # no</p>",
    "- a\n- b\n  1. c\n  2. d\n- e": '<ul><li>a</li><li>b<ol start="1"><li>c</li><li>d</li></ol></li><li>e</li></ul>',
    "3. a\n\n   b\n\n4. c\n\nd": '<ol start="3"><li>a<p>b</p></li><li>c</li></ol><p>d</p>',
    "a\n- b\n\n***\n> c\n> d": "<p>a</p><ul><li>b</li></ul><hr><blockquote><p>c\nd</p></blockquote>",
    "https://a.example/b_c_d.": (
        '<p><a href="https://a.example/b_c_d" target="_blank" rel="noopener noreferrer">https://a.example/b_c_d</a>.</p>'
    ),
    # Only that they end: what a model that loops may write.
    "a " + "`" * 3000: None,
    "**a " * 3000: None,
    "[" * 3000: None,
    "> " * 40 + "deep": None,
    "* " * 40 + "deep": None,
    "|" * 50 + "\n" + "|-" * 50: None,
}


@pytest.mark.parametrize(("written", "shown"), CASES.items(), ids=range(len(CASES)))
def test_markdown_becomes_elements(workbench: Page, written: str, shown: str | None) -> None:
    code = f"""import("/markdown.js").then(({{ render }}) => {{
        const box = document.createElement("div"); render(box, {written!r}); return box.innerHTML; }})"""
    built = workbench.run(code)
    assert built and shown in (None, built)


def test_an_answer_that_grows_ends_as_if_it_had_come_at_once(workbench: Page) -> None:
    text = "# T\n\nOne **two** three\n\n- a\n- b\n\n```py\nx = 1\n\ny = 2\n```\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\nend"
    grown, whole = workbench.run(f"""import("/markdown.js").then(({{ render }}) => {{
        const text = {text!r}, grown = document.createElement("div"), whole = document.createElement("div");
        for (let end = 0; end <= text.length; end += 1) render(grown, text.slice(0, end));
        render(whole, text);
        return [grown.innerHTML, whole.innerHTML]; }})""")
    assert grown == whole
    assert whole.count("<pre") == whole.count("<table") == 1


def test_a_finished_paragraph_is_left_alone_while_the_next_one_grows(workbench: Page) -> None:
    same = workbench.run("""import("/markdown.js").then(({ render }) => {
        const box = document.createElement("div");
        render(box, "one\\n\\ntw");
        const first = box.firstChild;
        render(box, "one\\n\\ntwo three");
        return box.firstChild === first && box.lastChild.textContent === "two three"; })""")
    assert same is True
