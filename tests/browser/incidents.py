"""An app for the incidents of the inspector's browser tests: tools that wait, and a session that is written quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport import Greenroom, User

if TYPE_CHECKING:
    from actors import Run
    from transport import Credentials

SESSION = "desk"
CROWD = 12
"""Number of users with a run that only waits for an answer of its user, as many runs do."""


async def by_name(credentials: Credentials) -> User:
    """Return the user with the name that is given as a token. Browsers give none."""
    return User(credentials.token or "visitor")


app = Greenroom(auth=by_name, settings={"slow_seconds": 600.0})


@app.agent
async def manager(run: Run, incident: str) -> str:
    """Let an incident begin, and return."""
    if incident == "hang":
        for number in range(CROWD):
            await (await run.app.sessions.get(f"customer-{number:02}", SESSION)).start("adviser")
        await (await run.app.sessions.get("ada", SESSION)).start("clerk", 4711)
    elif incident == "flood":
        await (await run.app.sessions.get("bob", SESSION)).start("printer", 2_000)
    return incident


@app.agent
async def adviser(run: Run) -> str:
    """Ask the user."""
    return str(await run.ask_user("May I help you?"))


@app.agent
async def clerk(run: Run, number: int) -> None:
    """Look for an invoice, by a sub-agent."""
    await run.output("One moment.")
    async with run.subrun("archivist", number) as archivist:
        await archivist.call_tool(fetch_invoice, number=number)


async def fetch_invoice(number: int) -> None:
    """Wait for an archive that does not answer."""
    await trio.sleep_forever()


@app.agent
async def printer(run: Run, pages: int) -> None:
    """Write many pages."""
    for page in range(pages):
        await run.output(f"page {page} {'x' * 2_000}")
