"""The package `iso15118`, imported without what its import does to a process that has other things to do.

On import it reconfigures the root logger, reads a `.env` file of the working directory into the environment, and later
looks settings up in a process-wide table that only its own command line fills. Every module of this folder stands
behind this one: the folder's `__init__` imports it first.
"""

from __future__ import annotations

import importlib
import logging
import logging.config
import os
import sys
import threading
import warnings
from pathlib import Path

_lock = threading.Lock()


def _nothing() -> None:
    """In the place of the package's `_init_logger`."""


def _import_quietly() -> None:
    with _lock:
        if "iso15118.shared" in sys.modules:
            return
        level, environment, configure = logging.getLogger().level, dict(os.environ), logging.config.fileConfig
        logging.config.fileConfig = lambda *_, **__: None
        try:
            importlib.import_module("iso15118.shared")
            # Its subpackages call this again by name as they are imported.
            importlib.import_module("iso15118.shared.logging")._init_logger = _nothing  # type: ignore[attr-defined]  # noqa: SLF001
        finally:
            logging.config.fileConfig = configure
            logging.getLogger().setLevel(level)
            for name in set(os.environ) - set(environment):
                del os.environ[name]
        # It logs every message in full and every fault of a peer several times; this folder reports faults itself.
        logging.getLogger("iso15118").setLevel(logging.CRITICAL)


_import_quietly()

from cryptography.utils import CryptographyDeprecationWarning  # noqa: E402
from iso15118.shared.exi_codec import EXI  # noqa: E402 - only after the quiet import
from iso15118.shared.settings import SettingKey, shared_settings  # noqa: E402

from twin.wire.exi import installed_codec  # noqa: E402

for _key, _value in (
    (SettingKey.PKI_PATH, ""), (SettingKey.MESSAGE_LOG_JSON, False), (SettingKey.MESSAGE_LOG_EXI, False),
    (SettingKey.ENABLE_TLS_1_3, False),
):
    shared_settings.setdefault(_key, _value)


# It reads certificates by properties that cryptography has deprecated.
warnings.filterwarnings("ignore", category=CryptographyDeprecationWarning, module="iso15118")


def use_codec() -> None:
    """Give the package our EXI codec, unless the process has chosen one already (a singleton of the package)."""
    if EXI().exi_codec is None:
        EXI().set_exi_codec(installed_codec())


def use_pki(folder: Path) -> None:
    """Let the package read certificates and keys below `folder`: it knows one such place per process."""
    shared_settings[SettingKey.PKI_PATH] = f"{folder}{os.sep}"
