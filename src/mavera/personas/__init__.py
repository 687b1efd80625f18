"""
Who answers: the personas, and the prompt each of them is to a model.

    persona.py    Persona: one TOML file of `library/`, checked
    builtin.py    PersonaLibrary: get, find, list, page
    prompt.py     persona_items(persona): the system message and the sample turns
"""
