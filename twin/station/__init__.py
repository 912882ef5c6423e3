"""Emulated charging stations: OCPP clients with a car, a battery and a meter behind them.

`python -m twin.station` runs a fleet of them against any CSMS. One event heap in domain time drives everything;
`station` is the state machine, `dialects` its words in each OCPP version, `profiles` what it obeys, `outlet` and
`plant` the power path, `link` the line to the CSMS. Between an EVSE and its car lies a `rail`: `fast_rail` without a
wire, `iso15118` with a real one; `session_keeper` keeps sessions going on either. This folder imports nothing by
itself: it also runs in an environment of its own, on `twin.wire`, `twin.assets`, `twin.battery` and `twin.response`,
and the wire on its package.
"""
