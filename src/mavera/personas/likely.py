"""Put the personas of the library into the order in which they are likely to be asked."""

from collections.abc import Iterable, Mapping

from mavera.personas.persona import Persona

# The personas of the first call and of the examples.
FIRST_PERSONA = "Gen Z Consumer"
_EXAMPLES = (FIRST_PERSONA, "SMB Owner")


def order_by_use(library: Iterable[Persona], uses: Mapping[str, int]) -> list[Persona]:
    """Return the personas: the first, then those asked most, then those of the examples, then the others."""

    def rank(persona: Persona) -> tuple[bool, int, bool]:
        is_first = persona.name == FIRST_PERSONA
        return not is_first, -uses.get(persona.id, 0), persona.name not in _EXAMPLES

    return sorted(library, key=rank)
