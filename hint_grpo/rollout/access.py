"""The token of a rollout server: whoever can reach the server without one could replace its weights or make it read files.

The run creates a token for the server that it starts. A server that a user starts reads it from HINT_GRPO_SERVER_TOKEN, and so
does the run that uses that server. It travels in the environment alone: a command line is open to everybody on a machine.
"""

import hmac
import ipaddress
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hint_grpo.errors import UserError

TOKEN_VARIABLE = "HINT_GRPO_SERVER_TOKEN"
MIDDLEWARE = "hint_grpo.rollout.access.TokenRequired"  # for vLLM's --middleware

Message = MutableMapping[str, Any]


def token_of_the_environment() -> str | None:
    """The token in HINT_GRPO_SERVER_TOKEN; None where it is not set or empty."""
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
    """Whether a server that listens on `host` can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class TokenRequired:
    """ASGI middleware: answers 401 to every request without the token, /health and the documentation included, and closes
    WebSockets. vLLM's own --api-key leaves open the endpoints that take weights."""

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
