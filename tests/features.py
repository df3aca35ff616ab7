"""What each family can do, as a page made of the tests that prove it. A plugin of pytest:

    python -m pytest -p tests.features -m feature --features docs/features.md tests/invariants tests/unit/engine

writes the page from the tests that pass, or with `--collect-only` from those that there are. A test says what it proves
by `@pytest.mark.feature("reuse", …)`; the family is told by the names in its parameters, or by the mark's `family`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

FEATURES = ("batching", "reuse", "sessions", "speculation", "structured output", "adapters")
FAMILIES = {
    "Gemma 1": ("global", "gemma-2b", "gemma1"),
    "Gemma 2": ("capped", "gemma-2-2b", "gemma2"),
    "Gemma 3": ("local", "gemma-3-1b", "gemma3"),
    "RecurrentGemma": ("recurrent", "recurrentgemma-2b", "recurrentgemma"),
}
_KEY = "proof"
Proof = tuple[str, str, str, str]  # feature, family, test, claim

INTRODUCTION = """\
# What works with which family

Each number counts the tests that prove it, a dash says that there is none. The page is written from the tests that
pass, never by hand:

```console
$ python -m pytest -p tests.features -m feature --features docs/features.md tests/invariants tests/unit/engine
```
"""


def family_of(item: pytest.Item, given: str | None) -> str:
    """The family that a test is about. Raises `UsageError` where none or several are named."""
    spec = getattr(item, "callspec", None)
    words = {given} if given else {value for value in (spec.params.values() if spec else ()) if isinstance(value, str)}
    found = [family for family, names in FAMILIES.items() if words & {family, *names}]
    if len(found) != 1:
        raise pytest.UsageError(f"{item.nodeid} proves a feature of one family, it names {found or 'none'}")
    return found[0]


def proofs_of(item: pytest.Item) -> list[Proof]:
    """What a test proves."""
    found: list[Proof] = []
    for mark in item.iter_markers("feature"):
        if unknown := set(mark.args) - set(FEATURES):
            raise pytest.UsageError(f"{item.nodeid} proves {sorted(unknown)}; tests/features.py names the features")
        family = family_of(item, mark.kwargs.get("family"))
        name = item.nodeid.split("[")[0]
        owner = getattr(getattr(item, "obj", None), "equivalence", None)
        claim = owner[0] if owner else name.split("::")[-1].removeprefix("test_").replace("_", " ")
        found += [(feature, family, name, claim) for feature in mark.args]
    return found


def page(proofs: Iterable[Proof]) -> str:
    """The page, in Markdown."""
    proofs = set(proofs)
    lines = [INTRODUCTION, "| | " + " | ".join(FAMILIES) + " |", "|---" * (len(FAMILIES) + 1) + "|"]
    for feature in FEATURES:
        counts = [
            len({test for one, whose, test, _ in proofs if (one, whose) == (feature, family)}) for family in FAMILIES
        ]
        lines.append(f"| {feature} | " + " | ".join(str(count or "–") for count in counts) + " |")
    for feature in FEATURES:
        named = sorted({(test, claim) for one, _, test, claim in proofs if one == feature})
        lines += ["", f"## {feature.capitalize()}", "", *(f"- {claim}: `{test}`" for test, claim in named)]
    return "\n".join(lines) + "\n"


class Writer:
    """Collects the proofs of a run."""

    def __init__(self, path: Path, collect_only: bool) -> None:
        self._path, self._collect_only = path, collect_only
        self._passed: set[Proof] = set()
        self._failed: set[Proof] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            proofs = proofs_of(item)
            item.user_properties += [(_KEY, proof) for proof in proofs]
            if self._collect_only:
                self._passed |= set(proofs)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        proofs = {
            tuple(value) for key, value in report.user_properties if key == _KEY and isinstance(value, list | tuple)
        }
        if report.when == "call" and report.passed:
            self._passed |= proofs
        elif report.failed:
            self._failed |= proofs

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):  # one of several processes: the first one hears of all tests
            self._path.write_text(page(self._passed - self._failed), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--features", metavar="FILE", help="write what each family can do into this file")


def pytest_configure(config: pytest.Config) -> None:
    if given := config.getoption("--features"):
        config.pluginmanager.register(Writer(Path(given), bool(config.getoption("collectonly"))))
