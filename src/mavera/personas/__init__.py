"""
Read, store and list personas, and build the prefix that makes a model answer as one of them.

    persona.py    Persona: one TOML file of `library/`, checked
    builtin.py    PersonaLibrary: the personas that ship, found by id or name
    custom.py     CustomPersona: a persona that a workspace made
    catalogue.py  Personas: all personas that a workspace can name
    prompt.py     build_library_prefix(persona): the system message and the sample turns
"""
