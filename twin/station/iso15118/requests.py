"""What a car's request is about, in whatever language it came: the charge loop, or a change of what was agreed."""

from __future__ import annotations

from typing import Any

from iso15118.shared.messages.din_spec.msgdef import V2GMessage as V2GMessageDIN
from iso15118.shared.messages.iso15118_2.datatypes import ChargeProgress as ChargeProgressV2
from iso15118.shared.messages.iso15118_2.datatypes import ChargingSession as ChargingSessionV2
from iso15118.shared.messages.iso15118_2.msgdef import V2GMessage as V2GMessageV2
from iso15118.shared.messages.iso15118_20.ac import ACChargeLoopReq
from iso15118.shared.messages.iso15118_20.common_messages import ChargeProgress as ChargeProgressV20
from iso15118.shared.messages.iso15118_20.common_messages import ChargingSession as ChargingSessionV20
from iso15118.shared.messages.iso15118_20.common_messages import PowerDeliveryReq as PowerDeliveryReqV20
from iso15118.shared.messages.iso15118_20.common_messages import SessionStopReq as SessionStopReqV20
from iso15118.shared.messages.iso15118_20.dc import DCChargeLoopReq


def is_loop_request(message: Any) -> bool:
    """Whether it belongs to the charge loop: CurrentDemand, ChargingStatus, AC_ or DC_ChargeLoop."""
    if isinstance(message, V2GMessageV2):
        return message.body.current_demand_req is not None or message.body.charging_status_req is not None
    if isinstance(message, V2GMessageDIN):
        return message.body.current_demand_req is not None
    return isinstance(message, ACChargeLoopReq | DCChargeLoopReq)


def pauses(message: Any) -> bool:
    """Whether it is a SessionStop that only pauses the session."""
    if isinstance(message, V2GMessageV2):
        stop = message.body.session_stop_req
        return stop is not None and stop.charging_session is ChargingSessionV2.PAUSE
    return isinstance(message, SessionStopReqV20) and message.charging_session is ChargingSessionV20.PAUSE


def wants_another_service(message: Any) -> bool:
    """Whether it is a SessionStop of ISO 15118-20 that asks for the services anew."""
    return (
        isinstance(message, SessionStopReqV20)
        and message.charging_session is ChargingSessionV20.SERVICE_RENEGOTIATION
    )


def renegotiates(message: Any, *, is_in_loop: bool) -> bool:
    """Whether it is a PowerDelivery that neither starts nor stops: Renegotiate, or in DIN 70121 a start in the loop."""
    if isinstance(message, V2GMessageV2):
        delivery = message.body.power_delivery_req
        return delivery is not None and delivery.charge_progress is ChargeProgressV2.RENEGOTIATE
    if isinstance(message, V2GMessageDIN):
        delivery = message.body.power_delivery_req
        return delivery is not None and bool(delivery.ready_to_charge) and is_in_loop
    return (
        isinstance(message, PowerDeliveryReqV20)
        and message.charge_progress is ChargeProgressV20.SCHEDULE_RENEGOTIATION
    )
