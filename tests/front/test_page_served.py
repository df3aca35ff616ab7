"""The web page against the real server and the embedded model, in a headless Chromium."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules beside the tests

pytest.importorskip("websockets")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from browser import CHROMIUM, Page, browser
from talking import ENDED, facts, say, talk

from gemwright.lm import LM
from gemwright.server.http import app
from gemwright.server.listen import server
from gemwright.server.settings import Settings

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

LONGEST = 24  # tokens of an answer
ANSWERS = "[...document.querySelectorAll('.assistant .says')].map((one) => one.innerText)"


@pytest.fixture(scope="module")
def url(lm: LM) -> Iterator[str]:
    """Where the embedded model is served."""
    settings = Settings()
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    running = server(app(lm, settings), settings, host="127.0.0.1", port=port)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started and thread.is_alive():
        thread.join(0.02)
    yield f"http://127.0.0.1:{port}/"
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def page(wire, url: str) -> Iterator[Page]:
    """The page as a new visitor finds it, greedy and short."""
    tab = Page(wire)
    tab.window(1600, 1000)
    tab.open(url)
    tab.until("document.querySelector('#model-name').textContent")
    for name, value in {"temperature": "0", "max_tokens": str(LONGEST)}.items():
        tab.run(f"document.querySelector('#settings [name={name}]').focus()")
        tab.write(value)
    yield tab
    complaints = tab.complaints
    tab.close()
    assert not complaints


def test_a_conversation_outlives_a_reload_and_goes_on(page: Page) -> None:
    talk(page, "What is 2 plus 3?")
    first = page.run(ANSWERS)
    assert first[0].strip()
    page.reload()
    page.until("document.querySelector('#model-name').textContent")
    assert page.run(ANSWERS) == first
    talk(page, "What is 4 plus 3?")
    assert page.run(ANSWERS)[:1] == first and len(page.run(ANSWERS)) == 2


def test_speed_and_usage_are_the_servers(page: Page) -> None:
    talk(page, "What is 2 plus 3?")
    speed, first, read, written, *_ = facts(page)
    assert speed.endswith(" tokens/s") and first.startswith("first token after ")
    assert int(read.split()[0]) > 5 and 1 < int(written.split()[0]) <= LONGEST


def test_a_greedy_answer_is_regenerated_as_it_was(page: Page) -> None:
    talk(page, "What is 2 plus 3?")
    first = page.run(ANSWERS)
    page.click("[data-name=regenerate]")
    page.until(f"document.querySelector('.count') && {ENDED}")
    assert page.run(ANSWERS) == first


def test_escape_stops_the_engine(page: Page, lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm.engine, "defaults", replace(lm.engine.defaults, stop_ids=()))  # nothing else ends an answer
    page.run("document.querySelector('#settings [name=max_tokens]').value = ''")
    say(page, "What is 2 plus 3?")
    page.until("document.querySelector('.assistant .says').innerText")
    page.press("Escape")
    page.until(ENDED)
    page.until("fetch('/cache').then((answer) => answer.json()).then((held) => held.running === 0)")


def test_what_the_server_refuses_is_told_in_its_words(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    page.choose_files("#picker", tmp_path / "photo.png")
    page.until("document.querySelector('#tray img')")
    talk(page, "What is it?")
    assert "has no vision tower" in page.text(".trouble p")


def test_what_the_cache_holds_is_drawn(page: Page) -> None:
    talk(page, "What is 2 plus 3?")
    page.until("Number(document.querySelector('[data-kind=local] [role=meter]')?.ariaValueNow) > 0")
    assert "sequence" in page.text("#cache-words")
