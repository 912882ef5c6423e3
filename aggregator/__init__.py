"""Decisions and communication: the running service, its commands, and what-if runs over the twin.

The loop goes through `signals`, `fleet`, `planning`, `dispatch` and `ocpp`; `loop` closes it, `service` puts the parts
together and `serving` runs them as a process.
"""
