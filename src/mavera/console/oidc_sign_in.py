"""
Sign in at an OpenID Connect issuer. Every step is a plain link or a redirect, because `form-action 'self'`
forbids a form that ends at the issuer.

    GET /console/sign-in/oidc            → the issuer, with a cookie that keeps the flow
    GET /console/sign-in/oidc/callback   ← the issuer; claims → workspace and role → a session
    GET /console/sign-in/oidc/sign-out   → the issuer's own sign-out
"""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mavera.api.http.cookies import is_behind_tls, name_cookie, read_cookie
from mavera.api.http.headers import header
from mavera.console.doors import Doors, OidcConfig
from mavera.console.entering import enter
from mavera.console.oidc import FLOW_SECONDS, Flow, Issuer
from mavera.console.policy import secure
from mavera.console.rendering import is_own_path
from mavera.console.visit import PublicPage
from mavera.errors import Forbidden
from mavera.settings import Settings

PATH = "/console/sign-in/oidc"
_NO_STORE = {"cache-control": "no-store"}


def build_oidc_pages(doors: Doors, config: OidcConfig, settings: Settings) -> tuple[PublicPage, ...]:
    """Return the pages of an issuer."""
    public_url = settings.public_url.rstrip("/")
    issuer = Issuer(config, f"{public_url}{PATH}/callback")

    async def begin(request: Request) -> Response:
        next_path = request.query_params.get("next", "")
        url, flow = await issuer.begin(next_path if is_own_path(next_path) else "")
        response = RedirectResponse(url, 303, _NO_STORE)
        response.set_cookie(
            await _name_flow(request),
            flow.to_text(),
            max_age=FLOW_SECONDS,
            path="/",
            secure=is_behind_tls(settings),
            httponly=True,
            samesite="lax",
        )
        return secure(response)

    async def come_back(request: Request) -> Response:
        flow = Flow.from_text(read_cookie(header(request, b"cookie") or "", await _name_flow(request)) or "")
        query = request.query_params
        if flow is None:
            raise Forbidden("This sign-in was not begun in this browser, or it took too long. Begin again.")
        if "error" in query or "code" not in query:
            raise Forbidden(f"{config.name} did not sign you in. Begin again.")
        claims = await issuer.finish(
            flow, code=query["code"], state=query.get("state", ""), iss=query.get("iss")
        )
        row = doors.find_access(claims)
        subject = str(claims.get(config.subject_claim) or claims["sub"])
        response = await enter(request, row, "oidc", subject, next_path=flow.next_path)
        response.delete_cookie(
            await _name_flow(request), path="/", secure=is_behind_tls(settings), httponly=True, samesite="lax"
        )
        return response

    async def sign_out(_: Request) -> Response:
        target = await issuer.find_sign_out(f"{public_url}/console/sign-in?signed-out=1")
        back = f"{settings.path_prefix}/console/sign-in?signed-out=1"
        return secure(RedirectResponse(target or back, 303, _NO_STORE))

    return (
        PublicPage("GET", PATH, begin),
        PublicPage("GET", f"{PATH}/callback", come_back),
        PublicPage("GET", f"{PATH}/sign-out", sign_out),
    )


async def _name_flow(request: Request) -> str:
    return f"{await name_cookie(request)}-flow"
