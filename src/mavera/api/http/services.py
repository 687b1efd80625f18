"""Find the opened services of the application that got a request."""

from starlette.requests import HTTPConnection

from mavera.services import Services


def services_of(request: HTTPConnection) -> Services:
    services: Services = request.app.state.services
    return services
