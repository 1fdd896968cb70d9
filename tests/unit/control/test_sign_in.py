"""The parts of sign-in by themselves: seals, proofs, requests, clients, and what a browser can keep."""

from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from partywall.control.sign_in.clients import DOCUMENT_LIFE_S, DOCUMENTS_LIMIT, Client, Clients
from partywall.control.sign_in.codes import proves
from partywall.control.sign_in.flow import _Sent
from partywall.control.sign_in.request import Asked, Refused, answer_url, check_request, resource_of
from partywall.control.sign_in.seal import Seal
from partywall.errors import Malformed, Unavailable
from partywall.settings import ClientSettings
from partywall.wire.sign_in import Begin, Callback, Redeem, parameters_of, parse_request

HERE = "https://wall.example"
DESK = Client(id="desk", name="The desk", redirect_uris=("https://desk.example/cb", "http://127.0.0.1/cb"))


def begin(**changed):
    given = {
        "client_id": "desk", "redirect_uri": "https://desk.example/cb", "response_type": "code",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
    }  # fmt: skip
    return Begin(**(given | changed))


def test_a_proof_is_as_rfc_7636_has_it():
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert proves(verifier, challenge)
    for wrong in ("", verifier[:-1], verifier[:42], verifier + "=", challenge, verifier * 4, verifier.lower()):
        assert not proves(wrong, challenge)


def test_a_seal_opens_for_its_purpose_and_its_deployment_alone(tmp_path):
    seal = Seal(tmp_path)
    sealed = seal.close("begun", b"content")
    assert seal.open("begun", sealed) == b"content"
    assert Seal(tmp_path).open("begun", sealed) == b"content"  # the same deployment, started again
    assert b"content" not in sealed.encode()
    assert sealed != seal.close("begun", b"content")
    (tmp_path / "other").mkdir()
    other = Seal(tmp_path / "other")
    flipped = ("B" if sealed[20] == "A" else "A") + sealed[21:]
    for purpose, text in (("sent", sealed), ("begun", sealed[:20] + flipped), ("begun", sealed[:-8]), ("begun", "AA")):
        with pytest.raises(Malformed):
            seal.open(purpose, text)
    with pytest.raises(Malformed):
        other.open("begun", sealed)
    assert (tmp_path / "sign-in.key").stat().st_mode & 0o777 == 0o600


def test_the_largest_sign_in_fits_into_a_cookie(tmp_path):
    asked = Asked(
        client="c" * 256, redirect_uri="r" * 256, state="s" * 512, challenge="x" * 43,
        scopes=["tool.call"] * 50, resource="m" * 256, lasting=True,
    )  # fmt: skip
    sent = _Sent(
        attempt="sgn_" + "a" * 26, asked=asked, tenant="ten_" + "a" * 26, provider="idp_" + "a" * 26,
        state="s" * 74, nonce="n" * 43, verifier="v" * 64, expires_at_s=1_800_000_000.123456,
    )  # fmt: skip
    sealed = Seal(tmp_path).close("_Sent", msgspec.json.encode(sent))
    cookie = f"__Host-{sent.attempt}={sealed}; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"
    assert len(cookie) <= 4_096


def test_the_answer_keeps_the_clients_own_query_and_state():
    url = answer_url("https://desk.example/cb?a=1&b=%20", HERE, 'x&y="#%', code="c")
    assert urlsplit(url)._replace(query="").geturl() == "https://desk.example/cb"
    assert parse_qs(urlsplit(url).query) == {
        "a": ["1"], "b": [" "], "code": ["c"], "state": ['x&y="#%'], "iss": [HERE],
    }  # fmt: skip
    assert "state" not in answer_url("https://desk.example/cb", HERE, None, code="c")


@pytest.mark.parametrize(
    ("resource", "is_for"),
    [
        (None, None),
        (HERE, None),
        (f"{HERE}/", None),
        (f"{HERE}/mcp/mail", f"{HERE}/mcp/mail"),
        (f"{HERE}/mcp/mail_2-x", f"{HERE}/mcp/mail_2-x"),
    ],
)
def test_what_a_token_can_be_for(resource, is_for):
    assert resource_of(resource, HERE) == is_for


@pytest.mark.parametrize(
    "resource",
    [
        f"{HERE}/mcp/", f"{HERE}/mcp", f"{HERE}/mcp/a/b", f"{HERE}/mcp/mail/", f"{HERE}/mcp/Mail", f"{HERE}/v1",
        f"{HERE}.evil/mcp/mail", f"{HERE}@evil/mcp/mail", "https://other/mcp/mail", f"{HERE}/mcp/mail?x", "", "mail",
    ],
)  # fmt: skip
def test_what_a_token_cannot_be_for(resource):
    with pytest.raises(Refused) as caught:
        resource_of(resource, HERE)
    assert caught.value.error == "invalid_target"


def test_scopes_are_actions_each_once():
    asked = check_request(begin(scope="tool.list tool.call tool.call openid offline_access"), DESK, HERE)
    assert asked.scopes == ["tool.call", "tool.list"]
    for none in (None, "", "openid profile email offline_access"):
        assert check_request(begin(scope=none), DESK, HERE).scopes is None


def test_a_wrong_address_comes_before_everything_else():
    with pytest.raises(Malformed):
        check_request(begin(redirect_uri="https://evil.example/", response_type="token"), DESK, HERE)


def test_what_is_recorded_names_the_step_and_the_client_and_nothing_secret():
    redeem = Redeem(client_id="c" * 200, code="secret", code_verifier="secret", redirect_uri="r")
    assert parameters_of(redeem) == {"operation": "sign-in.redeem", "client": "c" * 128}
    callback = Callback(state=f"sgn_{'a' * 26}.{'s' * 43}", cookie="secret", code="secret")
    assert parameters_of(callback) == {"operation": "sign-in.callback"}


@pytest.mark.parametrize(
    "changed", [{"client_id": ""}, {"client_id": "x" * 257}, {"state": "\n"}, {"redirect_uri": "a b"}]
)
def test_what_cannot_be_shown_is_no_request(changed):
    with pytest.raises(Malformed):
        parse_request({"client_id": "desk", "redirect_uri": "https://desk.example"} | changed)


# --- clients ----------------------------------------------------------------------------------------------------------


class Web:
    """Answers for documents, in the fetcher's place."""

    def __init__(self):
        self.asked, self.down = [], False

    async def get_json(self, url):
        self.asked.append(url)
        if self.down:
            raise Unavailable("out of reach")
        return {"client_id": url, "redirect_uris": ["https://app.example/cb"], "client_name": "App"}


@pytest.fixture
def web():
    return Web()


async def test_documents_are_kept_for_a_while_and_never_many(web):
    now = 0.0
    clients = Clients({}, web, clock=lambda: now)
    for _ in range(3):
        found = await clients.find("https://app.example/client.json")
    assert (found.name, found.host, len(web.asked)) == ("App", "app.example", 1)
    now = DOCUMENT_LIFE_S
    await clients.find("https://app.example/client.json")
    assert len(web.asked) == 2
    for number in range(DOCUMENTS_LIMIT + 10):
        await clients.find(f"https://app.example/{number}.json")
    assert len(clients._documents) == DOCUMENTS_LIMIT


async def test_a_document_that_cannot_be_had_is_no_client_and_is_asked_for_again(web):
    clients = Clients({}, web, clock=lambda: 0.0)
    web.down = True
    with pytest.raises(Malformed):
        await clients.find("https://app.example/client.json")
    web.down = False
    assert (await clients.find("https://app.example/client.json")).name == "App"


async def test_known_clients_need_no_document(web):
    clients = Clients({"desk": ClientSettings(redirect_uris=("https://desk.example/cb",))}, web, clock=lambda: 0.0)
    assert (await clients.find("desk")).name == "desk"
    assert (await clients.find("partywall-cli")).host is None
    assert web.asked == []


@pytest.mark.parametrize("name", ["Evil\u202etxt", "a\x00b", "x" * 65, "", "\u200b"])
async def test_a_name_that_would_deceive_is_replaced_by_the_host(web, name, monkeypatch):
    async def get_json(url):
        return {"client_id": url, "redirect_uris": ["https://app.example/cb"], "client_name": name}

    monkeypatch.setattr(web, "get_json", get_json)
    assert (await Clients({}, web, clock=lambda: 0.0).find("https://app.example/c")).name == "app.example"
