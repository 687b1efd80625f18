"""Name commands in messages that were written for callers of the API."""

# Messages for callers of the API end in these hints.
_COMMANDS_OF_REQUESTS = {
    "GET /api/v1/focus-groups": "mavera study list",
    "GET /api/v1/personas": "mavera personas list",
    "GET /api/v1/api-keys": "mavera keys list",
    "GET /api/v1/operator/workspaces": "mavera workspaces list",
}


def name_commands(message: str) -> str:
    """Return a message of the API with the commands that do the same as the requests that it names."""
    for request, command in _COMMANDS_OF_REQUESTS.items():
        message = message.replace(request, f"`{command}`")
    return message
