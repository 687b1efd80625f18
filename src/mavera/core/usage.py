"""What a run consumed."""

import msgspec

# Far beyond any context, and so small that billions of counts still add up within 64 bits.
MOST_TOKENS = 1_000_000_000


def token_count(reported: object) -> int:
    """Return a count that somebody else reported, between 0 and `MOST_TOKENS`; 0 if it is no number."""
    if type(reported) is int and 0 <= reported <= MOST_TOKENS:
        return reported
    if isinstance(reported, bool) or not isinstance(reported, int | float) or reported != reported:
        return 0
    return int(max(0, min(reported, MOST_TOKENS)))


class Usage(msgspec.Struct, frozen=True):
    """
    Tokens, as the model counted them.

    `cached_tokens` of the input came from a prefix cache, `reasoning_tokens` of the
    output were never shown. `estimated` is true where the model did not report and
    mavera counted what it could see.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    credits: int = 0
    estimated: bool = False

    def charged(self, credits: int) -> "Usage":
        """The same, with what it cost."""
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.reasoning_tokens,
            credits,
            self.estimated,
        )

    def __add__(self, other: "Usage") -> "Usage":
        """What two requests to a model consumed together."""
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
