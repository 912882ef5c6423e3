"""EXI 1.0, the binary XML that a car and a charging station speak under ISO 15118 and DIN 70121, in pure Python.

Grammars are built at start from the protocols' own XSD files, which are not part of this project: the codec takes
their folder. JSON text stands on the other side, in the shape that the package `iso15118` gives to its codecs.
"""

from twin.wire.exi.codec import ExiCodec, Schemas, installed_codec
from twin.wire.exi.errors import (
    ExiError,
    InvalidValue,
    LimitExceeded,
    Malformed,
    SchemaError,
    TrailingBits,
    Truncated,
    UnknownMessage,
)
from twin.wire.exi.limits import Limits

__all__ = [
    "ExiCodec", "ExiError", "InvalidValue", "LimitExceeded", "Limits", "Malformed", "SchemaError", "Schemas",
    "TrailingBits", "Truncated", "UnknownMessage", "installed_codec",
]
