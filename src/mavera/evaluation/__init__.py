"""
Measure whether personas differ as people do: ask questions, measure answers, report intervals.

    items.py      the questions, and the findings of surveys
    asking.py     ask the model, and save each answer in a file
    measures.py   turn answers into shares with intervals; pure
    plot.py       turn figures into SVG; pure
"""
