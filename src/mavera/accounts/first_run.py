"""The first start of a new server: a workspace to be in and a key to begin with."""

import time

from mavera.accounts import repository
from mavera.accounts.keys import new_key
from mavera.accounts.repository import NewApiKey
from mavera.storage.database import Database


async def first_run(database: Database) -> str | None:
    """
    Make the workspace "Default" with one live key and return the key's text.

    That happens once in the life of a database, however many processes start on it and
    whatever is deleted later; every other call returns None. The text is nowhere else.
    """
    now = int(time.time())
    async with database.transaction() as transaction:
        if not await repository.reach_milestone(transaction, "first_run", now=now):
            return None
        workspace_id = await repository.insert_workspace(
            transaction, name="Default", plan="enterprise", now=now
        )
        text = new_key("live")
        await repository.insert_key(transaction, NewApiKey(workspace_id, "First key", text, created_at=now))
    return text.text
