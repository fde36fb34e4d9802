"""A completion on a vLLM server that arrives in pieces, and is stopped by closing its connection.

The answer is a stream of server-sent events. One event (with `return_token_ids` the first also has the prompt's tokens):

    data: {"choices": [{"index": 0, "token_ids": [17, 4], "logprobs": {"content": [{"logprob": -0.1}, {"logprob": -2.3}]},
           "finish_reason": null}]}

Each completion of a group is a separate request, because vLLM's stream of several completions fails with an IndexError unless
all of them begin in the same engine step. They share their prompt through the prefix cache. vLLM ends a request when its
connection is closed.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import requests

from hint_grpo.rollout.escalation import Sampled
from hint_grpo.rollout.vllm_common import Pieces

DATA, END = "data: ", "[DONE]"


class StreamedCompletion:
    """`read` blocks one thread; `stop` is called from another one, also while `read` waits."""

    def __init__(self) -> None:
        self._pieces = Pieces()
        self._response: requests.Response | None = None
        self._completion: Sampled | None = None
        self._is_stopped = False
        # Held while one thread changes what the other one reads.
        self._lock = threading.Lock()

    def read(self, send: Callable[[], requests.Response], check: Callable[[dict[str, Any]], None]) -> Sampled | None:
        """Sends the request and returns its completion; None if it was stopped. `check` gets the first event. RuntimeError if
        the server breaks off."""
        if self._is_stopped:
            return None
        try:
            with send() as response:
                with self._lock:
                    self._response = response
                for number, event in enumerate(_events(response)):
                    if number == 0:
                        check(event)
                    if not self._add(event):
                        return None
        except (requests.RequestException, OSError, AttributeError, ValueError) as error:
            # A connection that is shut down while it is read ends in one of these.
            if not self._is_stopped:
                raise RuntimeError(f"the vLLM server broke off an answer: {error!r}") from error
        if self._completion is None and not self._is_stopped:
            raise RuntimeError("the vLLM server ended an answer before the completion had ended")
        return self._completion

    def _add(self, event: dict[str, Any]) -> bool:
        """Whether the stream is to be read on."""
        with self._lock:
            if self._is_stopped:
                return False
            for choice in event["choices"]:
                logps = [entry["logprob"] for entry in choice["logprobs"]["content"]] if choice["logprobs"] else []
                # When it has ended the connection may serve another request: `stop` must leave it alone.
                self._completion = self._pieces.add(0, choice["token_ids"] or [], logps, choice["finish_reason"])
            return True

    def stop(self) -> int | None:
        """Ends the request and returns how many tokens had arrived; None if the completion has ended already."""
        with self._lock:
            if self._completion is not None:
                return None
            self._is_stopped = True
            if self._response is not None:
                # Wakes the reading thread, which then closes the connection. It may just have failed by itself.
                with suppress(OSError, RuntimeError, ValueError):
                    self._response.raw.shutdown()
            return sum(self._pieces.lengths)


def _events(response: requests.Response) -> Iterator[dict[str, Any]]:
    """RuntimeError for one that reports an error."""
    for encoded in response.iter_lines():
        line = encoded.decode()
        if line.startswith(DATA) and line != DATA + END:
            event = json.loads(line.removeprefix(DATA))
            if "error" in event:
                raise RuntimeError(f"the vLLM server could not sample a completion: {event['error']}")
            yield event
