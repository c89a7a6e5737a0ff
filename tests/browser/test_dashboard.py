"""The dashboard in a browser, on the whole of 8ms: one story, from the first mail to the last page.

EIGHTMS_PICTURES=folder keeps a picture of every page, wide and narrow, by day and by night.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from clients.simphone import control
from tests.browser.axe import findings
from tests.browser.chromium import Page, opened
from tests.stack import Stack

EMAIL = "ada@example.com"
NARROW = 600
NASTY = "<img src=x onerror=alert(1)>"
LONG = 2_000
MANY_CONTACTS = """(() => {
  const really = fetch;
  window.fetch = async (path, init) => {
    const asked = new URL(path, location);
    if (asked.pathname !== "/v1/contacts") return really(path, init);
    const from = Number(asked.searchParams.get("cursor") ?? 0);
    const data = Array.from({length: 100}, (_, n) => ({id: `con_${from + n}`, tags: ["many"],
      first_name: "Person", last_name: String(from + n), phone: "+14155550100", company: "",
      do_not_contact: false, created_at: "2026-11-01T00:00:00Z"}));
    const more = from + 100 < LONG;
    return new Response(JSON.stringify({data, has_more: more, next_cursor: String(from + 100)}));
  };
})()""".replace("LONG", str(LONG))
SCROLL_DOWN = """(async () => {
  const it = document.querySelector(".table");
  const begun = performance.now();
  let last = begun, worst = 0;
  while (!it.innerText.includes("Person LAST")) {
    it.scrollTop = it.scrollHeight;
    const now = await new Promise(requestAnimationFrame);
    [worst, last] = [Math.max(worst, now - last), now];
  }
  return {seconds: (performance.now() - begun) / 1000, worst_frame_ms: worst};
})()""".replace("LAST", str(LONG - 1))
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("dashboard"), simulator=True) as running:
        running.programs["simphone"].start()
        socket = control.socket_of(running.simphone_dir)
        await running.until("the simulated phones answer", socket.exists)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    async with opened(f"{stack.url('api')}/app", tmp_path_factory.mktemp("chromium")) as shown:
        await shown.look(1440)
        yield shown


async def fine(page: Page, name: str) -> None:
    """Nothing serious by axe, wide by day and narrow by night; nothing wider than the screen."""
    folder = os.environ.get("EIGHTMS_PICTURES")
    wrong: list[str] = []
    for width, scheme in ((1440, "light"), (1440, "dark"), (375, "light"), (375, "dark")):
        looked_at = (width > NARROW) == (scheme == "light")
        if folder or looked_at:
            await page.look(width, scheme, 900 if width > NARROW else 812)
        if folder:
            await page.picture(Path(folder) / f"{name}-{width}-{scheme}.png")
        if looked_at:
            wrong += [f"{width} {scheme}: {one}" for one in await findings(page)]
            if not await page.eval("document.documentElement.scrollWidth <= innerWidth"):
                wrong.append(f"{width}: wider than the screen")
    await page.look(1440)
    assert wrong == [], name


async def test_the_mailed_link_signs_in(stack: Stack, page: Page) -> None:
    await page.sees("Sign in to 8ms")
    await fine(page, "login")
    await page.write("E-mail address", EMAIL)
    await page.click("Mail me a link")
    await page.sees("A mail is on its way")
    await page.go(f"{stack.url('api')}/dev/mail")
    await page.sees("Sign in to 8ms")
    await page.go(await page.eval("document.querySelector('article a').href"))
    await page.click("Sign in")
    await page.sees("No conversations yet")
    assert await page.eval("location.pathname + location.hash") in ("/app", "/app/inbox")
    await fine(page, "inbox-empty")


async def test_the_guide_goes_from_a_phone_to_a_refused_text(page: Page) -> None:
    await page.click("Get started")
    await page.click("Add a simulated phone")
    await page.sees("Simulated phone is connected", ".guide-steps")
    await page.click("Send it")
    await page.sees("Reply STOP to opt out", ".texts")
    await page.sees("Delivered", ".guide-steps")
    await page.write("Reply from the handset", f"Who is this? {NASTY}")
    await page.click("Send from the handset")
    await page.sees("Your reply is in the", ".guide-steps")
    await fine(page, "guide")
    await page.click("STOP", ".quick")
    await page.sees("They opted out.", ".guide-steps")
    await page.click("Send one more text")
    await page.sees("Refused, as it must be.")


async def test_the_inbox_shows_what_was_said_and_explains(page: Page) -> None:
    await page.click("Inbox", ".side")
    await page.sees("Opted out", ".conversations")
    await page.press("j")
    await page.sees("opted out.", ".thread > .note")
    await page.sees(NASTY, ".messages")  # as text
    await page.write("Reply", "Are you there?")
    await page.press("Enter")
    await page.sees("Not sent.", ".messages")
    await fine(page, "inbox")
    await page.click("Discard")
    await page.click("Undo…")
    await page.sees("Text them again?")
    await page.click("Opt them in")
    await page.until("!document.querySelector('.thread > .note')")
    await page.write("Reply", "Good to have you back")
    await page.press("Enter")
    await page.sees("Delivered", ".messages > ol > li:last-child")
    await page.eval("document.querySelector('.messages > ol > li:last-child .bubble').click()")
    await page.sees("What happened to this message")
    await page.sees("sms.delivered", ".facts")
    await fine(page, "timeline")
    await page.press("Escape")
    await page.write("Reply", "A draft that stays")
    await page.eval("location.reload()")
    await page.until("document.querySelector('.composer textarea')?.value === 'A draft that stays'")


async def test_a_reply_comes_in_by_itself(stack: Stack, page: Page) -> None:
    phone = (await control.phones(stack.simphone_dir))[0]["phone_id"]
    await page.until("document.querySelectorAll('.messages li').length > 2")
    await control.receive(stack.simphone_dir, phone, "+14155550199", "Are you open on Sunday?")
    await page.sees("Are you open on Sunday?", ".conversations")


async def test_what_happens_while_there_is_no_connection_appears_when_it_is_back(
    stack: Stack, page: Page
) -> None:
    phone = (await control.phones(stack.simphone_dir))[0]["phone_id"]
    stack.take_down("api.1")
    await page.sees("No connection.")
    await control.receive(stack.simphone_dir, phone, "+14155550199", "Nobody there?")
    await page.write("Reply", "Written into the dark")
    await page.press("Enter")
    await page.sees("Sending", ".messages")
    await stack.until("the reply is in the log", lambda: stack.count["reply.received"] == 4)
    await stack.bring_up("api.1")
    await page.sees("Nobody there?", ".conversations")
    await page.until("!document.querySelector('.broken')")
    await page.until("!document.querySelector('.leaving')")
    if await page.eval("!!document.querySelector('.failed')"):
        await page.click("Try again")
    await page.sees("Delivered", ".messages > ol > li:last-child")
    texts = [event.data.body for event in stack.events("send.requested")]
    assert texts.count("Written into the dark") == 1
    page.complaints = [one for one in page.complaints if "ERR_" not in one and "503" not in one]


async def test_a_phone_is_paired_by_its_code(stack: Stack, page: Page) -> None:
    await page.click("Phones", ".side")
    await page.sees("Connected", ".phone")
    await page.click("Add a phone")
    await page.until("!!document.querySelector('.qr')?.complete")
    await fine(page, "pairing")
    uri = await page.eval("document.querySelector('dialog code').textContent")
    await control.pair(stack.simphone_dir, uri)
    await page.sees("Connected", "dialog")
    await page.click("Done")
    await page.click("Limits", ".phone")
    await page.write("Pause between texts, in seconds", "1")
    await page.click("Cancel", "dialog")
    await fine(page, "phones")


async def test_contacts_come_from_a_file(page: Page, tmp_path: Path) -> None:
    lines = "".join(f'Person {n},+1415555{n:04d},"Acme, Inc.",customer\n' for n in range(100, 160))
    path = tmp_path / "people.csv"
    path.write_text(f"first_name,Number of theirs,company,tags\n{lines}{NASTY},nonsense,,\n")
    await page.click("Contacts", ".side")
    await page.click("Import")
    await page.choose_file(path)
    await page.sees("Number of theirs", "dialog")
    await page.eval(
        "(() => { const it = document.querySelectorAll('.sheet select')[1]; it.value = 'phone';"
        "it.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    await page.click("Check it")
    await page.sees("This is what would happen.", "dialog")
    await page.sees("60 new", "dialog")
    await fine(page, "import")
    await page.click("Import", "dialog")
    await page.sees("Done.", "dialog")
    await page.click("Close", "dialog .actions")
    await page.sees("Person 159", ".table")
    await fine(page, "contacts")
    await page.click("Person 159")
    await page.sees("Never said", "dialog")
    await fine(page, "contact")
    await page.click("Conversation", "dialog")
    await page.sees("Person 159", ".thread header")
    await page.until("!!document.querySelector('.messages')")


async def test_of_a_long_list_only_what_is_in_sight_is_drawn(page: Page) -> None:
    await page.click("Inbox", ".side")
    await page.eval(MANY_CONTACTS)
    await page.click("Contacts", ".side")
    await page.sees("Person 9", ".table")
    assert await page.eval(SCROLL_DOWN)
    assert await page.eval("document.querySelectorAll('.rows .tr').length") < 80
    await page.eval("location.reload()")
    await page.sees("Person 159", ".table")


async def test_a_campaign_is_forecast_and_runs(page: Page) -> None:
    await page.click("Campaigns", ".side")
    await page.click("New campaign")
    await page.write("Name", "Spring check-up", "dialog")
    await page.write("With one of these tags", "customer")
    await page.click("Save draft")
    await page.sees("Hi Person")
    await page.sees("60 texts, the last one leaves")
    await page.until("!!document.querySelector('.chart rect')")
    await fine(page, "campaign-draft")
    await page.click("Start…")
    await page.click("Start", "dialog")
    await page.sees("How it goes")
    await page.sees("Each text")
    await fine(page, "campaign")


async def test_a_webhook_is_made_and_its_deliveries_are_listed(stack: Stack, page: Page) -> None:
    await page.click("Settings", ".side")
    await page.sees("Quiet hours")
    await fine(page, "settings")
    await page.click("Webhooks", ".sub")
    await page.click("New webhook")
    await page.write("Address", stack.receiver.url("/hook"), "dialog")
    await page.click("Save", "dialog")
    await page.sees("whsec_", "dialog")
    await page.click("Done")
    await page.click("Send", ".inline")
    await page.sees("Delivered", ".attempts")
    await fine(page, "webhook")
    shows = {"API keys": "New key", "Team": "Invite", "Billing": "Plan:", "Account": "Signed in as"}
    for name, text in {**shows, "Privacy": "Erase a person"}.items():
        await page.click(name, ".sub")
        await page.sees(text, ".card")
        await fine(page, f"settings-{name.split()[0].lower()}")


async def test_what_happens_is_listed(page: Page) -> None:
    await page.click("Activity", ".side")
    await page.click("Who changed what")
    await page.sees("webhook.endpoint_saved")
    await fine(page, "activity")


async def test_signing_out_ends_it_and_nobody_else_was_asked(stack: Stack, page: Page) -> None:
    await page.click("Settings", ".side")
    await page.click("Account", ".sub")
    await page.click("Sign out")
    await page.sees("We mail you a link")
    assert await page.eval("Object.keys(localStorage).length") == 0
    asked = {one.split("/")[2] for one in page.requests if not one.startswith(("data:", "blob:"))}
    assert asked == {stack.url("api").removeprefix("http://")}
    refused = ("status of 422", "status of 404", "status of 409")  # said on purpose, by the story
    assert [one for one in page.complaints if not any(code in one for code in refused)] == []
