"""The embedding process or the data database dies, hangs or is cut off: refused and typed, never half a document, and
back by itself.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_embeddings_door import wait_for_embeddings

from partywall.assurance.shelf import Shelf
from partywall.assurance.wire import Answer

RECOVERY_S = 30.0
LONG = "Every employee has thirty days of paid holiday a year. " * 250


@pytest.fixture(scope="module")
def broken() -> Iterator[Platform]:
    """This module's own: its processes are killed here."""
    with Platform() as running:
        wait_for_embeddings(running)
        yield running


@pytest.fixture(scope="module")
def shelf(broken: Platform) -> Shelf:
    side, _ = broken.two_tenants()
    return Shelf(side, broken.operator_key(), "frail", local=True)


def until(answers: Callable[[], Answer], status: int) -> Answer:
    deadline = time.monotonic() + RECOVERY_S
    while True:
        answer = answers()
        if answer.status == status:
            return answer
        assert answer.status in {503, 504, 502}, answer.body
        assert time.monotonic() < deadline, answer.body
        time.sleep(0.1)


def started(work: Callable[[], Answer]) -> tuple[threading.Thread, list[Answer]]:
    got: list[Answer] = []
    thread = threading.Thread(target=lambda: got.append(work()))
    thread.start()
    return thread, got


def whole_or_absent(shelf: Shelf, document: str) -> bool:
    """Whether it is there; a document that is there is all there."""
    found = until(lambda: shelf.get(document), 200) if shelf.get(document).status != 404 else None
    if found is None:
        return False
    assert found.json()["text"] == LONG
    return True


def test_a_killed_embedding_process_refuses_text_and_no_more_and_is_back_by_itself(
    broken: Platform, shelf: Shelf
) -> None:
    assert shelf.put("kept", {"text": "Mail is answered within a day."}).status == 200
    vector = [1.0] + [0.0] * 383
    old = broken.kill("embeddings")
    refused = shelf.search(text="mail")
    assert refused.status in {200, 503}  # it may be back already
    assert shelf.search(vector=vector).status == 200
    assert shelf.get("kept").status == 200
    broken.wait_restarted("embeddings", old)
    assert until(lambda: shelf.search(text="mail"), 200).json()["results"]


def test_killed_in_the_middle_of_a_document_nothing_of_it_is_stored(broken: Platform, shelf: Shelf) -> None:
    thread, got = started(lambda: shelf.put("cut", {"text": LONG}))
    time.sleep(0.4)  # some of its chunks are embedded by now
    old = broken.kill("embeddings")
    thread.join()
    assert got[0].status == 503, got[0].body
    assert not whole_or_absent(shelf, "cut")
    broken.wait_restarted("embeddings", old)
    assert until(lambda: shelf.put("cut", {"text": LONG}), 200).json()["documents"][0]["changed"] is True
    assert whole_or_absent(shelf, "cut")


@pytest.mark.parametrize("process", ["gateway-0", "postgres-data"])
def test_killed_at_any_moment_a_document_is_whole_or_absent(broken: Platform, shelf: Shelf, process: str) -> None:
    for number, wait_s in enumerate((0.1, 0.7)):
        document = f"{process}-{number}"
        thread, _got = started(lambda document=document: _tried(shelf, document))  # type: ignore[misc]
        time.sleep(wait_s)
        old = broken.kill(process)
        thread.join()
        broken.wait_restarted(process, old)
        until(lambda: _listed(shelf), 200)
        whole_or_absent(shelf, document)


def _tried(shelf: Shelf, document: str) -> Answer:
    try:
        return shelf.put(document, {"text": LONG})
    except OSError:
        return Answer(0, {}, b"")


def _listed(shelf: Shelf) -> Answer:
    try:
        return shelf.list()
    except OSError:
        return Answer(503, {}, b"")


def test_a_hanging_embedding_process_costs_time_and_nothing_else(broken: Platform, shelf: Shelf) -> None:
    pid = broken.process("embeddings").pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        thread, got = started(lambda: shelf.search(text="mail"))
        time.sleep(0.5)
        vector: list[Any] = [1.0] + [0.0] * 383
        assert shelf.search(vector=vector).status == 200  # others do not wait for it
    finally:
        os.kill(pid, signal.SIGCONT)
    thread.join()
    assert got[0].status == 200  # it was only late
