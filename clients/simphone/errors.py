"""Everything that can go wrong where a caller must know.

SimphoneError
├── BadPairingUri        the link is not a pairing link: tell the person, do not retry
├── PairingRefused       the gateway said no: a new pairing link is needed
├── GatewayUnreachable   no usable answer: try again later
├── StateDirBusy         another process hosts this state folder: talk to it instead
├── StateDirUnusable     the state folder cannot be used, for the reason given
├── NotHosted            nobody hosts this state folder: start one
├── UnknownPhone         this process hosts no such phone
├── BadControlRequest    a control call that cannot be understood
└── StorageFailed        SQLite could not write: the process must stop

No message carries a token, a credential, a number or a text.
"""


class SimphoneError(Exception):
    """Base of all; `code` is stable snake_case for scripts and problem bodies."""

    code = "simphone_error"


class BadPairingUri(SimphoneError):
    code = "bad_pairing_uri"


class PairingRefused(SimphoneError):
    """`code` is the gateway's own problem code, usually `pairing_expired`."""

    def __init__(self, detail: str, code: str = "pairing_expired") -> None:
        super().__init__(detail)
        self.code = code


class GatewayUnreachable(SimphoneError):
    code = "gateway_unreachable"


class StateDirBusy(SimphoneError):
    code = "state_dir_busy"


class StateDirUnusable(SimphoneError):
    code = "state_dir_unusable"


class NotHosted(SimphoneError):
    code = "not_hosted"


class UnknownPhone(SimphoneError):
    code = "unknown_phone"


class BadControlRequest(SimphoneError):
    code = "bad_request"


class StorageFailed(SimphoneError):
    code = "storage_failed"
