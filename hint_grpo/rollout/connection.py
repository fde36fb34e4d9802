"""How a trainer reaches a rollout server: never through a proxy, with the server's token, and from which of its addresses."""

import os
import socket
from collections.abc import MutableMapping
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from hint_grpo.rollout.access import authorization

MAX_REQUESTS = 64  # at a time and rank
CONNECT_TIMEOUT_S = 60.0
PROXY_EXCEPTIONS = ("no_proxy", "NO_PROXY")  # libraries differ in which one they read


def server_session(token: str | None, *, num_retries: int = 3) -> requests.Session:
    """Connections to a rollout server, without a proxy and with its token.

    A server closes connections that have been idle for seconds, and a request may meet that moment. Every request can be sent
    again: turns are seeded, and weights and caches come out the same.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers.update(authorization(token))
    retries = Retry(total=num_retries, backoff_factor=0.5, allowed_methods=None)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=MAX_REQUESTS, max_retries=retries))
    return session


def bypass_proxies(url: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Excepts the server from the proxies of this process, for the requests that libraries make."""
    known = [name.strip() for variable in PROXY_EXCEPTIONS for name in environment.get(variable, "").split(",")]
    names = ",".join(dict.fromkeys([*filter(None, known), _parts(url).hostname or ""]))
    environment.update(dict.fromkeys(PROXY_EXCEPTIONS, names))


def local_address(url: str) -> str:
    """This machine's address on the way to the server, which the server can reach in turn.

    The address of the default route, which TRL takes, may belong to a network that the server does not see.
    """
    parts = _parts(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT_S) as connection:
        return connection.getsockname()[0]


def _parts(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"http://{url}")
