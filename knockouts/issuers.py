"""Deployments whose issuer lacks one control each; `CAUGHT_BY` says which probe must see the leak.

Each is a throwaway deployment of its own: `up` with other words for its children, so that the issuer process starts
here, and its gateways stamp what they answer and record.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from knockouts.knocked import Knocked, swap
from knockouts.mark import MARK, mark, refuse_real_data
from partywall import app
from partywall.gateway import worker
from partywall.settings import default_home
from partywall.supervisor import command
from partywall.supervisor import run as supervisor
from partywall.supervisor.throwaway import Throwaway
from partywall.wire.operations import BreakGlassApprove

ROOT: Final = Path(__file__).resolve().parents[1]
_START: Final = f"import sys; sys.path.append({str(ROOT)!r}); from knockouts.issuers import main; main(sys.argv[1:])"

CONFIG: Final = "[federation]\nloopback_http = true\n"
"""The probes' own identity provider is on this machine."""
MONTH_S: Final = 30 * 86_400


def _token_life() -> None:
    """Issues tokens for a month."""
    from partywall.control import tokens

    claims_of = tokens.token_claims

    def lasting(*what: Any, **options: Any) -> dict[str, Any]:
        claims = claims_of(*what, **options)
        return claims | {"exp": claims["exp"] + MONTH_S}

    swap(tokens, "token_claims", lasting)


def _foreign_unverified() -> None:
    """Believes what a foreign token says."""
    from partywall.control.federation import verifier

    swap(verifier, "verify_signature", lambda _token, _key: None)


def _audience_unchecked() -> None:
    """Takes a token that was made for somebody else."""
    from partywall.control.federation import token

    swap(token, "_check_audience", lambda _claims, _provider: None)


def _assertion_reusable() -> None:
    """Forgets which assertions were used."""
    from partywall.control.federation import proofs

    swap(proofs, "_USE", "select $1::text is not null and $2::float8 > 0")


def _exchange_widens() -> None:
    """Gives whatever scope is asked for, and for as long as it may."""
    from partywall.control.federation import exchange

    swap(exchange, "narrow_exchange", lambda wanted, _acting, _user, *, limit_s: (wanted, limit_s))


def _code_reusable() -> None:
    """Forgets which codes were used."""
    from partywall.control.sign_in import codes

    unused = codes._FIND.replace("c.*", "c.*, null::float8 as used_at_s")  # noqa: SLF001  # that is the knock-out
    swap(codes, "_FIND", unused)


def _refresh_reusable() -> None:
    """Takes any refresh token of a family, however often."""
    from partywall.control.sign_in import families

    swap(families, "fits", lambda _kept, _secret: True)


def _pkce_unchecked() -> None:
    """Takes a code from whoever brings it."""
    from partywall.control.sign_in import codes

    swap(codes, "proves", lambda _verifier, _challenge: True)


def _break_glass_unapproved() -> None:
    """Takes the asking for the approval."""
    from partywall.control import break_glass
    from partywall.control.database import next_revision

    find = break_glass._find  # noqa: SLF001  # that is the knock-out

    async def eager(work: Any, request: str, *, lock: bool = False) -> Any:
        row = await find(work, request, lock=lock)
        if lock and work.scope is None and row["state"] == "requested":
            anybody = "select id from control.subject where tenant = $1 and kind = 'tenant-admin' limit 1"
            there = msgspec.structs.replace(
                work,
                tenant=row["tenant"],
                principal=await work.connection.fetchval(anybody, row["tenant"]),
                revision=await next_revision(work.connection),
            )
            await break_glass.approve(there, BreakGlassApprove(request=request))
            row = await find(work, request)
        return row

    swap(break_glass, "_find", eager)


def _break_glass_reusable() -> None:
    """Gives a token as often as it is asked for one."""
    from partywall.control import break_glass

    swap(break_glass, "require_usable", lambda _row, _now_s: None)


def _browser_unbound() -> None:
    """Takes an identity provider's answer in any browser."""
    from partywall.control.federation.verifier import Verifier
    from partywall.control.sign_in import flow

    verify = Verifier.verify

    async def without_nonce(self: Verifier, provider: Any, raw_token: str, *, nonce: str | None = None) -> Any:
        return await verify(self, provider, raw_token)

    swap(Verifier, "verify", without_nonce)
    swap(flow, "same", lambda _given, _kept: True)


def _cursor_unbound() -> None:
    """Takes any cursor that the issuer made, for any list of anybody."""
    from partywall.control import paging

    swap(paging, "_mac", lambda _work, _operation, _position: bytes(paging.MAC_BYTES))


def _keys_shared() -> None:
    """Keeps idempotency keys for all principals together."""
    from partywall.control import once

    row = once.row_of
    swap(once, "row_of", lambda _work, key: ("platform", "anybody", row(_work, key)[2]))


def _secret_kept() -> None:
    """Keeps every reply, those with secrets too."""
    from partywall.control import issuer

    perform: Any = vars(issuer)["perform"]

    async def keeping(*what: Any, secret: bool) -> Any:
        return await perform(*what, secret=False)

    swap(issuer, "perform", keeping)


KNOCKOUTS: Final[dict[str, Callable[[], None]]] = {
    "token-life-unlimited": _token_life,
    "foreign-token-unverified": _foreign_unverified,
    "audience-unchecked": _audience_unchecked,
    "assertion-reusable": _assertion_reusable,
    "exchange-widens": _exchange_widens,
    "code-reusable": _code_reusable,
    "refresh-reusable": _refresh_reusable,
    "pkce-unchecked": _pkce_unchecked,
    "browser-unbound": _browser_unbound,
    "break-glass-unapproved": _break_glass_unapproved,
    "break-glass-reusable": _break_glass_reusable,
    "cursor-unbound": _cursor_unbound,
    "keys-shared": _keys_shared,
    "secret-kept": _secret_kept,
}
CAUGHT_BY: Final = (
    ("token-life-unlimited", "ID-1"),
    ("foreign-token-unverified", "ID-11"),
    ("audience-unchecked", "ID-12"),
    ("assertion-reusable", "ID-13"),
    ("exchange-widens", "ID-14"),
    ("code-reusable", "ID-15"),
    ("refresh-reusable", "ID-15r"),
    ("pkce-unchecked", "ID-16"),
    ("browser-unbound", "ID-17"),
    ("break-glass-unapproved", "BG-1"),
    ("break-glass-reusable", "BG-2"),
    ("cursor-unbound", "API-1"),
    ("keys-shared", "API-2"),
    ("secret-kept", "API-3"),
)


@contextmanager
def knocked_out(name: str) -> Iterator[Throwaway]:
    """Yield a running deployment whose issuer lacks that control."""
    with Throwaway("--no-model", command=(sys.executable, "-P", "-c", _START, "up", name)) as ground:
        yield ground


def main(words: list[str]) -> None:
    """Run `up NAME …` (a fresh home alone), or `serve NAME process …` as one of its children."""
    verb, name, *rest = words
    knockout = KNOCKOUTS[name]
    if verb == "up":
        _up(name, rest)
    refuse_real_data(default_home())
    process = rest[0]
    if process == "issuer":
        knockout()
    elif process.startswith("gateway-"):
        stamped = type("Stamped", (Knocked,), {"name": name})
        swap(worker, "serve", functools.partial(worker.serve, make=stamped))
    sys.exit(app.serve(rest))


def _up(name: str, options: list[str]) -> None:
    home = default_home()
    if home.path.exists() and any(home.path.iterdir()):
        raise SystemExit(f"a knock-out starts in a fresh home, and there is one already ({MARK})")
    home.path.mkdir(parents=True, exist_ok=True)
    mark(home)
    home.config.write_text(CONFIG)

    async def run(*what: Any, **more: Any) -> None:
        words = (sys.executable, "-P", "-c", _START, "serve", name)
        await supervisor.run(*what, **more, serve=words, extra_folders=(ROOT / "knockouts",))

    swap(command, "run", run)
    command.up(options)
