"""Fixtures that every folder of tests may use, and when garbage is collected."""

import gc
from collections.abc import Iterator

import pytest

pytest_plugins = [
    "tests.postgres_fixture",
    "tests.issuer_fixture",
    "tests.scenarios.platform_fixture",
    "tests.identity_provider",
    "tests.sign_in_fixture",
]


def pytest_configure() -> None:
    """A Rego engine must be let go by the thread that made it, and a collection runs on whichever thread allocates.

    In a gateway no engine is in a cycle. Here whole pipelines, which are, come and go beside threads of test servers.
    """
    gc.disable()


def pytest_collection_finish() -> None:
    """What all modules imported stays: no collection walks it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _collect_between_modules() -> Iterator[None]:
    yield
    gc.collect()
