"""The HTTP edge: OpenADR, the native API, tokens and health; thin handlers that check, ask a room below and answer.

Every route declares its policy (`access`); every error is a problem document (`problems`); what the service must
provide is in `ports`.
"""

from aggregator.api.access import allow, public, public_access
from aggregator.api.app import create_app
from aggregator.api.ports import (
    Chargers,
    ChargerView,
    Fleet,
    Health,
    Metrics,
    Services,
    SiteMeters,
    TargetRefused,
)
from aggregator.api.problems import FieldFault, Problem

__all__ = [
    "ChargerView",
    "Chargers",
    "FieldFault",
    "Fleet",
    "Health",
    "Metrics",
    "Problem",
    "Services",
    "SiteMeters",
    "TargetRefused",
    "allow",
    "create_app",
    "public",
    "public_access",
]
