"""The admission rule: by hand, and as a property over arbitrary engines and questions."""

from hypothesis import given
from hypothesis import strategies as st

from hint_grpo.calibration.admission import Admission, Capacity, Demand, demand


def test_demand_counts_rows_tokens_and_blocks_at_full_length() -> None:
    # 70 + 30 = 100 tokens in blocks of 16: 7 blocks; 20 + 30 = 50: 4 blocks.
    assert demand([70, 20], max_new_tokens=30, block_size=16) == Demand(rows=2, prompt_tokens=90, blocks=11)
    assert demand([98], max_new_tokens=30, block_size=16) == Demand(rows=1, prompt_tokens=98, blocks=8)


def test_an_odd_slot_stays_empty() -> None:
    admission = Admission(Capacity(max_num_seqs=5, max_num_batched_tokens=1000, num_blocks=1000, block_size=16))
    pair = Demand(rows=2, prompt_tokens=10, blocks=1)
    admission.start_step()
    for _ in range(2):
        assert admission.fits(pair)
        admission.admit(pair)
    assert not admission.fits(pair)
    assert admission.fits(Demand(rows=1, prompt_tokens=10, blocks=1))


def test_running_rows_take_a_token_each_from_the_budget() -> None:
    admission = Admission(Capacity(max_num_seqs=100, max_num_batched_tokens=100, num_blocks=1000, block_size=16))
    pair = Demand(rows=2, prompt_tokens=49, blocks=1)
    admission.start_step()
    admission.admit(pair)
    assert admission.fits(pair)  # 49 + 49 <= 100: both are new, their prompts are all they take
    admission.admit(pair)
    admission.start_step()
    assert admission.fits(Demand(rows=2, prompt_tokens=96, blocks=1))  # 4 running rows + 96
    assert not admission.fits(Demand(rows=2, prompt_tokens=97, blocks=1))


def test_a_cache_of_three_pairs_takes_three() -> None:
    admission = Admission(Capacity(max_num_seqs=100, max_num_batched_tokens=1000, num_blocks=12, block_size=16))
    pair = Demand(rows=2, prompt_tokens=10, blocks=4)
    admission.start_step()
    for _ in range(3):
        assert admission.fits(pair)
        admission.admit(pair)
    assert not admission.fits(pair)
    admission.release(pair)
    assert admission.fits(pair)


demands = st.builds(Demand, st.sampled_from([1, 2]), st.integers(2, 400), st.integers(1, 30))
capacities = st.builds(Capacity, st.integers(2, 17), st.integers(20, 900), st.integers(4, 60), st.just(16))


@given(capacities, st.lists(st.tuples(demands, st.integers(1, 4)), max_size=60))
def test_what_is_admitted_never_exceeds_the_engine(capacity: Capacity, questions: list[tuple[Demand, int]]) -> None:
    """Questions come in order and stay for some steps; every step is checked against what vLLM would have to schedule."""
    admission, waiting, in_flight = Admission(capacity), list(questions), []
    while waiting or in_flight:
        admission.start_step()
        running = sum(wanted.rows for wanted, _ in in_flight)
        new = []
        while waiting and admission.fits(waiting[0][0]):
            admission.admit(waiting[0][0])
            new.append(waiting.pop(0))
        scheduled = [*in_flight, *new]
        assert sum(wanted.rows for wanted, _ in scheduled) <= capacity.max_num_seqs
        assert running + sum(wanted.prompt_tokens for wanted, _ in new) <= capacity.max_num_batched_tokens or not new
        assert sum(wanted.blocks for wanted, _ in scheduled) <= capacity.num_blocks
        if not scheduled:
            break  # the next one fits no engine of this size
        for wanted, steps in scheduled:
            if steps == 1:
                admission.release(wanted)
        in_flight = [(wanted, steps - 1) for wanted, steps in scheduled if steps > 1]
    assert in_flight == []
    assert (admission.rows, admission.blocks) == (0, 0)
