import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.machine.hardware import gpu_names
from hint_grpo.rollout.placement import Placement, place, schedule_of

EIGHT = tuple(map(str, range(8)))


def placed(**more) -> Placement:
    settings = {
        "use_vllm": True,
        "mode": "auto",
        "base_url": None,
        "gpus": EIGHT,
        "num_local_processes": 7,
        "num_nodes": 1,
    }
    return place(**(settings | more))


def test_seven_train_and_the_eighth_serves():
    assert placed() == Placement("own server", ("7",))
    assert placed(mode="server", num_local_processes=6) == Placement("own server", ("6", "7"))


def test_no_gpu_to_spare_shares_the_gpus_and_sleeps_while_training():
    assert placed(num_local_processes=8) == Placement("colocate", sleep=True)
    assert placed(num_local_processes=8, sleep=False) == Placement("colocate")
    assert placed(mode="colocate") == Placement("colocate", sleep=True)


def test_a_cpu_shares_unless_a_server_is_asked_for():
    assert placed(gpus=(), num_local_processes=2) == Placement("colocate")
    assert placed(gpus=(), num_local_processes=2, mode="server") == Placement("own server")


def test_several_nodes_need_a_server_that_all_reach():
    assert placed(num_nodes=2, num_local_processes=8) == Placement("colocate", sleep=True)
    assert placed(num_nodes=2, base_url="http://node9:8000") == Placement("given server")
    with pytest.raises(UserError, match="--vllm_server_base_url"):
        placed(num_nodes=2, mode="server")


def test_gpus_that_stay_idle_on_several_nodes_are_named():
    (note,) = placed(num_nodes=2, num_local_processes=6).notes
    assert "2 GPU(s) of each node stay idle" in note
    assert "--vllm_server_base_url" in note
    assert not placed(mode="colocate").notes  # asked for


@pytest.mark.parametrize("more", [{}, {"use_vllm": False}, {"base_url": "http://node9:8000"}])
def test_a_slice_of_a_gpu_is_called_untested(more):
    """CUDA shows a process one slice."""
    (note,) = placed(gpus=("MIG-0a1b",), num_local_processes=1, **more).notes
    assert "MIG" in note
    assert "untested" in note
    assert not placed(**more).notes


def test_without_vllm_the_policy_samples():
    assert placed(use_vllm=False) == Placement("transformers")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"mode": "sever"}, "auto, colocate, server"),
        ({"mode": "server", "num_local_processes": 8}, "lower --nproc_per_node"),
        ({"mode": "colocate", "base_url": "http://127.0.0.1:8000"}, "goes with --vllm_mode server"),
        ({"num_local_processes": 5, "tensor_parallel_size": 2}, "does not divide the server's 3 GPUs"),
        ({"num_local_processes": 8, "tensor_parallel_size": 2}, "is for a server"),
    ],
)
def test_mistakes_name_their_cure(more, message):
    with pytest.raises(UserError, match=message):
        placed(**more)


def test_gpus_keep_the_names_they_have_outside():
    assert gpu_names(2, {}) == ("0", "1")
    assert gpu_names(2, {"CUDA_VISIBLE_DEVICES": "4, 6"}) == ("4", "6")
    assert gpu_names(0, {"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_auto_speculates_where_vllm_samples_on_a_gpu():
    for kind in ("colocate", "own server", "given server"):
        assert schedule_of("auto", kind, on_gpu=True, num_levels=3)[0] == "speculative"
        assert schedule_of("auto", kind, on_gpu=False, num_levels=3) == (
            "lazy",
            "auto: on a CPU every token costs time",
        )
        assert schedule_of("auto", kind, on_gpu=True, num_levels=1) == ("lazy", "auto: the hint policy has one level")
        for name in ("lazy", "eager", "speculative"):
            assert schedule_of(name, kind, on_gpu=False, num_levels=3)[0] == name
    assert schedule_of("auto", "transformers", on_gpu=True, num_levels=3)[0] == "lazy"
