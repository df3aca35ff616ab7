"""The web page in a headless Chromium: what it sends, what it shows, what it keeps, and that it asks nobody else."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules beside the tests

pytest.importorskip("websockets")
from browser import CHROMIUM, Page, browser
from stand_in import StandIn, standing_in
from talking import ANSWER, ENDED, facts, say, talk

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def server() -> Iterator[StandIn]:
    with standing_in() as running:
        yield running


@pytest.fixture
def page(wire, server: StandIn) -> Iterator[Page]:
    """The page as a new visitor finds it, in a wide window."""
    tab = Page(wire)
    tab.window(1600, 1000)
    tab.open(server.url)
    tab.until("document.querySelector('#model-name').textContent")
    yield tab
    complaints = tab.complaints
    tab.close()
    assert not complaints


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 48), (200, 80, 40)).save(path)
    return path


def contents(server: StandIn) -> list[tuple[str, object]]:
    """Role and content of each message of the last request."""
    return [(message["role"], message["content"]) for message in server.bodies[-1]["messages"]]


# ----------------------------------------------------------------------------------------------------------------------
# Asking


def test_an_answer_is_shown_while_it_is_written(page: Page) -> None:
    say(page, "long")
    page.until(f"{ANSWER}.includes('word3')")
    assert page.run("document.querySelector('.assistant').getAttribute('aria-busy')") == "true"


def test_what_a_model_writes_never_becomes_html(page: Page, server: StandIn) -> None:
    server.answer = (
        "<img src=x onerror=alert(1)> **bold** <b>no</b> [x](javascript:alert(1)) ![y](http://a.example/b.png)"
    )
    talk(page, "hello")
    assert "<img src=x onerror=alert(1)> bold <b>no</b> [x](javascript:alert(1))" in page.run(ANSWER)
    assert page.run("document.querySelectorAll('.says :is(img, b, script)').length") == 0


def test_escape_stops_the_answer_and_the_server_hears_it(page: Page, server: StandIn) -> None:
    say(page, "long")
    page.until(f"{ANSWER}.includes('word3')")
    page.press("Escape")
    page.until(ENDED)
    assert server.left.wait(20)
    assert facts(page)[-1] == "stopped"


def test_speed_and_usage_stand_below_an_answer(page: Page, server: StandIn) -> None:
    say(page, "long")
    page.until(f"{ANSWER}.includes('word3')")  # the rest comes later than this, as the speed needs
    server.release.set()
    page.until(ENDED)
    speed, first, *usage = facts(page)
    assert speed.endswith(" tokens/s") and first.startswith("first token after ")
    assert usage == ["1,536 tokens read, 1,024 of them from the cache", "48 written"]


def test_an_empty_answer_is_said_to_be_one(page: Page, server: StandIn) -> None:
    server.answer = ""
    talk(page, "hello")
    assert page.text(".assistant .foot").startswith("The answer is empty.")


def test_regenerating_asks_the_same_and_keeps_the_first_answer(page: Page, server: StandIn) -> None:
    talk(page, "hello")
    server.answer = "Another answer."
    page.click("[data-name=regenerate]")
    page.until(f"document.querySelector('.count') && {ENDED}")
    assert page.run(ANSWER) == "Another answer." and page.text(".count") == "2 / 2"
    assert server.bodies[0] == server.bodies[1]
    page.click("[data-name=left]")
    assert page.run(ANSWER) == "A short answer."


def test_an_edited_message_forks_the_conversation(page: Page, server: StandIn) -> None:
    talk(page, "first", "second", "third")
    page.run("document.querySelectorAll('[data-name=edit]')[1].click()")
    page.write(", edited")
    page.press("Enter")
    page.until(f"document.querySelector('.count') && {ENDED}")
    assert contents(server) == [("user", "first"), ("assistant", server.answer), ("user", "second, edited")]
    page.click(".user [data-name=left]")
    page.until("document.querySelectorAll('.user').length === 3")  # the old branch is whole


def test_editing_stops_the_answer_that_is_under_way(page: Page, server: StandIn) -> None:
    say(page, "long")
    page.until(f"{ANSWER}.includes('word3')")
    page.click("[data-name=edit]")
    page.run("document.querySelector('.editing textarea').select()")
    page.write("short")
    page.press("Enter")
    page.until(f"{ANSWER} === 'A short answer.'")
    assert contents(server) == [("user", "short")] and server.left.wait(60)


def test_two_conversations_are_answered_at_once(page: Page, server: StandIn) -> None:
    say(page, "long")
    page.until(f"{ANSWER}.includes('word3')")
    page.click("#new")
    talk(page, "hello")
    assert page.run("document.querySelectorAll('#conversations .busy').length") == 1
    server.release.set()
    page.until("!document.querySelector('#conversations .busy')")
    page.click("#conversations li:last-child .open")
    assert page.run(ANSWER).endswith("A short answer.") and page.run(ANSWER).startswith("word1 ")


def test_a_reader_who_scrolls_up_is_left_there_while_the_answer_grows(page: Page) -> None:
    page.window(360, 480)
    say(page, "long")
    page.until(f"{ANSWER}.includes('word90 ')")
    end = "document.querySelector('#scroller').scrollTop"
    assert page.until(end) > 0  # until then the end was kept in view
    page.run(f"{end} = 20")
    page.until("!document.querySelector('#latest').hidden")
    seen = page.run(f"{ANSWER}.length")
    page.until(f"{ANSWER}.length > {seen} + 200")
    assert page.run(end) == 20


def test_arrow_up_edits_the_last_message_and_escape_leaves_it_alone(page: Page) -> None:
    talk(page, "first", "second")
    page.press("ArrowUp")
    assert page.run("document.querySelector('.editing textarea').value") == "second"
    page.press("Escape")
    assert page.run("document.activeElement.id") == "text" and page.text(".user:nth-child(3) .says") == "second"


def test_shift_and_enter_break_the_line(page: Page, server: StandIn) -> None:
    page.write("one")
    page.press("Enter", shift=True)
    talk(page, "two")
    assert contents(server) == [("user", "one\ntwo")]


def test_slash_moves_to_the_message_field(page: Page) -> None:
    page.run("document.activeElement.blur()")
    page.press("/")
    assert page.run("[document.activeElement.id, document.activeElement.value]") == ["text", ""]


def test_system_prompt_and_sampling_are_sent_and_empty_fields_are_not(page: Page, server: StandIn) -> None:
    talk(page, "hello")
    fixed = {"model": "gemma-3-1b", "stream": True, "stream_options": {"include_usage": True}}
    assert server.bodies[0] == {**fixed, "messages": [{"role": "user", "content": "hello"}]}
    values = {"system": "Be brief.", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "max_tokens": 9, "seed": 7}
    for name, value in values.items():
        page.run(f"document.querySelector('#settings [name={name}]').focus()")
        page.write(str(value))
    talk(page, "again")
    assert contents(server)[0] == ("system", values.pop("system"))
    assert {name: server.bodies[1][name] for name in values} == values


def test_a_setting_that_means_nothing_is_not_sent(page: Page, server: StandIn) -> None:
    page.run("document.querySelector('#settings [name=temperature]').focus()")
    page.write("9")
    say(page, "hello")
    assert page.run("document.activeElement.name") == "temperature" and not server.bodies


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def test_a_chosen_picture_is_shown_and_sent_as_a_data_url(page: Page, server: StandIn, photo: Path) -> None:
    page.choose_files("#picker", photo)
    page.until("document.querySelector('#tray img')")
    talk(page, "What is it?")
    url = "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    assert contents(server) == [("user", parts)]
    assert page.run("document.querySelector('.user img').naturalWidth") == 64


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_a_picture_may_be_pasted_or_dropped(page: Page, photo: Path, event: str) -> None:
    data = base64.b64encode(photo.read_bytes()).decode()
    name = "new ClipboardEvent('paste', {clipboardData: box})" if event == "paste" else "new DragEvent('drop', drag)"
    page.run(f"""{{
        const bytes = Uint8Array.from(atob("{data}"), (one) => one.charCodeAt(0));
        const box = new DataTransfer();
        box.items.add(new File([bytes], "photo.png", {{ type: "image/png" }}));
        const drag = {{ dataTransfer: box, bubbles: true, cancelable: true }};
        document.querySelector("#text").dispatchEvent({name});
    }}""")
    page.until("document.querySelector('#tray img')?.alt === 'photo.png'")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("large.png", bytes(9 * 2**20), "large.png is too large: 9.0 MB, and the limit is 8.0 MB."),
        ("false.png", b"no picture", "false.png is damaged"),
        ("text.pdf", b"%PDF", "text.pdf is not a picture that can be read."),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_words(
    page: Page, tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    page.choose_files("#picker", tmp_path / name)
    page.until("!document.querySelector('#notice').hidden")
    assert page.text("#notice").startswith(words)
    assert page.run("document.querySelector('#tray').hidden")


# ----------------------------------------------------------------------------------------------------------------------
# Keeping


def test_a_reload_keeps_the_conversation_and_its_pictures(page: Page, server: StandIn, photo: Path) -> None:
    page.choose_files("#picker", photo)
    page.until("document.querySelector('#tray img')")
    talk(page, "What is it?")
    page.reload()
    page.until("document.querySelector('.user img')?.naturalWidth === 64")
    assert page.run(ANSWER) == "A short answer."
    page.until("document.querySelector('#model-name').textContent")
    talk(page, "And now?")
    before, after = (server.bodies[at]["messages"] for at in (0, 1))
    assert after[: len(before)] == before


def test_a_reload_midway_keeps_what_was_written(page: Page) -> None:
    say(page, "long")
    page.until(f"{ANSWER}.includes('word3')")
    page.reload()
    page.until(f"{ANSWER}.startsWith('word1 word2 word3')")
    assert facts(page) == ["stopped"]


def test_a_deleted_conversation_comes_back_by_undo(page: Page) -> None:
    talk(page, "hello")
    page.click("#conversations [title=Delete]")
    page.until("!document.querySelector('#conversations li') && !document.querySelector('.message')")
    page.click("#notice .strong")
    page.until("document.querySelector('#conversations li')")
    assert page.run(ANSWER) == "A short answer."


def test_the_theme_follows_the_system_until_the_reader_chooses(page: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.run(paper)
    page.window(1600, 1000, "dark")
    dark = page.run(paper)
    page.click("[name=theme][value=light]")
    page.reload()
    assert dark != light == page.run(paper)


# ----------------------------------------------------------------------------------------------------------------------
# Trouble


def test_a_busy_server_is_told_in_words_and_can_be_asked_again(page: Page, server: StandIn) -> None:
    talk(page, "busy")
    said = "The server is busy, or about to stop. 9 requests wait for 8 places. Try again in 5 s."
    assert page.text(".trouble p") == said
    server.busy = False
    page.click(".trouble button")
    page.until(f"!document.querySelector('.trouble') && {ENDED}")
    assert page.run(ANSWER) == "A short answer." and server.bodies[0] == server.bodies[1]


def test_a_connection_that_breaks_leaves_what_had_come(page: Page) -> None:
    talk(page, "cut")
    assert page.run(ANSWER) == "Half of an ans"
    assert page.text(".trouble p") == "The connection ended before the answer was complete."


def test_after_an_answer_that_never_came_the_questions_are_joined(page: Page, server: StandIn) -> None:
    talk(page, "busy", "hello")
    assert contents(server) == [("user", "busy\n\nhello")]


def test_a_key_is_asked_for_once_and_forgotten_with_the_tab(wire, server: StandIn) -> None:
    server.key = "open sesame"
    page = Page(wire)
    page.open(server.url)
    page.until("document.querySelector('#key').open")
    page.write(server.key)
    page.press("Enter")
    page.until("document.querySelector('#model-name').textContent")
    talk(page, "hello")
    assert server.keys == ["Bearer open sesame"]
    assert page.run(
        "sessionStorage['gemwright.key'] === 'open sesame' && !JSON.stringify(localStorage).includes('sesame')"
    )
    page.close()


# ----------------------------------------------------------------------------------------------------------------------
# The page itself


def test_what_the_cache_holds_is_drawn_with_words(page: Page) -> None:
    page.until("document.querySelectorAll('#cache-bars li').length")
    rows = page.run("[...document.querySelectorAll('#cache-bars .bar-head')].map((one) => one.innerText.split('\\n'))")
    names, amounts = zip(*rows, strict=True)
    assert names == ("Global layers", "Local layers", "Shared")  # no recurrent layers: no room was set aside for any
    assert amounts[0].endswith(" MB of 96.0 MB")
    assert page.text("#cache-words") == "3 sequences, 2 kept for later (fainter), 1 waiting"
    both, used = page.run(
        "[...document.querySelector('.bar').children].map((one) => +one.style.getPropertyValue('--share'))"
    )
    assert both - used == pytest.approx(1 / 96)  # what is kept, fainter, beyond what is in use


def test_a_hidden_page_does_not_look_at_the_cache(page: Page, server: StandIn) -> None:
    page.until("document.querySelectorAll('#cache-bars li').length")
    page.run("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.run("document.dispatchEvent(new Event('visibilitychange'))")
    before = server.looks
    page.run("new Promise((resolve) => setTimeout(resolve, 1500))")  # longer than from one look to the next
    assert server.looks <= before + 1  # one may have been under way
    page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    now = server.looks
    page.until("document.querySelector('#cache-bars li')")
    talk(page, "hello")
    assert server.looks > now


@pytest.mark.parametrize("width", [360, 700, 1000, 1600])
def test_nothing_is_wider_than_the_window(page: Page, server: StandIn, width: int) -> None:
    server.answer = f"```\n{'x' * 400}\n```\n\n|a|b|\n|-|-|\n|{'y' * 90}|{'z' * 90}|\n\n{'w' * 300}"
    page.window(width, 740)
    talk(page, "m" * 300)
    wide = f"[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > {width} + 1)"
    assert page.run(f"{wide}.filter((one) => !one.closest('pre, .table')).map((one) => one.className)") == []
    assert page.run("document.documentElement.scrollWidth") == width


def test_on_a_telephone_the_settings_lie_over_the_page_until_escape(page: Page) -> None:
    page.window(360, 740)
    page.until("document.querySelector('header [data-side=right]').ariaExpanded === 'false'")
    assert page.run("document.querySelector('#panel').checkVisibility()") is False
    page.click("header [data-side=right]")
    assert page.run("document.querySelector('#panel').checkVisibility() && document.querySelector('#main').inert")
    page.press("Escape")
    assert page.run("document.querySelector('#panel').checkVisibility()") is False
    assert page.run("document.activeElement.dataset.side") == "right"


def test_the_page_asks_nobody_but_its_server(page: Page, server: StandIn, photo: Path) -> None:
    server.answer = "![a](https://example.org/a.png) and https://example.org/b"
    page.choose_files("#picker", photo)
    page.until("document.querySelector('#tray img')")
    talk(page, "hello")
    assert [url for url in page.asked if not url.startswith((server.url, "data:"))] == []


def test_every_control_has_a_name(page: Page, photo: Path) -> None:
    page.choose_files("#picker", photo)
    page.until("document.querySelector('#tray img')")
    talk(page, "hello")
    nameless = """[...document.querySelectorAll("button, select, textarea, input:not([hidden])")].filter((one) =>
        !(one.getAttribute("aria-label") || one.innerText || one.labels?.[0]?.innerText)
        && !one.closest("dialog, .shut, [hidden]")).map((one) => one.outerHTML)"""
    assert page.run(nameless) == []
