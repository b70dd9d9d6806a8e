"""What is said of work that waits for a cluster, or for its head, and when it ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.waiting import Demand, HeadLost, Patience, Resources, Silence, Starved

HEAD = Resources(1, {"CPU": (0, 0), "GPU": (0, 0)}, autoscaler=True, coming={"primary": 1})
RANKS = Demand("the training", "8 × (1 GPU, qsit=primary) on one node", waiting=1, held=0)
TRIALS = Demand("a trial", "(4 CPU, 1 GPU, qsit=proxy)", waiting=49, held=8, fitting=8)


def lines(patience, demands, resources, times):
    """What is said, by the second at which it is."""
    found = {}
    for seconds in times:
        for line in patience.look(demands, resources, seconds):
            found.setdefault(seconds, []).append(line)
    return found


def test_waiting_is_said_within_half_a_minute_with_what_is_asked_and_what_comes():
    said = lines(Patience(30), [RANKS], HEAD, range(0, 31, 5))
    assert list(said) == [20]
    assert said[20] == [
        "waiting 0:00:20 for the training: 8 × (1 GPU, qsit=primary) on one node; "
        "0 of 1 node could hold it; free: 0 of 0 CPU, 0 of 0 GPU; the autoscaler brings 1 primary"
    ]


def test_it_is_said_again_ever_less_often():
    said = lines(Patience(60), [RANKS], HEAD, range(0, 1300, 5))
    assert list(said) == [20, 60, 120, 300, 600, 900, 1200]


def test_trials_that_wait_for_others_to_end_are_not_starved():
    assert not lines(Patience(1), [TRIALS], HEAD, range(0, 4000, 5))


def test_the_end_of_the_wait_is_said_where_the_wait_was():
    patience = Patience(30)
    assert list(lines(patience, [RANKS], HEAD, range(0, 361, 5))) == [20, 60, 120, 300]
    there = Demand(RANKS.what, RANKS.asks, waiting=0, held=1, fitting=1)
    assert list(patience.look([there], HEAD, 365)) == [
        "the training: no longer waiting, after 0:06:05"
    ]
    assert not list(patience.look([there], HEAD, 370))
    short = Patience(30)
    assert not lines(short, [RANKS], HEAD, [0, 5])
    assert not list(short.look([there], HEAD, 10))


def test_the_wait_ends_after_the_minutes_of_the_setting():
    patience = Patience(2)
    with pytest.raises(Starved, match=r"^cluster\.wait_minutes: waited 0:02:00 for the training: "):
        lines(patience, [RANKS], HEAD, range(0, 1000, 5))


def test_a_demand_that_no_node_can_meet_ends_earlier():
    refused = Demand("the training", "(9 GPU)", waiting=1, held=0, refused=True)
    alone = Resources(1, {"GPU": (0, 0)}, autoscaler=True)
    with pytest.raises(Starved, match=r"no node that the autoscaler may bring holds .*\(9 GPU\)"):
        lines(Patience(30), [refused], alone, range(0, 200, 5))
    # While others hold the cluster's nodes, the autoscaler refuses as well.
    busy = Resources(5, {"GPU": (0, 4)}, autoscaler=True)
    lines(Patience(30), [refused], busy, range(0, 1000, 5))


def test_a_place_that_other_work_of_the_job_holds_is_waited_for_without_end():
    """As where one arm of an ablation predicts on the node that another's ranks wait for."""
    ranks = Demand(RANKS.what, RANKS.asks, waiting=1, held=0, fitting=1)
    evaluation = Demand("the evaluation", "(1 GPU)", waiting=0, held=1, fitting=1)
    said = lines(Patience(1), [ranks, evaluation], HEAD, range(0, 700, 5))
    assert list(said) == [20, 60, 120, 300, 600]
    with pytest.raises(Starved, match=r"cluster\.wait_minutes"):
        lines(Patience(1), [RANKS, evaluation], HEAD, range(0, 700, 5))


def test_work_that_is_given_up_is_not_said_to_have_its_place():
    patience = Patience(30)
    assert lines(patience, [RANKS], HEAD, range(0, 30, 5))
    assert not list(patience.look([], HEAD, 35))


def test_tasks_of_two_kinds_are_one_wait():
    kinds = [Demand("tasks", asks, waiting=1, held=0) for asks in ("(1 CPU)", "(2 CPU)")]
    patience = Patience(30)
    said = [
        line
        for seconds in range(0, 100, 5)
        for line in patience.look([kinds[seconds // 5 % 2]], HEAD, seconds)
    ]
    assert [line.partition(" for ")[0] for line in said] == ["waiting 0:00:20", "waiting 0:01:00"]


def test_failed_launches_and_a_missing_autoscaler_are_named():
    failed = Resources(1, {}, autoscaler=True, failed=("primary: no capacity",))
    assert failed.beside(RANKS).endswith("brings none; it failed: primary: no capacity")
    assert "no autoscaler" in Resources(1, {}).beside(RANKS)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.floats(0.5, 5))
def test_only_unbroken_waits_count(starved, minutes):
    """Looks five seconds apart; the wait ends exactly where it was unbroken for so long."""
    patience, longest, run = Patience(minutes), 0, 0
    ended = False
    for number, now in enumerate(starved):
        run = run + 5 if now and (number and starved[number - 1]) else 0
        longest = max(longest, run)
        demand = Demand("x", "(1 GPU)", waiting=1, held=0 if now else 1)
        try:
            list(patience.look([demand], HEAD, 5.0 * number))
        except Starved:
            ended = True
            break
    assert ended == (longest >= 60 * minutes)


def of_head(silence, seconds, answers):
    """What is said of a head, by the second at which it is."""
    times = {second: list(silence.look(answers(second), second)) for second in seconds}
    return {second: lines for second, lines in times.items() if lines}


def test_a_head_that_is_silent_is_named_once_with_what_follows():
    said = of_head(Silence("10.0.0.1:6379", 60), range(0, 50, 5), lambda second: second < 10)
    assert said == {
        20: [
            "the cluster's head at 10.0.0.1:6379 does not answer; this command ends unless it does "
            "within 0:00:50; finished work is kept, and the same command resumes"
        ]
    }


def test_the_command_ends_before_ray_ends_its_process():
    silence = Silence("10.0.0.1:6379", 60)
    with pytest.raises(HeadLost, match="has not answered for 0:00:50"):
        of_head(silence, range(0, 100, 5), lambda second: False)
    assert silence.said


def test_a_short_patience_is_not_over_at_the_first_silence():
    silence = Silence("10.0.0.1:6379", 6)
    assert not list(silence.look(False, 0.0))
    with pytest.raises(HeadLost, match="has not answered for 0:00:03"):
        list(silence.look(False, 3.0))


def test_a_head_that_comes_back_is_waited_for_anew():
    """Twice, for longer together than the patience; a moment of silence is not told."""
    gone = {5, *range(100, 145, 5), *range(200, 245, 5)}
    said = of_head(Silence("h:1", 60), range(0, 300, 5), lambda second: second not in gone)
    assert list(said) == [110, 145, 210, 245]
    assert said[145] == ["the cluster's head answers again, after 0:00:45"]
