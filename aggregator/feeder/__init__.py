"""The commands of `v2g feeder`: bring a feeder in, check it with two engines, solve it, work out its envelopes."""
