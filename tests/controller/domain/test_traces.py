from motorpool_controller.domain.traces import places_of
from motorpool_telemetry.traces import child

PLACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_steps_of_an_instance_stand_one_below_the_other() -> None:
    """
    Another instance of the same deployment has places of its own; without a trace there are none.
    """
    places, others = places_of(PLACE, "u1"), places_of(PLACE, "u2")

    assert 4 == len({places.scheduled, places.assigned, others.scheduled, others.assigned})
    assert child(places.scheduled, "assign", "u1") == places.assigned
    assert ("", "") == (places_of("", "u1").scheduled, places_of("", "u1").assigned)
