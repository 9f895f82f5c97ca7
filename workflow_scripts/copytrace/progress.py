"""How much of a run is left: jobs that are under way, and the time until the last one, from how long others took.

The standard library alone: Snakemake loads it with the workflow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import timedelta


class Progress:
    """The jobs of a run. Moments are seconds of any clock."""

    def __init__(self, rules: Iterable[str], now: float):
        """`rules`: the rule of each job to do. Jobs of other rules don't count: those that only name results."""
        self.began = now
        self.left = Counter(rules)
        self.under_way: dict[int, tuple[str, str, float]] = {}  # rule, name and beginning, by the job's number
        self.seconds: dict[str, list[float]] = defaultdict(list)  # of the finished jobs, by rule

    def start(self, job: int, rule: str, name: str, now: float) -> None:
        """A job begins."""
        if rule not in self.left:
            return
        self.under_way[job] = (rule, name, now)

    def fail(self, job: int) -> None:
        """A job has ended and is still to do."""
        self.under_way.pop(job, None)

    def finish(self, job: int, now: float) -> None:
        """A job is done."""
        if job not in self.under_way:
            return
        rule, _, began = self.under_way.pop(job)
        self.seconds[rule].append(now - began)
        self.left[rule] -= 1

    def seconds_left(self, now: float) -> float:
        """Time until the jobs of all rules that have been timed are done, if as many run at once as so far.

        A job is taken to last as long as the mean of its rule's finished ones.
        """
        mean = {rule: sum(seconds) / len(seconds) for rule, seconds in self.seconds.items()}
        spent = [(rule, now - began) for rule, _, began in self.under_way.values()]
        work = sum(self.left[rule] * mean[rule] for rule in mean)
        work -= sum(min(seconds, mean[rule]) for rule, seconds in spent if rule in mean)
        done = sum(map(sum, self.seconds.values())) + sum(seconds for _, seconds in spent)
        return work * (now - self.began) / done if done else 0.0

    def not_timed(self) -> int:
        """Number of jobs to do whose rules have no finished job: nobody knows how long they take."""
        return sum(count for rule, count in self.left.items() if rule not in self.seconds)

    def time_left(self, now: float) -> str:
        """The time that is left in words; none while most of the jobs left are of rules that are not timed yet."""
        unknown, left = self.not_timed(), self.left.total()
        rules = "rules that are" if unknown > 1 else "a rule that is"
        if 2 * unknown > left:
            jobs, verb = ("jobs" if left > 1 else "job"), ("are" if unknown > 1 else "is")
            return f"too early to say how long: {unknown} of {left} {jobs} left {verb} of {rules} not timed yet"
        about = f"about {timedelta(seconds=round(self.seconds_left(now)))} left"
        if not unknown:
            return about
        return f"{about}, not counting {unknown} {'jobs' if unknown > 1 else 'job'} of {rules} not timed yet"
