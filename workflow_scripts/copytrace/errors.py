"""Errors that end a run as one sentence without a traceback.

Standard library only: Snakemake imports it while it parses the workflow.
"""


class InputError(Exception):
    """A mistake in what the user gave: its text is one sentence naming the file or the key."""


class NoRoom(Exception):
    """An output that the disk, a quota or a limit has no room for: its text is one sentence naming the file."""


class ProcessLost(Exception):
    """Another process of a training that several do together is gone."""
