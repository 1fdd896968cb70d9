"""The two pages that a person sees while signing in: who asks for what, and why it went wrong. No script, no picture.

Everything that came from outside is escaped, shown as text, and never part of an address that is linked to. Nobody may
put a page in a frame: what a person agrees to is what they see. Source: RFC 9700 4.15 (clickjacking), OWASP XSS.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final
from urllib.parse import urlsplit

STYLE: Final = (
    ":root{color-scheme:light dark}h1{font-size:1.5rem}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:6vh auto;padding:0 1rem}"
    "input,button{font:inherit;padding:.5rem .75rem;margin:.25rem .5rem .75rem 0;border-radius:.375rem}"
    "input{width:100%;box-sizing:border-box;border:1px solid}button{border:1px solid;cursor:pointer}"
    "button[value=continue]{background:#1a5fb4;border-color:#1a5fb4;color:#fff}"
    "dt{opacity:.75}dd{margin:0 0 .5rem;overflow-wrap:anywhere}"
)
HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
MEDIA_TYPE: Final = "text/html; charset=utf-8"


def consent_page(
    *,
    action: str,
    attempt: str,
    form: str,
    client: str,
    host: str | None,
    redirect_uri: str,
    scopes: Sequence[str] | None,
    resource: str | None,
    lasting_s: float | None,
    tenant: str | None,
) -> bytes:
    """Return the page that asks the person. host: of the client's document; None for one that the deployment knows."""
    whose = "an application that this deployment knows" if host is None else f"an application of {host}"
    facts = {
        "Application": f"{client}, {whose}",
        "Its answer goes to": urlsplit(redirect_uri).netloc,
        "It may": "do all that you may do" if scopes is None else ", ".join(scopes),
        "Where": "everywhere in one tenant" if resource is None else resource,
        "How long": "15 minutes" if lasting_s is None else f"up to {lasting_s / 3_600:g} hours, until you sign out",
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return _page(
        "Sign in",
        f"<p>Continue only if you have just asked this application to sign you in.</p><dl>{listed}</dl>"
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="attempt" value="{escape(attempt)}">'
        f'<input type="hidden" name="form" value="{escape(form)}">'
        f'<label>Your tenant<input name="tenant" required maxlength="63" value="{escape(tenant or "")}"></label>'
        '<button name="choice" value="continue">Continue</button>'
        '<button name="choice" value="cancel" formnovalidate>Cancel</button></form>',
    )


def error_page(text: str, code: str) -> bytes:
    """Return the page that says what went wrong. code: the stable one, for whoever is asked for help."""
    return _page(
        "Not signed in", f"<p>{escape(text[:1].upper() + text[1:])}.</p><p>Code: <code>{escape(code)}</code></p>"
    )


def _page(title: str, body: str) -> bytes:
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title} - Partywall</title>'
    )
    shown = f"<body><h1>{title}</h1>{body}</body>"
    return f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head>{shown}</html>".encode()
