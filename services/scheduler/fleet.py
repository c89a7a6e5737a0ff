"""The phones and accounts a decision is based on: as their rows say, and what is flying on top.

Memory only, of one term of leading; what changes here is told to the queues that it may move.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime, timedelta

from services.scheduler import decide
from services.scheduler.desk import account_of
from services.scheduler.flights import Flights
from services.scheduler.queues import Queues


class Fleet:
    """Every phone of every workspace."""

    def __init__(self, queues: Queues, flying: Flights, limits: decide.Limits) -> None:
        self._queues, self._flying, self._limits = queues, flying, limits
        self._accounts: dict[str, decide.Account] = {}
        self._rows: dict[str, decide.Handset] = {}  # phones as their rows say
        self._campaigns: dict[str, decide.Campaign] = {}  # under way, and what became of others
        # The same with what is flying on top: what the next decision must be based on.
        self._phones: dict[str, dict[str, decide.Handset]] = {}

    # -- what changes ----------------------------------------------------------------------------

    def account_changed(self, account: decide.Account) -> None:
        """Other quiet hours, another patience with silent phones: everybody is looked at again."""
        self._accounts[account.id] = account
        self._look_everywhere(account)

    def campaign_changed(self, campaign: decide.Campaign, workspace_id: str) -> None:
        """Paused: its texts leave the lines. Resumed: they come back. Edited: they look again."""
        known = self._campaigns.get(campaign.id)
        self._campaigns[campaign.id] = campaign
        if known is not None and known != campaign:
            self._look_everywhere(self.account(workspace_id))
            self._queues.activate(campaign.id, workspace_id, timed=True)

    def _look_everywhere(self, account: decide.Account) -> None:
        self._queues.activate(account.id, account.id, timed=True)
        for phone in self._phones.get(account.id, {}).values():
            self._queues.activate(phone.id, account.id, timed=True)
            self._watch(phone, account)

    def admit(self, phone: decide.Handset) -> bool:
        """A phone's row is new or changed; whether that leaves texts to be settled."""
        known = self._rows.get(phone.id)
        self._rows[phone.id] = phone
        self.recount(phone.id)
        if known is not None and (known.state, known.state_at) == (phone.state, phone.state_at):
            return False
        self._watch(phone, self.account(phone.account))
        if phone.state != "unpaired":
            return False
        # Its rows were moved by a statement, of which we hear nothing: who is left in its
        # queue asked for this very phone, who is not is in the workspace's, and what it held
        # is open.
        for queue in (phone.id, phone.account):
            self._queues.activate(queue, phone.account, timed=True)
        return True

    def _watch(self, phone: decide.Handset, account: decide.Account) -> None:
        """Come back when a silent phone's texts may take another one."""
        if phone.state != "offline":
            return
        own = {campaign.failover_s for campaign in self._campaigns.values()}
        for after_s in {account.failover_s, account.campaign_failover_s, *own}:
            if after_s is not None:
                for wait_s in (after_s, max(after_s, self._limits.lease_s)):
                    due = phone.state_at + timedelta(seconds=wait_s)
                    self._queues.ring(due, phone.id, phone.account)

    def recount(self, phone_id: str) -> None:
        """The phone as its row says, and what flies to it counted once more on top.

        Never corrected by hand: a flight may have landed twice, nowhere, or before we hear of it.
        """
        row = self._rows.get(phone_id)
        if row is None:
            return
        phone = dataclasses.replace(row, recent=list(row.recent))
        account = self.account(row.account)
        for flight in self._flying.to_phone(phone_id):
            phone.dispatched(flight.at, flight.parts, flight.command_id, account.zone)
        self._phones.setdefault(row.account, {})[phone_id] = phone
        self._queues.stir(phone_id, row.account)
        self._queues.stir(row.account, row.account)

    # -- what a decision needs -------------------------------------------------------------------

    def account(self, workspace_id: str) -> decide.Account:
        """The account; of a workspace not heard of yet, one with the defaults."""
        return self._accounts.get(workspace_id) or account_of(None, workspace_id)

    def phone(self, workspace_id: str, phone_id: str) -> decide.Handset | None:
        """A phone as the next decision must see it."""
        return self._phones.get(workspace_id, {}).get(phone_id)

    def desk(self, workspace_id: str) -> decide.Desk:
        """A workspace's phones, for a decision to use up."""
        phones = self._phones.get(workspace_id, {})
        return decide.Desk(self.account(workspace_id), phones, self._limits, self._campaigns)

    def may_move(self, queue: str, workspace_id: str, now: datetime) -> bool:
        """Whether anybody in the queue may go before a phone changes or a day passes."""
        phones = self._phones.get(workspace_id, {})
        account = self.account(workspace_id)
        if queue in phones:
            if phones[queue].state == "unpaired":
                return True  # who waits there is refused, or moves
            lined: Iterable[decide.Handset] = (phones[queue],)
        else:
            lined = phones.values()
        for phone in lined:
            if phone.state != "online":
                continue
            block = decide.phone_block(phone, None, account, self._limits, now)
            if block is None or block[0] not in ("phone_offline", "daily_cap"):
                return True
        return False

    def simulated(self, queue: str, workspace_id: str) -> bool:
        """Whether texts of a test key can go from here: else they would stand in others' way."""
        phones = self._phones.get(workspace_id, {})
        if queue in phones:
            return True  # where they are refused at once, or the phone is a simulated one
        return any(p.simulated and p.state == "online" for p in phones.values())

    def ring_phones(self, desk: decide.Desk, queues: Iterable[str], now: datetime) -> None:
        """Come back when a phone that is merely pacing itself is free again."""
        wanted = set(queues)
        pool = desk.account.id in wanted
        for phone in desk.phones.values():
            if phone.state == "online" and (pool or phone.id in wanted):
                block = decide.phone_block(phone, None, desk.account, desk.limits, now)
                if block is not None and block[1] is not None:
                    self._queues.ring(block[1], phone.id, desk.account.id)
                    if pool:
                        self._queues.ring(block[1], desk.account.id, desk.account.id)
