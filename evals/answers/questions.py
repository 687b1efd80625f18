"""The personas and questions of the comparison. No question is one of the evaluation or of a sample turn."""

PERSONAS = (
    "Gen Z Consumer",
    "Mid-Market CFO",
    "Retiree on a Fixed Income",
    "Lagos Entrepreneur",
    "SMB Owner",
    "Healthcare",
    "Rural Midwest American",
    "UX Researcher",
)

QUESTIONS = (
    "Would you use a pharmacy that delivers by drone?",
    "What do you think of paying for a seat when you book a flight?",
    "Our ad says: 'Sleep is a skill. Learn it for $9 a month.' What does it say to you?",
    "Should cities ban cars from their centres?",
    "How would you feel if your favourite shop replaced its staff with robots?",
    "Would you buy clothes that are rented out by their maker?",
)

# What the old prompt is asked for, so that a reader does not judge length alone.
SAME_LENGTH = "Answer in two to four full sentences, some forty words."
# The kinds of answers that are compared, in the order of the pages.
KINDS = ("old", "old, asked for the new length", "new")
