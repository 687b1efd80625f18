"""The tokens and credits that a run consumed."""

import msgspec

# Far beyond any context, and so small that billions of counts still add up within 64 bits.
MOST_TOKENS = 1_000_000_000


def to_token_count(reported: object) -> int:
    """Return a reported count, limited to the range from 0 to `MOST_TOKENS`, or 0 if it is not a number."""
    if type(reported) is int and 0 <= reported <= MOST_TOKENS:
        return reported
    if isinstance(reported, bool) or not isinstance(reported, int | float) or reported != reported:
        return 0
    return int(max(0, min(reported, MOST_TOKENS)))


class Usage(msgspec.Struct, frozen=True):
    """
    Tokens, as the model counted them.

    `cached_tokens` counts the input tokens that came from a prefix cache, and `reasoning_tokens` the output
    tokens that the caller does not see. `estimated` is true if the model reported no usage and mavera counted
    the text itself.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    credits: int = 0
    estimated: bool = False

    def with_credits(self, credits: int) -> "Usage":
        """Return a copy that cost `credits`."""
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.reasoning_tokens,
            credits,
            self.estimated,
        )

    def __add__(self, other: "Usage") -> "Usage":
        """Return the sum of the usage of two requests to a model."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.credits + other.credits,
            self.estimated or other.estimated,
        )

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens
