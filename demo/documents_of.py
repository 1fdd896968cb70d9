"""The texts inside each suite's data, as documents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.:~-]+")
ID_LIMIT: Final = 100


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One text. kind: what it is in the suite; title: what somebody would look for to find it."""

    id: str
    kind: str
    title: str
    text: str


def workspace(environment: Any) -> list[Document]:
    """Mail, files and appointments."""
    files = (
        _made("file", one.id_, one.filename, f"{one.filename}\n\n{one.content}")
        for one in environment.cloud_drive.files.values()
    )
    return [*_mail(environment), *files, *_appointments(environment)]


def banking(environment: Any) -> list[Document]:
    """Files and transactions."""
    files = (_made("file", name, name, f"{name}\n\n{text}") for name, text in environment.filesystem.files.items())
    account = environment.bank_account
    moved = (
        _made("transaction", one.id, one.subject, f"{one.subject}, {one.date}: {one.amount} for {one.recipient}")
        for one in [*account.transactions, *account.scheduled_transactions]
    )
    return _once([*files, *moved])


def travel(environment: Any) -> list[Document]:
    """Hotels, restaurants and car rentals with their reviews; mail and appointments."""
    places = (
        ("hotel", environment.hotels.hotel_list),
        ("restaurant", environment.restaurants.restaurant_list),
        ("car-rental", environment.car_rental.company_list),
    )
    reviewed = (
        _made(kind, one.name, one.name, f"{one.name}, {one.address}\n\n" + "\n".join(one.reviews))
        for kind, listed in places
        for one in listed
    )
    return _once([*reviewed, *_mail(environment), *_appointments(environment)])


def slack(environment: Any) -> list[Document]:
    """Web pages, and messages of channels and people."""
    pages = (_made("page", url, url, f"{url}\n\n{text}") for url, text in environment.web.web_content.items() if text)
    inboxes = (environment.slack.channel_inbox, environment.slack.user_inbox)
    messages = (
        _made("message", f"{place}-{at}", one.body[:80], f"{one.sender} in {place}: {one.body}")
        for inbox in inboxes
        for place, listed in inbox.items()
        for at, one in enumerate(listed)
    )
    return _once([*pages, *messages])


def _mail(environment: Any) -> Iterable[Document]:
    for one in environment.inbox.emails.values():
        yield _made("mail", one.id_, one.subject, f"{one.subject}\nfrom {one.sender}\n\n{one.body}")


def _appointments(environment: Any) -> Iterable[Document]:
    for one in environment.calendar.events.values():
        text = f"{one.title}\n{one.start_time:%d %B %Y, %H:%M}, {one.location}\n\n{one.description}"
        yield _made("appointment", one.id_, one.title, text)


def _made(kind: str, name: object, title: str, text: str) -> Document:
    fit = _UNFIT.sub("-", str(name)).strip("-")[:ID_LIMIT]
    return Document(id=f"{kind}-{fit}", kind=kind, title=title, text=text)


def _once(found: list[Document]) -> list[Document]:
    return list({one.id: one for one in found}.values())
