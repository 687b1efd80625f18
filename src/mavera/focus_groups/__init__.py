"""
Simulate studies: ask a panel of personas a questionnaire, and estimate what an audience would answer.

For each cell, one distribution over the answers is elicited from the model. Estimates are computed from
these distributions, and respondents are drawn from them only to fill files. Nothing depends on the number
of respondents but the files.
"""
