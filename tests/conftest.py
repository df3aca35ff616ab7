"""What every test shares: one thread, fixed seeds, the hypothesis profiles, `--gemma DIR` and the soak marker."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy
import pytest
import torch
from jaxtyping import install_import_hook

# From here on every call of these packages is checked against the shapes that its annotations state.
install_import_hook(["gemwright.ops", "gemwright.nn", "gemwright.cache"], "beartype.beartype")

SOAK = os.environ.get("GEMWRIGHT_SOAK", "") not in ("", "0")
SOAK_FACTOR = 50  # a soak draws this many times the examples of an ordinary run

# No deadline: the first example of a property pays for kernels and allocations that the others reuse.
_QUIET = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", max_examples=20, **_QUIET)
hypothesis.settings.register_profile("ci", max_examples=20, derandomize=True, print_blob=True, **_QUIET)
hypothesis.settings.register_profile(
    "soak", max_examples=20 * SOAK_FACTOR, derandomize=False, print_blob=True, **_QUIET
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gemma", metavar="DIR", help="a real Gemma folder, for the tests that compare with one")


def pytest_configure(config: pytest.Config) -> None:
    chosen = "soak" if SOAK else "ci" if os.environ.get("CI") else "default"
    hypothesis.settings.load_profile(chosen)
    # The models of the tests are tiny: a second thread only waits, for long on a busy machine.
    torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if not SOAK and item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="a soak: make soak"))
        if SOAK and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180 * SOAK_FACTOR))
        if not config.getoption("--gemma") and item.get_closest_marker("gemma"):
            item.add_marker(pytest.mark.skip(reason="needs --gemma DIR"))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Every test starts from the same random state and leaves torch's thread count as it was."""
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def gemma_folder(request: pytest.FixtureRequest) -> Path:
    """The folder given by --gemma, checked; the test is skipped without it."""
    given = request.config.getoption("--gemma")
    if not given:
        pytest.skip("needs --gemma DIR")
    folder = Path(given).expanduser()
    if not folder.is_dir():
        pytest.fail(f"--gemma {folder}: no such folder")
    return folder
