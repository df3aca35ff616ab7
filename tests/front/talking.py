"""What the tests of the page do over and over: say something, wait for the answer, read what stands below it."""

from __future__ import annotations

from browser import Page

ENDED = "document.querySelector('.message') && !document.querySelector('.streaming')"
ANSWER = "document.querySelector('.assistant:last-child .says').innerText"


def say(page: Page, text: str) -> None:
    """Type a message and press Enter."""
    page.run("document.querySelector('#text').focus()")
    page.write(text)
    page.press("Enter")


def talk(page: Page, *texts: str) -> None:
    """Send messages, each after the answer to the one before."""
    for text in texts:
        before = page.run("document.querySelectorAll('.assistant').length")
        say(page, text)
        page.until(f"document.querySelectorAll('.assistant').length > {before} && {ENDED}")


def facts(page: Page) -> list[str]:
    return page.run("[...document.querySelectorAll('.assistant:last-child .facts li')].map((one) => one.textContent)")
