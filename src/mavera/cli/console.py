"""Run `mavera console`: print a link that signs the operator in to the console once, within ten minutes."""

from datetime import UTC, datetime

import typer

from mavera.accounts.sessions.links import address_of_link, address_of_server
from mavera.cli.options import AsJSON, DataDir, print_json
from mavera.cli.store import InWorkspace, with_database
from mavera.errors import ConfigurationError
from mavera.services import open_sessions
from mavera.settings import Settings
from mavera.storage.database import Database

app = typer.Typer(add_completion=False)


@app.command()
def console(workspace: InWorkspace = None, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """Print a link that signs the operator in once. It expires in ten minutes."""

    async def make(database: Database, settings: Settings) -> None:
        if settings.console == "off":
            raise ConfigurationError("The console is off: MAVERA_CONSOLE=off")
        token = await open_sessions(database, settings).make_link(workspace)
        url = address_of_link(address_of_server(settings), token)
        if as_json:
            print_json({"url": url, "expires_at": token.expires_at})
            return
        typer.echo(url)
        moment = datetime.fromtimestamp(token.expires_at, UTC)
        typer.secho(f"It works once, until {moment:%H:%M} UTC. The server has to run.", err=True, dim=True)

    with_database(data_dir, make)
