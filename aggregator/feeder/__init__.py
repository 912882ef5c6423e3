"""The commands of `v2g feeder`: bring a feeder in, check it with two engines, solve it, work out its envelopes.

Each `*_command` is one of them with its options. `given` takes what it is pointed at, `examination`, `flow_run` and
`envelope_run` do the work, `flow_tables`, `flow_words`, `folder` and `output` say and write what came of it.
"""
