"""
List the questions of the evaluation.

Every persona answers `QUESTIONS` in words. `ITEMS` are answered yes or no. Each item names the group of
two that says yes more often, and the survey that found it. The signs are the surveys' long-standing
findings for adults in the United States, not figures of one year. If an item gives two shares, they
belong to the first group and to the second.

The shares of ANES 1996 are counted from the 944 answers in the package statsmodels (`anes96`, public
domain). The groups are: age under 30 and from 65, a college degree and at most high school, and places of
up to 10,000 people and from 250,000. Each pair differs by more than three standard errors.
"""

from dataclasses import dataclass
from typing import Literal

Contrast = Literal["age", "means", "education", "place", "gender"]


@dataclass(frozen=True, slots=True)
class Item:
    """A yes-or-no question. `sign` is 1 if the first group says yes more often, -1 if the second does."""

    contrast: Contrast
    sign: Literal[1, -1]
    ask: str
    reworded: str
    source: str


# The pairs of personas for each contrast: young and old, well off and not, with a degree and without, in the
# country and in a city, women and men.
PAIRS: dict[Contrast, tuple[tuple[str, str], ...]] = {
    "age": (
        ("College Student", "Silent Generation"),
        ("Gen Z Consumer", "Boomer"),
        ("New Parent", "Retiree on a Fixed Income"),
    ),
    "means": (
        ("Mid-Market CFO", "Budget Shopper"),
        ("SaaS CMO", "Single Parent"),
        ("Millennial Professional", "Career Changer"),
    ),
    "education": (
        ("Market Analyst", "Budget Shopper"),
        ("B2B Decision Maker", "SMB Owner"),
        ("Startup Founder", "Gamer"),
    ),
    "place": (
        ("Rural Midwest American", "Market Analyst"),
        ("Rural Midwest American", "Millennial Consumer"),
        ("Rural Midwest American", "New Parent"),
    ),
    "gender": (
        ("New Parent", "Gamer"),
        ("Health-Conscious", "Millennial Consumer"),
        ("B2B Decision Maker", "Texan Suburbanite"),
    ),
}

_PEW_SOCIAL = "Pew Research Center, Americans' Social Media Use, 2024"
_PEW_NEWS = "Pew Research Center, News Platform Fact Sheet"
_ANES = "American National Election Study 1996"
_SHED = "Federal Reserve, Survey of Household Economics and Decisionmaking"

ITEMS: tuple[Item, ...] = (
    Item("age", 1, "Do you use TikTok?", "Is TikTok an app you use?", _PEW_SOCIAL),
    Item("age", 1, "Do you use Instagram?", "Is Instagram an app you use?", _PEW_SOCIAL),
    Item("age", 1, "Do you use Snapchat?", "Is Snapchat an app you use?", _PEW_SOCIAL),
    Item(
        "age",
        1,
        "Do you often get news from social media?",
        "Is social media often where your news comes from?",
        _PEW_NEWS,
    ),
    Item(
        "age",
        -1,
        "Do you often get news from television?",
        "Is television often where your news comes from?",
        _PEW_NEWS,
    ),
    Item(
        "age",
        -1,
        "Do you often read the news in a printed newspaper?",
        "Is a printed newspaper often where your news comes from?",
        _PEW_NEWS,
    ),
    Item(
        "age",
        1,
        "Have you ever used ChatGPT?",
        "Is ChatGPT something you have used?",
        "Pew Research Center, American Trends Panel, 2024",
    ),
    Item(
        "age",
        -1,
        "Do you pay for cable or satellite television?",
        "Is there a cable or satellite subscription in your home?",
        "Pew Research Center, cable and satellite TV use, 2021",
    ),
    Item(
        "age",
        1,
        "Do you often play video games?",
        "Are video games something you often play?",
        "Pew Research Center, gaming by age, 2018",
    ),
    Item(
        "age",
        1,
        "Do you have a tattoo?",
        "Is there a tattoo on your body?",
        "Pew Research Center, tattoos, 2023",
    ),
    Item(
        "age",
        1,
        "Have you ever used a dating app?",
        "Is a dating app something you have used?",
        "Pew Research Center, online dating, 2023",
    ),
    Item(
        "age",
        -1,
        "Do you pay bills with paper checks?",
        "Are paper checks how you pay some bills?",
        "Federal Reserve, Diary of Consumer Payment Choice",
    ),
    Item(
        "age",
        -1,
        "Do you vote in every midterm election?",
        "Is a midterm election something you always vote in?",
        "US Census Bureau, Current Population Survey, voting supplement",
    ),
    Item(
        "age",
        -1,
        "Do you go to religious services every week?",
        "Are weekly religious services part of your life?",
        "General Social Survey, ATTEND",
    ),
    Item(
        "age",
        1,
        "Should marijuana be legal?",
        "Are you for making marijuana legal?",
        "General Social Survey, GRASS; Gallup",
    ),
    Item(
        "age",
        -1,
        "Do you have a landline telephone at home?",
        "Is there a landline telephone in your home?",
        "CDC, National Health Interview Survey, wireless substitution",
    ),
    Item(
        "means",
        1,
        "Could you pay an unexpected $400 bill in cash today?",
        "If a bill of $400 came today, could you pay it in cash?",
        _SHED,
    ),
    Item("means", 1, "Do you have a credit card?", "Is there a credit card in your name?", _SHED),
    Item(
        "means",
        1,
        "Do you own stocks or funds?",
        "Is some of your money in stocks or funds?",
        "Gallup, stock ownership by income; Survey of Consumer Finances",
    ),
    Item(
        "means",
        1,
        "Do you own the home you live in?",
        "Is the home you live in your own?",
        "Survey of Consumer Finances",
    ),
    Item(
        "means",
        1,
        "Are you satisfied with your financial situation?",
        "Does your financial situation satisfy you?",
        "General Social Survey, SATFIN",
    ),
    Item(
        "means",
        1,
        "Can you do part of your job from home?",
        "Is working from home possible in your job?",
        "Pew Research Center, remote work, 2023",
    ),
    Item(
        "means",
        -1,
        "Do you worry about paying next month's bills?",
        "Are next month's bills something you worry about?",
        "Gallup, Economy and Personal Finance survey",
    ),
    Item(
        "means",
        -1,
        "Did you skip seeing a doctor last year because of the cost?",
        "Was cost a reason not to see a doctor last year?",
        _SHED,
    ),
    Item(
        "age",
        -1,
        "Do you watch the news on television every day?",
        "Is the news on television something you watch daily?",
        f"{_ANES}: 11 % and 58 %",
    ),
    Item(
        "age",
        -1,
        "Do you call yourself a conservative?",
        "Is conservative a word you use for yourself?",
        f"{_ANES}: 32 % and 50 %",
    ),
    Item(
        "education",
        1,
        "Did you read a book in the past year?",
        "Is there a book you read in the past year?",
        "Pew Research Center, book reading, 2018: 93 % and 63 %",
    ),
    Item(
        "education",
        -1,
        "Do you smoke cigarettes?",
        "Are cigarettes something you smoke?",
        "CDC, National Health Interview Survey, 2015: 7 % and 23 %",
    ),
    Item(
        "education",
        1,
        "Did you listen to a podcast in the past year?",
        "Is there a podcast you listened to in the past year?",
        "Pew Research Center, podcasts, 2023: 62 % and 37 %",
    ),
    Item(
        "education",
        1,
        "Do you exercise in your free time?",
        "Is exercise a part of your free time?",
        "CDC, Behavioral Risk Factor Surveillance System, 2017-2019: 86 %, 57 % without high school",
    ),
    Item(
        "education",
        1,
        "Do you call yourself a liberal?",
        "Is liberal a word you use for yourself?",
        f"{_ANES}: 35 % and 19 %",
    ),
    Item(
        "education",
        -1,
        "Do you watch the news on television every day?",
        "Is the news on television something you watch daily?",
        f"{_ANES}: 27 % and 37 %",
    ),
    Item(
        "place",
        1,
        "Do you own a gun?",
        "Is there a gun that belongs to you?",
        "Pew Research Center, gun ownership, 2021: 41 % and 20 %",
    ),
    Item(
        "place",
        1,
        "Do you know most of your neighbors?",
        "Are most of your neighbors people you know?",
        "Pew Research Center, Urban, Suburban and Rural Communities, 2018: 40 % and 24 %",
    ),
    Item(
        "place",
        1,
        "Do you go hunting?",
        "Is hunting something you do?",
        "US Fish and Wildlife Service, National Survey of Fishing, Hunting, 2011: 18 % and 3 %",
    ),
    Item(
        "place",
        1,
        "Do you lean towards the Republicans?",
        "Are the Republicans the party you lean towards?",
        f"{_ANES}: 52 % and 36 %",
    ),
    Item(
        "place",
        -1,
        "Have you used an app like Uber or Lyft?",
        "Is an app like Uber or Lyft something you have used?",
        "Pew Research Center, ride-hailing, 2018",
    ),
    Item(
        "place",
        1,
        "Is it hard to get fast internet where you live?",
        "Where you live, is fast internet hard to get?",
        "Pew Research Center, access to high-speed internet, 2018",
    ),
    Item(
        "gender",
        1,
        "Are you afraid to walk alone at night near your home?",
        "Near your home, does walking alone at night frighten you?",
        "Gallup, Crime survey, 2023: 53 % and 26 %",
    ),
    Item(
        "gender",
        -1,
        "Do you own a gun?",
        "Is there a gun that belongs to you?",
        "Pew Research Center, gun ownership, 2021: men more often, 39 % of them",
    ),
    Item(
        "gender",
        1,
        "Do you do most of the grocery shopping at home?",
        "Is most of the grocery shopping at home done by you?",
        "Pew Research Center, American Time Use Survey, 2019",
    ),
    Item(
        "gender",
        1,
        "Do you do most of the laundry at home?",
        "Is most of the laundry at home done by you?",
        "Gallup, household chores, 2019: in 58 % of couples she, in 13 % he",
    ),
    Item(
        "gender",
        -1,
        "Are you the one at home who looks after the car?",
        "Is looking after the car your job at home?",
        "Gallup, household chores, 2019: in 69 % of couples he",
    ),
    Item(
        "gender",
        1,
        "Do you pray every day?",
        "Is prayer a part of each of your days?",
        "Pew Research Center, The Gender Gap in Religion Around the World, 2016",
    ),
)

QUESTIONS: tuple[str, ...] = (
    "What would make you switch banks?",
    "Would you pay more for a jacket made of recycled fabric?",
    "What do you think of grocery delivery?",
    "How do you choose a phone?",
    "What annoys you most about online shopping?",
    "Would you buy a used car from a website?",
    "What makes you trust a brand?",
    "How do you feel about subscriptions?",
    "What did you last complain about as a customer?",
    "Would you try a meal kit?",
    "What do you expect from customer service?",
    "Is an electric car something for you?",
    "How do you decide where to go on holiday?",
    "What would you do with a thousand more a month?",
    "Do loyalty programs work on you?",
    "What do you think of self-checkout?",
    "Would you let an app track your spending?",
    "How important is it where a product is made?",
    "What makes an advertisement bad?",
    "Would you pay for news?",
    "What is worth spending more on?",
    "How do you feel about companies that talk about politics?",
    "Would you work with an AI assistant?",
    "What do you buy second-hand?",
    "How much research do you do before a large purchase?",
    "What would make you recommend a company to a friend?",
    "Do you read reviews, and do you believe them?",
    "What do you think of tipping?",
    "Would you buy insurance online?",
    "What should shops stop doing?",
)
