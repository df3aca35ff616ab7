"""docs/features.md says what the tests prove, and every family can do everything on it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from features import page, proofs_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "features.md").read_text("utf-8")
AGAIN = "run the command that stands on docs/features.md"


def marked() -> set[tuple[str, str]]:
    """Features and the tests that are marked with them, as they stand in the sources."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.feature":
                    test = f"{path.relative_to(ROOT).as_posix()}::{node.name}"  # type: ignore[attr-defined]
                    found |= {(ast.literal_eval(feature), test) for feature in mark.args}
    return found


def test_every_proof_is_on_the_page() -> None:
    listed = set()
    for chapter in PAGE.split("\n## ")[1:]:
        feature = chapter.splitlines()[0].lower()
        listed |= {(feature, test) for test in re.findall(r"`(tests/\S+::\w+)`", chapter)}
    assert listed == marked(), AGAIN


def test_the_page_is_what_the_tests_say(request: pytest.FixtureRequest) -> None:
    """Where the whole suite was collected: which test proves what of which family."""
    proofs = {proof for item in request.session.items for proof in proofs_of(item)}
    chosen = request.config.getoption("keyword") or request.config.getoption("markexpr")
    if chosen or marked() != {(feature, test) for feature, _, test, _ in proofs}:
        pytest.skip("not all tests were collected")
    assert page(proofs) == PAGE, AGAIN


def test_no_family_lacks_a_feature() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(rows) > 1
    assert not [row for row in rows if "–" in row]
