"""The embedded corpus: the same on every run, cut where statements begin, nothing lost."""

from __future__ import annotations

import ast
import re
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from gemwright.data import python_text
from gemwright.data.documents import read

MODULE = '"""Doc."""\n\nimport os\n\n\n' + "".join(
    f"# about f{number}\n@wraps\ndef f{number}(x):\n" + "    x = x + 1\n" * 60 + "    return x\n\n\n"
    for number in range(8)
)


def test_topics_come_first_then_modules_and_no_tests() -> None:
    names = [document.name for document in islice(python_text.documents(), 400)]
    topics = [name for name in names if name.startswith("topics/")]
    assert len(topics) > 50 and names[: len(topics)] == topics == sorted(topics)
    assert not any(re.search(r"(^|/)(tests?|site-packages|encodings)/", name) for name in names)


def test_the_word_python_is_a_source() -> None:
    first = next(iter(read(["python"])))
    assert first == next(iter(python_text.documents()))


def test_two_readings_are_equal() -> None:
    assert list(islice(python_text.documents(), 300)) == list(islice(python_text.documents(), 300))


def test_a_module_is_cut_before_statements_with_their_comments_and_decorators() -> None:
    parts = list(python_text.cut(MODULE))
    assert len(parts) > 3
    assert all(part.startswith("# about f") for part in parts[1:])
    for part in parts:
        ast.parse(part)


def test_a_long_class_is_cut_before_its_methods() -> None:
    method = "    @property\n    def m(self):\n" + "        pass\n" * 60
    parts = list(python_text.cut("class C:\n" + method * 10))
    assert len(parts) > 1 and all(part.startswith("    @property\n    def") for part in parts[1:])


@given(
    st.lists(st.sampled_from(["def f():\n", "    def g():\n", "@d\n", "# c\n", "\n", "x = 1\n" * 200, "    y\n", "z"]))
)
def test_cutting_loses_nothing_but_blank_lines(lines: list[str]) -> None:
    source = "".join(lines)
    kept = [line for line in source.splitlines() if line.strip()]
    assert [line for part in python_text.cut(source) for line in part.splitlines() if line.strip()] == kept
    assert all(part.strip() for part in python_text.cut(source))
