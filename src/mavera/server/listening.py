"""Bind the socket that a server listens on."""

import socket

from mavera.errors import ConfigurationError
from mavera.settings import Settings


def listen(settings: Settings, example: str) -> socket.socket:
    """
    Return a socket bound to the address in the settings.

    Raises ConfigurationError if that fails. Its message shows `example`, a command for another port.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            f"Another port: {example}"
        ) from error
    listener.set_inheritable(True)
    return listener
