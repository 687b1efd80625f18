"""
Every error that a client can see.

    APIError                       500  internal_error            server_error
    ├── InvalidRequest             400  invalid_request           invalid_request_error
    │   ├── ConversationTooLong    400  invalid_request           invalid_request_error
    │   ├── PreviousResponseNotFound  400  previous_response_not_found  invalid_request_error
    │   ├── ConnectionLimitReached    400  websocket_connection_limit_reached  invalid_request_error
    │   └── StreamLimitReached        400  websocket_stream_limit_reached      invalid_request_error
    ├── Unauthorized               401  unauthorized              authentication_error
    ├── CreditsExhausted           402  credits_exhausted         insufficient_credits
    ├── BudgetExceeded             402  budget_exceeded           insufficient_credits
    ├── Forbidden                  403  forbidden                 permission_error
    ├── NotFound                   404  not_found                 not_found_error
    │   └── PersonaNotFound        404  persona_not_found         not_found_error
    ├── MethodNotAllowed           405  method_not_allowed        invalid_request_error
    ├── RequestTooSlow             408  invalid_request           invalid_request_error
    ├── StillRunning               409  still_running             invalid_request_error
    ├── VersionConflict            409  version_conflict          invalid_request_error
    ├── RequestTooLarge            413  request_too_large         invalid_request_error
    ├── UnsupportedMediaType       415  invalid_request           invalid_request_error
    ├── ValidationFailed           422  validation_error          invalid_request_error
    ├── RateLimitExceeded          429  rate_limit_exceeded       rate_limit_error
    ├── HeadTooLarge               431  invalid_request           invalid_request_error
    └── ServiceUnavailable         503  service_unavailable       server_error

Raise them; only `api/http/errors.py` turns one into a response. Before the first byte of a stream, an
error is a status. After it, the error is an event with the same `message` and the same `code`, except on
/responses, whose list of codes is closed.
"""

from typing import ClassVar


class APIError(Exception):
    """
    A failure that the client is informed of.

    `message` says what went wrong and, if the client can do something, what to do next. `param` names
    the field of the request at fault, as in `messages[3].role`. `retry_after` is in whole seconds and
    becomes the `Retry-After` header.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(APIError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class ConversationTooLong(InvalidRequest):
    """The prompt does not fit into the model's context."""


class PreviousResponseNotFound(InvalidRequest):
    """A `previous_response_id` that is neither remembered by this connection nor kept."""

    code = "previous_response_not_found"


class ConnectionLimitReached(InvalidRequest):
    """The WebSocket has been open for the longest time that is allowed."""

    code = "websocket_connection_limit_reached"


class StreamLimitReached(InvalidRequest):
    """The WebSocket has as many streams in progress as are allowed at a time."""

    code = "websocket_stream_limit_reached"


class Unauthorized(APIError):
    status = 401
    type = "authentication_error"
    code = "unauthorized"


class CreditsExhausted(APIError):
    status = 402
    type = "insufficient_credits"
    code = "credits_exhausted"


class BudgetExceeded(APIError):
    status = 402
    type = "insufficient_credits"
    code = "budget_exceeded"


class Forbidden(APIError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(APIError):
    status = 404
    type = "not_found_error"
    code = "not_found"


class PersonaNotFound(NotFound):
    code = "persona_not_found"


class MethodNotAllowed(APIError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTooSlow(APIError):
    """The client did not send its request in time."""

    status = 408
    type = "invalid_request_error"
    code = "invalid_request"


class StillRunning(APIError):
    """The first request with this Idempotency-Key is still in progress."""

    status = 409
    type = "invalid_request_error"
    code = "still_running"


class VersionConflict(APIError):
    """Somebody else has changed the object since the caller read it, so nothing was saved."""

    status = 409
    type = "invalid_request_error"
    code = "version_conflict"


class RequestTooLarge(APIError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(APIError):
    """The body is not JSON as it stands: of another content type, or compressed."""

    status = 415
    type = "invalid_request_error"
    code = "invalid_request"


class ValidationFailed(APIError):
    status = 422
    type = "invalid_request_error"
    code = "validation_error"


class RateLimitExceeded(APIError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class HeadTooLarge(APIError):
    """The request line and the header fields are too many or too long."""

    status = 431
    type = "invalid_request_error"
    code = "invalid_request"


class ServiceUnavailable(APIError):
    status = 503
    type = "server_error"
    code = "service_unavailable"


class ConfigurationError(Exception):
    """The operator's settings are wrong. The message appears on the terminal and never reaches a client."""
