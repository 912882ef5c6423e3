"""OpenDSS circuits as feeders: a script is looked through, compiled in a process of its own, taken over as matrices.

`script` says what of it may run, `circuit` leads the way, `branches`, `points` and `source` make the feeder of what the
compiled circuit holds.
"""

from twin.feeder.importers.opendss.circuit import read_opendss

__all__ = ["read_opendss"]
