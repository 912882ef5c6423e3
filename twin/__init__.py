"""The physical world and nothing else: assets, cars and chargers, replays, scenarios, emulated stations.

No money, no HTTP, no database. The service's environment and the stations' environment share this package,
so it imports nothing here: take what you need from its modules.
"""
