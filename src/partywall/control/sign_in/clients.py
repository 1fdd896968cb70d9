"""Which client asks, and where its answers may go.

Our own command line is known; others are named in the settings, or are client-id metadata documents: the client's id is
the https URL of what it says of itself. All are public clients: PKCE and the redirect URI are what binds a code to one.
Source: draft-ietf-oauth-client-id-metadata-document, MCP authorization 2026-07-28, RFC 8252 7.3, RFC 9700 2.1.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from partywall.control.federation.fetch import Fetcher
from partywall.decision.ports import Clock
from partywall.errors import Malformed, PartywallError
from partywall.settings import ClientSettings

OWN_CLIENT: Final = "partywall-cli"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
"""Of which any port will do. Not `localhost`: a name may be somebody else's (RFC 8252 8.3)."""
DOCUMENT_LIFE_S: Final = 300.0
DOCUMENTS_LIMIT: Final = 256
REDIRECTS_LIMIT: Final = 32
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]{1,64}")


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """id: as it names itself. name: as it calls itself, which nobody vouches for. host: of its document, else None."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    host: str | None = None

    def check_redirect(self, uri: str) -> None:
        """Raises: Malformed unless answers may go to uri: one of its own, letter for letter, any port on loopback."""
        check_form(uri)
        if uri not in self.redirect_uris and not any(_same_loopback(uri, own) for own in self.redirect_uris):
            raise Malformed("the client does not have this redirect_uri", code="bad-redirect-uri")


class Document(msgspec.Struct, frozen=True):
    """A client's metadata document, as far as it is used."""

    client_id: str
    redirect_uris: list[str]
    client_name: str = ""
    token_endpoint_auth_method: Literal["none"] = "none"  # noqa: S105  # a method's name
    response_types: list[str] = msgspec.field(default_factory=lambda: ["code"])


class Clients:
    """known: those of the settings, by id. Documents are fetched when they are needed and kept for some minutes."""

    def __init__(self, known: Mapping[str, ClientSettings], fetcher: Fetcher, *, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._documents: OrderedDict[str, tuple[float, Client]] = OrderedDict()
        loopback = ("http://127.0.0.1/callback", "http://[::1]/callback")
        self._known = {OWN_CLIENT: Client(id=OWN_CLIENT, name="Partywall command line", redirect_uris=loopback)}
        for name, given in known.items():
            self._known[name] = Client(id=name, name=given.name or name, redirect_uris=tuple(given.redirect_uris))

    async def find(self, client_id: str) -> Client:
        """Return the client of an id. May fetch its document. Raises: Malformed when there is none that can be read."""
        if client_id in self._known:
            return self._known[client_id]
        _check_document_url(client_id)
        found = self._documents.get(client_id)
        if found is not None and self._clock() < found[0]:
            return found[1]
        try:
            raw_document = await self._fetcher.get_json(client_id)
        except PartywallError as error:  # why it cannot be had says what the issuer can reach: nobody is told
            raise unknown_client() from error
        client = _client(client_id, raw_document)
        self._documents[client_id] = (self._clock() + DOCUMENT_LIFE_S, client)
        self._documents.move_to_end(client_id)
        if len(self._documents) > DOCUMENTS_LIMIT:
            self._documents.popitem(last=False)
        return client


def check_form(uri: str) -> None:
    """Raises: Malformed unless uri is https, or http on loopback, without user, fragment or control characters."""
    try:
        parts = urlsplit(uri)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise Malformed("not a redirect_uri", code="bad-redirect-uri") from error
    local = parts.scheme == "http" and (host in LOOPBACK or host == "localhost")
    if not host or not (parts.scheme == "https" or local) or "@" in parts.netloc or "#" in uri or "\\" in uri:
        raise Malformed("a redirect_uri is https, or http on loopback", code="bad-redirect-uri")


def unknown_client() -> Malformed:
    """The answer for a client that nobody knows and for one whose document cannot be used: the same."""
    return Malformed(
        "there is no such client: a client_id is the https URL of its metadata document, or a name in the settings",
        code="unknown-client",
    )


def _same_loopback(uri: str, own: str) -> bool:
    """Whether both are one loopback address but for the port."""
    given, mine = urlsplit(uri), urlsplit(own)
    if mine.scheme != "http" or mine.hostname not in LOOPBACK:
        return False
    return given._replace(netloc="") == mine._replace(netloc="") and given.hostname == mine.hostname


def _check_document_url(client_id: str) -> None:
    try:
        parts = urlsplit(client_id)
    except ValueError as error:
        raise unknown_client() from error
    segments = parts.path.split("/")
    if parts.scheme not in {"https", "http"} or len(segments) < 2 or not segments[1] or {".", ".."} & set(segments):
        raise unknown_client()  # http: the fetcher takes it for loopback only, where the deployment's owner allows that
    if parts.fragment or parts.query or parts.username is not None or "%" in parts.path:
        raise unknown_client()


def _client(client_id: str, raw_document: Any) -> Client:
    try:
        document = msgspec.convert(raw_document, Document)
    except msgspec.ValidationError as error:
        raise unknown_client() from error
    uris = tuple(document.redirect_uris)
    if document.client_id != client_id or not 0 < len(uris) <= REDIRECTS_LIMIT:
        raise unknown_client()
    if "code" not in document.response_types:
        raise unknown_client()
    for uri in uris:
        check_form(uri)
    host = urlsplit(client_id).netloc
    name = document.client_name if _NAME.fullmatch(document.client_name) else host
    return Client(id=client_id, name=name, redirect_uris=uris, host=host)
