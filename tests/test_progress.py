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
