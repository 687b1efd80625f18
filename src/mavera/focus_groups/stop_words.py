"""List the words of a language that name no theme: articles, pronouns, auxiliaries, and words of opinion."""

from collections.abc import Mapping

_WORDS: Mapping[str, str] = {
    "en": (
        "a about after again all also always am an and any are aren as at be because been before being "
        "but by can cannot could couldn did didn do does doesn doing don down each even ever every few "
        "for from get gets getting go goes going good got had has have having he her here him his how i "
        "if in into is isn it its just know like likely ll lot make makes many maybe me might more most "
        "much my need never ngl no not nothing now of off on one only or other our out over own really "
        "same say see she should so some something still such than that the their them then there these "
        "they thing things think this those though time to too unless until up use very want was wasn way "
        "we well were what when where which while who why will with without won would wouldn yes you your"
    ),
    "de": (
        "aber alle als also am an auch auf aus bei bin bis das dass dem den der des die dies diese doch "
        "du durch ein eine einem einen einer eines er es etwas für gut habe haben hat hätte ich ihr im "
        "immer in ist ja kann kein keine man mehr mein meine mich mir mit nach nicht nichts noch nur ob "
        "oder schon sehr sein sich sie sind so um und uns vom von vor war was weil wenn werde werden wie "
        "wieder wir wird würde zu zum zur über"
    ),
    "es": (
        "a al algo ante como con cuando de del desde donde el ella en entre era es esa ese eso esta este "
        "esto está fue ha hay la las le les lo los me mi mis muy más nada ni no nos o otra otro para pero "
        "poco por porque que qué se ser si sin sobre son su sus sí también te tengo todo tu un una uno y "
        "ya yo"
    ),
    "fr": (
        "ai au aux avec avoir bien c ce ces cette comme d dans de des du elle en es est et eu fait faut "
        "il ils j je l la le les leur lui m ma mais me mes moi mon même n ne nous on ou où par parce pas "
        "plus pour qu que qui s sa sans se ses si son sont sur t ta te tout très tu un une va vous y à ça "
        "être"
    ),
    "pt": (
        "a ao aos as até com como da das de dela dele do dos e ela ele em era essa esse esta este eu foi "
        "há isso já lhe mais mas me mesmo meu minha muito na nas nem no nos não o os ou para pela pelo "
        "por porque quando que quem se sem ser seu sua só são também te tem tenho tudo um uma você é"
    ),
}


def list_stop_words(language: str) -> tuple[str, ...]:
    """Return the stop words of a language such as "de" or "pt-BR", and none for an unknown one."""
    return tuple(_WORDS.get(language.lower().partition("-")[0], "").split())
