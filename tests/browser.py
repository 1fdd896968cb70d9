"""A browser without a window: follows redirections, keeps cookies, fills in forms. It reads, and runs no script."""

import functools
import re
import ssl
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

ask = functools.partial(httpx.request, timeout=30, trust_env=False, verify=ssl.create_default_context())
"""One request on a connection of its own; reading the system's certificates each time would cost more than all else."""
_FORM = re.compile(r"<form[^>]*>.*?</form>", re.DOTALL)
_TAG = re.compile(r"<(input|button)\b[^>]*>")
_ATTRIBUTE = re.compile(r"([a-z-]+)=\"([^\"]*)\"")


class Page:
    """What the browser shows: a reply, and the form in it."""

    def __init__(self, reply):
        self.reply = reply
        self.url = str(reply.url)
        self.status = reply.status_code
        self.text = reply.text
        form = _FORM.search(self.text)
        self.form = form[0] if form else ""

    @property
    def query(self):
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}

    @property
    def fields(self):
        named = (dict(_ATTRIBUTE.findall(tag[0])) for tag in _TAG.finditer(self.form) if tag[1] == "input")
        return {one["name"]: unescape(one.get("value", "")) for one in named if "name" in one}

    @property
    def action(self):
        return urljoin(self.url, unescape(dict(_ATTRIBUTE.findall(self.form[: self.form.index(">")]))["action"]))

    @property
    def code(self):
        """The stable code of an error page."""
        found = re.search(r"<code>([a-z-]+)</code>", self.text)
        return found and found[1]


class Browser:
    """One person's browser. stops_at: prefixes of addresses that are somebody else's: it goes there no further."""

    def __init__(self, *stops_at):
        self.cookies = {}
        self.stops_at = stops_at
        self.visited = []

    def get(self, url):
        return self._go("GET", url, None)

    def submit(self, page, **filled):
        """Send the page's form, filled in."""
        return self._go("POST", page.action, page.fields | filled, referer=page.url)

    def _go(self, method, url, data, referer=None):
        for _ in range(20):
            self.visited.append(url)
            if url.startswith(self.stops_at):
                return Arrived(url)
            headers = {"cookie": self._cookie_header(url)}
            if method == "POST":
                headers["origin"] = "{0.scheme}://{0.netloc}".format(urlsplit(referer or url))
            reply = ask(method, url, data=data, headers=headers)
            self._keep(url, reply)
            if reply.status_code not in {301, 302, 303, 307}:
                return Page(reply)
            url, method, data = urljoin(url, reply.headers["location"]), "GET", None
        raise AssertionError(f"redirected for ever: {self.visited}")

    def _keep(self, url, reply):
        """Browsers take `Secure` cookies of loopback as those of https; a jar of httpx does not."""
        jar = self.cookies.setdefault(urlsplit(url).netloc, {})
        for line in reply.headers.get_list("set-cookie"):
            pair, *attributes = (part.strip() for part in line.split(";"))
            name, _, value = pair.partition("=")
            path = next((one[5:] for one in attributes if one.lower().startswith("path=")), "/")
            gone = any(one.lower() in {"max-age=0", "expires=thu, 01 jan 1970 00:00:00 gmt"} for one in attributes)
            jar[name, path] = None if gone or not value else value

    def _cookie_header(self, url):
        parts = urlsplit(url)
        jar = self.cookies.get(parts.netloc, {})
        return "; ".join(
            f"{name}={value}" for (name, path), value in jar.items() if value and parts.path.startswith(path)
        )


class Arrived:
    """The browser was sent to an address where nobody listens: the client's own."""

    def __init__(self, url):
        self.url = url
        self.query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def sign_in_at_provider(browser, page, login):
    """Walk the provider's development forms: who signs in, and that they agree. Returns where that led."""
    while isinstance(page, Page) and page.form:
        asked = {"login": login, "password": "anything"} if 'name="login"' in page.text else {}
        page = browser.submit(page, **asked)
    return page
