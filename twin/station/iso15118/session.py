"""One communication session on either end: the package's state machines behind framing, timeouts and ends of our own.

The package reads up to 7000 bytes and calls that a message, sleeps for five seconds before it closes, and switches
garbage collection off and on around every message. What remains of it here are its states and its messages.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iso15118.evcc.comm_session_handler import EVCCCommunicationSession
from iso15118.secc.comm_session_handler import SECCCommunicationSession
from iso15118.secc.controller.ev_data import EVSessionContext15118
from iso15118.shared.comm_session import V2GCommunicationSession
from iso15118.shared.exceptions import (
    EXIDecodingError,
    EXIEncodingError,
    V2GMessageValidationError,
)
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import AuthEnum, Namespace, SessionStopAction
from iso15118.shared.messages.iso15118_2.body import Body as BodyV2
from iso15118.shared.messages.iso15118_2.datatypes import ChargingSession as ChargingSessionV2
from iso15118.shared.messages.iso15118_2.datatypes import ResponseCode as ResponseCodeV2
from iso15118.shared.messages.iso15118_2.msgdef import V2GMessage as V2GMessageV2
from iso15118.shared.messages.iso15118_20.common_messages import AuthorizationReq as AuthorizationReqV20
from iso15118.shared.messages.iso15118_20.common_messages import ChargingSession as ChargingSessionV20
from iso15118.shared.messages.iso15118_20.common_messages import SessionSetupReq as SessionSetupReqV20
from iso15118.shared.messages.iso15118_20.common_types import ResponseCode as ResponseCodeV20
from iso15118.shared.messages.iso15118_20.common_types import V2GMessage as V2GMessageV20
from iso15118.shared.messages.timeouts import Timeouts
from iso15118.shared.messages.v2gtp import V2GTPMessage
from iso15118.shared.notifications import StopNotification
from iso15118.shared.states import Pause, Terminate

from twin.station.iso15118.contracts import UntrustedContract, check_contract
from twin.station.iso15118.framing import MOST_BYTES, Frame, FrameError, read_frame
from twin.station.iso15118.requests import is_loop_request, pauses, renegotiates, wants_another_service
from twin.station.iso15118.services import mend_failures
from twin.station.rail import FaultKind, SessionEnd, SessionFault

log = logging.getLogger(__name__)

NO_SESSION = "0" * 16
ONGOING_S = float(Timeouts.V2G_EVCC_ONGOING_TIMEOUT)
ANSWERS_AT_ONCE, ASK_AGAIN_S = 8, 0.05  # in one state; more are a station that is not ready
_LOOPS = frozenset(("ChargingStatus", "CurrentDemand", "ACChargeLoop", "DCChargeLoop"))
CLOSING_S = 1.0  # for the peer's side of a TCP or TLS close

Outcome = SessionEnd | SessionFault

# A request that is none, or one of a later state, may have no response of its own, or no peer that hears it.
_NO_RESPONSE = (ConnectionError, TimeoutError, AttributeError, TypeError, ValueError, EXIEncodingError)

_KINDS = {
    "FAILED_SequenceError": FaultKind.SEQUENCE, "FAILED_UnknownSession": FaultKind.SEQUENCE,
    "Failed_NoNegotiation": FaultKind.VERSION, "FAILED_WrongChargeParameter": FaultKind.IMPOSSIBLE,
}


class UnsupportedRequest(ValueError):
    """The car asked for what this station does not do; it is answered with FAILED."""


class NoServiceRenegotiation(UnsupportedRequest):
    """The car asked for the services anew, which ISO 15118-20 has a response code of its own for."""


class ImpossibleRequest(ValueError):
    """The car asked what no car can mean or this EVSE cannot do; it is answered with FAILED_WrongChargeParameter."""


class AbsurdOffer(ValueError):
    """The station said what no station can mean, or what this car could not stand."""


class KeptWaiting(ValueError):
    """The station has put the car off in the same state for longer than V2G_EVCC_Ongoing_Timeout."""


_REASONS: dict[type[Exception], FaultKind] = {
    AbsurdOffer: FaultKind.ABSURD, KeptWaiting: FaultKind.TIMEOUT,
    ImpossibleRequest: FaultKind.IMPOSSIBLE, UnsupportedRequest: FaultKind.IMPOSSIBLE,
    NoServiceRenegotiation: FaultKind.IMPOSSIBLE,
    UntrustedContract: FaultKind.REFUSED,
}


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How a session treats its line.

    patience: factor on the standard's timeouts (an emulation on a busy machine is slower than a car, a test is faster).
    loop_silence_s: how long the station lets a car be silent in its charge loop, where power flows.
    least_loop_s: a loop request that follows the last one sooner waits so long: no car needs more, a hostile one would
        take the process.
    tap: sees every V2GTP message of this end as bytes, `sent` or not.
    """

    patience: float = 1.0
    loop_silence_s: float = 10.0
    least_loop_s: float = 0.02
    most_bytes: int = MOST_BYTES
    tap: Callable[[bytes, bool], None] | None = None


@dataclass(frozen=True, slots=True)
class PausedSession:
    """What a station keeps of a session that its car has paused, to join it again (ISO 15118-2 8.4.2, [V2G2-741])."""

    session_id: str
    context: EVSessionContext15118


class FramedSession(V2GCommunicationSession):
    """What both ends share. `run` holds the session until it is over and says how it ended."""

    line: LineSettings = LineSettings()
    outcome: Outcome | None = None
    unforeseen = FaultKind.INTERNAL  # what a message is that no check stopped and no state could follow

    async def run(self, timeout_s: float) -> Outcome:
        """Converse until the end; the first message must come within `timeout_s` (times the patience)."""
        try:
            outcome = await self._converse(timeout_s)
        finally:
            await self._close()
        self.outcome = outcome
        return outcome

    async def rcv_loop(self, timeout: float) -> None:  # noqa: ASYNC109 - the package's signature
        """What the package's handlers start: the same, and its notification at the end."""
        outcome = await self.run(timeout)
        self.session_handler_queue.put_nowait(
            self.stop_reason or StopNotification(False, str(outcome), self.peer_name, SessionStopAction.TERMINATE)
        )

    async def send(self, message: V2GTPMessage) -> None:
        data = Frame(int(message.payload_type), message.payload).to_bytes()
        if self.line.tap is not None:
            self.line.tap(data, True)
        self.writer.write(data)
        if self.writer.transport.get_write_buffer_size() > 0:
            async with asyncio.timeout(CLOSING_S + self.line.patience):  # a peer that does not read is gone
                await self.writer.drain()
        self.last_message_sent = message

    async def _converse(self, timeout_s: float) -> Outcome:
        while True:
            wait_s = self._patience_for(timeout_s)
            try:
                async with asyncio.timeout(wait_s):
                    frame = await read_frame(self.reader, self.line.most_bytes)
            except TimeoutError:
                return self._fault(FaultKind.TIMEOUT, f"nothing came for {wait_s:g} s")
            except FrameError as fault:
                return self._fault(FaultKind.MALFORMED, str(fault))
            except (ConnectionError, ssl.SSLError) as fault:
                return self._broken(str(fault) or type(fault).__name__)
            if self.line.tap is not None:
                self.line.tap(frame.to_bytes(), False)
            try:
                outcome = await self._answer(frame)
            except (ConnectionError, TimeoutError, ssl.SSLError) as fault:
                return self._broken(str(fault) or "the peer does not read")
            if outcome is not None:
                return outcome
            timeout_s = float(self.current_state.next_msg_timeout)
            self.go_to_next_state()

    def _patience_for(self, timeout_s: float) -> float:
        return timeout_s * self.line.patience

    async def _answer(self, frame: Frame) -> Outcome | None:
        """Let the present state answer one message; says how the session ended if it did."""
        state = str(self.current_state)
        try:
            # Raises a ValueError for a payload type that the protocol of this session does not have.
            namespace = self.get_exi_ns(self.protocol.payloads(frame.payload_type))
            message = EXI().from_exi(frame.payload, namespace)
        except V2GMessageValidationError as fault:
            return await self._reject(fault, namespace, state)
        except (EXIDecodingError, ValueError, KeyError) as fault:
            return SessionFault(FaultKind.MALFORMED, state, _first_line(fault))
        try:
            await self._pace(message)
            self._heard(message)
            await self.current_state.process_message(message, frame.payload)
        except Exception as fault:
            kind = _REASONS.get(type(fault), self.unforeseen)
            if type(fault) not in _REASONS:
                # The package's states raise whatever a message of an unforeseen shape leads them to.
                log.warning("%s: %s", state, _first_line(fault), exc_info=log.isEnabledFor(logging.DEBUG))
            return await self._refuse(message, state, kind, fault)
        await self._reply()
        if self.current_state.next_state in {Terminate, Pause}:
            return self._verdict(state)
        return None

    async def _reply(self) -> None:
        reply = self.current_state.next_v2gtp_msg
        if reply is not None:
            await self.send(reply)
            await self._update_state_info(self.current_state)

    def _verdict(self, state: str) -> Outcome:
        stopped = self.stop_reason
        if stopped is not None and stopped.successful:
            return self._ended()
        sent = self.current_state.message
        code = getattr(sent, "response_code", None)
        if code is None and hasattr(sent, "body"):
            code = getattr(sent.body.get_message(), "response_code", None)
        kind = _KINDS.get(str(getattr(code, "value", code)), FaultKind.REFUSED)
        return SessionFault(kind, state, "no reason given" if stopped is None else stopped.reason)

    def _ended(self) -> SessionEnd:
        return SessionEnd.CAR

    def _broken(self, detail: str) -> Outcome:
        return self._fault(FaultKind.LINK, detail)

    def _fault(self, kind: FaultKind, detail: str) -> SessionFault:
        return SessionFault(kind, str(self.current_state), detail)

    async def _pace(self, message: Any) -> None:
        """Wait if messages of this kind come too fast."""

    def _heard(self, message: Any) -> None:
        """A message came and was understood; its state has not seen it yet."""

    async def _reject(self, fault: V2GMessageValidationError, namespace: Namespace, state: str) -> Outcome:  # noqa: ARG002 - the SECC answers
        return SessionFault(FaultKind.MALFORMED, state, _first_line(fault.reason))

    async def _refuse(self, message: Any, state: str, kind: FaultKind, fault: Exception) -> Outcome:  # noqa: ARG002 - the SECC answers
        return SessionFault(kind, state, _first_line(fault))

    async def _close(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(CLOSING_S):
                await self.writer.wait_closed()
        except (TimeoutError, ConnectionError, ssl.SSLError):
            self.writer.transport.abort()


class SeccSession(FramedSession, SECCCommunicationSession):
    """The charging station's end. Every broken request is answered with its FAILED response before the line closes.

    pki: where the root is that contracts must lead to, if contracts are accepted.
    """

    session_id: str
    is_stopped_by_station = False
    pki: Path | None = None
    _next_loop_at = 0.0
    _is_pausing = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        mend_failures(self.failed_responses_isov20)

    def join(self, paused: PausedSession) -> None:
        """Before it runs: a car that comes with this session's id goes on with it, any other begins a new one."""
        self.session_id, self.ev_session_context = paused.session_id, paused.context

    def paused(self) -> PausedSession:
        """What to keep of it once it ended as paused."""
        return PausedSession(self.session_id, self.ev_session_context)

    async def _pace(self, message: Any) -> None:
        if is_loop_request(message):
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(self._next_loop_at - now, 0.0))
            self._next_loop_at = max(self._next_loop_at, now) + self.line.least_loop_s

    def _heard(self, message: Any) -> None:
        self.evse_controller.heard(is_loop_request=is_loop_request(message))
        if renegotiates(message, is_in_loop=self.evse_controller.is_in_loop):
            raise UnsupportedRequest("PowerDelivery: a renegotiation, expected Start or Stop")
        if wants_another_service(message):
            raise NoServiceRenegotiation("SessionStop: a service renegotiation, expected Terminate or Pause")
        self._is_pausing = pauses(message)
        if not self.session_id and isinstance(message, V2GMessageV20) and not isinstance(message, SessionSetupReqV20):
            self.session_id = NO_SESSION  # its FAILED_SequenceError could not be written without one
        if self.pki is not None:
            for leaf, sub_cas in _contracts(message):
                check_contract(leaf, sub_cas, self.pki)
        if isinstance(message, AuthorizationReqV20) and message.selected_auth_service is not AuthEnum.EIM:
            # The package answers a signature over another session's challenge with a warning, and goes on.
            said = message.pnc_params
            if said is None or said.gen_challenge != self.gen_challenge:
                raise UntrustedContract("contract: signed over another GenChallenge than that of this session")
        # The package forgets these in its AC loop, and takes a SoC of 0 for none in the DC loop.
        display = getattr(message, "display_parameters", None)
        if display is not None:
            context = self.evse_controller.ev_data_context
            context._update_display_parameters(display)  # noqa: SLF001 - what its DC loop does
            if display.present_soc is not None:
                context.present_soc = display.present_soc

    def _patience_for(self, timeout_s: float) -> float:
        wait_s = super()._patience_for(timeout_s)
        return min(wait_s, self.line.loop_silence_s) if getattr(self.evse_controller, "is_in_loop", False) else wait_s

    def _verdict(self, state: str) -> Outcome:
        if self.is_stopped_by_station:
            return SessionEnd.STATION
        refused = getattr(self.evse_controller, "refused", None)
        if refused is not None:
            return SessionFault(FaultKind.IMPOSSIBLE, state, refused)
        return super()._verdict(state)

    async def _close(self) -> None:
        await self.evse_controller.stop_charger()
        await self.evse_controller.session_ended(
            str(self.current_state), "" if self.stop_reason is None else self.stop_reason.reason
        )
        await super()._close()

    def _ended(self) -> SessionEnd:
        if self.is_stopped_by_station:
            return SessionEnd.STATION
        return SessionEnd.PAUSED if self._is_pausing else SessionEnd.CAR

    def _broken(self, detail: str) -> Outcome:
        # A car that was told to terminate and hangs up has obeyed.
        return SessionEnd.STATION if self.is_stopped_by_station else super()._broken(detail)

    async def _reply(self) -> None:
        if self.current_state.next_state in {Terminate, Pause}:  # a peer that does not read holds up a response
            await self.evse_controller.stop_charger()
        await super()._reply()

    async def _reject(self, fault: V2GMessageValidationError, namespace: Namespace, state: str) -> Outcome:
        try:
            self.current_state.stop_state_machine(
                _first_line(fault.reason), None, fault.response_code, fault.message, namespace
            )
            await self._reply()
        except _NO_RESPONSE:
            log.debug("%s: no response fits a %s", state, fault.message)
        return await super()._reject(fault, namespace, state)

    async def _refuse(self, message: Any, state: str, kind: FaultKind, fault: Exception) -> Outcome:
        code: Any = ResponseCodeV2.FAILED
        if isinstance(fault, ImpossibleRequest):
            code = ResponseCodeV2.FAILED_WRONG_CHARGE_PARAMETER
        elif isinstance(fault, NoServiceRenegotiation):
            code = ResponseCodeV20.FAILED_NO_SERVICE_RENEGOTIATION_SUPPORTED
        try:
            self.current_state.stop_state_machine(_first_line(fault), message, code)
            await self._reply()
        except _NO_RESPONSE:
            log.debug("%s: no response fits a %s", state, type(message).__name__)
        return await super()._refuse(message, state, kind, fault)


class EvccSession(FramedSession, EVCCCommunicationSession):
    """The car's end. What the station answers reaches the controller (`heard`) before the state machine.

    has_contract: whether it may choose Plug & Charge; the package always does where that is offered.
    resumes: the id of the session that it paused and wants to go on with; empty for a new one.
    """

    has_contract = False
    resumes = ""
    unforeseen = FaultKind.ABSURD
    _state: type[object] | None = None
    _state_since = 0.0
    _answers = 0  # in this state

    async def _pace(self, message: Any) -> None:  # noqa: ARG002 - whatever it is
        """A station that puts the car off without end is not asked faster for it, and not for ever."""
        if type(self.current_state) is not self._state:  # some states begin anew with every answer
            self._state, self._state_since, self._answers = type(self.current_state), _now(), 0
        self._answers += 1
        if str(self.current_state) in _LOOPS:
            return
        if self._answers > ANSWERS_AT_ONCE:
            await asyncio.sleep(ASK_AGAIN_S)
        most_s = ONGOING_S * self.line.patience
        if self._answers > 1 and _now() - self._state_since > most_s:
            raise KeptWaiting(f"put off for {most_s:g} s")

    def _heard(self, message: Any) -> None:
        if not self.has_contract:
            _forget_contracts(message)
        self.ev_controller.heard(message)

    async def _reply(self) -> None:
        """The package ends every session for good, and knows one session to resume per process."""
        message, reply = self.current_state.message, self.current_state.next_v2gtp_msg
        if reply is not None and self._reword(message):
            reply.payload = EXI().to_exi(message, self.get_exi_ns(reply.payload_type))
        await super()._reply()

    def _reword(self, message: Any) -> bool:
        body = getattr(message, "body", None)
        setup = body.session_setup_req if isinstance(body, BodyV2) else message
        stop = body.session_stop_req if isinstance(body, BodyV2) else message
        if self.resumes and setup is not None and type(setup).__name__ == "SessionSetupReq":
            message.header.session_id = self.resumes
            return True
        if stop is not None and type(stop).__name__ == "SessionStopReq" and self.ev_controller.wants_pause:
            stop.charging_session = ChargingSessionV2.PAUSE if isinstance(body, BodyV2) else ChargingSessionV20.PAUSE
            return True
        return False

    def _ended(self) -> SessionEnd:
        return SessionEnd.PAUSED if self.ev_controller.wants_pause else SessionEnd.CAR

    async def _close(self) -> None:
        await self.ev_controller.enable_charging(False)
        await super()._close()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _contracts(message: Any) -> list[tuple[bytes, list[bytes]]]:
    """The contract chain in a PaymentDetailsReq (-2) or AuthorizationReq (-20), if there is one."""
    chain = getattr(getattr(message, "pnc_params", None), "contract_cert_chain", None)
    if chain is None and isinstance(message, V2GMessageV2) and message.body.payment_details_req is not None:
        chain = message.body.payment_details_req.cert_chain
    return [] if chain is None else [(chain.certificate, chain.sub_certificates.certificates)]


def _forget_contracts(message: Any) -> None:
    offered = getattr(message, "auth_services", None)
    if offered is None and hasattr(message, "body") and message.body.get_message() is not None:
        found = getattr(message.body.get_message(), "auth_option_list", None)
        offered = getattr(found, "auth_options", None)
    if offered is not None:
        offered[:] = [option for option in offered if option not in {AuthEnum.PNC, AuthEnum.PNC_V2}] or offered


def _first_line(fault: object) -> str:
    lines = str(fault).strip().splitlines()
    text = lines[0] if lines else ""
    name = f"{type(fault).__name__}: " if isinstance(fault, Exception) and not isinstance(fault, ValueError) else ""
    return (name + text)[:300] or type(fault).__name__
