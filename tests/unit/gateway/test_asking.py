"""Foreign tokens that are waited for: they hold so many places, and never those of another tenant or door."""

import asyncio
import base64
import json
from types import SimpleNamespace

import pytest

from partywall.errors import Denied, LimitExceeded
from partywall.gateway.asking import ALL_LIMIT, EACH_LIMIT
from partywall.gateway.exchange import TokenExchange
from partywall.wire.control import Unidentified
from partywall.wire.oauth import JWT, audience_tenant


def tenant(number):
    return "ten_" + chr(ord("a") + number) * 26


def token(number):
    claims = {"iss": "https://idp.example", "aud": f"pw:local:{tenant(number)}"}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.AA"


class Issuer:
    """Answers nothing about the tokens of a provider that is out of reach, until it is."""

    def __init__(self):
        self.released, self.asked = asyncio.Event(), 0

    async def identify(self, _raw_token, _tenant):
        self.asked += 1
        await self.released.wait()
        return Unidentified("assertion-signature")

    async def submit(self, _principal, _call):
        raise Denied("on record")


async def test_tokens_that_are_waited_for_take_no_more_than_their_places():
    issuer = Issuer()
    exchange = TokenExchange(issuer, None, None, issuer, region="local", trust_domain="x", clock=lambda: 1.0)
    request = SimpleNamespace(trace_id="0" * 32, of=lambda _tenant: None)

    def ask(number):
        form = {"subject_token": token(number), "subject_token_type": JWT}
        return asyncio.create_task(exchange(request, form))

    waiting = []
    for number in range(ALL_LIMIT // EACH_LIMIT):
        waiting += [ask(number) for _ in range(EACH_LIMIT)]
        await asyncio.sleep(0)
        assert issuer.asked == len(waiting)
        with pytest.raises(LimitExceeded):
            await ask(number)
    with pytest.raises(LimitExceeded):
        await ask(20)
    issuer.released.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} <= {Denied, LimitExceeded}
    with pytest.raises((Denied, LimitExceeded)):
        await ask(0)
    assert issuer.asked == len(waiting) + 1


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        (f"pw:local:{tenant(0)}", tenant(0)),
        ([f"pw:local:{tenant(0)}", "x"], tenant(0)),
        ([f"pw:local:{tenant(0)}", f"pw:local:{tenant(1)}"], None),
        (f"pw:elsewhere:{tenant(0)}", None),
        ([7, {}], None),
        (7, None),
    ],
)
def test_a_token_says_whose_turn_it_takes(audience, expected):
    body = base64.urlsafe_b64encode(json.dumps({"aud": audience}).encode()).decode().rstrip("=")
    assert audience_tenant(f"e30.{body}.AA", region="local") == expected
    assert audience_tenant("e30", region="local") is None
