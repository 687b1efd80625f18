"""
The console: web pages under /console, for people who do not work in a terminal.

    visit.py        a request of somebody who is signed in, and how a page answers it
    pages.py        every page, its address, and the checks that all pages share
    navigation.py   the links of the sidebar
    rendering.py    Jinja templates and their filters
    assets.py       the static files, under addresses that contain a hash of their contents
    forms.py        the fields of a posted form
    policy.py       headers of every answer
    sign_in.py …    one module for each subject, with its templates in templates/<subject>/

A page calls the same services as the routes of the API, with the same checks. Pages are readable without
JavaScript; htmx and small ES modules add to them.
"""
