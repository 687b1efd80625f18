"""
The page of a link that shares one study: its results, filters and charts, without a session.

Whoever has the link reads this study and reaches nothing else. The page has no links to other pages of the
console, is in no search engine, and is not kept by caches.
"""

from starlette.requests import Request
from starlette.responses import Response

from mavera.api.http.services import services_of
from mavera.console.rendering import pages_of
from mavera.console.studies import to_svg_file
from mavera.console.study_results import Filter, read_study, share_of, write_chart
from mavera.console.visit import PublicPage
from mavera.focus_groups.shares import SHARED_PREFIX

_PATH = SHARED_PREFIX + "{secret}"
_HEADERS = {"cache-control": "no-store", "x-robots-tag": "noindex", "referrer-policy": "no-referrer"}


async def show_shared_study(request: Request) -> Response:
    services = services_of(request)
    secret = request.path_params["secret"]
    share, row = await services.focus_groups.shares.find_study(secret)
    view = await read_study(services, row, Filter.of(request))
    values = {"view": view, "share": share_of(view.progress), "until": share.expires_at, "secret": secret}
    return pages_of(request).render(request, "studies/shared.html", values, headers=dict(_HEADERS))


async def show_shared_chart(request: Request) -> Response:
    services = services_of(request)
    _, row = await services.focus_groups.shares.find_study(request.path_params["secret"])
    key = request.path_params["key"]
    response = to_svg_file(await write_chart(services, row, Filter.of(request), key), key)
    response.headers.update(_HEADERS)
    return response


ROUTES = (
    PublicPage("GET", _PATH, show_shared_study),
    PublicPage("GET", f"{_PATH}/charts/{{key}}", show_shared_chart),
)
