"""The first start of a new server: make its first workspace and its first key."""

from mavera.accounts import workspaces
from mavera.accounts.keys import repository
from mavera.accounts.keys.repository import NewApiKey
from mavera.accounts.keys.text import Peppers, make_key_text
from mavera.accounts.plans import ADMIN_SCOPES
from mavera.storage.database import Database


async def make_first_key(database: Database, peppers: Peppers = Peppers()) -> str | None:  # noqa: B008 - frozen
    """
    Make the workspace "Default" with one live key and return the key's text.

    The workspace has the plan enterprise, whose credit has no limit, and the key may do everything in
    it, so nobody is locked out of their own machine.

    That happens once in the life of a database, however many processes start on it and whatever is deleted
    later. Every other call returns None. The text of the key is stored nowhere.
    """
    now = int(database.clock())
    async with database.transaction() as transaction:
        if not await repository.reach_milestone(transaction, "first_run", now=now):
            return None
        new = workspaces.NewWorkspace("Default", "enterprise")
        workspace_id = await workspaces.create(transaction, new, now=now)
        text = make_key_text("live")
        digest = peppers.digest(text.text)
        key = NewApiKey(workspace_id, "First key", text, digest, created_at=now, scopes=ADMIN_SCOPES)
        await repository.insert_key(transaction, key)
    return text.text
