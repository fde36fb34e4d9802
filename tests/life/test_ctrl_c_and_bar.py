"""Ctrl-C (one press, its echo, a second press) and messages beside the progress bar."""

import io
import logging
import signal
import subprocess
import sys
import time

import pytest
from tqdm import tqdm

from hint_grpo.training.callbacks import AboveBar, loggers_streams

PROGRAM = """
import sys, time
from hint_grpo.machine import interrupts
from hint_grpo.machine.errors import run_main

def main():
    if "deferred" in sys.argv:
        interrupts.deferred_to(lambda: print("asked to stop", flush=True))
    print("ready", flush=True)
    time.sleep(600)

run_main(main)
"""


@pytest.fixture
def program(repository):
    started = []

    def start(*arguments):
        command = [sys.executable, "-c", PROGRAM, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=repository, **pipes)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_while_loading_is_one_line_and_130(program):
    process = program()
    for _ in range(2):  # the terminal's and torchrun's
        process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "interrupted\n")
    assert process.returncode == 130


def test_an_echo_is_the_same_press_and_a_second_press_stops_at_once(program):
    process = program("deferred")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked to stop\n"
    process.send_signal(signal.SIGINT)
    time.sleep(2.5)  # longer than an echo
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "stopped at once\n")
    assert process.returncode == 130


def test_a_message_takes_the_bar_away_and_stands_on_its_own_line():
    terminal = io.StringIO()
    bar = tqdm(total=2, file=terminal, ncols=40, desc="train")
    above = AboveBar(terminal, bar)
    terminal.truncate(0)
    terminal.seek(0)
    print("a message", "in parts", file=above)
    written = terminal.getvalue()
    assert "a message in parts\n" in written
    before, _, after = written.partition("a message in parts\n")
    assert before.strip("\r ") == ""  # the bar is wiped first
    assert "train:" in after  # and drawn again below


def test_a_handler_without_a_stream_to_set_is_left_alone():
    logger = logging.getLogger("hint_grpo.test_bar")
    logger.addHandler(logging.lastResort)
    own = logging.StreamHandler(io.StringIO())
    logger.addHandler(own)
    try:
        assert logging.lastResort not in loggers_streams()
        assert own in loggers_streams()
    finally:
        logger.handlers.clear()
