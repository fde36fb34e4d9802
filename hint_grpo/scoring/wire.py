"""Messages between the checker and its worker processes: a length, then JSON, over a socket."""

import json
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct("!I")


class Deadline:
    """Sets a socket's time-out to what is left of a limit, so that many small reads cannot add up past it."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def arm(self, sock: socket.socket) -> None:
        """Raises TimeoutError where nothing is left."""
        if self._end is None:
            sock.settimeout(None)
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)


def send(sock: socket.socket, message: dict[str, Any], deadline: Deadline) -> None:
    """Sends one message. Lone surrogates (a completion may hold any code point) travel as JSON escapes."""
    body = json.dumps(message).encode("ascii")
    deadline.arm(sock)
    sock.sendall(_LENGTH.pack(len(body)) + body)


def receive(sock: socket.socket, deadline: Deadline) -> dict[str, Any]:
    """The next message; EOFError where the other side is gone."""
    (length,) = _LENGTH.unpack(_receive_exactly(sock, _LENGTH.size, deadline))
    message: dict[str, Any] = json.loads(_receive_exactly(sock, length, deadline))
    return message


def _receive_exactly(sock: socket.socket, size: int, deadline: Deadline) -> bytes:
    body = bytearray()
    while len(body) < size:
        deadline.arm(sock)
        chunk = sock.recv(min(size - len(body), 1 << 16))
        if not chunk:
            raise EOFError("the other side closed the connection")
        body += chunk
    return bytes(body)
