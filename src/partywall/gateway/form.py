"""Forms: `application/x-www-form-urlencoded` bodies, bounded, each parameter once. Source: RFC 6749 appendix B."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from partywall.errors import Malformed

FORM: Final = "application/x-www-form-urlencoded"
FORM_LIMIT_BYTES: Final = 49_152
PARAMETERS_LIMIT: Final = 24


def parse_form(content_type: str | None, raw_body: bytes) -> dict[str, str]:
    """Return the form that a body is. A parameter without a value is none. Raises: Malformed.

    A parameter that stands twice is refused, whatever it is (RFC 6749 3.2).
    """
    media_type, _, parameters = (content_type or "").partition(";")
    if media_type.strip().lower() != FORM or parameters.strip().lower() not in {"", "charset=utf-8"}:
        raise Malformed(f"the body must be {FORM}", code="unsupported-media-type")
    if len(raw_body) > FORM_LIMIT_BYTES or not raw_body.isascii():
        raise Malformed("the form cannot be read", code="bad-form")
    try:
        pairs = parse_qsl(
            raw_body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=PARAMETERS_LIMIT,
        )
    except ValueError as error:
        raise Malformed("the form cannot be read", code="bad-form") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Malformed("a parameter stands twice", code="bad-form")
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise Malformed("the form cannot be read", code="bad-form")
    return {name: value for name, value in form.items() if value}
