"""Collections through a whole deployment: search by text and by vector, and how fast documents go in.

A real platform with its own embedding process shares the machine's cores with the client, which asks one thing at a
time on a connection that it keeps. A search by text is the whole road twice (the search, and the `embed` nested in it)
and one run of the model; by vector it is the road once and the exact scan. The arms take turns.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from typing import Any, Final

from bench.doors_authzen import Kept
from bench.report import Target, report, wants_json
from partywall.assurance.shelf import Shelf
from partywall.assurance.target import Side
from partywall.assurance.upstream import Upstream
from partywall.assurance.wire import Wire
from partywall.errors import Unavailable
from partywall.supervisor.throwaway import Throwaway
from partywall.wire.embeddings import DIMENSIONS

CHUNKS: Final = 2_000
PER_REQUEST: Final = 200
ROUNDS: Final = 20
REQUESTS: Final = 20
TEXT_LIMIT_MS: Final = 12.0
VECTOR_LIMIT_MS: Final = 4.0
TOPICS: Final = (
    "mail",
    "holiday",
    "invoice",
    "travel",
    "password",
    "contract",
    "printer",
    "office",
    "salary",
    "review",
)
LONG_WORDS: Final = 6_000
START_LIMIT_S: Final = 60.0


def _until_ready(platform: Throwaway) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while platform.process("embeddings").state != "ready":
        if time.monotonic() > deadline_s:
            raise Unavailable("the embedding process did not start")
        time.sleep(0.05)


def _vector(chance: random.Random) -> list[float]:
    return [round(chance.gauss(0, 1), 4) for _ in range(DIMENSIONS)]


def _fill(shelf: Shelf, chance: random.Random) -> float:
    """Store CHUNKS chunks with vectors of their own; return chunks a second."""
    requests = []
    for start in range(0, CHUNKS, PER_REQUEST):
        chunks = [f"chunk {start + at} about {chance.choice(TOPICS)} " + "and so on " * 60 for at in range(PER_REQUEST)]
        vectors = [_vector(chance) for _ in chunks]
        requests.append({"id": f"d{start:05}", "chunks": chunks, "vectors": vectors, "metadata": {"n": start}})
    begun_s = time.perf_counter()
    for one in requests:
        answer = shelf.upload([one])
        assert answer.status == 200, answer.body
    return CHUNKS / (time.perf_counter() - begun_s)


def _ingest_text(shelf: Shelf, chance: random.Random) -> tuple[float, int]:
    """Store one long text; return chunks a second, embedding included, and how many chunks it was."""
    text = " ".join(
        f"{chance.choice(TOPICS)} is handled within {chance.randrange(9)} days." for _ in range(LONG_WORDS // 6)
    )
    begun_s = time.perf_counter()
    answer = shelf.put("long", {"text": text})
    took_s = time.perf_counter() - begun_s
    assert answer.status == 200, answer.body
    chunks = int(answer.json()["documents"][0]["chunks"])
    return chunks / took_s, chunks


def _taken(platform: Throwaway, shelf: Shelf, chance: random.Random) -> dict[str, list[float]]:
    """Return the milliseconds of each arm, in rounds that take turns."""
    search = f"/v1/collections/{shelf.slug}/search"

    def by_text() -> tuple[str, Any]:
        return search, {"text": f"how do I handle a {chance.choice(TOPICS)} on day {chance.randrange(999)}?"}

    def by_vector() -> tuple[str, Any]:
        return search, {"vector": _vector(chance)}

    def embedding() -> tuple[str, Any]:
        return "/v1/embeddings", {"model": shelf.model, "input": by_text()[1]["text"]}

    arms = {"search_text": by_text, "search_vector": by_vector, "embeddings": embedding}
    times: dict[str, list[float]] = {name: [] for name in arms}
    line = Kept(platform.url)
    for name, arm in arms.items():
        for _ in range(5):
            said = line.ask(arm()[0], shelf.key, arm()[1])[1]
            assert len(said["data" if name == "embeddings" else "results"]) in {1, 10}, json.dumps(said)[:200]
    for _ in range(ROUNDS):
        for name, arm in arms.items():
            times[name] += [line.ask(path, shelf.key, body)[0] for path, body in (arm() for _ in range(REQUESTS))]
    line.close()
    return times


def measure() -> tuple[list[Target], dict[str, Any]]:
    """Run a platform of its own; return (targets, figures)."""
    chance, upstream = random.Random(7), Upstream()
    figures: dict[str, Any] = {}
    with Throwaway("--no-model") as platform:
        _until_ready(platform)
        side = Side(Wire(platform.url), platform.operator_key(), upstream, "bench")
        shelf = Shelf(side, platform.operator_key(), "bench", local=True)
        figures["collections_ingest_with_vectors_chunks_per_s"] = round(_fill(shelf, chance))
        times = _taken(platform, shelf, chance)
        text_rate, chunks = _ingest_text(shelf, chance)
        figures["collections_ingest_text_chunks_per_s"] = round(text_rate, 1)
        figures["collections_ingest_text_chunks"] = chunks
    upstream.close()
    figures["collections_chunks"] = CHUNKS
    for name, values in times.items():
        figures[f"collections_{name}_p50_ms"] = round(statistics.median(values), 3)
        figures[f"collections_{name}_p99_ms"] = round(statistics.quantiles(values, n=100)[98], 3)
    return [
        Target(f"collection search, {name}, p50", figures[f"collections_search_{arm}_p50_ms"], "<=", limit, "ms")
        for name, arm, limit in (
            ("with embedding", "text", TEXT_LIMIT_MS),
            ("with a given vector", "vector", VECTOR_LIMIT_MS),
        )
    ], figures


def main() -> int:
    """Run and report."""
    return report("doors_collections", *measure(), wants_json())


if __name__ == "__main__":
    sys.exit(main())
