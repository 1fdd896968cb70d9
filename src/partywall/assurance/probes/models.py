"""Attacks on the model door: caches, salts, caller-chosen upstreams. Source: attacks.md, KV-*."""

from __future__ import annotations

import json
from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Target


@probe("KV-1", "the caller chooses no upstream, no key and no cache salt", control="field allow-list")
def no_steering(target: Target) -> str:
    a = target.a
    steering: dict[str, Any] = {
        "api_base": target.upstream_b.url,
        "base_url": target.upstream_b.url,
        "api_key": "sk-stolen",
        "cache_salt": "shared",
        "prompt_cache_key": "shared",
        "extra_headers": {"x": "y"},
        "cache_prompt": True,
        "id_slot": 0,
    }
    before = len(target.upstream_b.seen)
    for field, value in steering.items():
        answer = a.chat(a.key, f"steer {field}", **{field: value})
        sent = [seen for seen in a.upstream.seen if f"steer {field}".encode() in seen]
        expect(
            answer.status == 400 or all(json.dumps(value).encode() not in seen for seen in sent),
            f"{field} travelled upstream",
        )
    expect(len(target.upstream_b.seen) == before, "the caller's own upstream was called")
    return f"{len(steering)} steering fields refused or stripped"


@probe("KV-4", "no reply tells what an upstream cached or how long it took", control="reply allow-list")
def no_cache_signal(target: Target) -> str:
    a = target.a
    answer = a.chat(a.key, "hello")
    expect(answer.status == 200, f"the chat failed: {answer.brief()}")
    for field in (b"cached_tokens", b"timings", b"cache_n", b"system_fingerprint", b"prompt_ms"):
        expect(field not in answer.body, f"the reply carries {field.decode()}")
    return "cache fields and timings dropped"


@probe("MODEL-1", "an agent without the grant reaches no model, and sees none listed", control="grants")
def ungranted(target: Target) -> str:
    a = target.a
    answer = a.chat(a.bystander_key, "hi")
    expect(answer.status in {403, 404}, f"an agent without a grant was answered {answer.brief()}")
    listed = a.wire.send("GET", "/v1/models", credential=a.bystander_key)
    expect(b"probe-model" not in listed.body, "a model that is not granted is listed")
    return "refused and not listed"
