"""Who may read the pages: requests of other sites, other users and other machines are refused."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "dacapo-token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Refuses requests before an application sees them, and adds headers that restrict what a browser does.

    - Only ``GET`` and ``HEAD``: nothing can be changed.
    - Only hosts that this server is known by. A page of another site that lets its own name point here (DNS rebinding)
      sends that name.
    - With a token, only requests that bring it: once as ``?token=``, which sets a cookie; or as a ``Bearer``.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None = None) -> None:
        """Set the rules.

        Args:
            app: The application.
            hosts: Names and addresses of this server. With a token any numeric address will do too, as names are what
                rebinding needs.
            token: The token; None for none.
        """
        self.app, self.token = app, token
        self.hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            raise ValueError(f"expected a request of HTTP, got one of {scope['type']}")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._answer(scope)
        await (answer or self.app)(scope, receive, sending)

    def _answer(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not passed on."""
        headers = Headers(scope=scope)
        if not self._knows(headers.get("host", "")):
            return PlainTextResponse("This server is not known by that name.", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Pages can only be read.", 405, {"Allow": "GET, HEAD"})
        if self.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given:
            if not self._is_token(given[0]):
                return _refused()
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            # The path of this server, never another server, which a path with two slashes would name.
            path = "/" + scope["raw_path"].decode("latin-1").lstrip("/")
            answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", path="/")
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        known = self._is_token(bearer) or self._is_token(_cookie(headers.get("cookie", "")))
        return None if known else _refused()

    def _knows(self, host: str) -> bool:
        name = host.lower()
        name = name[1 : name.find("]")] if name.startswith("[") else name.partition(":")[0]
        return name in self.hosts or (self.token is not None and _is_address(name))

    def _is_token(self, given: str) -> bool:
        assert self.token is not None
        # The time that this takes tells nothing about the token.
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.token.encode())


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(header: str) -> str:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(header)
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _refused() -> Response:
    return PlainTextResponse(
        "This server needs its token: open the address that dacapo dashboard printed.",
        401,
        {"WWW-Authenticate": "Bearer"},
    )
