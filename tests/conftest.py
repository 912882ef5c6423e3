"""Settings shared by all tests."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# As the `v2g` command does: small products are slower when every core helps with each.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# What whoever runs the tests ignores (nohup, a job in the background) would be ignored by every process that a test
# starts and interrupts; a handler, even one that does nothing, is not inherited.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# A deadline per example and the check for slow examples measure how busy the machine is, not the code; `timeout` in
# pyproject bounds every test. "calm", what everyone runs, tries the same examples each time: whoever changes a line is
# not stopped by a rare case elsewhere. HYPOTHESIS_PROFILE=search tries new ones in every run, to look for such cases.
settings.register_profile("calm", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("calm"), derandomize=False)
settings.load_profile(profile := os.environ.get("HYPOTHESIS_PROFILE", "calm"))
if profile == "calm":
    # Else the constants of all modules that happen to be imported flow into the examples: a test run alone, or after
    # an edit of another module, would try others than in the whole run.
    providers._get_local_constants = lambda: providers._local_constants


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests (`pytest.mark.anyio`) run on asyncio, as the service does."""
    return "asyncio"
