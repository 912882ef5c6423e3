"""Fleets too large for one program: blocks on several processes or a Dask cluster, one plan, a proven gap."""
