"""The key sets of identity providers: pinned or published, fetched when they are needed and remembered for a while.

Fresh keys are used as they are; older ones too, while new ones are fetched beside; past the limit nobody is believed
until the provider answers. A key id that is not known asks again, but seldom, so that forged tokens cause no flood.
Each provider has its own keys and its own fetch: one that is slow, huge or gone delays nobody else's.
Source: OpenID Connect Discovery 1.0, RFC 7517; ADR-0011.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from partywall.control.federation.fetch import Fetcher
from partywall.control.federation.identity import IdentityProvider, ProviderKind, refused
from partywall.decision.ports import Clock
from partywall.errors import Malformed, Unavailable
from partywall.wire.strict_json import parse_json

REFRESH_S: Final = 300.0
LIMIT_S: Final = 3_600.0
RETRY_S: Final = 5.0
"""Least time between two questions to one provider."""
KEYS_LIMIT: Final = 100
PROVIDERS_LIMIT: Final = 4_096
RSA_BITS: Final = (2_048, 8_192)
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
_FAMILIES: Final[dict[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
}
_PUBLIC: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_IMPORTERS: Final[dict[str, type[Key]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class PublicKey(msgspec.Struct, frozen=True):
    """One key of a set. algorithm: the only one that it may be used with, when its provider says one."""

    type: str
    curve: str | None
    algorithm: str | None
    key: Key


class ProviderMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What discovery said, as far as it is used; addresses are checked before they are asked."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Known:
    """One provider's keys. tried_at_s, fetched_at_s: None before the first time."""

    __slots__ = ("fetch", "fetched_at_s", "keys", "tried_at_s")

    def __init__(self) -> None:
        self.keys: Mapping[str, PublicKey] = {}
        self.fetched_at_s: float | None = None
        self.tried_at_s: float | None = None
        self.fetch: asyncio.Task[None] | None = None


class ProviderKeys:
    """clock: monotonic seconds. The longest age of a key set that is still believed is limit_s."""

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        clock: Clock,
        refresh_s: float = REFRESH_S,
        limit_s: float = LIMIT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._refresh_s = refresh_s
        self._limit_s = limit_s
        self._retry_s = retry_s
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def find(self, provider: IdentityProvider, kid: str, algorithm: str) -> Key:
        """Return the provider's key of this id, fit for this algorithm.

        Raises: Unauthenticated (`assertion-key`); Unavailable when no keys young enough can be had.
        """
        known = self._of(provider)
        if provider.jwks is None:
            await self._freshen(provider, known)
            if kid not in known.keys and self._may_ask(known):
                with contextlib.suppress(Unavailable):
                    await self._fetched(provider, known)
        found = known.keys.get(kid)
        if found is None or not _fits(found, algorithm):
            raise refused("key")
        return found.key

    async def metadata(self, provider: IdentityProvider) -> ProviderMetadata:
        """Return the provider's discovery document. Raises: Unavailable, also when it names another issuer."""
        document = await self._fetcher.get_json(provider.issuer.rstrip("/") + DISCOVERY_PATH)
        try:
            metadata = msgspec.convert(document, ProviderMetadata)
        except msgspec.ValidationError as error:
            raise _unusable("metadata") from error
        if metadata.issuer != provider.issuer:
            raise _unusable("metadata of another issuer")
        return metadata

    async def close(self) -> None:
        """End every fetch under way."""
        tasks = [known.fetch for known in self._known.values() if known.fetch is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of(self, provider: IdentityProvider) -> _Known:
        known = self._known.get(provider.id)
        if known is None:
            known = self._known[provider.id] = _Known()
            if provider.jwks is not None:
                known.keys = parse_key_set(parse_json(provider.jwks.encode()), provider.kind)
            if len(self._known) > PROVIDERS_LIMIT:
                self._known.popitem(last=False)
        self._known.move_to_end(provider.id)
        return known

    async def _freshen(self, provider: IdentityProvider, known: _Known) -> None:
        """Have keys that are young enough. Raises: Unavailable."""
        age_s = float("inf") if known.fetched_at_s is None else self._clock() - known.fetched_at_s
        if age_s <= self._refresh_s:
            return
        if age_s <= self._limit_s:
            if self._may_ask(known):
                self._begin(provider, known).add_done_callback(_seen)
            return
        if known.fetch is None and not self._may_ask(known):
            raise _unusable("asked a moment ago")
        await self._fetched(provider, known)

    def _may_ask(self, known: _Known) -> bool:
        waited = known.tried_at_s is None or self._clock() - known.tried_at_s >= self._retry_s
        return known.fetch is not None or waited

    async def _fetched(self, provider: IdentityProvider, known: _Known) -> None:
        """Wait for the one fetch of this provider. Raises: Unavailable."""
        await asyncio.shield(self._begin(provider, known))

    def _begin(self, provider: IdentityProvider, known: _Known) -> asyncio.Task[None]:
        if known.fetch is None:
            known.tried_at_s = self._clock()
            known.fetch = asyncio.get_running_loop().create_task(self._fetch(provider, known))
        return known.fetch

    async def _fetch(self, provider: IdentityProvider, known: _Known) -> None:
        try:
            url = provider.jwks_uri or (await self.metadata(provider)).jwks_uri
            document = await self._fetcher.get_json(url)
            known.keys = await asyncio.to_thread(parse_key_set, document, provider.kind)
            known.fetched_at_s = self._clock()
        except Malformed as error:
            raise _unusable(error.code) from error
        finally:
            known.fetch = None
            known.tried_at_s = self._clock()


def parse_key_set(document: Any, kind: ProviderKind) -> dict[str, PublicKey]:
    """Return the usable public signing keys by id; others are left out. Raises: Malformed when there is none at all."""
    raw_keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(raw_keys, list) or len(raw_keys) > KEYS_LIMIT:
        raise Malformed(f"a key set is {{'keys': […]}} with at most {KEYS_LIMIT} keys", code="bad-key-set")
    usable = [raw for raw in raw_keys if isinstance(raw, dict) and _is_usable(raw, kind)]
    named = Counter(raw["kid"] for raw in usable)
    found = {raw["kid"]: key for raw in usable if named[raw["kid"]] == 1 and (key := _imported(raw)) is not None}
    if not found:
        raise Malformed("the key set holds no key that could verify a token", code="bad-key-set")
    return found


def _is_usable(raw: dict[str, Any], kind: ProviderKind) -> bool:
    """A private or symmetric key in a published set is nobody's secret any more: it is left out."""
    kid, type_, use = raw.get("kid"), raw.get("kty"), raw.get("use")
    uses = [None, "sig", "jwt-svid"] if kind is ProviderKind.SPIFFE else [None, "sig"]
    return (
        isinstance(kid, str)
        and kid != ""
        and isinstance(type_, str)
        and type_ in _PUBLIC
        and "d" not in raw
        and use in uses
    )


def _imported(raw: dict[str, Any]) -> PublicKey | None:
    type_, algorithm = raw["kty"], raw.get("alg")
    members: dict[str, Any] = {name: raw.get(name) for name in _PUBLIC[type_]}
    if not all(isinstance(value, str) for value in members.values()) or not isinstance(algorithm, str | None):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # short keys are refused below
            key = _IMPORTERS[type_].import_key({"kty": type_, **members})
            public = key.public_key  # decodes it: what is no point of its curve shows here
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(public, RSAPublicKey) and not (
        RSA_BITS[0] <= public.key_size <= RSA_BITS[1] and public.public_numbers().e >= 3
    ):
        return None
    return PublicKey(type_, members.get("crv"), algorithm, key)


def _fits(found: PublicKey, algorithm: str) -> bool:
    said = {"Ed25519": "EdDSA"}.get(found.algorithm or "", found.algorithm)
    type_, curve = _FAMILIES[algorithm]
    return found.type == type_ and found.curve == curve and said in {None, algorithm}


def _unusable(cause: str) -> Unavailable:
    return Unavailable(
        "the identity provider's keys cannot be had", code="provider-unreachable", private=cause, retry_after_s=5.0
    )


def _seen(task: asyncio.Task[None]) -> None:
    """Take note of how a fetch in the background ended: the next one is asked for when its time comes."""
    if not task.cancelled():
        task.exception()
