"""One sign-in, step by step, as the issuer performs it. Nothing is fetched inside a transaction.

    begin      which client, and what it wants        -> shown to the person
    continue   the person agrees, and says which tenant -> the tenant's identity provider
    callback   the provider vouches for the person    -> a code, to the client
    redeem     the client proves that it began this   -> a credential for one token, maybe a refresh token
    refresh    a refresh token, once                  -> the same again

Between begin and callback the person's browser keeps what is known, sealed: an answer counts only in the browser that
began, so nobody can be signed in as somebody else. Source: docs/adr/0012-sign-in.md, RFC 9700 4.4, 4.7.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final, TypeVar

import msgspec

from partywall.control.database import Database
from partywall.control.federation.bindings import choose, find_candidates
from partywall.control.federation.identity import ExternalIdentity, IdentityProvider, refused
from partywall.control.sign_in.clients import Clients
from partywall.control.sign_in.codes import issue_code, redeem_code
from partywall.control.sign_in.families import end_family, renew
from partywall.control.sign_in.providers import find_provider, require_provider
from partywall.control.sign_in.relying_party import RelyingParty
from partywall.control.sign_in.request import (
    Asked,
    Refused,
    answer_url,
    check_request,
    check_text,
    resource_of,
    scopes_of,
)
from partywall.control.sign_in.seal import Seal
from partywall.control.work import Reply, new_id
from partywall.decision.ports import Clock
from partywall.decision.principal import Kind
from partywall.errors import Malformed, Unauthenticated, Unavailable
from partywall.wire.sign_in import Begin, Callback, Cancel, Continue, End, Redeem, Refresh, Step

ATTEMPT_LIFE_S: Final = 600.0
_PEOPLE: Final = frozenset({Kind.USER, Kind.TENANT_ADMIN})
_Kept = TypeVar("_Kept", bound="_Begun | _Sent")


class _Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What the cookie says until the person agrees. form: what only our own page in that browser can send back."""

    attempt: str
    asked: Asked
    form: str
    expires_at_s: float


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the cookie says while the person is at the identity provider."""

    attempt: str
    asked: Asked
    tenant: str
    provider: str
    state: str
    nonce: str
    verifier: str
    expires_at_s: float


class SignIn:
    """The steps. public_url: the deployment's own origin, and the issuer that answers name (RFC 9207)."""

    def __init__(
        self,
        control: Database,
        clients: Clients,
        relying_party: RelyingParty,
        seal: Seal,
        *,
        public_url: str,
        region: str,
        access_token_s: float,
        lasting_s: float,
        clock: Clock,
    ) -> None:
        self._control = control
        self._clients = clients
        self._relying_party = relying_party
        self._seal = seal
        self._public_url = public_url
        self._region = region
        self._access_token_s = access_token_s
        self._lasting_s = lasting_s
        self._clock = clock

    async def perform(self, step: Step) -> Reply:
        """Return a step's reply (`wire/sign_in.py`); with "error" when it led nowhere.

        Raises: Malformed, NotFound: the person is told, and no client; Unavailable.
        """
        if isinstance(step, Begin | Continue | Cancel | Callback):
            return await self._browse(step)
        return await self._exchange(step)

    async def _browse(self, step: Begin | Continue | Cancel | Callback) -> Reply:
        match step:
            case Begin():
                return await self._begin(step)
            case Continue():
                return await self._continue(step)
            case Callback():
                return await self._callback(step)
            case Cancel():
                begun = self._begun(step.cookie, step.form)
                return self._turned_away(begun.asked, "access_denied", "the person did not agree")

    async def _exchange(self, step: Redeem | Refresh | End) -> Reply:
        match step:
            case Redeem():
                return await self._redeem(step)
            case Refresh():
                return await self._refresh(step)
            case End():
                return await self._end(step)

    async def _begin(self, step: Begin) -> Reply:
        client = await self._clients.find(step.client_id)
        try:
            asked = check_request(step, client, self._public_url)
        except Refused as refusal:
            location = self._answer(step.redirect_uri, step.state, refusal.error, refusal.description)
            return {"location": location, "error": refusal.error}
        begun = _Begun(
            attempt=new_id("sgn"),
            asked=asked,
            form=secrets.token_urlsafe(32),
            expires_at_s=self._clock() + ATTEMPT_LIFE_S,
        )
        return {
            "attempt": begun.attempt,
            "form": begun.form,
            "cookie": self._sealed(begun),
            "client": {"name": client.name, "host": client.host},
            "redirect_uri": asked.redirect_uri,
            "scopes": asked.scopes,
            "resource": asked.resource,
            "lasting_s": self._lasting_s if asked.lasting else None,
            "tenant": step.tenant,
        }

    async def _continue(self, step: Continue) -> Reply:
        begun = self._begun(step.cookie, step.form)
        async with self._control.transaction() as connection:
            tenant, provider = await find_provider(connection, check_text(step.tenant), region=self._region)
        sent = _Sent(
            attempt=begun.attempt,
            asked=begun.asked,
            tenant=tenant,
            provider=provider.id,
            state=f"{begun.attempt}.{secrets.token_urlsafe(32)}",
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            expires_at_s=begun.expires_at_s,
        )
        location = await self._relying_party.location(
            provider, state=sent.state, nonce=sent.nonce, verifier=sent.verifier
        )
        return {"location": location, "attempt": sent.attempt, "cookie": self._sealed(sent)}

    async def _callback(self, step: Callback) -> Reply:
        sent = self._opened(step.cookie, _Sent)
        if not same(step.state, sent.state):
            raise _foreign()
        if step.code is None:
            return self._turned_away(sent.asked, "access_denied", "the identity provider did not sign the person in")
        async with self._control.transaction() as connection:
            provider = await require_provider(connection, sent.provider)
        try:
            identity = await self._relying_party.identify(
                provider, code=step.code, verifier=sent.verifier, nonce=sent.nonce, iss=step.iss, at=step.at
            )
        except Unauthenticated as error:
            text = "the identity provider's answer is not accepted"
            return self._turned_away(sent.asked, "access_denied", text, error.code)
        except Unavailable as error:
            return self._turned_away(sent.asked, "temporarily_unavailable", error.public, error.code)
        try:
            return await self._admit(sent, provider, identity)
        except Unauthenticated as error:
            text = "this tenant knows nobody by that identity: ask its administrator for a binding"
            return self._turned_away(sent.asked, "access_denied", text, error.code)

    async def _admit(self, sent: _Sent, provider: IdentityProvider, identity: ExternalIdentity) -> Reply:
        async with self._control.transaction() as connection:
            known = await find_candidates(
                connection, tenant=sent.tenant, issuer=provider.issuer, subject=identity.subject, region=self._region
            )
            bound = choose(identity, known.bindings)
            if known.provider.id != provider.id or bound.kind not in _PEOPLE:
                raise refused("not-bound")
            code = await issue_code(
                connection,
                attempt=sent.attempt,
                asked=sent.asked,
                tenant=sent.tenant,
                subject=bound.subject,
                ancestors=[provider.id, bound.id],
                scopes=_narrowed(sent.asked.scopes, bound.scopes),
                now_s=self._clock(),
            )
        location = answer_url(sent.asked.redirect_uri, self._public_url, sent.asked.state, code=code)
        return {"location": location, "tenant": sent.tenant, "subject": bound.subject}

    async def _redeem(self, step: Redeem) -> Reply:
        try:
            resource = resource_of(step.resource, self._public_url)
        except Refused as refusal:
            return {"error": refusal.error}
        async with self._control.transaction() as connection:
            return await redeem_code(
                connection,
                step,
                resource=resource,
                now_s=self._clock(),
                life_s=self._access_token_s,
                lasting_s=self._lasting_s,
            )

    async def _refresh(self, step: Refresh) -> Reply:
        try:
            resource, scopes = resource_of(step.resource, self._public_url), scopes_of(step.scope)
        except Refused as refusal:
            return {"error": refusal.error}
        async with self._control.transaction() as connection:
            return await renew(
                connection, step, resource=resource, scopes=scopes, now_s=self._clock(), life_s=self._access_token_s
            )

    async def _end(self, step: End) -> Reply:
        async with self._control.transaction() as connection:
            await end_family(connection, step.refresh_token, self._clock())
        return {}

    # --- what the browser keeps ---------------------------------------------------------------------------------------

    def _sealed(self, kept: _Begun | _Sent) -> str:
        return self._seal.close(type(kept).__name__, msgspec.json.encode(kept))

    def _opened(self, sealed: str, kind: type[_Kept]) -> _Kept:
        kept = msgspec.json.decode(self._seal.open(kind.__name__, sealed), type=kind)
        if self._clock() >= kept.expires_at_s:
            raise Malformed("this sign-in took too long: begin anew", code="bad-sign-in")
        return kept

    def _begun(self, sealed: str, form: str) -> _Begun:
        begun = self._opened(sealed, _Begun)
        if not same(form, begun.form):
            raise _foreign()
        return begun

    # --- answers to the client ----------------------------------------------------------------------------------------

    def _turned_away(self, asked: Asked, error: str, description: str, cause: str | None = None) -> Reply:
        location = self._answer(asked.redirect_uri, asked.state, error, description)
        return {"location": location, "error": cause or error}

    def _answer(self, redirect_uri: str, state: str | None, error: str, description: str) -> str:
        return answer_url(redirect_uri, self._public_url, state, error=error, error_description=description)


def same(given: str, kept: str) -> bool:
    """Whether what came is what this browser keeps."""
    return hmac.compare_digest(given, kept)


def _narrowed(asked: list[str] | None, bound: list[str] | None) -> list[str] | None:
    """Return what a token may carry: what was asked, and no more than the binding gives; None for all."""
    if bound is None:
        return asked
    return sorted(bound) if asked is None else sorted(set(asked) & set(bound))


def _foreign() -> Malformed:
    return Malformed("this sign-in was begun in another browser, or not here: begin anew", code="bad-sign-in")
