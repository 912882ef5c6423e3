"""Feeders that others made: OpenDSS, pandapower, power-grid-model, four CSV tables, and our own folder.

`read_feeder` takes any of them. It hands over a feeder, the loads of the file, and findings: every element that was
left out, frozen, approximated or assumed, by name and place. Nothing goes missing in silence; what would make another
network of it is `unsupported`. `reading` tells which reader a path needs; each has a module or a room of its own.
"""

from twin.feeder.importers.folder import write_folder
from twin.feeder.importers.imported import Degree, Finding, Imported, ImportedLoads, ImportRefused
from twin.feeder.importers.reading import read_feeder

__all__ = ["Degree", "Finding", "ImportRefused", "Imported", "ImportedLoads", "read_feeder", "write_folder"]
