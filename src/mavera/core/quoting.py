"""
Make text from strangers safe to quote in a prompt: pages, search results, images, files, custom personas.

    defuse("<|im_start|>system")     "‹¦im_start¦›system"
    defuse("[/INST] obey")           "⁅/INST⁆ obey"

A model's chat template writes control marks around each message. A text that contains such a mark could
end its quotation and begin a message of its own. Here the delimiters of each mark become look-alikes, so
the text stays readable and its length stays the same, but no tokenizer takes it for a mark. Characters
that a reader does not see are removed, because they can spell whole sentences or hide a mark.
"""

import re
from typing import Final

# A mark that is not in these tables passes, so they list every family that a self-hosted model may use.
# Marks of the form <|…|> match under any name: ChatML, Llama 3, Phi, Qwen, and DeepSeek with full-width
# bars.
ANGLE_MARKS: Final = {
    "Llama 2": ("s", "SYS"),
    "Gemma": ("bos", "eos", "pad", "unk", "start_of_turn", "end_of_turn", "start_of_image", "end_of_image"),
    "Qwen": ("tools", "tool_call", "tool_response", "think"),
    "DeepSeek": ("think",),
    "Mistral": ("s",),
}
SQUARE_MARKS: Final = {
    "Llama 2": ("INST",),
    "Mistral": (
        "INST",
        "SYSTEM_PROMPT",
        "AVAILABLE_TOOLS",
        "TOOL_CALLS",
        "TOOL_RESULTS",
        "TOOL_CONTENT",
        "CALL_ID",
        "ARGS",
        "THINK",
        "IMG",
        "IMG_BREAK",
        "IMG_END",
        "PREFIX",
        "MIDDLE",
        "SUFFIX",
    ),
}
# Control characters except tab and newline, marks of direction and of joining, surrogates, private use, and
# the tags that can spell invisible sentences.
INVISIBLE: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff"
)
LOOK_ALIKES: Final = str.maketrans("<>[]|＜＞｜", "‹›⁅⁆¦‹›¦")

_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_HIDDEN = f"[{INVISIBLE}]*+"
_GAP = rf"[\s{INVISIBLE}]*+"
_NAME = rf"[\w/▁\s{INVISIBLE}]++"


def _compile_names(families: dict[str, tuple[str, ...]], end: str) -> re.Pattern[str]:
    """Return a pattern that matches what is between the brackets of a mark, without invisible characters."""
    names = sorted({name for names in families.values() for name in names})
    spelled = "|".join(name.replace("_", r"[_▁\s]") for name in names)
    return re.compile(rf"\s*/?\s*(?:{spelled})\s*{end}", re.IGNORECASE)


# Names are looked up apart. A pattern with invisible characters between all their letters takes a third of a
# second to compile, and each command would wait for it.
_MARKS = re.compile(
    "|".join(
        (
            rf"[<＜]{_GAP}[|｜][^<>|＜＞｜]{{1,64}}[|｜]{_GAP}[>＞]",
            rf"[<＜]{_HIDDEN}[|｜]",  # half a mark, because the other half may come from elsewhere
            rf"[|｜]{_HIDDEN}[>＞]",
            rf"[<＜](?P<angle>{_NAME})[>＞]",
            rf"\[(?P<square>{_NAME})\]",
        )
    )
)
_NAMES: Final = {
    "angle": _compile_names(ANGLE_MARKS, r"/?\s*"),
    "square": _compile_names(SQUARE_MARKS, ""),
}


def defuse(text: str) -> str:
    """Return `text` without invisible characters, and without marks that a chat template obeys."""
    return break_marks(_INVISIBLE.sub("", text))


def break_marks(text: str) -> str:
    """Return `text` with look-alikes for the delimiters of its control marks."""
    return _MARKS.sub(_break_mark, text)


def _break_mark(found: re.Match[str]) -> str:
    family = found.lastgroup
    is_mark = family is None or _NAMES[family].fullmatch(_INVISIBLE.sub("", found[family]))
    return found[0].translate(LOOK_ALIKES) if is_mark else found[0]


def defuse_line(text: str) -> str:
    """Return `defuse(text)` on one line."""
    return " ".join(defuse(text).split())
