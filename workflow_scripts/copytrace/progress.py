"""How much of a run is left: jobs that are under way, and the time until the last one, from how long others took.

The standard library alone: Snakemake loads it with the workflow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable


class Progress:
    """The jobs of a run. Moments are seconds of any clock."""

    def __init__(self, rules: Iterable[str], now: float):
        """`rules`: the rule of each job to do."""
        self.began = now
        self.left = Counter(rules)
        self.under_way: dict[int, tuple[str, str, float]] = {}  # rule, name and beginning, by the job's number
        self.seconds: dict[str, list[float]] = defaultdict(list)  # of the finished jobs, by rule

    def start(self, job: int, rule: str, name: str, now: float) -> None:
        """A job begins."""
        self.under_way[job] = (rule, name, now)

    def fail(self, job: int) -> None:
        """A job has ended and is still to do."""
        self.under_way.pop(job, None)

    def finish(self, job: int, now: float) -> None:
        """A job is done."""
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
