"""The public API as the command line calls it: one method per verb, problems as errors that say what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import IO, Any, Final, Self
from urllib.parse import quote, urlencode

import click
from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import RequestError
from pyreqwest.request import SyncRequestBuilder

from partywall.cli.credentials import CredentialsStore

DEFAULT_URL: Final = "http://127.0.0.1:8470"
TIMEOUT_S: Final = 120.0
PAGE_LIMIT: Final = 200

_NEXT: Final[dict[int, str]] = {
    401: "sign in with `partywall login`, or give `--key`",
    403: "ask whoever administers this to permit it",
    404: "list what there is, and check the id or slug",
    409: "list what there is: it may be done already, or the name is taken",
    412: "read it again: somebody changed it meanwhile",
    503: "`partywall status` shows which process is out of reach; then try again",
}


class ApiError(click.ClickException):
    """The API answered no, or not at all. Exit status 1.

    problem: the parsed RFC 9457 body, empty when there was none. as_json: how it is printed.
    """

    exit_code = 1
    as_json = False

    def __init__(self, message: str, *, status: int = 0, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}

    @property
    def code(self) -> str:
        """The stable machine-readable code, such as `not-found`."""
        return str(self.problem.get("code", "unreachable" if self.status == 0 else "error"))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it for people, or, of a command with `--json`, as one JSON document."""
        if not self.as_json:
            super().show(file)
            return
        click.echo(json.dumps({"status": self.status, "code": self.code, "detail": self.message} | self.problem))


class Api:
    """Calls one deployment with one credential."""

    def __init__(self, url: str, key: str | None, *, timeout_s: float = TIMEOUT_S, as_json: bool = False) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._as_json = as_json
        # neither a redirect nor a proxy may see the key
        builder = SyncClientBuilder().timeout(timedelta(seconds=timeout_s)).follow_redirects(False).no_proxy()
        self._client: SyncClient = builder.build()

    @classmethod
    def from_context(cls, context: click.Context) -> Self:
        """Return the client that `--url`, `--key`, `--profile`, the environment or the credentials file describe."""
        chosen = context.find_object(dict) or {}
        url, key = chosen.get("url"), chosen.get("key")
        if not (url and key):
            store = CredentialsStore()
            saved = store.get(chosen.get("profile"))
            # a saved key goes only where it was saved for
            if saved is not None and (url is None or url.rstrip("/") == saved.url):
                if saved.refresh and not key:
                    from partywall.cli.sign_in import fresh

                    saved = fresh(store, chosen.get("profile") or store.current, saved)
                url, key = url or saved.url, key or saved.key
        return cls(url or DEFAULT_URL, key, as_json=bool(context.params.get("as_json")))

    def get(self, path: str, **query: Any) -> Any:
        """Return the parsed answer. Query values of None are left out. Raises: ApiError."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self.call("GET", path + (f"?{urlencode(given)}" if given else ""))

    def get_all(self, path: str, noun: str, **query: Any) -> list[dict[str, Any]]:
        """Return everything of a list, page by page. noun: the member that holds it. Raises: ApiError."""
        page = self.get(path, **query)
        found = list(page[noun])
        while (cursor := page.get("next_cursor")) is not None:
            page = self.get(path, **query, limit=PAGE_LIMIT, cursor=cursor)
            found += page[noun]
        return found

    def post(self, path: str, body: Any = None) -> Any:
        """Send JSON and return the parsed answer. Raises: ApiError."""
        return self.call("POST", path, {} if body is None else body)

    def put(self, path: str, body: Any) -> Any:
        """Send JSON and return the parsed answer. Raises: ApiError."""
        return self.call("PUT", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """Send JSON and return the parsed answer. Raises: ApiError."""
        return self.call("PATCH", path, body)

    def delete(self, path: str, **query: Any) -> Any:
        """Return the parsed answer. Raises: ApiError."""
        return self.call("DELETE", path + (f"?{urlencode(query)}" if query else ""))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the parsed answer; None when there is no body. Raises: ApiError."""
        return self._parsed(self.raw(method, path, body))

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise self._fault(f"{self.url} answered with something that is not JSON: is it partywall?") from None

    def form(self, url: str, fields: Mapping[str, str]) -> Any:
        """Post a form to a whole address, without our credential, and return the parsed answer. Raises: ApiError."""
        request = self._client.request("POST", url).header("Accept", "application/json")
        request = request.header("Content-Type", "application/x-www-form-urlencoded")
        return self._parsed(self._sent(request.body_bytes(urlencode(fields).encode())))

    def raw(self, method: str, path: str, body: Any = None) -> bytes:
        """Return the answer's bytes. Raises: ApiError."""
        request = self._client.request(method, self.url + path).header("Accept", "application/json")
        if self.key:
            request = request.header("Authorization", f"Bearer {self.key}")
        if body is not None:
            request = request.header("Content-Type", "application/json").body_bytes(json.dumps(body).encode())
        return self._sent(request)

    def _sent(self, request: SyncRequestBuilder) -> bytes:
        try:
            response = request.build().send()
            data = bytes(response.bytes())
        except (RequestError, OSError) as error:
            raise self._fault(f"{self.url} is out of reach: start it with `partywall up`, or give `--url`") from error
        if not 200 <= response.status < 300:
            problem = _problem(data)
            raise self._fault(_explain(response.status, problem), status=response.status, problem=problem)
        return data

    def _fault(self, message: str, *, status: int = 0, problem: dict[str, Any] | None = None) -> ApiError:
        error = ApiError(message, status=status, problem=problem)
        error.as_json = self._as_json
        return error


def segment(text: str) -> str:
    """Return text as one segment of a path."""
    return quote(text, safe="")


def _problem(data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _explain(status: int, problem: dict[str, Any]) -> str:
    said = problem.get("detail") or problem.get("title") or f"the API answered with status {status}"
    advice = problem.get("advice") or _NEXT.get(status)
    lines = [str(said)] + ([f"Next: {advice}"] if advice else [])
    if problem.get("act"):
        lines.append(f"Recorded as {problem['act']}")
    return "\n".join(lines)
