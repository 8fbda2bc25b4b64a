"""Street addresses: a house number beside a street's name, more surely with a flat, a town or a postcode after it.

A number and a word for a street are not yet an address ("In 1950 Main Street was", "10 best street foods"): what
stands before and after, capitals, and the locality decide. Forms of other languages: rlhf.data.pii.streets.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from rlhf.data.pii.streets import foreign_addresses
from rlhf.data.pii.text import Seen, Span, names, words_of

_STRONG = (
    "street st avenue ave av road rd boulevard blvd lane ln drive dr court ct crescent cres "
    "highway hwy parkway pkwy terrace ter terr "
    "turnpike tpke expressway expy freeway fwy alley aly mews broadway esplanade causeway parade pde"
)
_MEDIUM = (
    "square sq close circle cir trail trl gardens gdns grove grv place pl way walk row loop path "
    "plaza plz quay wharf hill rise view park"
)
_WEAK = (
    "branch bridge brook brooks burg burgs bypass camp canyon cape center centers cliff cliffs club common corner corners course "
    "courts cove coves creek crest crossing crossroad curve dale dam divide drives estate estates extension extensions fall falls "
    "ferry field fields flat flats ford fords forest forge forges fork forks fort garden gateway glen glens green greens groves "
    "harbor harbors haven heights hills hollow inlet island islands isle junction junctions key keys knoll knolls lake lakes land "
    "landing light lights loaf lock locks lodge mall manor manors meadow meadows mill mills mission motorway mount mountain "
    "mountains neck orchard oval overpass parks parkways pass passage pike pine pines plain plains point points port ports "
    "prairie radial ramp ranch rapid rapids rest ridge ridges river roads route rue run shoal shoals shore shores skyway spring "
    "springs spur spurs squares station stravenue stream streets summit throughway trace track trafficway tunnel underpass union "
    "unions valley valleys via viaduct views village villages ville vista walks wall ways well wells bend heath drove end "
    "wynd quays gap gate cutting arcade strand laneway fairway boardwalk chase concourse copse "
    "driveway elbow esplanade footway grange "
    "lookout nook outlook parklands pathway plateau pocket quad quadrangle quadrant reserve "
    "retreat ring riverway roadway ronde rotary "
    "round siding slope stairs strip subway tarn thoroughfare tollway tor towers triangle upper "
    "lower vale waterway yard brae basin bay "
    "beltway brow byway circlet circuit circus cluster colonnade connection crossway dene domain "
    "dell edge entrance interchange link "
    "mile parkside promenade service terraces villas court"
)
STRONG, MEDIUM, WEAK = (frozenset(words.split()) for words in (_STRONG, _MEDIUM, _WEAK))
_ALL = STRONG | MEDIUM | WEAK
_SUFFIX = "|".join(sorted(_ALL, key=lambda word: (-len(word), word)))

_ORDINAL = r"\d{1,3}(?:st|nd|rd|th)"
_NUMBER = r"(?:\d{1,5}(?: ?[A-Z](?![\w']))?(?: ?[-/] ?\d{1,4}[A-Z]?)?(?: 1/2| ½)?)"
_INSIDE = (
    r"(?:flat|apartment|apt|unit|suite|ste|studio|shop|level|floor|fl|room|rm|bldg|building|lot|penthouse|ph)"
)
_WORD = rf"(?:{_ORDINAL}|[^\W\d_]{{1,2}}\.|[^\W\d_][\w'-]*(?:\.[\w'-]+)*)"
_STREET = (
    rf"(?P<name>(?:{_WORD} ){{1,4}}?)(?P<suffix>{_SUFFIX})\b(?!['-]\w)(?! (?:{_SUFFIX})\b)\.?"
    r"(?P<way> (?:NE|NW|SE|SW|[NSEW]|north|south|east|west)\b\.?)?"
)
_HEAD = re.compile(rf"(?<![\w.,$€£#/+:-])(?P<number>{_NUMBER}),?[ ]{_STREET}", re.I)
_FLAT_HEAD = re.compile(rf"(?P<number>\d{{1,5}}\w?\s?[,\n]\s?){_STREET}", re.I)
_FLAT = re.compile(rf"(?<!\w){_INSIDE}\.? ?#?$", re.I)
_BEFORE = re.compile(rf"(?<!\w){_INSIDE}\.? ?#?\w{{1,5}}[,\s]\s?$", re.I)
_UNIT = re.compile(rf"(?:,? ?#|[, \n]{{1,2}}{_INSIDE}\b\.? ?#? ?)(?=\w*\d|[A-Z]\b)[\w-]{{1,6}}", re.I)

_STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN "
    "TX UT VT VA WA WV WI WY DC PR GU VI AS MP FM MH PW AA AE AP"
)
_STATE_NAMES = (
    "Alabama Alaska Arizona Arkansas California Colorado Connecticut Delaware Florida Georgia Hawaii Idaho Illinois Indiana Iowa "
    "Kansas Kentucky Louisiana Maine Maryland Massachusetts Michigan Minnesota Mississippi Missouri Montana Nebraska Nevada "
    "New_Hampshire New_Jersey New_Mexico New_York North_Carolina North_Dakota Ohio Oklahoma Oregon Pennsylvania Rhode_Island "
    "South_Carolina South_Dakota Tennessee Texas Utah Vermont Virginia Washington West_Virginia Wisconsin Wyoming"
)
_CANADA = (
    "ON QC BC AB MB SK NS NB NL PE YT NT NU Ontario Quebec Québec British_Columbia Alberta Manitoba "
    "Saskatchewan Nova_Scotia New_Brunswick"
)
_AUSTRALIA = "NSW VIC QLD WA SA TAS ACT NT New_South_Wales Victoria Queensland Western_Australia South_Australia Tasmania"


def _either(words: str) -> str:
    return "|".join(word.replace("_", " ") for word in words.split())


_ZIP = r"\d{5}(?:-\d{4})?"
_UK = r"(?:GIR ?0AA|[A-PR-UWYZ][A-HK-Y]?\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2})"
_CA = r"[A-Z]\d[A-Z][ -]?\d[A-Z]\d"
_EIRE = r"[AC-FHKNPRTV-Y]\d[\dW] ?[\dAC-FHKNPRTV-Y]{4}"
_POST = (
    rf"(?:{_EIRE}|(?:(?:{_either(_STATES)}|{_either(_STATE_NAMES)})\.?,?\s{{1,2}}{_ZIP})|{_UK}|(?:(?:{_either(_CANADA)})"
    rf",?\s{{1,2}})?{_CA}|(?-i:{_either(_AUSTRALIA)}),?\s{{1,2}}\d{{4}})(?![\w-])"
)
_TOWN = r"(?:[^\W\d_][\w'.-]{0,60})(?: [^\W\d_][\w'.-]{0,60}){0,3}?"
_COUNTRY = (
    r"(?:,?\s{1,2}(?:USA|U\.S\.A\.|United States(?: of America)?|UK|United Kingdom|England|Scotland|"
    r"Wales|Canada|Australia|Ireland|Germany|France|Spain|Italy))?"
)
_TAIL = re.compile(rf"(?:[,\s]\s{{0,2}}{_TOWN}){{0,3}}?[,\s]\s{{0,2}}{_POST}{_COUNTRY}", re.I)
_STATE_TAIL = re.compile(
    rf",?\s{{1,2}}(?:in )?[A-Z][\w'.-]{{0,60}}(?: [A-Z][\w'.-]{{0,60}}){{0,3}}?,\s?(?:(?:{_either(_STATES)})"
    rf"\b|(?i:{_either(_STATE_NAMES)}|{_either(_CANADA)}|{_either(_AUSTRALIA)})\b){_COUNTRY}"
)
_TOWN_TAIL = re.compile(
    r",\s{1,2}(?:[A-Z][\w'.-]{0,60})(?: [A-Z][\w'.-]{0,60}){0,2}(?=\s*(?:$|[.,;:!?)\"\n]))"
)
_ANY_HEAD = re.compile(
    rf"(?<![\w.,$€£#/+:-]){_NUMBER}(?:,?[ ]|\s?[,\n]\s?)(?P<name>{_WORD}(?: {_WORD}){{0,4}}?)"
    rf"(?:[, \n]{{1,2}}{_INSIDE}\b\.? ?#? ?[\w-]{{1,6}}|,? ?#[\w-]{{1,6}})?\s?[,\n]\s{{0,2}}(?:{_TOWN}\s?[,\n]\s{{0,2}})"
    rf"{{0,2}}(?:{_TOWN}[,\s]\s{{0,2}})?{_POST}{_COUNTRY}",
    re.I,
)
_LETTERED = re.compile(rf"(?:{_UK}|{_CA}|{_EIRE})(?!\w)", re.I)
_REGIONS = frozenset(
    word.rpartition("_")[2].lower() for word in f"{_STATES} {_STATE_NAMES} {_AUSTRALIA}".split()
)
_REACH = 120  # characters from a house number to its postcode
_BOX = re.compile(
    r"\b(?:G?P\.? ?O\.? ?Box|Post Office Box|Postfach|Postbus|Casella Postale|Apartado(?: de "
    r"Correos)?|Boîte Postale|Locked Bag) (?:no\.? )?\d[\d ]{0,6}\d\b|"
    r"\b(?:G?P\.? ?O\.? ?Box) \d\b",
    re.I,
)
_MILITARY = re.compile(
    r"\b(?:(?:PSC|Unit|CMR) ?\d{1,5},? Box \d{1,5}|US(?:NS|S|CGC|NV) [\w' -]{2,40}?)[,\s]\s{0,2}[AFD]PO,? A[AEP] \d{5}(?:-\d{4})?\b"
)

_INDIAN = re.compile(  # flat, building, street, district, town, before a PIN code of six digits
    r"(?<![\w-])(?P<label>(?:flat|house|plot|door|shop|villa|h|d)\b\.? ?(?:no\b\.?)?[:#]? ?)?"
    r"(?=[\w/-]*\d)[A-Z]{0,2}-?\d{0,5}[\w/-]{0,8}, (?:[^\W_][\w'./ -]{1,40}, ){1,6}?"
    r"(?-i:[A-Z][a-z]+(?: [A-Z][a-z]+){0,2})\s?[-–,]?\s{0,2}$",
    re.I,
)
_PIN = re.compile(r"(?:[1-8]\d{5}|[1-8]\d\d \d{3})(?!\w|[.,]\d)")
_INDIAN_WORDS = names(
    "road rd street st nagar marg colony society apartment apartments sector layout salai phase lane chowk bazaar enclave vihar "
    "puram residency towers heights gali mohalla chs estate bagh ganj"
)

_CONTEXT = re.compile(
    r"\b(?:address(?:es)?|liv(?:e|es|ed|ing)|resid(?:e|es|ed|ing|ence)|located|situated|ship(?:ped|"
    r"ping)?|deliver(?:y|ed)?|mail(?:ed)?|sen[dt]|"
    r"moved|moving|home|house|apartment|flat|office|parcel|package|letter|visit|meet|stay(?:ing)"
    r"?|drop|pick|born|property|rent|tenant|owner|"
    r"adresse|direcci[oó]n|indirizzo|adres|wohn\w*|habit\w*|viv[eo]|abit\w*|woon\w*)\b[^.!?\n]{0,44}$"
)
_JUST_BEFORE = re.compile(r"(?:\b(?:at|to|from|near|of|on|outside|is|c/o|is:)|[:,(\n\"'-])\s*$|^\s*$")
_NOT_AFTER = re.compile(
    r"\b(?:sh|sr|us|hwy|highway|route|rte|interstate|chapter|episode|season|level|track|part|"
    r"scene|act|page|pages|section|lesson|exit|platform|line|bus|gate|table|figure|vol|volume|"
    r"issue|top|over|about|nearly|almost|approximately|around|only|all|these|those|first|last|"
    r"other|some|our|the|every|than|in|since|by|until|during|"
    r"early|late|mid|circa|and|were|have|has|had|got|with|for|took|won|like|exactly|another|least|most|there are)\s$"
)
_AFTER = re.compile(
    r"\s*(?:$|[^\w\s'-]|\n)|'(?!s\b)|\s+(?:-\s|(?:in|on|at|near|and|or|is|was|with|by|from|to|"
    r"for|today|please|where|which|that|before|"
    r"after|next|tomorrow|tonight|now|as|but|so|who|he|she|they|we|i|it|has|will|just|right|"
    r"between|behind|opposite|off|until|again|"
    r"about|if|when|then|asap|thanks|thank|via|because|since|later|this|would|should|apt|not|are|our|my)\b)"
)
_PRAISE = words_of(
    "best great easy good only right wrong first second third last other another different simple "
    "new old big small star main-stream "
    "most more many few several common famous popular top long short single double full half hour day year mile minute degree "
    "percent million billion hundred thousand"
)
_CLAUSE = re.compile(r"\b(?:and|is|was|were|are|in|by|with|that|which|for|or|than|from|people|million)\b")
_NOT_NAMES = re.compile(
    r"\b(?:of|the best|a|an|is|are|was|were|to|for|with|in|on|at|per|and|or|from|people|years?|"
    r"days?|hours?|miles?|km|pages?|minutes?)\b"
)


def addresses(seen: Seen) -> Iterator[Span]:
    text = seen.text
    known = not seen.words.isdisjoint(_ALL)
    posts = list(_posts(seen))
    for start, stop in seen.runs if known or posts else ():
        match = _HEAD.match(text, start) if known else None
        inside = _FLAT.search(text, max(0, start - 16), start) if not match else None
        if inside and known:
            match = _FLAT_HEAD.match(text, start)
        end = _english_end(seen, match) if match else 0
        after = bisect_right(posts, stop)
        if not end and after < len(posts) and posts[after] < stop + _REACH:
            whole = _ANY_HEAD.match(text, start)
            end = whole.end() if whole and not _CLAUSE.search(whole["name"]) else 0
        if end:
            before = inside or _BEFORE.search(text, max(0, start - 22), start)
            yield seen.span("address", before.start() if before else start, end)
    for pattern in (_BOX, _MILITARY) if "box" in seen.words or "Post" in text or "PO A" in text else ():
        for match in pattern.finditer(text):
            tail = _TAIL.match(text, match.end())
            yield seen.span("address", match.start(), tail.end() if tail else match.end())
    yield from _indian(seen)
    yield from foreign_addresses(seen)


def _indian(seen: Seen) -> Iterator[Span]:
    """Those of India, whose PIN code comes last."""
    text = seen.text
    for start, _ in seen.runs[1:]:
        pin = _PIN.match(text, start)
        match = _INDIAN.search(text, max(0, start - _REACH), start) if pin else None
        if pin and match and (match["label"] or _INDIAN_WORDS.search(seen.lower, match.start(), start)):
            yield seen.span("address", match.start(), pin.end())


def _posts(seen: Seen) -> Iterator[int]:
    """Where postcodes of the English-speaking countries begin."""
    text = seen.text
    for start, end in seen.runs:
        if 4 <= end - start <= 5:
            words = text[max(0, start - 24) : start].rstrip(" ,.\n").rsplit(None, 1)
            if words and words[-1].lower() in _REGIONS:
                yield start
        elif (
            start
            and text[start - 1].isalpha()
            and any(_LETTERED.match(text, start - back) for back in (1, 2) if start >= back)
        ):
            yield start


def _english_end(seen: Seen, match: re.Match[str]) -> int:
    """Where the address ends that begins with this number and street; 0: it is none."""
    text, lower, start, end = seen.text, seen.lower, match.start(), match.end()
    unit = _UNIT.match(text, end)
    end = unit.end() if unit else end
    suffix, name = match["suffix"], match["name"]
    capitals = all(word[0].isupper() or word[0].isdigit() for word in name.split()) and suffix[0].isupper()
    tail = _TAIL.match(text, end) or (_STATE_TAIL.match(text, end) if capitals else None)
    if suffix == "Ct" and len(name) <= 3:  # "131 S. Ct. 2507" is a judgment
        return 0
    if tail and not _CLAUSE.search(name):
        return tail.end()
    end -= text[end - 1] == "."
    said = bool(_CONTEXT.search(lower, max(0, start - 60), start))
    if unit and (suffix.lower() in STRONG or said or match["name"][0].isupper()):
        return end
    if not capitals:
        lowered = suffix.lower() in STRONG and len(name.split()) <= 3 and not _NOT_NAMES.search(name.lower())
        return (
            end
            if said
            and lowered
            and _AFTER.match(lower, end)
            and not _NOT_AFTER.search(lower, max(0, start - 16), start)
            else 0
        )
    after = _AFTER.match(lower, end)
    if (
        suffix in ("St", "Dr", "Ct", "Pl")
        and not match[0].endswith(".")
        and re.match(r" [A-Z]", text[end : end + 2])
    ):
        after = None
    town = _TOWN_TAIL.match(text, end)
    end = town.end() if town else end
    number = match["number"].strip(" ,\n")
    if number.isdigit() and 1500 <= int(number) < 2100 and not (match["way"] or town):  # a year
        before = re.search(r"\b(?:at|to|from|near|address:?|is:?)\s$", lower[max(0, start - 12) : start])
        return end if (said and before) or (before and after) else 0
    if number.isdigit() and _NOT_AFTER.search(lower, max(0, start - 16), start) and not (said and after):
        return 0
    if any(word.lower().rstrip(".") in _PRAISE for word in name.split()[:1]) and not said:
        return (
            end
            if suffix.lower() in STRONG
            and after
            and name.split()[0].lower() in ("main", "first", "second", "third", "old", "new", "long")
            else 0
        )
    if said and suffix.lower() in STRONG:
        return end
    if not after:
        return 0
    if suffix.lower() in STRONG or suffix.lower() in MEDIUM:
        return end
    sure = (
        said
        or bool(_JUST_BEFORE.search(lower, max(0, start - 12), start))
        or len(re.sub(r"\D", "", number)) >= 3
    )
    return end if sure else 0
