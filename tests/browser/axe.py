"""axe-core: what is wrong with a page for who cannot see, hear or point.

``vendor/axe-….min.js.gz`` is axe.min.js of the npm package axe-core (MPL-2.0), packed.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.browser.chromium import Page

BUNDLE = Path(__file__).with_name("vendor") / "axe-4.14.1.min.js.gz"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = (
    f"axe.run(document, {{runOnly: {RULES}}})"
    """.then(
  (said) => said.violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => one.id + ": " + one.nodes.map((node) => node.target.join(" ") + " | " +
      node.failureSummary.split("\\n")[1]).join("; ")))"""
)


async def findings(page: Page) -> list[str]:
    """What is serious or worse about the page as it is now."""
    if not await page.eval("!!window.axe"):
        await page.eval(gzip.decompress(BUNDLE.read_bytes()).decode() + ";1")
    found = await page.eval(RUN)
    assert isinstance(found, list), "axe did not run"
    return found
