"""OCPP 2.1 as this station speaks it: 2.0.1, and set-points that may discharge, and what a V2X car says of itself."""

from __future__ import annotations

from typing import ClassVar

from twin.station.dialects.base import Payload
from twin.station.dialects.needs import needs_payload_21
from twin.station.dialects.v201 import Dialect201
from twin.station.session import CarNeeds


class Dialect21(Dialect201):
    """See the module."""

    version: ClassVar[str] = "ocpp2.1"

    def transaction_details(self) -> Payload:
        """The operation mode in force (2.1 Q01: told in transactionInfo)."""
        transaction = self.station.transaction
        if transaction is None:
            return {}
        return {"operationMode": "CentralSetpoint" if self.station.is_following_setpoint else "ChargingOnly"}

    def needs_payload(self, needs: CarNeeds) -> Payload:
        """NotifyEVChargingNeeds of 2.1 (K15, K16, Q01)."""
        return needs_payload_21(needs, self.station.spec.evse)
