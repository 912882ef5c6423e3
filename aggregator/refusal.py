"""Why a command does not do what was asked.

In a module of its own: `python -m aggregator.cli` runs that file under another name, and an exception defined in it
would be another class for everybody who imports it.
"""


class Refused(Exception):
    """A command cannot do what was asked; the message is the one line to print."""
