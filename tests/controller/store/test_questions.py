from datetime import UTC, datetime, timedelta

from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.store.questions import ANSWER_WITHIN, ASK_AGAIN_AFTER, FRESH_FOR, READINGS_KEPT, Questions

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = ("nodes/a", "/m")
SECOND = timedelta(seconds=1)


def test_asked_once() -> None:
    """
    What is being asked already is not asked again.
    """
    questions = Questions()

    assert {"nodes/a"} == questions.need([KEY], NOW)
    assert set() == questions.need([KEY], NOW + SECOND)
    assert 1 == len(questions.of("nodes/a"))
    assert () == questions.of("nodes/b")


def test_error_is_asked_for_again() -> None:
    """
    An answer that was an error is asked for again after a while; it stands until the next one comes.
    """
    questions = Questions()
    questions.need([KEY], NOW)
    questions.answer("nodes/a", questions.of("nodes/a")[0].query_id, Reading(error_reason="X"), NOW)

    assert set() == questions.need([KEY], NOW + SECOND)
    assert NOW + ASK_AGAIN_AFTER == questions.next_time([KEY])
    assert {"nodes/a"} == questions.need([KEY], NOW + ASK_AGAIN_AFTER)
    assert "X" == questions.readings[KEY].error_reason


def test_unanswered_question_is_asked_anew() -> None:
    """
    A question that nobody answered in time is asked again, under another id.
    """
    questions = Questions()
    questions.need([KEY], NOW)
    before = questions.of("nodes/a")[0]
    assert NOW + ANSWER_WITHIN == questions.next_time([KEY])

    questions.need([KEY], NOW + ANSWER_WITHIN)

    assert before.query_id != questions.of("nodes/a")[0].query_id


def test_unanswered_question_is_known_as_such() -> None:
    """
    That a question was not answered in time is known until it is; an earlier answer stands.
    """
    questions, other = Questions(), ("nodes/b", "/m")
    questions.need([KEY, other], NOW)
    questions.answer("nodes/b", questions.of("nodes/b")[0].query_id, Reading(error_reason="X"), NOW)
    questions.need([KEY, other], NOW + ANSWER_WITHIN)
    questions.need([KEY, other], NOW + 2 * ANSWER_WITHIN)

    assert {KEY: Reading(late=True), other: Reading(error_reason="X")} == dict(questions.readings)
    assert KEY in questions.touched
    questions.answer("nodes/a", questions.of("nodes/a")[0].query_id, Reading(error_reason="Y"), NOW)
    assert "Y" == questions.readings[KEY].error_reason


def test_the_same_answer_of_many_nodes_is_kept_once() -> None:
    """
    A fleet that has a model gives ten thousand equal answers.
    """
    questions = Questions()
    for node in ("nodes/a", "nodes/b"):
        questions.need([(node, "/m")], NOW)
        questions.answer(node, questions.of(node)[0].query_id, Reading(error_reason="X"), NOW)

    first, second = questions.readings.values()
    assert first is second


def test_readings_of_a_fleet_are_kept() -> None:
    """
    What is needed of ten thousand nodes about several models stays, so that none is asked again for want of room.
    """
    questions = Questions()
    needed = [(f"nodes/{number}", path) for path in ("/a", "/b", "/c") for number in range(10_000)]
    questions.need(needed, NOW)
    for node, path in needed:
        (question,) = (each for each in questions.of(node) if each.path == path)
        questions.answer(node, question.query_id, Reading(error_reason="X"), NOW)

    assert set() == questions.need(needed, NOW + SECOND)
    assert READINGS_KEPT >= len(questions.readings) == len(needed)


def test_unneeded_question_is_withdrawn() -> None:
    """
    A question whose answer nobody needs any more is withdrawn.
    """
    questions = Questions()
    questions.need([KEY], NOW)

    assert {"nodes/a"} == questions.need([], NOW)
    assert () == questions.of("nodes/a")
    assert None is questions.next_time([])


def test_stale_reading_is_forgotten() -> None:
    """
    A reading of a path is forgotten when it is not fresh; a fresh one, and those of other paths, stay.
    """
    questions = Questions()
    for node, path in (KEY, ("nodes/a", "/other")):
        questions.need([(node, path)], NOW)
        questions.answer(node, questions.of(node)[0].query_id, Reading(), NOW)

    questions.forget_stale("/m", NOW + FRESH_FOR - SECOND)
    assert {KEY, ("nodes/a", "/other")} == set(questions.readings)
    questions.forget_stale("/m", NOW + FRESH_FOR)

    assert {("nodes/a", "/other")} == set(questions.readings)


def test_nobody_waits_for_a_second_answer() -> None:
    """
    An answer to what is not being asked is not kept.
    """
    questions = Questions()

    assert not questions.answer("nodes/a", "forged", Reading(), NOW)
    assert {} == dict(questions.readings)
