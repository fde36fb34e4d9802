"""Both of vLLM's logits-processor interfaces, fed by hand with real interface objects, against the formula.

Model Runner V2 needs a GPU to run whole; its processor is plain tensor code and is driven here as its runner drives it:
slots are recycled, rows change their order every step, and a row's newest token is what it is fed.
"""

import hint_grpo.machine.stack  # noqa: F401

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor.interface import BatchUpdate, MoveDirectionality

from hint_grpo.calibration.formula import calibrated, penalised, suppressed
from hint_grpo.calibration.prompting import GreedyRules
from hint_grpo.calibration.rows import CONFIG_KEY, Branch, plan_rows
from hint_grpo.calibration.vllm_v1 import PairedLogitsV1

VOCABULARY, SLOTS = 50, 8
RULES = GreedyRules(eos_ids=(1,), repetition_penalty=1.3, suppressed_ids=(40, 41))
CPU = torch.device("cpu")
PROMPTS = {"image": [3, 4, 5, 5, 9], "text": [3, 4, 9], "alone": [3, 7, 9]}


def vllm_config(rules: GreedyRules = RULES) -> SimpleNamespace:
    return SimpleNamespace(
        additional_config={CONFIG_KEY: rules.as_dict()},
        scheduler_config=SimpleNamespace(max_num_seqs=SLOTS),
        model_config=SimpleNamespace(get_vocab_size=lambda: VOCABULARY),
    )


def sampling(branch: Branch | None) -> SamplingParams:
    return SamplingParams(temperature=0.0, extra_args=None if branch is None else branch.as_extra_args())


def random_logits(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 5


def expected_row(with_image: torch.Tensor, text_only: torch.Tensor, scale: float, history: list[int]) -> torch.Tensor:
    seen = torch.zeros(1, VOCABULARY, dtype=torch.bool)
    seen[0, history] = True
    row = penalised(calibrated(with_image[None], text_only[None], scale), seen, RULES.repetition_penalty)
    return suppressed(row, torch.tensor(RULES.suppressed_ids))[0]


def test_plan_leaves_out_a_half_without_its_partner() -> None:
    branches = [
        Branch("a", "text", 0.8),
        None,
        Branch("b", "image", 0.4),
        Branch("c", "alone"),
        Branch("a", "image", 0.8),
    ]
    plan = plan_rows(branches, CPU)
    assert [plan.image_rows_P.tolist(), plan.text_rows_P.tolist(), plan.lead_rows_B.tolist()] == [[4], [0], [4, 3]]
    assert plan.scales_P1.tolist() == [[pytest.approx(0.8)]]


def test_branch_survives_sampling_params() -> None:
    for branch in (Branch("7", "image", 0.8), Branch("7", "text", 0.8), Branch("8", "alone")):
        assert Branch.of(sampling(branch)) == branch
    assert Branch.of(sampling(None)) is None


def test_v1_follows_rows_that_come_go_and_move() -> None:
    processor = PairedLogitsV1(vllm_config(), CPU, is_pin_memory=False)
    assert not processor.is_argmax_invariant()
    outputs: dict[str, list[int]] = {"image": [], "text": [], "alone": []}
    roles = {"image": Branch("a", "image", 0.8), "text": Branch("a", "text", 0.8), "alone": Branch("b", "alone")}
    added = [(row, sampling(roles[name]), PROMPTS[name], outputs[name]) for row, name in enumerate(outputs)]
    processor.update_state(BatchUpdate(batch_size=3, removed=[], added=added, moved=[]))

    logits = random_logits(3, seed=0)
    chosen = processor.apply(logits.clone())
    pair = expected_row(logits[0], logits[1], 0.8, PROMPTS["image"])
    assert torch.equal(chosen[0], pair)
    assert torch.equal(chosen[1], pair)
    assert torch.equal(chosen[2], expected_row(logits[2], logits[2], 0.0, PROMPTS["alone"]))

    # Tokens arrive in vLLM's own lists; then the rows 0 and 2 change places.
    outputs["image"].append(11)
    outputs["text"].append(11)
    outputs["alone"].append(12)
    processor.update_state(BatchUpdate(batch_size=3, removed=[], added=[], moved=[(0, 2, MoveDirectionality.SWAP)]))
    logits = random_logits(3, seed=1)
    chosen = processor.apply(logits.clone())
    pair = expected_row(logits[2], logits[1], 0.8, [*PROMPTS["image"], 11])
    assert torch.equal(chosen[2], pair)
    assert torch.equal(chosen[1], pair)
    assert torch.equal(chosen[0], expected_row(logits[0], logits[0], 0.0, [*PROMPTS["alone"], 12]))

    # The pair leaves; a new request takes row 1 and must not inherit a history.
    new_output: list[int] = []
    added = [(1, sampling(Branch("c", "alone")), [20, 21], new_output)]
    processor.update_state(BatchUpdate(batch_size=2, removed=[2], added=added, moved=[]))
    logits = random_logits(2, seed=2)
    chosen = processor.apply(logits.clone())
    assert torch.equal(chosen[1], expected_row(logits[1], logits[1], 0.0, [20, 21]))
    assert torch.equal(chosen[0], expected_row(logits[0], logits[0], 0.0, [*PROMPTS["alone"], 12]))


def test_v1_slots_are_enough_however_long_requests_come_and_go() -> None:
    processor = PairedLogitsV1(vllm_config(), CPU, is_pin_memory=False)
    for step in range(3 * SLOTS):
        row, prompt = step % SLOTS, [step % VOCABULARY]
        added = [(row, sampling(Branch(str(step), "alone")), prompt, [])]
        processor.update_state(BatchUpdate(batch_size=SLOTS, removed=[], added=added, moved=[]))
        logits = random_logits(min(step + 1, SLOTS), seed=step)
        chosen = processor.apply(logits.clone())
        assert torch.equal(chosen[row], expected_row(logits[row], logits[row], 0.0, prompt))


def test_v1_resumes_a_request_with_its_output() -> None:
    """A preempted request returns with what it has written."""
    processor = PairedLogitsV1(vllm_config(), CPU, is_pin_memory=False)
    added = [(0, sampling(Branch("a", "alone")), [3], [8, 9])]
    processor.update_state(BatchUpdate(batch_size=1, removed=[], added=added, moved=[]))
    logits = random_logits(1, seed=0)
    assert torch.equal(processor.apply(logits.clone())[0], expected_row(logits[0], logits[0], 0.0, [3, 8, 9]))


class SlotStates:
    """The model runner's per-slot buffers, on the CPU: what LogitsProcRequestState holds."""

    def __init__(self) -> None:
        self.tokens = torch.zeros(SLOTS, 64, dtype=torch.int32)
        self.prefill = np.zeros(SLOTS, dtype=np.int32)

    def state(self):
        from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcRequestState

        return LogitsProcRequestState(
            device=CPU,
            max_num_reqs=SLOTS,
            vocab_size=VOCABULARY,
            all_token_ids=SimpleNamespace(gpu=self.tokens),
            prompt_len=SimpleNamespace(np=self.prefill),
            prefill_len=SimpleNamespace(np=self.prefill),
            total_len=SimpleNamespace(gpu=None),
        )

    def fill(self, slot: int, token_ids: list[int]) -> None:
        self.tokens[slot] = 0
        self.tokens[slot, : len(token_ids)] = torch.tensor(token_ids, dtype=torch.int32)
        self.prefill[slot] = len(token_ids)


def v2_context(slots: list[int], fed: list[int]):
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext

    mapping = torch.tensor(slots, dtype=torch.int32)
    return LogitsContext(
        expanded_idx_mapping=mapping,
        idx_mapping=mapping,
        idx_mapping_np=np.array(slots, dtype=np.int32),
        expanded_local_pos=torch.zeros_like(mapping),
        input_ids=torch.tensor(fed, dtype=torch.int32),
        pos=torch.zeros_like(mapping),
        seq_lens_upper_bound_np=np.zeros(len(slots), dtype=np.int32),
    )


def test_v2_reordered_rows_and_recycled_slots() -> None:
    from hint_grpo.calibration.vllm_v2 import PairedLogitsV2

    states = SlotStates()
    processor = PairedLogitsV2(vllm_config(), states.state())
    slot_of = {"image": 6, "text": 2, "alone": 5}
    roles = {"image": Branch("a", "image", 0.8), "text": Branch("a", "text", 0.8), "alone": Branch("b", "alone")}
    for name, slot in slot_of.items():
        states.fill(slot, PROMPTS[name])
        assert processor.add_request(slot, sampling(roles[name]))
    processor.apply_staged_writes()

    logits = random_logits(3, seed=0)
    chosen = processor.apply(logits.clone(), v2_context([5, 2, 6], fed=[9, 9, 9]))
    pair = expected_row(logits[2], logits[1], 0.8, PROMPTS["image"])
    assert torch.equal(chosen[2], pair)
    assert torch.equal(chosen[1], pair)
    assert torch.equal(chosen[0], expected_row(logits[0], logits[0], 0.0, PROMPTS["alone"]))

    # The next step: another order, and each row is fed what it has just been given.
    processor.apply_staged_writes()
    logits = random_logits(3, seed=1)
    chosen = processor.apply(logits.clone(), v2_context([6, 5, 2], fed=[11, 12, 11]))
    pair = expected_row(logits[0], logits[2], 0.8, [*PROMPTS["image"], 11])
    assert torch.equal(chosen[0], pair)
    assert torch.equal(chosen[2], pair)
    assert torch.equal(chosen[1], expected_row(logits[1], logits[1], 0.0, [*PROMPTS["alone"], 12]))

    # Slot 6 is given to somebody else, who comes back after a preemption with prompt and output.
    states.fill(6, [30, 31, 32])
    processor.add_request(6, sampling(Branch("c", "alone")))
    processor.apply_staged_writes()
    logits = random_logits(1, seed=2)
    chosen = processor.apply(logits.clone(), v2_context([6], fed=[32]))
    assert torch.equal(chosen[0], expected_row(logits[0], logits[0], 0.0, [30, 31, 32]))


def test_v2_leaves_requests_alone_that_are_not_ours() -> None:
    from hint_grpo.calibration.vllm_v2 import PairedLogitsV2

    states = SlotStates()
    processor = PairedLogitsV2(vllm_config(), states.state())
    assert not processor.add_request(0, sampling(None))
    processor.apply_staged_writes()
    logits = random_logits(1, seed=0)
    assert torch.equal(processor.apply(logits.clone(), v2_context([0], fed=[3])), logits)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_v1_and_v2_compute_the_same(penalty: float) -> None:
    from hint_grpo.calibration.vllm_v2 import PairedLogitsV2

    rules = GreedyRules(eos_ids=(1,), repetition_penalty=penalty, suppressed_ids=(40, 41))
    states, branches = SlotStates(), [Branch("a", "image", 1.6), Branch("a", "text", 1.6), Branch("b", "alone")]
    v1 = PairedLogitsV1(vllm_config(rules), CPU, is_pin_memory=False)
    v2 = PairedLogitsV2(vllm_config(rules), states.state())
    outputs: list[list[int]] = [[], [], []]
    added = []
    for row, (branch, prompt) in enumerate(zip(branches, PROMPTS.values(), strict=True)):
        added.append((row, sampling(branch), prompt, outputs[row]))
        states.fill(row, prompt)
        v2.add_request(row, sampling(branch))
    v1.update_state(BatchUpdate(batch_size=3, removed=[], added=added, moved=[]))
    fed = [prompt[-1] for prompt in PROMPTS.values()]
    for step in range(6):
        v2.apply_staged_writes()
        logits = random_logits(3, seed=step)
        one, other = v1.apply(logits.clone()), v2.apply(logits.clone(), v2_context([0, 1, 2], fed))
        assert torch.equal(one, other)
        fed = one.argmax(dim=-1).tolist()
        assert fed[0] == fed[1]
        for output, token in zip(outputs, fed, strict=True):
            output.append(token)
        v1.update_state(None)
