"""Every problem there is: what a code means and what to do about it. Pure.

The `type` of a problem document is the address of its page, made from here (routes/site.py), and
the OpenAPI document names the codes of each operation. A test fails for a code that is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """One code: the status it comes with, what it means, what to do."""

    status: int
    meaning: str
    remedy: str


_FIELD = "Correct the field the pointer names and send the request again."

CATALOGUE: Mapping[str, Entry] = {
    # requests
    "malformed_json": Entry(400, "The body is not JSON.", "Send one JSON value, encoded as UTF-8."),
    "invalid_idempotency_key": Entry(
        400,
        "The Idempotency-Key header is not 1 to 255 printable ASCII characters.",
        "Use a UUID, or a name of your own for the request.",
    ),
    "unauthorized": Entry(
        401,
        "The request carries neither an API key nor an access token.",
        "Send Authorization: Bearer and your key or token.",
    ),
    "invalid_api_key": Entry(
        401,
        "The API key is mistyped, does not exist, or was revoked.",
        "Check that it is complete, or make a new one.",
    ),
    "expired_api_key": Entry(401, "The API key's time is over.", "Make a new key."),
    "invalid_token": Entry(
        401,
        "The access token is not one of this installation, has expired, or its session is over.",
        "Refresh it, or sign in again.",
    ),
    "missing_scope": Entry(
        403,
        "The API key is not allowed to do this; or a person is who is no owner of the workspace.",
        "Use a key with the scope named in required_scope, or ask an owner.",
    ),
    "no_workspace": Entry(
        403,
        "You were removed from your last workspace, or it is gone.",
        "Sign in again: that begins a new one, or accepts an invitation.",
    ),
    "sign_in_elsewhere": Entry(
        404,
        "People sign in with Supabase here, not with the sign-in that is built in.",
        "Use the address in sign_in_url.",
    ),
    "scope_exceeded": Entry(
        403,
        "A key was to be given more than the key that makes it has.",
        "Leave the scope out, or make the key with one that has it.",
    ),
    "not_found": Entry(
        404,
        "There is nothing at this address, or nothing with this id in your workspace.",
        "Check the id. What belongs to another workspace looks like this too.",
    ),
    "method_not_allowed": Entry(
        405, "This address does not know that method.", "The Allow header lists those it knows."
    ),
    "http_error": Entry(400, "The request is not proper HTTP.", "Check the client."),
    "request_in_progress": Entry(
        409,
        "The first request with this Idempotency-Key is still running.",
        "Repeat the same request after a second: it is answered, not done twice.",
    ),
    "changed_meanwhile": Entry(
        409,
        "Others changed the same thing several times while this request was being decided.",
        "Look at it again and repeat the request.",
    ),
    "malformed_form": Entry(
        400,
        "The body is not a multipart form, or is cut off.",
        "Let your HTTP library make the form: it also sets the Content-Type with its boundary.",
    ),
    "no_result": Entry(
        404,
        "The task has no file: it has not ended, or a task of this kind makes none.",
        "Look at the task until its status is done and result_url is there.",
    ),
    "too_many_tasks": Entry(
        429,
        "Too many tasks of the workspace have not ended, or too many uploads wait for theirs.",
        "Wait for one to end, or cancel it.",
    ),
    "conflict": Entry(409, "The same is being done already.", "Repeat the request in a moment."),
    "body_too_large": Entry(
        413, "The body is larger than 1 MiB.", "Send less at once, for instance fewer messages."
    ),
    "unsupported_media_type": Entry(
        415, "The body is not declared as JSON.", "Send Content-Type: application/json."
    ),
    "invalid_request": Entry(
        422,
        "Fields or parameters are missing, unknown or malformed. All of them are listed in errors.",
        _FIELD,
    ),
    "unknown_message": Entry(
        422, "The message is not of this conversation.", "Take the id of one that is."
    ),
    "not_combinable": Entry(
        422,
        "These parameters cannot be used together.",
        "Leave one of them out.",
    ),
    "invalid_cursor": Entry(
        422,
        "A cursor fits only the list it came from, with the same filters.",
        "Begin the list again without a cursor.",
    ),
    "idempotency_key_reused": Entry(
        422,
        "The Idempotency-Key was used before, with another request.",
        "Use a new key for every new request, and the same only to repeat one unchanged.",
    ),
    "rate_limited": Entry(
        429,
        "More requests came than the key, the workspace or the address may make.",
        "Wait as long as Retry-After says. RateLimit says how many are left; GET /v1/limits all.",
    ),
    "too_many_streams": Entry(
        429,
        "The workspace, or this server, has as many event streams open as it may.",
        "One stream serves any number of types: share it, or pull from /v1/events.",
    ),
    "missing": Entry(422, "A required field is missing.", _FIELD),
    "too_long": Entry(422, "A text or a list is longer than allowed.", _FIELD),
    "too_short": Entry(422, "A text or a list is shorter than allowed.", _FIELD),
    "invalid": Entry(422, "A field has a value of the wrong kind.", _FIELD),
    "in_the_past": Entry(422, "A time that must be ahead is in the past.", _FIELD),
    "too_far_ahead": Entry(
        422, "A message is scheduled for more than a year ahead.", "Schedule it later."
    ),
    "unknown_timezone": Entry(
        422,
        "The timezone is not in the IANA database.",
        "Use a name such as America/New_York; abbreviations are ambiguous.",
    ),
    "unknown_region": Entry(
        422, "The country is not known.", "Use two letters of ISO 3166, such as US."
    ),
    "confirmation_required": Entry(
        409,
        "The change makes sending less safe: for the SIM, for the people written to, or for you.",
        "Read warnings. If you accept them, repeat the request with acknowledge_risk: true.",
    ),
    "limit_reached": Entry(
        409, "There are as many of these as there may be.", "Remove one that is not needed."
    ),
    # messages
    "invalid_number": Entry(
        422,
        "The number cannot be texted; reason says why: not a number, too short or long, an "
        "emergency number, an extension, a short code or a sender's name.",
        "Write it with + and its country code, as in +14155550123.",
    ),
    "recipient_opted_out": Entry(
        422,
        "The recipient asked not to be texted by this workspace.",
        "Nothing is sent until they opt in again themselves, for instance by replying START.",
    ),
    "too_many_parts": Entry(
        422,
        "The text takes more than ten SMS parts.",
        "Shorten it, or send it as several. Characters outside the GSM alphabet, emoji above all, "
        "make parts much shorter.",
    ),
    "erased": Entry(
        410,
        "The request was made before, and what it made was erased since.",
        "Use a new Idempotency-Key to make something new.",
    ),
    "one_recipient": Entry(422, "Both to and contact_id are given.", "Give one of them."),
    "contact_not_found": Entry(422, "There is no such contact.", "Check contact_id, or use to."),
    "phone_not_found": Entry(422, "There is no such phone.", "Check phone_id, or leave it out."),
    "phone_unpaired": Entry(
        422,
        "The phone was unpaired and cannot send.",
        "Pair it again, name another one, or leave phone_id out.",
    ),
    "test_key_real_phone": Entry(
        422,
        "A test key reaches only simulated phones.",
        "Name a simulated phone, leave phone_id out, or use a live key.",
    ),
    "not_cancellable": Entry(
        409,
        "The message is sent, or over in another way.",
        "Nothing can be taken back from the network.",
    ),
    "not_quarantined": Entry(
        409, "The message waits for nobody's decision.", "Look at its timeline."
    ),
    # contacts
    "contact_exists": Entry(
        409,
        "A contact with this number was saved before; contact_id names it.",
        "Change that one with PATCH.",
    ),
    # phones
    "pairing_expired": Entry(
        410,
        "The pairing link was used, has expired, or never existed.",
        "Open a new pairing and scan its code within ten minutes.",
    ),
    "invalid_credential": Entry(
        401, "The phone's credential is not valid any more.", "Pair the phone again."
    ),
    "invalid_entry": Entry(422, "An entry of a phone's journal is malformed.", "Update the app."),
    "too_many_entries": Entry(413, "A phone sent more than 500 entries at once.", "Send fewer."),
    "not_simulated": Entry(409, "The phone is a real one.", "Use a simulated phone."),
    "not_simulated_here": Entry(
        404,
        "The phone was simulated by a host that does not have it any more.",
        "Unpair it and add a new simulated phone.",
    ),
    "simulator_off": Entry(
        503,
        "This installation hosts no simulated phones.",
        "Whoever runs it sets EIGHTMS_SIMULATOR_URL.",
    ),
    "simulator_refused": Entry(
        422, "The host of simulated phones refused.", "The detail says why."
    ),
    "not_there_yet": Entry(
        503, "It was made, but is not shown yet.", "Look at the list in a moment."
    ),
    # campaigns
    "unclosed_variable": Entry(422, 'A template has a "{{" that no "}}" closes.', _FIELD),
    "unopened_variable": Entry(422, 'A template has a "}}" that closes nothing.', _FIELD),
    "empty_variable": Entry(422, "A template has a variable without a name.", _FIELD),
    "unknown_syntax": Entry(
        422,
        "A template has something between braces that is no variable; position says where.",
        "Write {{name}} or {{name|fallback}}.",
    ),
    "too_many_variables": Entry(422, "A template has more than 50 variables.", _FIELD),
    "campaign_not_editable": Entry(
        409,
        "A running or finished campaign cannot be changed, nor whom a started one is for.",
        "Pause it first, or write a new one.",
    ),
    "campaign_started": Entry(
        409, "The campaign was started already.", "Look at it; cancel it if it must not go on."
    ),
    "no_recipients": Entry(
        422, "Nobody matches the contact filter.", "Look at the preview and change the filter."
    ),
    "too_many_recipients": Entry(
        422, "More than 250,000 people match the filter.", "Make several campaigns of it."
    ),
    "missing_variables": Entry(
        422,
        "Some people lack what the text fills in; missing says who and what.",
        "Add fallbacks, complete the contacts, or name the variables in acknowledge_missing.",
    ),
    "campaign_not_running": Entry(409, "The campaign is not under way.", "Look at its state."),
    "campaign_not_paused": Entry(409, "The campaign is not paused.", "Look at its state."),
    # webhooks
    "unknown_type": Entry(422, "There is no such event type.", _FIELD),
    "endpoint_disabled": Entry(
        409, "The webhook endpoint is disabled.", "Switch it on: PATCH with enabled: true."
    ),
    "url_too_long": Entry(422, "The URL is too long.", _FIELD),
    "url_malformed": Entry(422, "The URL cannot be read.", _FIELD),
    "scheme_not_allowed": Entry(422, "Webhooks go to https only.", "Use an https URL."),
    "userinfo_not_allowed": Entry(
        422, "The URL holds a user or a password.", "Verify our signature instead."
    ),
    "fragment_not_allowed": Entry(422, "The URL has a part behind #.", "Leave it out."),
    "host_malformed": Entry(422, "The URL's host is not a proper name.", _FIELD),
    "host_odd_spelling": Entry(
        422, "The URL's host is an address in an unusual spelling.", "Use its name."
    ),
    "port_not_allowed": Entry(422, "Webhooks do not go to this port.", "Use 443, or 8443."),
    "address_blocked": Entry(
        422,
        "The host has an address that is not on the public internet.",
        "Use a host that the internet reaches.",
    ),
    "name_blocked": Entry(
        422, "The host's name only exists inside a network.", "Use a public name."
    ),
    # billing
    "plan_limit_reached": Entry(
        402,
        "The workspace has as many phones, contacts or seats as its plan has room for. Nothing "
        "else is held up: texts, replies and opt-outs go on.",
        "Take a larger plan (POST /v1/billing/checkout, or /portal), or remove some. Afterwards "
        "the same request may be repeated, with the same Idempotency-Key too.",
    ),
    "billing_off": Entry(
        409,
        "This installation has no billing: everything is unlimited.",
        "There is nothing to buy. Whoever runs it can set STRIPE_SECRET_KEY.",
    ),
    "already_subscribed": Entry(
        409,
        "The workspace has a subscription already.",
        "Change plan, card or address in the portal: POST /v1/billing/portal.",
    ),
    "not_subscribed": Entry(
        409, "There is no subscription to look at or change.", "POST /v1/billing/checkout."
    ),
    "unknown_plan": Entry(422, "There is no such plan for sale.", "GET /v1/billing lists plans."),
    "not_for_sale": Entry(
        422,
        "The plan cannot be bought like this.",
        "Choose another plan or interval. If GET /v1/billing lists it, tell whoever runs this: a "
        "price is missing at Stripe.",
    ),
    "invalid_signature": Entry(
        400,
        "A call to /stripe/webhook does not carry a signature of Stripe's, or an old one.",
        "Only Stripe calls there. Check STRIPE_WEBHOOK_SECRET and the machine's clock.",
    ),
    "invalid_event": Entry(
        400,
        "A signed call to /stripe/webhook is not an event of Stripe's API version 1.",
        "Make an ordinary (snapshot) webhook endpoint at Stripe, not one with thin events.",
    ),
    "wrong_stripe_mode": Entry(
        400,
        "Stripe told us about a test account with a live key here, or the other way round, or "
        "about a connected account.",
        "Make the endpoint in the same mode of the same account as STRIPE_SECRET_KEY.",
    ),
    "billing_unavailable": Entry(
        503,
        "The payment service refuses what this installation asks of it.",
        "Whoever runs it finds the reason in its log: a wrong key, or a portal not set up.",
    ),
    # members
    "member_exists": Entry(
        409,
        "The address is a member of the workspace, or invited with another role; member_id names "
        "which.",
        "Change that member with PATCH.",
    ),
    "last_owner": Entry(
        409,
        "The workspace would be left without an owner.",
        "Make another member an owner first.",
    ),
    # our side
    "too_many_calls": Entry(
        429, "Too many requests in a short time.", "Wait for as long as Retry-After says."
    ),
    "internal_error": Entry(
        500,
        "We broke something.",
        "Tell us the request_id. Repeat the request with its Idempotency-Key.",
    ),
    "unavailable": Entry(
        503,
        "The log or the database cannot be reached, or a part of the service does not answer. "
        "Nothing was changed.",
        "Repeat the request after Retry-After, with the same Idempotency-Key.",
    ),
}
