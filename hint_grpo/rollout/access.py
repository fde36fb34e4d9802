"""Access to a rollout server: its token, and how a trainer connects to it.

vLLM has no authentication on the endpoints that replace weights and read files. A run creates a token for the server that it
starts; a server that a user starts reads one from HINT_GRPO_SERVER_TOKEN, and so does the run that uses it. The token is passed
in the environment, because every user of a machine can read command lines.
"""

import hmac
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from hint_grpo.machine.errors import UserError

TOKEN_VARIABLE = "HINT_GRPO_SERVER_TOKEN"
MIDDLEWARE = "hint_grpo.rollout.access.TokenRequired"  # for vLLM's --middleware

Message = MutableMapping[str, Any]


def token_of_the_environment() -> str | None:
    """The token in HINT_GRPO_SERVER_TOKEN; None if it is not set or empty. UserError if it does not fit into an HTTP header."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UserError(
            f"{TOKEN_VARIABLE} must be printable ASCII without spaces, such as `openssl rand -hex 32` prints"
        )
    return token or None


def authorization(token: str | None) -> dict[str, str]:
    """The header that carries the token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class TokenRequired:
    """ASGI middleware: answers 401 to every request without the token, /health and the documentation included, and closes
    WebSockets. vLLM's own --api-key does not protect the endpoints that replace weights."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        token = token_of_the_environment()
        if token is None:
            raise RuntimeError(f"{TOKEN_VARIABLE} is not set in the server's process")
        self.app = app
        self.token = token.encode()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan" or self._admits(scope["headers"]):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the handshake fails
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "missing or wrong token"}'})

    def _admits(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = [value for name, value in headers if name.lower() == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token, self.token)  # in constant time


# ----------------------------------------------------------------------------------------------------
# Connecting to a server: never through a proxy, and with its token

MAX_REQUESTS = 256  # at a time, per rank
CONNECT_TIMEOUT_S = 60.0
PROXY_EXCEPTIONS = ("no_proxy", "NO_PROXY")  # libraries differ in which one they read


def server_session(token: str | None, *, num_retries: int = 3) -> requests.Session:
    """Connections to a rollout server, without a proxy and with its token.

    A server closes connections that have been idle for some seconds, perhaps just when a request arrives. Every request can be
    retried: turns are seeded, and setting weights or clearing caches twice has the same effect.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers.update(authorization(token))
    retries = Retry(total=num_retries, backoff_factor=0.5, allowed_methods=None)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=MAX_REQUESTS, max_retries=retries))
    return session


def bypass_proxies(url: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Adds the server to this process's proxy exceptions, for requests that libraries make."""
    known = [name.strip() for variable in PROXY_EXCEPTIONS for name in environment.get(variable, "").split(",")]
    names = ",".join(dict.fromkeys([*filter(None, known), _parts(url).hostname or ""]))
    environment.update(dict.fromkeys(PROXY_EXCEPTIONS, names))


def local_address(url: str) -> str:
    """This machine's address as the server sees it, so that the server can connect back.

    TRL uses the address of the default route, which may belong to a network that the server cannot reach.
    """
    parts = _parts(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT_S) as connection:
        return connection.getsockname()[0]


def _parts(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"http://{url}")
