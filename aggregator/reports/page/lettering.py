"""Letters in the SVG pictures: their font, and text that no name out of a file can break."""

from __future__ import annotations

import re
from html import escape
from typing import Final

SANS: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"

_NOT_IN_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document can hold, not even escaped (https://www.w3.org/TR/xml/#charsets)."""


def safe(text: str) -> str:
    """Text as XML may hold it, escaped; what XML has no place for becomes a replacement character."""
    return escape(_NOT_IN_XML.sub("\ufffd", text))
