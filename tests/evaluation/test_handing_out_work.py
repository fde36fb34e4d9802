"""How questions are assigned to processes, and where the processes run."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hint_grpo.evaluation import pool
from hint_grpo.evaluation.pool import ChunkSizes, WorkerSlot
from hint_grpo.machine.errors import UserError


def test_a_single_process_gets_everything() -> None:
    assert ChunkSizes(16).next(754, 1) == 754
    assert ChunkSizes(16, maximum=256).next(754, 1) == 256


def test_chunks_shrink_towards_the_end() -> None:
    pending, sizes = 754, []
    while pending:
        sizes.append(ChunkSizes(16).next(pending, 8))
        pending -= sizes[-1]
    assert sizes[0] == 48  # half of ceil(754 / 8) = 95
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes[-3:-1]) == {16}


@given(st.integers(1, 2000), st.integers(1, 16), st.integers(1, 64), st.none() | st.integers(1, 300))
def test_a_chunk_is_never_empty_and_never_too_large(pending: int, processes: int, least: int, most: int | None) -> None:
    size = ChunkSizes(least, most).next(pending, processes)
    assert 1 <= size <= pending
    assert most is None or size <= most


@pytest.mark.parametrize(
    ("gpu_ids", "expected"), [(None, ["4", "7", "GPU-1f"]), ((2,), ["GPU-1f"]), ((1, 0), ["7", "4"])]
)
def test_gpu_ids_count_among_the_visible_gpus(
    monkeypatch: pytest.MonkeyPatch, gpu_ids: tuple[int, ...] | None, expected: list[str]
) -> None:
    monkeypatch.setattr(pool, "visible_gpus", lambda: ["4", "7", "GPU-1f"])
    assert pool.choose_slots(gpu_ids) == [WorkerSlot(gpu=gpu) for gpu in expected]


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(UserError, match="names GPU 2, but 2 are visible: 0 to 1"):
        pool.choose_slots((0, 2))


def test_without_a_gpu_the_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "visible_gpus", list)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 5})
    assert pool.choose_slots(None) == [WorkerSlot()]
    assert pool.choose_slots(None, 2) == [WorkerSlot(cores=(0, 2, 5)), WorkerSlot(cores=(1, 3))]
    assert pool.choose_slots(None, 6) == [WorkerSlot()] * 6
    with pytest.raises(UserError, match="--gpu_ids 0: no GPU can be used here"):
        pool.choose_slots((0,))
