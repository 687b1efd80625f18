"""How a test opens its database."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from mavera.storage.database import Database

Open = Callable[[], AbstractAsyncContextManager[Database]]
