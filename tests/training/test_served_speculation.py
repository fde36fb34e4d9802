"""A real vLLM server: speculative escalation over HTTP samples what lazy samples, and a closed connection ends its requests."""

import hint_grpo.machine.stack  # noqa: F401

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from batches import SERVER_CONTEXT, batch_for
from test_vllm_speculation import contents, right_by_tokens, sampled

from hint_grpo.rollout.access import TOKEN_VARIABLE, server_session
from hint_grpo.rollout.vllm_stream import StreamedCompletion

pytest.importorskip("vllm")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trainer(make_trainer, samples, server):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN_VARIABLE, server.token)
        return make_trainer(
            accuracy=right_by_tokens,
            samples=samples,
            use_vllm=True,
            vllm_server_base_url=server.url,
            escalation="speculative",
            per_device_train_batch_size=6,
            max_completion_length=48,
            temperature=1.5,
        )


def test_speculative_samples_the_groups_of_lazy(trainer, samples):
    chosen, discarded = set(), 0
    for step in range(3):
        trainer.state.global_step = step
        lazy, lazy_batch = sampled(trainer, samples[step : step + 6], "lazy")
        speculative, batch = sampled(trainer, samples[step : step + 6], "speculative")
        assert contents(speculative) == contents(lazy)
        assert batch["completion_ids"].equal(lazy_batch["completion_ids"])
        assert batch["sampling_per_token_logps"].allclose(
            lazy_batch["sampling_per_token_logps"], atol=1e-4, equal_nan=True
        )
        chosen |= {rollout.chosen for rollout in speculative}
        discarded += sum(part.num_tokens for rollout in speculative for part in rollout.discarded.values())
    assert chosen == {0, 1, 2}
    assert discarded > 0


def requests_of(server, name):
    """The sum of a counter or gauge over its labels."""
    with server_session(server.token) as session:
        text = session.get(f"{server.url}/metrics", timeout=60).text
    return sum(
        float(value) for value in re.findall(rf"^{re.escape(name)}(?:,[^}}]*)?\}} ([0-9.e+]+)$", text, re.MULTILINE)
    )


RUNNING = 'vllm:num_requests_running{engine="0"'
WRITTEN = 'vllm:generation_tokens_total{engine="0"'


def test_a_closed_connection_ends_its_requests(trainer, samples, server, monkeypatch):
    """Completions of some thousand tokens, which would take far longer than this test waits."""
    batch_for(trainer, samples[:2])
    turn = trainer.batch.prompts[0].turns[0]
    monkeypatch.setattr(trainer.args, "max_completion_length", SERVER_CONTEXT - 400)
    monkeypatch.setattr(trainer.args, "generation_kwargs", {"ignore_eos": True})
    request = trainer.backend._generate_request(turn, 4)
    streams = [StreamedCompletion() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = [
            pool.submit(trainer.backend._stream, stream, turn, place, request) for place, stream in enumerate(streams)
        ]
        while any(sum(stream._pieces.lengths) < 16 for stream in streams):
            time.sleep(0.01)
        assert requests_of(server, RUNNING) == 4
        start = time.monotonic()
        lengths = [stream.stop() for stream in streams]
        assert [answer.result() for answer in answers] == [None] * 4
        assert time.monotonic() - start < 5
    assert all(16 <= length < SERVER_CONTEXT - 400 for length in lengths)
    deadline = time.monotonic() + 10
    while requests_of(server, RUNNING) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert requests_of(server, RUNNING) == 0
    written = requests_of(server, WRITTEN)
    time.sleep(0.5)
    assert requests_of(server, WRITTEN) == written > 0


def test_new_weights_arrive_after_stopped_turns(trainer, samples, monkeypatch):
    """vLLM drops its cached prefixes only when no request holds them."""
    hinted: list[StreamedCompletion] = []
    stream_one = trainer.backend._stream

    def stream_and_note(stream, turn, place, request):
        if turn.hint.level > 0:
            hinted.append(stream)
        return stream_one(stream, turn, place, request)

    def right_once_a_hinted_one_has_begun(completions, **_):
        """A level that is stopped before its first token arrives would have nothing to count."""
        deadline = time.monotonic() + 60
        while not any(sum(stream._pieces.lengths) for stream in list(hinted)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return [1.0] * len(completions)

    monkeypatch.setattr(trainer.backend, "_stream", stream_and_note)
    monkeypatch.setattr(trainer.scorer, "accuracy", right_once_a_hinted_one_has_begun)
    for step in (20, 21, 22):
        hinted.clear()
        trainer.state.global_step = step
        rollouts, _ = sampled(trainer, samples[:6], "speculative")
        assert [rollout.chosen for rollout in rollouts] == [0] * 6
        assert any(rollout.discarded for rollout in rollouts)
