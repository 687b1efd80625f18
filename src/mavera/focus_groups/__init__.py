"""
Simulate studies: ask a panel of personas a questionnaire, and estimate the answers of an audience.

For each cell, one distribution over the answers is elicited from the model. Estimates are computed from
these distributions, and respondents are drawn from them only to fill files. Only the files depend on the
number of respondents.
"""
