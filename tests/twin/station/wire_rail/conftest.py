"""Tests that need real ISO 15118 sessions: they run where the package is, in the station's own environment."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("iso15118") else ["test_*.py"]
