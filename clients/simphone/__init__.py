"""The simulated phone: thousands of handsets in one process, speaking phone protocol v1.

In:   the gateway's command stream, and a control socket (texts arriving, airplane mode, battery).
Out:  the phones' journals, up to the gateway.
Kept: `<state-dir>/phones.db`, so that it survives `kill -9` like a phone.

    from clients.simphone import Carrier, SimHost

    host = SimHost(state_dir, carrier=Carrier(delay_ms=0))
    await host.start()
    (phone,) = await host.pair("eightms://pair?e=…&t=…")
    await host.receive(phone.phone_id, "+14155550100", "STOP")
    await host.stop()

Which body or number makes the simulated carrier fail, stay silent or answer: `carrier.py`.
"""

from clients.simphone.carrier import Carrier
from clients.simphone.errors import (
    BadControlRequest,
    BadPairingUri,
    GatewayUnreachable,
    NotHosted,
    PairingRefused,
    SimphoneError,
    StateDirBusy,
    StateDirUnusable,
    StorageFailed,
    UnknownPhone,
)
from clients.simphone.host import PairedPhone, SimHost
from clients.simphone.protocol import Sim

__all__ = [
    "BadControlRequest",
    "BadPairingUri",
    "Carrier",
    "GatewayUnreachable",
    "NotHosted",
    "PairedPhone",
    "PairingRefused",
    "Sim",
    "SimHost",
    "SimphoneError",
    "StateDirBusy",
    "StateDirUnusable",
    "StorageFailed",
    "UnknownPhone",
]
