"""The pages an operator looks at: painted by the server, kept alive by server-sent events, no asset from outside.

`LiveFeed` is what the service gives; `web_router` serves it. No page names a driver.
"""

from aggregator.web.feed import (
    AlertRow,
    ChargerRow,
    EventProgress,
    LiveFeed,
    LiveSnapshot,
    PlanSummary,
    Risk,
    SitePoint,
    TrimRow,
)
from aggregator.web.pages import live_ticker, web_router
from aggregator.web.ticker import LiveTicker

__all__ = [
    "AlertRow", "ChargerRow", "EventProgress", "LiveFeed", "LiveSnapshot", "LiveTicker", "PlanSummary", "Risk",
    "SitePoint", "TrimRow", "live_ticker", "web_router",
]
