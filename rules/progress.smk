# Progress: while a run lasts, now and then a line with the time that is left and the jobs under way. Snakemake's own
# lines say how many jobs are done; its logger plugin `rich` has no estimate and hides the reasons of a dry run.
# At the end a sentence on what was made.

import logging
import threading
import time
from datetime import timedelta

from snakemake.logging import logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from copytrace.outcome import outcome
from copytrace.progress import Progress


class ProgressLines(logging.Handler):
    """Listens to what Snakemake logs of its jobs, and adds the lines to its log."""

    def __init__(self, rules):
        super().__init__()
        self.progress = Progress(rules, time.monotonic())
        threading.Thread(target=self.speak, daemon=True).start()

    def emit(self, record):
        """Note that a job begins or ends. An error in here must not end the run."""
        now, event = time.monotonic(), getattr(record, "event", None)
        try:
            if event == LogEvent.JOB_INFO:
                log = next(iter(record.log), record.rule_name)
                name = log.removeprefix(f"{RESULTS}/logs/").removesuffix(".log")
                self.progress.start(record.jobid, record.rule_name, name, now)
            elif event == LogEvent.JOB_FINISHED:
                self.progress.finish(record.job_id, now)
            elif event == LogEvent.JOB_ERROR:
                self.progress.fail(record.jobid)
        except Exception:
            self.handleError(record)

    def speak(self):
        """A line every ten seconds, later whenever a tenth of the time so far has passed, but every ten minutes."""
        while True:
            time.sleep(min(max(10, (time.monotonic() - self.progress.began) / 10), 600))
            if not self.progress.left.total():
                return
            with self.lock:
                line = self.line(time.monotonic())
            logger.info(line, extra={"quietness": Quietness.PROGRESS})

    def line(self, now):
        so_far = timedelta(seconds=round(now - self.progress.began))
        names = [name for _, name, _ in self.progress.under_way.values()]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        running = f"; under way: {', '.join(names[:4])}{more}" if names else ""
        return f"{so_far} so far, {self.progress.time_left(now)}{running}"


def report_progress():
    """From now on until the run's end."""
    logger.addHandler(ProgressLines(job.rule.name for job in workflow.dag.needrun_jobs() if job.output))


def report_outcome():
    """What the run has made and where it is; not of a job on a cluster, which reads the Snakefile, too."""
    if not workflow.is_main_process:
        return
    said = outcome(RESULTS, {str(path) for job in workflow.dag.jobs for path in job.output})
    if said:  # as quiet as Snakemake's own head: `make demo` has a summary of its own
        logger.info("\n".join(said), extra={"quietness": Quietness.HOST})
