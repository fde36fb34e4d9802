"""Ctrl-C: the first press shuts the run down cleanly, a later press ends the process immediately.

While a model is loaded, that is a KeyboardInterrupt, for which `errors.run_main` prints one line and exits with code 130.
During training it is a checkpoint after the current step (`hint_grpo.training.monitoring`), set up with `deferred_to`.

Under torchrun one key press arrives twice within milliseconds: from the terminal, and from torchrun, which forwards its own.
Signals within ECHO_S of the first one therefore count as the same press.

Python runs a signal handler only between two bytecode instructions, so not while a process waits in a collective or reads
weights. A thread, woken by the C part of signal handling (`signal.set_wakeup_fd`), reacts in these cases too.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGINT
ECHO_S = 2.0
STUCK_S = 10.0
"""How long the main thread may take to react to a Ctrl-C that is not deferred; it may be waiting for a rank that has exited."""


class _State:
    pressed_at: float | None = None
    on_press: Callable[[], None] | None = None
    """Set while Ctrl-C is deferred; called in the watching thread."""
    handled = threading.Event()
    """The first Ctrl-C has had its effect: KeyboardInterrupt, or the call of `on_press`."""


_state = _State()


def pressed() -> bool:
    """Whether this process has received a Ctrl-C."""
    return _state.pressed_at is not None


def deferred_to(on_press: Callable[[], None] | None) -> None:
    """From now on the first Ctrl-C calls `on_press` (None: raises KeyboardInterrupt again). No effect outside `handled`."""
    _state.on_press = on_press


@contextmanager
def handled() -> Iterator[None]:
    """Handles Ctrl-C as described above during the block; call it in the main thread."""
    _state.pressed_at, _state.on_press = None, None
    _state.handled.clear()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.signal(signal.SIGINT, _raise_once)
    previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="ctrl-c", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_fd)
        signal.signal(signal.SIGINT, previous)
        os.close(writer)  # ends the thread


def _raise_once(number: int, frame: FrameType | None) -> None:
    if _state.on_press is None and not _state.handled.is_set():
        _state.handled.set()
        raise KeyboardInterrupt


def _watch(reader: int) -> None:
    """Reads the number of each signal as it arrives, until `handled` ends."""
    with os.fdopen(reader, "rb", buffering=0) as signals:
        while numbers := signals.read(64):
            if signal.SIGINT in numbers:
                _press()


def _press() -> None:
    now = time.monotonic()
    if _state.pressed_at is None:
        _state.pressed_at = now
        if _state.on_press:
            _state.handled.set()
            _state.on_press()
        else:
            threading.Thread(target=_end_if_stuck, name="ctrl-c-stuck", daemon=True).start()
    elif now - _state.pressed_at > ECHO_S:
        end("stopped at once")


def _end_if_stuck() -> None:
    if not _state.handled.wait(STUCK_S):
        end("interrupted")


def end(text: str) -> NoReturn:
    """Prints one line and ends the process without the libraries' clean-up, which may wait for a rank that has exited. Child
    processes notice the end themselves (`hint_grpo.machine.processes`)."""
    say(text)
    sys.stdout.flush()
    os._exit(EXIT_CODE)


def say(text: str) -> None:
    """Prints one line per node."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)
