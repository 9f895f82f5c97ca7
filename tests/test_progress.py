"""The time that a run still takes, against cases small enough to do by hand."""

import pytest

from copytrace.progress import Progress


def test_one_job_after_the_other():
    run = Progress(["draw"] * 4, now=100)
    run.start(1, "draw", "draw/a", now=100)
    run.finish(1, now=110)
    assert run.seconds_left(now=110) == pytest.approx(30)
    run.start(2, "draw", "draw/b", now=110)
    assert run.seconds_left(now=114) == pytest.approx(26)


def test_two_jobs_at_once_take_half_the_time():
    run = Progress(["draw"] * 6, now=0)
    for job in (1, 2):
        run.start(job, "draw", f"draw/{job}", now=0)
    for job in (1, 2):
        run.finish(job, now=10)
    assert run.seconds_left(now=10) == pytest.approx(20)


def test_each_rule_has_its_own_mean():
    run = Progress(["draw", "draw", "train", "train", "train"], now=0)
    for job, rule, begin, end in [(1, "draw", 0, 1), (2, "train", 1, 21), (3, "train", 21, 61)]:
        run.start(job, rule, rule, now=begin)
        run.finish(job, now=end)
    assert run.seconds_left(now=61) == pytest.approx(1 + 30)


def test_rules_without_a_finished_job_are_counted_apart():
    run = Progress(["draw", "draw", "train", "train", "vote"], now=0)
    run.start(1, "draw", "draw/a", now=0)
    run.finish(1, now=5)
    run.start(2, "train", "train/a", now=5)
    assert run.not_timed() == 3
    assert run.seconds_left(now=5) == pytest.approx(5)


def test_a_job_that_takes_longer_than_others_did_leaves_no_negative_time():
    run = Progress(["draw"] * 2, now=0)
    run.start(1, "draw", "draw/a", now=0)
    run.finish(1, now=5)
    run.start(2, "draw", "draw/b", now=5)
    assert run.seconds_left(now=500) == 0


def test_a_failed_job_is_still_to_do():
    run = Progress(["draw"] * 2, now=0)
    run.start(1, "draw", "draw/a", now=0)
    run.finish(1, now=5)
    run.start(2, "draw", "draw/b", now=5)
    run.fail(2)
    assert not run.under_way
    run.start(2, "draw", "draw/b", now=10)
    run.finish(2, now=15)
    assert run.seconds_left(now=15) == 0


def test_no_time_is_said_while_most_jobs_are_of_rules_without_a_finished_one():
    run = Progress(["draw"] * 3 + ["train"] * 2, now=0)
    assert run.time_left(now=1) == "too early to say how long: 5 of 5 jobs left are of rules that are not timed yet"
    for job in (1, 2):
        run.start(job, "draw", f"draw/{job}", now=5 * job)
        run.finish(job, now=5 * job + 5)
    # one of `draw`, two of `train`
    assert run.time_left(now=15) == "too early to say how long: 2 of 3 jobs left are of rules that are not timed yet"


def test_the_time_that_is_said_is_that_of_the_rules_that_are_timed():
    run = Progress(["draw"] * 3 + ["train", "vote"], now=0)
    run.start(1, "draw", "draw/a", now=0)
    run.finish(1, now=60)
    assert run.time_left(now=60) == "about 0:02:00 left, not counting 2 jobs of rules that are not timed yet"
    run.start(2, "train", "train", now=60)
    run.finish(2, now=65)
    assert run.time_left(now=65) == "about 0:02:00 left, not counting 1 job of a rule that is not timed yet"
    run.start(3, "vote", "vote", now=65)
    run.finish(3, now=70)
    assert run.time_left(now=70) == "about 0:02:00 left"


def test_one_job_is_spoken_of_as_one():
    run = Progress(["vote"], now=0)
    assert run.time_left(now=1) == "too early to say how long: 1 of 1 job left is of a rule that is not timed yet"
    run = Progress(["draw", "vote", "vote"], now=0)
    run.start(1, "vote", "vote/a", now=0)
    run.finish(1, now=1)
    assert run.time_left(now=1) == "about 0:00:01 left, not counting 1 job of a rule that is not timed yet"


def test_jobs_that_only_name_results_do_not_count():
    run = Progress(["draw"], now=0)
    run.start(1, "draw", "draw/a", now=0)
    run.finish(1, now=5)
    run.start(0, "all", "all", now=5)
    assert not run.under_way
    run.finish(0, now=5)
    assert run.left.total() == 0
