"""
Whether personas differ as people do: questions asked, answers measured, figures with intervals.

    items.py      what is asked, and what surveys found
    asking.py     ask the model, and keep each answer in a file
    measures.py   pure: answers in, shares with intervals out
    plot.py       pure: figures in, SVG out
"""
