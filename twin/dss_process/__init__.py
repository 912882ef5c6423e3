"""The process in which OpenDSS reads circuits of others: `engine` runs there, `extract` is what it hands over.

Beside `twin.feeder` and not in it, because a process that needs neither the network's matrices nor the second engine
starts three times as fast without them. This file imports nothing, and both modules only msgspec and each other.
"""
