"""What Android and the network answer, as data: result codes of SmsManager and TP-Status.

Classes (the phone protocol, Who re-sends): *transient* passes by itself, *throttled* wants a pause,
*permanent* will not change, *ambiguous* may have gone out and is never sent again blindly. A code
that nobody knows is ambiguous for the same reason.

Sources: android.telephony.SmsManager (API 36) and its broadcast extras; 3GPP TS 23.040, 9.2.3.15
for TP-Status; 3GPP2 C.S0015-B, 4.5.21 for CDMA, which Android shifts left by 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Literal, NamedTuple

ErrorClass = Literal["transient", "throttled", "permanent", "ambiguous"]

RESULT_OK = -1


class Result(NamedTuple):
    """What a failed send means: its class, a stable name, and a sentence for people."""

    error_class: ErrorClass
    code: str
    detail: str


_TRANSIENT = (
    (2, "radio_off", "The phone is in airplane mode or its radio is off."),
    (4, "no_service", "The phone has no mobile service."),
    (9, "radio_not_available", "The phone's radio is not available."),
    (12, "invalid_state", "The phone's radio was in a state in which it cannot send."),
    (13, "no_memory", "The phone ran out of memory while sending."),
    (16, "modem_error", "The phone's modem reported an error."),
    (17, "network_error", "The mobile network reported an error."),
    (22, "no_resources", "The phone had no resources left to send."),
    (29, "blocked_during_emergency", "The phone is in an emergency call."),
    (100, "ril_radio_not_available", "The phone's radio is starting or not available."),
    (101, "ril_send_fail_retry", "The radio could not send and asks to try again."),
    (103, "ril_invalid_state", "The radio was in a state in which it cannot send."),
    (105, "ril_no_memory", "The radio ran out of memory."),
    (111, "ril_modem_error", "The modem reported an error."),
    (112, "ril_network_error", "The mobile network reported an error to the radio."),
    (115, "ril_invalid_modem_state", "The modem was in a state in which it cannot send."),
    (116, "ril_network_not_ready", "The mobile network is not ready yet."),
    (118, "ril_no_resources", "The radio had no resources left to send."),
    (121, "ril_call_in_progress", "This phone cannot send a text during a call."),
    (122, "ril_access_barred", "The network bars access at the moment."),
    (123, "ril_blocked_due_to_call", "A call is blocking text messages."),
    (132, "ril_sim_busy", "The SIM is busy."),
    (135, "ril_no_network_found", "The phone finds no mobile network."),
    (136, "ril_device_in_use", "The radio is in use."),
)
_THROTTLED = (
    (5, "limit_exceeded", "Android's limit for texts in a short time was reached."),
    (106, "ril_rate_limited", "The radio refuses more texts for now."),
)
_PERMANENT = (
    (3, "null_pdu", "The phone could not make a text message of this."),
    (6, "fdn_check_failure", "The SIM only allows its fixed numbers, and this is none of them."),
    (7, "short_code_not_allowed", "The phone's user did not allow texts to this short code."),
    (8, "short_code_never_allowed", "The phone never allows texts to this short code."),
    (10, "network_reject", "The mobile network rejected the text."),
    (11, "invalid_arguments", "The phone refused the number, the text or the SIM."),
    (14, "invalid_sms_format", "The phone could not put the text into a message."),
    (18, "encoding_error", "The text could not be encoded."),
    (19, "invalid_smsc_address", "The SIM's message centre number is wrong."),
    (20, "operation_not_allowed", "The phone is not allowed to send texts."),
    (24, "request_not_supported", "The phone cannot send texts."),
    (25, "no_bluetooth_service", "The SIM is used over Bluetooth, which is not connected."),
    (26, "invalid_bluetooth_address", "The Bluetooth device that holds the SIM is unknown."),
    (27, "bluetooth_disconnected", "The Bluetooth device that holds the SIM disconnected."),
    (28, "stopped_by_user", "The phone's user refused to send it."),
    (32, "no_default_sms_app", "The phone has no default SIM or app for texts."),
    (33, "user_not_allowed", "The phone's user is not allowed to send texts."),
    (102, "ril_network_reject", "The mobile network rejected the text."),
    (104, "ril_invalid_arguments", "The radio refused the number or the text."),
    (107, "ril_invalid_sms_format", "The radio could not read the message."),
    (109, "ril_encoding_error", "The radio could not encode the text."),
    (110, "ril_invalid_smsc_address", "The SIM's message centre number is wrong."),
    (114, "ril_request_not_supported", "The radio cannot send texts."),
    (117, "ril_operation_not_allowed", "The radio is not allowed to send texts."),
    (120, "ril_sim_absent", "There is no SIM in the phone."),
    (126, "ril_sim_pin2", "The SIM asks for its PIN2."),
    (127, "ril_sim_puk2", "The SIM asks for its PUK2."),
    (128, "ril_subscription_not_available", "The SIM is not active."),
    (129, "ril_sim_error", "The SIM reported an error."),
    (130, "ril_invalid_sim_state", "The SIM is in a state in which it cannot send."),
    (133, "ril_sim_full", "The SIM's memory is full."),
    (134, "ril_no_subscription", "There is no active SIM."),
)
_AMBIGUOUS = (
    (0, "none", "The phone gave no reason."),
    (1, "generic_failure", "The phone gave no reason; the text may have gone out."),
    (15, "system_error", "Android reported an error; the text may have gone out."),
    (21, "internal_error", "Android reported an error; the text may have gone out."),
    (23, "cancelled", "Android cancelled it; the text may have gone out."),
    (30, "retry_failed", "Trying again failed too; the text may have gone out."),
    (31, "remote_exception", "The phone's messaging service crashed; it may have gone out."),
    (108, "ril_system_error", "The radio reported an error; the text may have gone out."),
    (113, "ril_internal_error", "The radio reported an error; the text may have gone out."),
    (119, "ril_cancelled", "The radio cancelled it; the text may have gone out."),
    (124, "ril_generic_error", "The radio gave no reason; the text may have gone out."),
    (125, "ril_invalid_response", "The radio answered nonsense; the text may have gone out."),
    (131, "ril_no_sms_to_ack", "The radio lost track; the text may have gone out."),
    (137, "ril_aborted", "The radio aborted; the text may have gone out."),
)


def _table() -> dict[int, Result]:
    groups: tuple[tuple[ErrorClass, tuple[tuple[int, str, str], ...]], ...] = (
        ("transient", _TRANSIENT),
        ("throttled", _THROTTLED),
        ("permanent", _PERMANENT),
        ("ambiguous", _AMBIGUOUS),
    )
    return {n: Result(cls, code, text) for cls, group in groups for n, code, text in group}


RESULTS: Mapping[int, Result] = MappingProxyType(_table())


def of_result(result_code: int) -> Result:
    """What a result code other than RESULT_OK means; codes of makers and of the future included."""
    known = RESULTS.get(result_code)
    if known is not None:
        return known
    return Result(
        "ambiguous",
        f"result_{result_code}",
        f"The phone answered {result_code}, which is no known code; the text may have gone out.",
    )


class Receipt(Enum):
    """What a delivery report says about one part."""

    DELIVERED = auto()
    PENDING = auto()  # the network is still trying: nothing to tell yet
    FAILED = auto()


class Report(NamedTuple):
    """A delivery report read: its verdict, and for a failure its name and a sentence."""

    receipt: Receipt
    code: str
    detail: str


_DELIVERED = Report(Receipt.DELIVERED, "delivered", "The network delivered it.")
_PENDING = Report(Receipt.PENDING, "pending", "The network is still trying.")

_GSM_FAILURES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        0x40: ("remote_procedure_error", "The recipient's phone could not take the message."),
        0x41: ("incompatible_destination", "The recipient's phone cannot take such a message."),
        0x42: ("rejected_by_recipient", "The recipient's phone rejected the message."),
        0x43: ("not_obtainable", "The recipient cannot be reached."),
        0x44: ("quality_not_available", "The network could not carry the message as asked."),
        0x45: ("no_interworking", "The networks could not pass the message on."),
        0x46: ("validity_expired", "The network gave up: it could not deliver in time."),
        0x47: ("deleted_by_sender", "The message was deleted before it was delivered."),
        0x48: ("deleted_by_network", "The network deleted the message."),
        0x49: ("does_not_exist", "The network does not know the message any more."),
        0x60: ("congestion", "The network gave up: it was congested."),
        0x61: ("recipient_busy", "The network gave up: the recipient's phone was busy."),
        0x62: ("no_response", "The network gave up: the recipient's phone did not answer."),
        0x63: ("service_rejected", "The network gave up: the service was rejected."),
        0x64: ("quality_not_available", "The network gave up: it could not carry the message."),
        0x65: ("error_in_recipient", "The network gave up: the recipient's phone had an error."),
    }
)
_CDMA_FAILURES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        4: ("congestion", "The network gave up: it was congested."),
        5: ("network_error", "The network gave up after an error."),
        7: ("blocked_destination", "The recipient is blocked."),
        8: ("text_too_long", "The network found the text too long."),
        9: ("duplicate", "The network took the message for a repetition."),
        10: ("invalid_destination", "The network does not know the recipient."),
        13: ("validity_expired", "The network gave up: it could not deliver in time."),
    }
)
_CDMA_TEMPORARY, _CDMA_PERMANENT = 2, 3  # error classes
_CDMA_CANCELLED = 3  # a code of the class "no error"
_SERVICE_REJECTED = 0x63


def of_tp_status(status: int) -> Report:
    """What a delivery report's status means. ``status`` is SmsMessage.getStatus(), 0 or more.

    0x00-0x1F delivered, 0x20-0x3F still trying, 0x40-0x5F failed, 0x60-0x7F the network gave up;
    reserved values count as "service rejected" (TS 23.040). Above 16 bits it is CDMA's: error class
    in bits 24-25, code in bits 16-23.
    """
    if status > 0xFFFF:
        return _of_cdma(status)
    if status < 0x20:
        return _DELIVERED
    if status < 0x40:
        return _PENDING
    if status > 0x7F:
        status = _SERVICE_REJECTED
    code, detail = _GSM_FAILURES.get(
        status, (f"tp_status_{status:#04x}", "The network could not deliver the message.")
    )
    return Report(Receipt.FAILED, f"not_delivered_{code}", detail)


def _of_cdma(status: int) -> Report:
    error_class, code = status >> 24 & 3, status >> 16 & 0xFF
    if error_class == _CDMA_TEMPORARY:
        return _PENDING
    if error_class == _CDMA_PERMANENT:
        name, detail = _CDMA_FAILURES.get(
            code, (f"cdma_{code}", "The network could not deliver the message.")
        )
        return Report(Receipt.FAILED, f"not_delivered_{name}", detail)
    if code == _CDMA_CANCELLED:
        return Report(Receipt.FAILED, "not_delivered_cancelled", "The network cancelled it.")
    return _DELIVERED
