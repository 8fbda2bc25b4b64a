"""Invented street addresses as nine countries write them."""

from __future__ import annotations

import random
import string

Random = random.Random

_US_STREETS = (
    "Maple Street|Harbour Road|Oakfield Ave|Mill Lane|Sunset Blvd|N Church St|Quail Hollow Drive|"
    "Juniper Court|W 42nd Street|Old Post Rd|Cedar Ridge Way|Lakeshore Pkwy"
)
_US_TOWNS = (
    "Springfield, IL 62704|Portland, OR 97205|Austin, TX 78701|Saint Paul, MN 55102|New Haven, "
    "CT 06510|Las Vegas, NV 89101-4032"
)
_UK_STREETS = "High Street|Church Lane|Victoria Road|Mill Close|St Mary's Road|The Crescent|Kings Avenue|Station Road|Abbey Gardens"
_UK_TOWNS = "Leeds LS6 2AB|London SW1A 2AA|Bath BA1 5LR|Edinburgh EH1 1YZ|Stoke-on-Trent ST4 2DP"
_CA_TOWNS = "Toronto, ON M5V 2T6|Vancouver, BC V6B 1A1|Halifax, NS B3H 4R2|Calgary, AB T2P 1J9"
_AU_TOWNS = "Sydney NSW 2000|Carlton VIC 3053|Fremantle WA 6160|South Brisbane QLD 4101"
_DE_STREETS = (
    "Hauptstraße|Bahnhofstr.|Goetheallee|Am Markt|Lindenweg|Rosa-Luxemburg-Platz|Mühlgasse|Schillerstrasse|"
    "Kastanienallee|Unter den Eichen"
)
_DE_TOWNS = "10115 Berlin|80331 München|50667 Köln|01067 Dresden|20095 Hamburg|60311 Frankfurt am Main"
_FR_STREETS = (
    "rue de la République|avenue Victor Hugo|boulevard Saint-Michel|place Bellecour|impasse des "
    "Lilas|chemin du Moulin|quai de la Tournelle|allée des Tilleuls"
)
_FR_TOWNS = "75002 Paris|69002 Lyon|13001 Marseille|33000 Bordeaux|59000 Lille"
_ES_STREETS = "Calle de Alcalá|Avenida de la Constitución|Plaza Mayor|Paseo de Gracia|C/ San Bernardo|Calle Mayor|Ronda de Toledo"
_ES_TOWNS = "28014 Madrid|41001 Sevilla|08007 Barcelona|46001 Valencia|50001 Zaragoza"
_IT_STREETS = "Via Garibaldi|Corso Italia|Piazza del Popolo|Viale Monza|Via della Conciliazione|Vicolo del Moro|Largo Argentina"
_IT_TOWNS = "00184 Roma|20121 Milano|16124 Genova|50123 Firenze|80138 Napoli (NA)"
_NL_STREETS = (
    "Keizersgracht|Kalverstraat|Van Goghlaan|Stationsweg|Vredenburgplein|Oude Singel|Lijnbaansgracht"
)
_NL_TOWNS = "1015 CJ Amsterdam|3511 LX Utrecht|2311 EX Leiden|3011 AA Rotterdam"


def address(rng: Random) -> tuple[str, str]:
    """(the address, the words that stand before it, or "")."""

    def of(options: str) -> str:
        return rng.choice(options.split("|"))

    house = str(rng.randrange(1, 990))
    joint = rng.choice((", ", ", ", "\n"))
    maker = rng.randrange(11)
    if maker <= 1:
        unit = rng.choice(
            (
                "",
                "",
                f" Apt {rng.randrange(1, 40)}",
                f", Suite {rng.randrange(100, 900)}",
                f" #{rng.randrange(1, 40)}",
            )
        )
        text = f"{house} {of(_US_STREETS)}{unit}"
        text += rng.choice((joint + of(_US_TOWNS), joint + of(_US_TOWNS), ""))
        return (text, "") if rng.random() < 0.85 or "," not in text else (text.lower(), "home address")
    if maker <= 3:
        flat = rng.choice(("", "", f"Flat {rng.randrange(1, 30)}, "))
        letter = rng.choice(("", "", "A", "b"))
        return f"{flat}{house}{letter} {of(_UK_STREETS)}" + rng.choice((joint + of(_UK_TOWNS), "")), ""
    if maker == 4:
        return f"{house} {of(_US_STREETS)}{joint}{of(_CA_TOWNS)}", ""
    if maker == 5:
        return rng.choice(
            ("", f"Unit {rng.randrange(1, 20)}/")
        ) + f"{house} {of(_US_STREETS)}{joint}{of(_AU_TOWNS)}", ""
    if maker == 6:
        letter = rng.choice(("", "", rng.choice(string.ascii_lowercase[:4])))
        return f"{of(_DE_STREETS)} {house}{letter}{joint}{of(_DE_TOWNS)}", ""
    if maker == 7:
        return (
            f"{house}{rng.choice(('', '', ' bis'))}{rng.choice((' ', ', '))}{of(_FR_STREETS)}{joint}{of(_FR_TOWNS)}",
            "",
        )
    if maker == 8:
        return (
            f"{of(_ES_STREETS)}{rng.choice((' ', ', '))}{house}{rng.choice(('', ', 3º B'))}{joint}{of(_ES_TOWNS)}",
            "",
        )
    if maker == 9:
        return f"{of(_IT_STREETS)}{rng.choice((' ', ', '))}{house}{joint}{of(_IT_TOWNS)}", ""
    return f"{of(_NL_STREETS)} {house}{joint}{of(_NL_TOWNS)}", ""
