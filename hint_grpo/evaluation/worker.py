"""One decoding process: `python -m hint_grpo.evaluation.worker`, started by `pool`, one per GPU.

It exchanges JSON lines over stdin and stdout (no pickle crosses a process boundary):

    pool -> worker   {"cores": [0, 2] or null, "backend": "vllm"}                      once: what to import already
    pool -> worker   {"model_path": ..., "backend": ..., ...}                          once: the model to load
    worker -> pool   {"ready": true}
    pool -> worker   {"jobs": [{"scale": 0.8, "requests": [{"id", "question", "image"}, ...]}, ...]}
    worker -> pool   {"id", "scale", "completion", "num_tokens", "finish_reason", "seconds"}    one per answer
    worker -> pool   {"ready": true}                                                   the jobs are done
    worker -> pool   {"user_error": "..."} or {"failure": "traceback"}                 the worker ends

The worker ends when its stdin ends, so it never outlives the run, even if that was killed.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.data.decoded import DecodedPicture
from hint_grpo.machine.errors import UserError

Message = dict[str, Any]


def main() -> None:
    """Runs the worker until its stdin ends or an error is reported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the run handles it
    out = _private_stdout()
    inbox = _follow_stdin()
    try:
        _work(inbox, out)
    except UserError as error:
        _send(out, {"user_error": str(error)})
    except BrokenPipeError:
        os._exit(1)  # the run has ended, so nothing can be reported
    except Exception as error:  # the boundary of a process: report any error, then end
        if _is_out_of_memory(error):
            _send(out, {"user_error": f"the GPU's memory is full: lower --batch_size or --max_pixels ({error})"})
        else:
            _send(out, {"failure": traceback.format_exc()})
        raise


def _work(inbox: "queue.Queue[Message]", out: TextIO) -> None:
    """Imports the libraries while the run checks its questions, loads the decoder, then answers jobs in an endless loop."""
    start = inbox.get()
    _bind_cores(start["cores"])
    # Heavy, and the cores must be bound first: torch and vLLM size their thread pools when they are imported.
    from hint_grpo.calibration.load import import_backend, load_decoder

    import_backend(start["backend"])
    loading = inbox.get()
    decoder = load_decoder(loading.pop("model_path"), **loading)
    while True:
        _send(out, {"ready": True})
        for job in inbox.get()["jobs"]:
            requests = [_request(fields) for fields in job["requests"]]
            last = time.perf_counter()
            for completion in decoder.decode(requests, job["scale"]):
                now = time.perf_counter()
                answer = {
                    "id": completion.id,
                    "scale": job["scale"],
                    "completion": completion.text,
                    "num_tokens": len(completion.token_ids),
                    "finish_reason": completion.finish_reason,
                    "seconds": now - last,
                }
                _send(out, answer)
                last = now


def _request(fields: Message) -> DecodeRequest:
    decoded = fields.pop("decoded")
    return DecodeRequest(**fields, decoded=None if decoded is None else DecodedPicture(**decoded))


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _private_stdout() -> TextIO:
    """Reserves the real stdout for messages: whatever a library prints goes to stderr, which is the worker's log."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    return private


def _follow_stdin() -> "queue.Queue[Message]":
    """Reads messages in a thread, so that the end of stdin is noticed during decoding too."""
    inbox: queue.Queue[Message] = queue.Queue()

    def follow() -> None:
        for line in sys.stdin:
            inbox.put(json.loads(line))
        os._exit(0)  # the run has ended or was killed; ending now frees the GPU at once

    threading.Thread(target=follow, daemon=True).start()
    return inbox


def _bind_cores(cores: list[int] | None) -> None:
    if cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _send(out: TextIO, message: Message) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
