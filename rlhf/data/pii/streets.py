"""Street addresses as German, Dutch, French, Spanish, Italian, Portuguese, Polish and Nordic writers put them.

Where the word for the street is also an everyday word ("via", "place", "Hof"), a postcode and town must follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlhf.data.pii.text import Seen, Span, holds, words_of

_U, _L = "A-ZÀ-ÖØ-ÞŁŚŻŹĆŃĘĄŠŽČŐŰ", "a-zß-öø-ÿłśżźćńęąšžčőű"
# A hyphen is part of a word and parts no words, and words have an end: else a long one of hyphens takes for ever.
_CAP = (
    rf"(?!(?:Apt|Suite|Apartment|Appartement|Appartamento|Bureau|Local|Piso|Puerta|Piano|Interno|"
    rf"Scala|Planta|Escalera|Unit)\b)[{_U}][\w'.-]{{0,60}}"
)
_LINK = (
    r"(?:de|del|della|delle|dei|degli|dello|dell'|di|da|do|dos|das|du|des|la|las|le|les|los|el|lo|"
    r"l'|d'|y|e|et|en|van|von|vom|zu|zum|zur|der|den|dem|het|'t|ten|ter|op|of|the|a|al|au|aux|sur|"
    r"sous|i)"
)
_NAME = (
    rf"(?:(?:{_LINK} |l'|d'|dell'|L'|D'){{0,3}}(?:{_CAP}|\d{{1,2}}(?:-[{_U}][\w'.-]{{0,60}}| (?:de|di) )?)(?: (?:(?:{_LINK} "
    rf"|l'|d'|dell'){{0,2}}{_CAP})){{0,4}})"
)
_HOUSE = (
    r"\d{1,4}(?! ?(?:km|m|min|minuten|uhr|%|prozent|€|euro|jahre|tage|stunden|mal)\b)(?: ?(?:bis|"
    r"ter|quater)\b| ?[a-zA-Z](?![\w']))?(?: ?[-/] ?\d{1,4} ?[a-z]?\b| ?-? ?(?:hs|I{1,3}V?|IV)\b)"
    r"?"
)
_POSTCODE = r"(?:(?:[A-Z]{1,2}-)?\d{4,5}(?:[ -]\d{2,3})?(?! ?(?:€|%|km|euro))(?: ?[A-Z]{2}(?![\w]))?|\d{2}-\d{3}|\d{3} \d{2})"
_PLACE = (
    rf"(?:'[ts][ -]?|(?:de|den|het) )?{_CAP}(?: (?:(?:{_LINK} |sur |am |an der |im |ob der |l'|d'){{0,2}}{_CAP}|"
    rf"\([A-Z]{{2}}\)|\d{{2}}\b)){{0,4}}"
)
_FLOOR = (
    r"(?i:[ ,]{1,2}(?:\d{1,2} ?[ºª°](?: ?[A-Z]\b| ?(?:izq|dcha|izda)\w*\.?)?|(?:piso|planta|"
    r"puerta|pta|esc|escalera|apt|apartamento|apartament|bajo|"
    r"interno|int|scala|piano|appartamento|apto|suite|bureau|bloco|andar|bâtiment|bât|bat|appartement|"
    r"apt|étage|étg|bus|m\.|lok|whg|wohnung|og|eg|stiege|top)\.? ?\w{1,4})){0,3}"
)
_TAIL = re.compile(
    rf"{_FLOOR}[ ]?[,\n-]?\s{{0,2}}(?:{_POSTCODE}[ ,\n]{{1,2}}{_PLACE}(?: \([A-Z]{{2}}\))?|(?:{_PLACE}, "
    rf"?)?{_PLACE}[ ,]{{1,2}}(?:- ?[A-Z]{{2}}[ ,]{{1,2}})?(?:\d{{5}}(?:-\d{{3}})?|\d{{4}}-\d{{3}})"
    rf"(?!\w))"
)
_FLOORS = re.compile(_FLOOR, re.I)

# A street's name in one word: ends that are streets, and ends that are other words too
_SURE_END = (
    r"(?i:stra(?:ß|ss)e|str\.|platz|allee|gasse|(?<!ä)ufer|damm|chaussee|promenade|straat|laan|plein|gracht|kade|singel|steeg|"
    r"dreef|plantsoen|gatan|vägen|gata|gade|veien|gaten|katu|weg)|-(?:Ring|Hof|Str|Park|Markt|Pfad|Steig)|(?<=[a-z]{3})boulevard"
)
_LIKELY_END = (
    r"str|ring|hof|pfad|steig|stieg|graben|markt|wall|kai|brücke|tor|feld|berg|tal|winkel|park|dijk|"
    r"baan|pad|boulevard|vej|vei|tie|väg|kuja|stræde|torv|straße"
)
_ONE_WORD = re.compile(
    rf"(?<![\w-])(?P<name>(?:{_CAP} ){{0,3}}?(?:(?:{_CAP} ?|[{_U}])?(?:[{_L}.-]{{0,30}}?)"
    rf"(?P<sure>{_SURE_END})|(?:[{_U}][\w.-]{{0,30}}?)(?:{_LIKELY_END})|"
    rf"(?:{_CAP}[ -])(?:Ring|Hof|Str\.?|Park|Berg|Tor|Markt|Pfad|Damm|Ufer)|Straße d(?:es|er)"
    rf" {_CAP}(?: {_CAP})?)),? (?P<house>{_HOUSE})(?![\w%]|[.,:]\d)"
)
_NOT_STREETS = re.compile(
    r"(?:Bahnsteig|Umweg|Ausweg|Heimweg|Rückweg|Hinweg|Norweg|Schulweg|Highway|Gate|Gata|Segway|"
    r"Subway|Parkplatz|Spielplatz|Arbeitsplatz|Sitzplatz|Stellplatz|Studienplatz|Marktplatz "
    r"der)$|(?i:spring|string|engineering)$"
)

_TYPES_SURE = (
    r"[Cc]alle|C/|[Aa]venida|[Aa]vda\.|[Aa]v\.|[Pp]aseo|[Cc]arrer|[Rr]ambla|[Gg]lorieta|[Tt]ravesía|"
    r"[Cc]arretera|[Cc]tra\.|[Cc]allejón|[Uu]rbanización|"
    r"[Pp]laza|Pza\.|Plza\.|[Vv]iale|V\.le|[Pp]iazza(?:le)?|P\.zza|[Vv]icolo|[Cc]orso|C\.so|"
    r"[Ll]ungo(?:tevere|mare|arno)|[Rr]ua|[Tt]ravessa|[Pp]raça|[Ee]strada|[Rr]odovia|"
    r"[Rr]ue|[Bb]oulevard|[Aa]venue|[Cc]hemin|[Ii]mpasse|[Qq]uai|[Aa]llée|ul\.|[Uu]lica|al\.|os\."
)
_TYPES_MAYBE = (
    r"[Vv]ia|[Ll]argo|[Bb]orgo|[Ss]trada|[Cc]ontrada|[Rr]otonda|[Ii]ncrocio|[Ss]tretto|[Cc]anale|"
    r"[Ss]alita|[Ll]ocalità|[Vv]ial|[Rr]onda|[Cc]amino|[Aa]cceso|[Aa]lameda|"
    r"[Cc]añada|[Cc]uesta|[Pp]asaje|[Pp]asadizo|C\.|[Vv]ía|[Pp]lace|[Ss]quare|[Cc]ours|[Rr]oute|"
    r"[Pp]assage|[Ll]adeira|[Bb]eco|[Vv]iela|[Pp]arque|pl\.|Am|An der|An den|Im|In der|In den|"
    r"Auf dem|Auf der|Unter den|Zum|Zur|Hinter der|Hinter dem|Alte[rs]?|Neue[rs]?|Große[rs]?|"
    r"Kleine[rs]?|Lange[rs]?|Obere[rs]?|Untere[rs]?|Hohe[rs]?"
)
_TYPED = re.compile(
    rf"(?<![\w/])(?:(?P<sure>{_TYPES_SURE})|(?P<maybe>{_TYPES_MAYBE})) ?(?P<name>{_NAME}),? (?:n\.?[º°]? "
    rf"?|nº ?|s/n)?(?P<house>{_HOUSE})(?![\w%]|[.,:]\d)"
)
_FRENCH = re.compile(
    r"(?<![\w.,$€£#/+:-])(?P<house>\d{1,5}(?: ?(?:bis|ter|quater|[A-D])\b)?,? )?(?P<type>(?:[Rr]ue|"
    r"[Aa]venue|[Aa]v\.|[Bb]oulevard|[Bb]d\.?|[Bb]oul\.|[Pp]lace|[Pp]l\.|[Cc]hemin|[Cc]h\.|[Ii]mpasse|"
    r"[Aa]llées?|[Qq]uai|[Cc]ours|[Rr]oute|[Ss]quare|[Pp]assage|[Ff]aubourg|[Ss]entier|[Ee]splanade|"
    r"[Pp]romenade|[Rr]uelle|[Vv]oie|[Mm]ontée|[Tt]raverse|[Rr]ésidence|[Cc]ité|[Vv]illa|[Rr]ang)"
    r")"
    rf" (?:{_NAME}|(?P<low>(?:{_LINK} |l'|d'){{1,2}}[{_L}][\w'-]{{1,60}}(?: [\w'-]{{1,60}}){{0,3}}?))"
)
_COLOMBIAN = re.compile(
    r"\b(?:Calle|Carrera|Cra|Cl|Diagonal|Transversal)\.? \d{1,3} ?[A-Z]? ?(?:#|No\.?) ?\d{1,3} ?[A-Z]? ?- ?\d{1,3}\b"
)
_RUSSIAN = re.compile(
    r"(?:ул|пр|пер|просп|наб|бул|пр-т|ш)\.? ?[А-ЯЁ][\w -]{1,40}?,? (?:д\.? ?)?\d{1,4}[а-я]?(?:,? "
    r"?(?:к|корп|стр)\.? ?\d{1,3})?(?:,? ?кв\.? ?\d{1,4})?\b"
)
_NOT_ANCHORS = re.compile(
    r"(?:Table|Figure|Fig|Section|Chapter|Page|Part|Version|Windows|January|February|March|April|"
    r"May|June|July|August|September|October|"
    r"November|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Monday|Tuesday|Wednesday|"
    r"Thursday|Friday|Saturday|Sunday|Room|Level)\.?$"
)
_ANCHORED = re.compile(
    rf"(?<![\w-])(?P<name>{_CAP}(?: (?:{_LINK} ){{0,2}}{_CAP}){{0,3}}),? (?P<house>{_HOUSE}){_FLOOR}\s?[,\n]\s{{0,2}}"
    rf"(?:(?P<five>(?:[A-Z]{{1,2}}-)?\d{{5}}|\d{{3}} \d{{2}}|\d{{2}}-\d{{3}}|\d{{4}}-\d{{3}})|\d{{4}})[ ,]{{1,2}}{_PLACE}"
)
_DUTCH = re.compile(
    rf"(?<![\w-])(?P<name>{_CAP}(?: (?:{_LINK} ){{0,2}}{_CAP}){{0,3}}),? {_HOUSE}\s?[,\n]?\s{{0,2}}[1-9]\d{{3}} "
    rf"?[A-Z]{{2}}\b[ ,\n]{{0,2}}\s?{_PLACE}"
)

_ENDS = tuple(
    words_of(
        "straße strasse str str. platz allee gasse ufer damm chaussee promenade straat laan plein gracht "
        "kade singel steeg dreef plantsoen gatan vägen gata gade veien gaten katu weg ring hof pad dijk "
        "baan boulevard pfad steig stieg markt park vej vei väg graben kai brücke tor feld berg tal "
        "winkel wall tie kuja stræde torv"
    )
)
_NO_ENDS = words_of(
    "during spring string ring bring engineering park wall tie market motor factor doctor editor director iceberg"
)
_SURE_WORDS = words_of(
    "calle avenida avda paseo carrer rambla glorieta travesía carretera ctra callejón urbanización "
    "plaza pza plza viale piazza piazzale vicolo corso "
    "lungotevere lungomare lungarno rua travessa praça estrada rodovia rue boulevard avenue "
    "chemin impasse quai allée ulica carrera diagonal transversal"
)
_MAYBE_WORDS = words_of(
    "via largo borgo strada contrada rotonda incrocio stretto canale salita località vial ronda "
    "camino acceso alameda cañada cuesta pasaje pasadizo vía "
    "c place square cours route passage ladeira beco viela parque am an im in auf unter zum "
    "zur hinter alte alter altes neue neuer große großer kleine "
    "kleiner lange langer obere untere hohe"
)
_FRENCH_WORDS = words_of(
    "rue avenue av boulevard bd boul place pl chemin ch impasse allée allées quai cours route square "
    "passage faubourg sentier esplanade promenade ruelle "
    "voie montée traverse résidence cité villa rang"
)
_SIGNS = (
    "C/", "c/", "Av.", "av.", "ul.", "al.", "os.", "pl.", "V.le", "C.so", "P.zza", "Cra ", "Cra.", "Cl ", "Cl.",
)  # fmt: skip
_SIGNED = words_of("c av ul al os pl v p cra cl")  # of which each sign has one
_SAID_WORDS = words_of(
    "address adresse indirizzo dirección direccion adres live lives lived living reside resides "
    "stay staying located ship send deliver mail move moved parcel "
    "package letter wohne wohnt wohnen abito abita vivo vive habite woon woont"
)
_DUTCH_POST = re.compile(r"\d{4} ?[A-Z]{2}\b")
_AT = re.compile(
    r"\b(?:address(?: is)?|adresse|indirizzo|dirección|direccion|adres|(?:live[sd]?|living|resides?|"
    r"stay(?:ing)?|located) (?:at|in|on)|"
    r"(?:ship|send|deliver|mail|moved?|parcel|package|letter)\b[^.!?\n]{0,16}\bto|wohn\w*|abit[oa]|"
    r"viv[eo]|habite|woon\w*)\b[^.!?\n]{0,8}$"
)


def foreign_addresses(seen: Seen) -> Iterator[Span]:
    text = seen.text
    if any(_after_end(seen.lower, start) for start, _ in seen.runs):
        for match in _ONE_WORD.finditer(text):
            if end := _end(seen, match, bool(match["sure"]) and not _NOT_STREETS.search(match["name"])):
                yield seen.span("address", match.start(), end)
    words = seen.words
    addressed = not words.isdisjoint(_SAID_WORDS)
    posted = any(_may_be_post(text, start, end) for start, end in seen.runs[1:])
    if (
        not words.isdisjoint(_SURE_WORDS)
        or (not words.isdisjoint(_SIGNED) and holds(text, _SIGNS))
        or ((addressed or posted) and not words.isdisjoint(_MAYBE_WORDS))
    ):
        for match in _TYPED.finditer(text):
            if end := _end(seen, match, bool(match["sure"])):
                yield seen.span("address", match.start(), end)
        for match in _COLOMBIAN.finditer(text):
            yield seen.span("address", *match.span())
    if not words.isdisjoint(_FRENCH_WORDS):
        for match in _FRENCH.finditer(text):
            if end := _end(seen, match, bool(match["house"]) and not match["low"] and not _is_english(match)):
                yield seen.span("address", match.start(), end)
    if posted or (addressed and any(end - start == 4 for start, end in seen.runs[1:])):
        for match in _ANCHORED.finditer(text):
            said = _AT.search(seen.lower, max(0, match.start() - 30), match.start())
            if (said or match["five"]) and not _NOT_ANCHORS.search(match["name"]):
                yield seen.span("address", *match.span())
        for match in _DUTCH.finditer(text) if _DUTCH_POST.search(text) else ():
            yield seen.span("address", *match.span())
    if not text.isascii():
        for match in _RUSSIAN.finditer(text):
            yield seen.span("address", *match.span())


def _may_be_post(text: str, start: int, end: int) -> bool:
    """Five digits, or as some countries part them: 123 45, 12-345, 1234-567, 1234 AB."""
    length = end - start
    if length == 5:
        return True
    if length not in (2, 3, 4) or text[end : end + 1] not in (" ", "-"):
        return length == 3 and text[start - 1] == "-" and text[start - 2].isdigit()
    follows = text[end + 1 : end + 3]
    return len(follows) == 2 and (follows.isdigit() or follows.isupper())


def _after_end(lower: str, start: int) -> bool:
    """Whether the word before the number that starts here ends as a street's name does in one word."""
    if start < 4 or lower[start - 1] != " " or not (lower[start - 2].isalpha() or lower[start - 2] in ".,"):
        return False
    word = lower[max(0, start - 24) : start].rstrip(" ,").rpartition(" ")[2]
    return word.endswith(_ENDS) and word not in _NO_ENDS


def _is_english(match: re.Match[str]) -> bool:
    """ "2016, Square Enix", "1 Place Smith": types with a capital that English has too."""
    return match["type"] in (
        "Square",
        "Place",
        "Route",
        "Passage",
        "Villa",
        "Promenade",
        "Esplanade",
        "Avenue",
    )


def _end(seen: Seen, match: re.Match[str], sure: bool) -> int:
    tail = _TAIL.match(seen.text, match.end())
    if tail:
        return tail.end()
    if not sure and not (
        match["house"] and _AT.search(seen.lower, max(0, match.start() - 30), match.start())
    ):
        return 0
    floors = _FLOORS.match(seen.text, match.end())
    return floors.end() if floors else match.end()
