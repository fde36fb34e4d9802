"""One completion in pieces, from a small HTTP server that plays back what vLLM's would send."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hint_grpo.rollout.access import server_session
from hint_grpo.rollout.escalation import Sampled
from hint_grpo.rollout.vllm_stream import StreamedCompletion


def event(*token_ids, finish_reason=None, **more):
    logps = {"content": [{"logprob": -token / 10} for token in token_ids]}
    choice = {"index": 0, "token_ids": list(token_ids), "logprobs": logps, "finish_reason": finish_reason}
    return {"choices": [choice], **more}


@contextmanager
def playing(*events, done=True, hang=False):
    """send() -> the server's answer: these events, then [DONE]; `hang`: then nothing, until the connection is closed."""
    closed = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for data in [*map(json.dumps, events), *(["[DONE]"] if done else [])]:
                line = f"data: {data}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            if hang:
                self.wfile.flush()
                self.connection.settimeout(20)
                assert self.connection.recv(1) == b""  # the other side has closed it
                closed.set()
            else:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, server_session(None) as session:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        yield (lambda: session.post(url, stream=True, timeout=20)), closed
        server.shutdown()


def test_pieces_become_one_completion():
    seen = []
    with playing(event(1, 2, prompt_token_ids=[7]), event(3), event(4, finish_reason="stop")) as (send, _):
        stream = StreamedCompletion()
        assert stream.read(send, seen.append) == Sampled([1, 2, 3, 4], [-0.1, -0.2, -0.3, -0.4], "stop")
        assert stream.stop() is None  # too late: the connection may serve another request
        assert stream.read(send, seen.append) is not None
    assert [first.get("prompt_token_ids") for first in seen] == [[7], [7]]


def test_stop_wakes_a_reader_that_waits_and_closes_the_connection():
    with playing(event(1, 2), done=False, hang=True) as (send, closed):
        stream, answers = StreamedCompletion(), []
        reader = threading.Thread(target=lambda: answers.append(stream.read(send, lambda event: None)))
        reader.start()
        while not stream._pieces.lengths:
            time.sleep(0.01)
        assert stream.stop() == 2
        reader.join(10)
        assert answers == [None]
        assert closed.wait(10)


def test_a_completion_that_is_stopped_before_it_is_sent_is_not_sent():
    stream = StreamedCompletion()
    assert stream.stop() == 0
    assert stream.read(lambda: pytest.fail("sent"), lambda event: None) is None


def test_an_error_of_the_server_is_passed_on():
    with (
        playing(event(1), {"error": {"message": "out of memory"}}) as (send, _),
        pytest.raises(RuntimeError, match=r"could not sample a completion.*out of memory"),
    ):
        StreamedCompletion().read(send, lambda event: None)


def test_an_answer_that_ends_too_early_is_an_error():
    with (
        playing(event(1)) as (send, _),
        pytest.raises(RuntimeError, match="before the completion had ended"),
    ):
        StreamedCompletion().read(send, lambda event: None)
