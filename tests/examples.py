"""One valid example of every event, as one story: a workspace, a phone, a person, a conversation.

    example(events.SendRequested)            the event
    example(events.SendRequested, body="x")  the same with another field in its data

Ids are realistic and always the same. A new event type needs an example here and its file under
tests/shape/golden (tests/shape/test_events.py says how).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared import events as e
from shared import ids

WORKSPACE = ids.derive("ws", "examples")
CONTACT = ids.derive("con", "examples")
CONVERSATION = ids.conversation_id(CONTACT)
PHONE = ids.derive("phn", "examples")
MESSAGE = ids.derive("msg", "examples")
REPLY = ids.derive("msg", "examples", "reply")
COMMAND = ids.command_id(MESSAGE, 1)
API_KEY = ids.derive("key", "examples")
ENDPOINT = ids.derive("whk", "examples")
CAMPAIGN = ids.derive("cmp", "examples")
AUDIENCE = ids.derive("aud", "examples")
MEMBER = ids.derive("mem", "examples")
COLLEAGUE = ids.derive("usr", "examples", "colleague")
ERASURE = ids.derive("prv", "examples")
NUMBER = "+14155550123"
AT = datetime(2026, 3, 2, 17, 4, 5, 678901, UTC)
LATER = AT + timedelta(hours=72)

USER = e.Actor("user", ids.derive("usr", "examples"))
KEY = e.Actor("api_key", API_KEY)
DEVICE = e.Actor("phone", PHONE)
SCHEDULER = e.Actor("system", "scheduler")
INBOUND = e.Actor("system", "inbound")
GATEWAY = e.Actor("system", "gateway")
WEBHOOKS = e.Actor("system", "webhooks")
SYSTEM = e.Actor("system", "api")

SIMS = (
    e.Sim(
        subscription_id=1, slot=0, carrier="T-Mobile", number="+14155550100", iccid_hash="ab" * 32
    ),
    e.Sim(subscription_id=2, slot=1, carrier="Verizon"),
)
PROFILE: dict[str, Any] = {
    "workspace_id": WORKSPACE,
    "name": "Acme Plumbing",
    "timezone": "America/Los_Angeles",
    "help_text": "Call us at +1 415 555 0100.",
}
FACT: dict[str, Any] = {
    "message_id": MESSAGE,
    "contact_id": CONTACT,
    "command_id": COMMAND,
    "phone_id": PHONE,
    "attempt": 1,
    "phone_at": AT,
    "generation": 1,
}
SEND: dict[str, Any] = {"message_id": MESSAGE, "contact_id": CONTACT}
CONSENT: dict[str, Any] = {"contact_id": CONTACT, "number": NUMBER}
CAMPAIGN_STATE: dict[str, Any] = {
    "campaign_id": CAMPAIGN,
    "name": "Spring check-up",
    "template": "Hi {{first_name|there}}, your boiler is due for its check-up.",
    "contact_filter": e.ContactFilter(
        tags_any=("customer",), tags_none=("checked",), custom_fields={"boiler": "gas"}
    ),
    "send_window": e.SendWindow(
        days=(0, 1, 2, 3, 4), start="09:00", end="17:00", timezone="America/Los_Angeles"
    ),
}
TALK: dict[str, Any] = {"contact_id": CONTACT, "conversation_id": CONVERSATION}

STORY: tuple[tuple[e.Actor, e.Data], ...] = (
    (USER, e.WorkspaceCreated(**PROFILE, email="ada@example.com")),
    (
        USER,
        e.WorkspaceUpdated(
            **PROFILE,
            region="US",
            quiet_hours=e.QuietHours(start="22:00", end="09:00"),
            failover_s=3600,
            resend_unknown=True,
            opt_out_text="You are unsubscribed.",
            acknowledged=("People could be texted outside 21:00 to 08:00.",),
        ),
    ),
    (
        USER,
        e.ApiKeyCreated(
            key_id=API_KEY,
            name="Production",
            mode="live",
            hash="5f" * 32,
            last_four="x9Qz",
            scopes=("messages:read", "messages:write"),
            expires_at=LATER,
        ),
    ),
    (USER, e.ApiKeyRevoked(key_id=API_KEY)),
    (USER, e.MemberInvited(member_id=MEMBER, email="grace@example.com", role="member")),
    (
        e.Actor("user", COLLEAGUE),
        e.MemberJoined(
            member_id=MEMBER, user_id=COLLEAGUE, email="grace@example.com", role="member"
        ),
    ),
    (USER, e.MemberChanged(member_id=MEMBER, role="owner")),
    (USER, e.MemberRemoved(member_id=MEMBER)),
    (
        KEY,
        e.ContactSaved(
            contact_id=CONTACT,
            number=NUMBER,
            first_name="Grace",
            last_name="Hopper",
            email="grace@example.com",
            company="Navy",
            tags=("vip", "west"),
            custom_fields={"boiler": "Vitodens 100"},
            timezone="America/New_York",
        ),
    ),
    (
        INBOUND,
        e.ContactOptedOut(
            **CONSENT, source="keyword", rule="STOP", tier="word", text="Stop.", message_id=REPLY
        ),
    ),
    (INBOUND, e.ContactOptedIn(**CONSENT, source="keyword", rule="START", text="START")),
    (USER, e.ConversationRead(**TALK)),
    (USER, e.ConversationClosed(**TALK)),
    (USER, e.ConversationReopened(**TALK)),
    (
        GATEWAY,
        e.PhonePaired(
            phone_id=PHONE,
            generation=1,
            device_hash="c0" * 32,
            label="Front desk",
            manufacturer="Google",
            model="Pixel 8",
            android="15",
            app_version="1.0.0",
            sims=SIMS,
        ),
    ),
    (
        USER,
        e.PhoneConfigured(
            phone_id=PHONE,
            label="Front desk",
            min_gap_s=240,
            daily_cap=200,
            warmup=True,
            jitter_s=30,
            acknowledged=("This phone would skip its warm-up.",),
        ),
    ),
    (USER, e.PhoneUnpaired(phone_id=PHONE)),
    (GATEWAY, e.PhoneOnline(phone_id=PHONE)),
    (GATEWAY, e.PhoneLate(phone_id=PHONE)),
    (GATEWAY, e.PhoneOffline(phone_id=PHONE)),
    (GATEWAY, e.PhoneSimsChanged(phone_id=PHONE, sims=SIMS[:1])),
    (
        KEY,
        e.SendRequested(
            **SEND,
            to=NUMBER,
            body="Your plumber arrives at 3 pm 🔧",
            parts=1,
            source="api",
            expires_at=LATER,
            category="reminder",
            phone_id=PHONE,
            subscription_id=1,
            send_at=AT + timedelta(hours=1),
            client_ref="order-77",
            campaign_id=ids.derive("cmp", "examples"),
            timezone="America/New_York",
        ),
    ),
    (KEY, e.SendCancelRequested(**SEND)),
    (SCHEDULER, e.SendHeld(**SEND, reason="quiet_hours", until=LATER, queue=PHONE)),
    (
        SCHEDULER,
        e.SendDispatched(
            **SEND,
            command_id=COMMAND,
            phone_id=PHONE,
            attempt=1,
            to=NUMBER,
            body="Your plumber arrives at 3 pm 🔧",
            parts=1,
            source="api",
            expires_at=LATER,
            subscription_id=1,
        ),
    ),
    (
        SCHEDULER,
        e.SendRejected(**SEND, code="recipient_opted_out", detail="The recipient opted out."),
    ),
    (SCHEDULER, e.SendCancelled(**SEND)),
    (SCHEDULER, e.SendExpired(**SEND, waited_for="phone_offline")),
    (USER, e.SendResolved(**SEND, decision="retry")),
    (DEVICE, e.SmsAccepted(**FACT, journal_seq=1)),
    (DEVICE, e.SmsSubmitted(**FACT, journal_seq=2, parts=1)),
    (DEVICE, e.SmsSent(**FACT, journal_seq=3, parts=1)),
    (DEVICE, e.SmsDelivered(**FACT, journal_seq=4)),
    (
        DEVICE,
        e.SmsFailed(
            **FACT,
            journal_seq=5,
            error_class="transient",
            code="no_service",
            detail="The phone has no signal.",
            result_code=4,
            error_code=17,
        ),
    ),
    (DEVICE, e.SmsUnknown(**FACT, journal_seq=6)),
    (DEVICE, e.SmsCancelled(**FACT, journal_seq=7, proof="inventory")),
    (
        DEVICE,
        e.SmsReceived(
            contact_id=CONTACT,
            message_id=REPLY,
            phone_id=PHONE,
            sender=NUMBER,
            sender_kind="number",
            body="Stop.",
            parts=1,
            received_at=AT,
            provider_id="8812",
            journal_seq=8,
            subscription_id=1,
            generation=1,
        ),
    ),
    (
        INBOUND,
        e.ReplyReceived(
            message_id=REPLY,
            contact_id=CONTACT,
            conversation_id=CONVERSATION,
            phone_id=PHONE,
            sender=NUMBER,
            sender_kind="number",
            body="Stop.",
            parts=1,
            received_at=AT,
            subscription_id=1,
            verdict="opt_out",
            tier="word",
            rule="STOP",
            answered="confirmation",
        ),
    ),
    (
        USER,
        e.WebhookEndpointSaved(
            endpoint_id=ENDPOINT,
            url="https://crm.example.com/8ms",
            types=("sms.delivered", "reply.received"),
            ordered=True,
            description="CRM",
        ),
    ),
    (USER, e.WebhookEndpointRemoved(endpoint_id=ENDPOINT)),
    (WEBHOOKS, e.WebhookEndpointDisabled(endpoint_id=ENDPOINT, reason="gone")),
    (
        WEBHOOKS,
        e.WebhookAttempted(
            endpoint_id=ENDPOINT,
            attempt_id=ids.derive("att", "examples"),
            delivery_id=ids.derive("dlv", "examples"),
            event_id=ids.derive("evt", "examples"),
            event_type="sms.delivered",
            attempt=2,
            trigger="event",
            outcome="failed",
            url="https://crm.example.com/8ms",
            duration_ms=181,
            status=503,
            error="server_error",
            response="try later",
            next_at=LATER,
        ),
    ),
    (USER, e.WebhookTestRequested(endpoint_id=ENDPOINT, event_type="sms.delivered")),
    (
        USER,
        e.WebhookResendRequested(endpoint_id=ENDPOINT, delivery_id=ids.derive("dlv", "examples")),
    ),
    (
        USER,
        e.WebhookReplayRequested(
            endpoint_id=ENDPOINT, since=AT, types=("sms.delivered",), only_failed=True
        ),
    ),
    (
        e.Actor("stripe", "evt_1Pgc76B7WZ01zgkWwyRHS12y"),
        e.SubscriptionChanged(
            workspace_id=WORKSPACE,
            customer_id="cus_QXg1o8vcGmoR32",
            livemode=True,
            state="past_due",
            plan="team",
            subscription_id="sub_1Pgc6rB7WZ01zgkWNy0Cn5nw",
            price_id="price_1PgafmB7WZ01zgkW6dKueIc5",
            period_end=LATER,
            ends_at=LATER,
            grace_until=LATER,
            others=1,
        ),
    ),
    (USER, e.CampaignCreated(**CAMPAIGN_STATE)),
    (
        USER,
        e.CampaignUpdated(**CAMPAIGN_STATE, phone_ids=(PHONE,), failover_s=3600, start_at=LATER),
    ),
    (USER, e.CampaignDeleted(campaign_id=CAMPAIGN)),
    (
        USER,
        e.CampaignAudience(
            campaign_id=CAMPAIGN, audience_id=AUDIENCE, part=0, contact_ids=(CONTACT,)
        ),
    ),
    (
        USER,
        e.CampaignStarted(
            campaign_id=CAMPAIGN,
            audience_id=AUDIENCE,
            recipients=1,
            test=True,
            acknowledged=("first_name",),
        ),
    ),
    (USER, e.CampaignPaused(campaign_id=CAMPAIGN)),
    (USER, e.CampaignResumed(campaign_id=CAMPAIGN)),
    (USER, e.CampaignCancelled(campaign_id=CAMPAIGN)),
    (
        SCHEDULER,
        e.CampaignSkipped(campaign_id=CAMPAIGN, contact_id=CONTACT, reason="opted_out"),
    ),
    (
        SCHEDULER,
        e.CampaignCompleted(campaign_id=CAMPAIGN, recipients=1, messages=0, skipped=1),
    ),
    (
        KEY,
        e.PrivacyRequested(request_id=ERASURE, kind="erasure", scope="contact", contact_id=CONTACT),
    ),
    (
        SYSTEM,
        e.ContactErased(
            contact_id=CONTACT,
            root_id=CONTACT,
            generation=0,
            successor_id=ids.derive("con", "examples", "1"),
            suppressed=True,
            request_id=ERASURE,
        ),
    ),
    (
        SYSTEM,
        e.ConversationErased(
            contact_id=CONTACT,
            conversation_id=CONVERSATION,
            request_id=ERASURE,
            number=NUMBER,
            kind="number",
            generation=0,
            created_at=AT,
        ),
    ),
    (
        SYSTEM,
        e.MessageForgotten(
            contact_id=CONTACT,
            request_id=ERASURE,
            messages=((MESSAGE, 1), (REPLY, 0)),
            received=(REPLY,),
            events=(ids.derive("evt", "examples", "sms.sent"),),
            phones=(PHONE,),
            heads=(e.JournalHead(phone_id=PHONE, generation=1, seq=8),),
        ),
    ),
    (
        SYSTEM,
        e.MessageRestated(
            contact_id=CONTACT,
            forgotten=ids.derive("evt", "examples", "message.forgotten"),
            phones=(
                e.PhoneUse(
                    phone_id=PHONE,
                    day="2026-03-02",
                    sent_today=7,
                    recent=((1772471045.5, 1.0),),
                    last_dispatch_at=AT,
                    last_command_id=COMMAND,
                ),
            ),
            contact_phone=PHONE,
        ),
    ),
    (
        SYSTEM,
        e.PrivacyFulfilled(
            request_id=ERASURE, counts={"log": {"events": 12}, "api": {"messages": 2}}
        ),
    ),
)


def _event(actor: e.Actor, data: e.Data) -> e.Event:
    return e.make(
        data,
        id=ids.derive("evt", "examples", data.TYPE),
        workspace_id=WORKSPACE,
        at=AT,
        actor=actor,
        cause=ids.derive("req", "examples"),
    )


EXAMPLES: dict[str, e.Event] = {data.TYPE: _event(actor, data) for actor, data in STORY}
"""Event type → its example."""


def example(kind: type[e.Data], **changes: Any) -> e.Event:
    """The example of a kind, its data changed where told so."""
    event = EXAMPLES[kind.TYPE]
    if not changes:
        return event
    return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, **changes))
