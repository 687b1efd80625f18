"""
Measure whether personas differ as people do, and whether simulated surveys agree with real ones.

    items.py            the questions, and the findings of surveys
    asking.py           ask the model, and save each answer in a file
    measures.py         turn answers into shares with intervals; pure
    plot.py             turn figures into SVG; pure

    survey_data.py      load surveys of real people; declarations/ says which column is what
    survey_panel.py     the personas that stand for each group of people
    survey_asking.py    ask the questions of a survey, with the elicitation of studies
    survey_measures.py  distances between distributions, and differences of segments; pure
    survey_choices.py   part-worths of stated choices
    surveys.py          the report; pure
"""
