"""A pair is in step only when both of its requests get the same token in the same step."""

from hint_grpo.calibration.admission import Lockstep


def test_a_pair_in_step() -> None:
    pair = Lockstep(2)
    for tokens, finished in (([5], False), ([6], False), ([7], True)):
        pair.receive(tokens, finished)
        pair.receive(tokens, finished)
        assert pair.end_step()
    assert pair.token_ids == [5, 6, 7]
    assert pair.finished


def test_a_step_without_either_is_not_an_error() -> None:
    pair = Lockstep(2)
    assert pair.end_step()
    assert pair.token_ids == []


def test_one_request_alone_in_a_step_is_found_even_when_the_tokens_agree_later() -> None:
    pair = Lockstep(2)
    pair.receive([5], False)
    assert not pair.end_step()
    late = Lockstep(2)
    late.receive([5], False)
    late.receive([5], False)
    assert late.end_step()
    late.receive([6], False)
    assert not late.end_step()


def test_different_tokens_or_different_ends_are_found() -> None:
    for other in (([8], False), ([7], True), ([7, 7], False), ([], False)):
        pair = Lockstep(2)
        pair.receive([7], False)
        pair.receive(*other)
        assert not pair.end_step()


def test_a_request_without_partner_may_report_everything_at_once() -> None:
    single = Lockstep(1)
    single.receive([1, 2, 3], True)
    assert single.end_step()
    assert single.token_ids == [1, 2, 3]
    assert single.finished
