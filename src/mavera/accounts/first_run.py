"""The first start of a new server: a workspace to be in and a key to begin with."""

import time

from mavera.accounts import workspaces
from mavera.accounts.keys import repository
from mavera.accounts.keys.repository import NewApiKey
from mavera.accounts.keys.text import Peppers, new_key
from mavera.accounts.plans import SCOPES
from mavera.storage.database import Database


async def first_run(database: Database, peppers: Peppers = Peppers()) -> str | None:  # noqa: B008 - frozen
    """
    Make the workspace "Default" with one live key and return the key's text.

    Its plan is enterprise, whose credit has no limit, and its key may do everything:
    nobody is locked out of their own machine.

    That happens once in the life of a database, however many processes start on it and
    whatever is deleted later; every other call returns None. The text is nowhere else.
    """
    now = int(time.time())
    async with database.transaction() as transaction:
        if not await repository.reach_milestone(transaction, "first_run", now=now):
            return None
        new = workspaces.NewWorkspace("Default", "enterprise")
        workspace_id = await workspaces.create(transaction, new, now=now)
        text = new_key("live")
        digest = peppers.digest(text.text)
        key = NewApiKey(workspace_id, "First key", text, digest, created_at=now, scopes=SCOPES)
        await repository.insert_key(transaction, key)
    return text.text
