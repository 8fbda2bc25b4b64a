import multiprocessing
import random
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data import pii
from rlhf.data.embedded import personal
from rlhf.data.pii import find, redact
from rlhf.data.pii.text import look, together

PERSONAL = {
    "email": (
        "lin.wei[at]163.com", "anna at 163 dot com",
        "write to jane.doe@fernmail.org now", "max [at] kornpost [dot] de", "bob at gmail dot com please", "a(at)b.com",
        "jane AT x DOT com", "jane.doe＠fernmail.org", "name@domain . com please", "mailto:jane@fernmail.org?subject=hi",
        "用户@例子.中国", "иван@почта.рф", "संपर्क@डाटामेल.भारत", "o'brien@mail.ie", "jane [at] x [dot] co [dot] uk",
        "jane dot doe at fernmail dot org", "jane @ fernmail . org", "janeATfernmailDOTcom", "jane-at-fernmail-dot-org",
        "petar.petrovic@eunet.rs", "juan.perez@correo.com.py", "ion@mail.md",
        "jane&#64;fernmail.org", "jane.doe at gmail.com", "jane@fernmail.org.Next sentence", "ja\u200bne@fern\u00admail.org",
    ),
    "phone": (
        "Jane,415-234-8899,NY", "Tom (415-234-8899) called", "our head office (020 7946 0123)", "my phone (087 388 4479) rang",
        "+44 20 7946 0123", "(617) 555-0134", "my number is 415-555-0199", "tel: 030 23125 123", "0044 20 7946 0958",
        "+49 (0)30 901820", "415.555.2671 x12", "tel:+14155552671", "call 555-0199", "01 42 68 53 00", "98765-43210",
        "8 (495) 123-45-67", "011 44 20 7946 0958", "+1\u00a0415\u2011555\u20112671", "１２３-４５６-７８９０ is my phone number",
        "\u202a+1 (415) 555-2671\u202c", "电话：13800138000", "Handy: 0171 1234567", "+971 50 123 4567", "07911 123456",
    ),
    "card": (
        "name,card,cvv\nJane,4111111111111111,123",
        "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005", "30569309025904",
        "3530111333300000", "5105105105105100 exp 12/27", "flat 5 4111 1111 1111 1111", "6759649826438453",
    ),
    "iban": (
        "DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "de89 3704 0044 0532 0130 00", "BE68-5390-0754-7034",
        "IT60 X054 2811 1010 0000 0123 456", "ES9121000418450200051332", "NO93 8601 1117 947",
    ),
    "ssn": (
        "name,ssn,city\nAnna Berg,536-22-1234,Oslo",
        "it is 123-45-6789", "my SSN is 123 45 6789", "SSN: 536221234", "536–22–1234",
    ),
    "ip": (
        "The Linux box 52.14.88.201 rebooted", "Our API at 84.12.33.7 is down", "Include a small table.\n\nBlock 60.197.228.152",
        "log in from 84.12.33.7.", "2001:db8:85a3::8a2e:370:7334", "http://84.12.33.7:8080/x", "[2001:db8::1]:443",
        "::ffff:84.12.33.7", "84.12.33.0/24", "fe80::1ff:fe23:4567:890a%eth0", "IP=84.12.33.7",
    ),
    "api_key": (
        "AKIADCLUEIZHNZOREJOZ", "glpat-seqkSRPaSAygPQOjoVxS",
        "sk-abcdefghijklmnopqrstuvwx1234567890", "api_key = 8f14e45fceea167a5a36dedd4bea2543", "password=Hunter2!x",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzQ9LmN2pXk", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzQ9LmN2pXk",
        '"password": "correct-horse-9battery"', "postgres://admin:s3cr3t@db.host.com:5432/app", "DB_PASSWORD=p4ssw0rd99",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "Authorization: Bearer abc123def456ghi789jkl", "hf_abcdefghijKLMNOPQRSTUVWXyzABCDEFGH",
    ),
    "passport": (
        "passport number CRJRY4WZY", "my passport (CRJRY4WZY) expires", "passport no. L8RNZGTT1", "my passport number is NUEDSD8R4",
        "passport no. X1234567", "Reisepass C01X00T47", "533380006 is my passport number", "护照号码 E12345678",
        "L898902C36UTO7408122F1204159ZE184226B<<<<<10", "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
    ),
    "address": (
        "Flat 466, Sai Krupa Apartments, Anna Salai, Mumbai 400050", "221, MG Road, Bengaluru, Karnataka 560 001",
        "H.No. 4-56/2, Ameerpet, Hyderabad - 500016",
        "at 221B Baker Street, London NW1 6XE", "42 N. Oak Avenue Apt 5", "Hauptstraße 12, 10115 Berlin", "P.O. Box 1234",
        "10 Downing Street", "42 oak avenue apt 5, springfield, il 62704", "i live at 42 oak street", "Am Markt 5, 18055 Rostock",
        "12 rue de la Paix, 75002 Paris", "C/ Mayor, 12, 3º B, 28013 Madrid", "Via Roma 12, 00184 Roma", "100 Lake View Road",
        "Keizersgracht 123, 1015 CJ Amsterdam", "Unit 4/15 George St, Sydney NSW 2000", "123 King St W, Toronto, ON M5H 1J9",
        "Via 4-Novembre 12, 20121 Milano", "12 rue du 8-Mai-1945", "12 rue du 11-Novembre, 69003 Lyon",
        "8140 Quick Port\nEast Karen, OH 12345", "350 5th Ave, Apt 12B, New York, NY 10118",
    ),
    "national_id": (
        "her Italian tax code is RSSMRA85T10A562S", "name,cpf,city\nAna,529.982.247-25,Recife", "my Polish national ID 44051401359",
        "AB 12 34 56 C", "12345678Z", "RSSMRA85T10A562S", "529.982.247-25", "NHS number 943 476 5919", "X1234567L",
        "943 476 5919 is my NHS number", "1 85 05 78 006 084 91", "BSN 111222333", "PESEL 44051401359", "131052-308T",
        "756.9217.0769.85", "85.07.30-033.28", "Steuer-ID 65 929 970 489", "my number 1234 5678 9018", "S1234567D",
    ),
}  # fmt: skip
LOOK_ALIKES = (
    "On May 5, 2019, the company sold 250000 units", "By December 31, 2019, China reported 274324 cases", "isbn,0306406152",
    "born 1999, lives in Rome, id 123456", "12, Widget Blue, Paris 123456", "Covid-19, for example, killed 200000 people",
    "ver. 10.2.1.4 is out", "# Changelog\n\n1.2.30.4 - fixed", "enzymes EC 1.1.1.27, 2.7.1.40", "Firefox Portable 115.0.2.1",
    "passport control at TERMINAL2", "passport.js login with OAUTH2API", "AKIAXXXXXXXXXXXXXXXX", "order number 529.982.247-25",
    "the Polish national team sold 44051401359 shirts",
    "the binary 1011010011001",
    "upgraded python from 3.10.4.2 to 3.11.0.1", "see sections 4.2.1.3 and 4.2.1.9", "in Windows 10.0.190.41",
    "It sold 1,234,567,890,123 units", "passport photos for my SAMSUNG phone", "In 2010, Mumbai, Delhi and Pune had 400050",
    "version 10.2.1.4 is out", "user@example.com", "ISBN 978-3-16-148410-0", "order number 48213377", "1939-1945",
    "on 2024-05-17 at 10:30", "commit 3f2a9c1e5b7d8f60a1b2c3d4e5f60718293a4b5c", "1234567890123456", "127.0.0.1",
    "pi is 3.14159265358979", "It has 1,234,567,890 people", "EC 2.7.3.2", "In 1950, East St. Louis was the largest",
    "std::vector<int>", "the 2016 Wall Street Journal", "ticket 555-123-4567", "top 10 Best Way to cook", "4111 1111 1111 1112",
    "npm i react@18.2.0 and lodash@4.17.21", "git clone git@github.com:org/repo.git", "ssh deploy@build.acme.io -p 22",
    "@property def foo(self): pass", "np.sum(a@b.sum())", "icon@2x.png", "points at the dot in the middle", "12 Monkeys",
    "look at amazon.com", "In 1950 Main Street was quiet.", "He walked down 5th Avenue.", "1600 Penn State fans came",
    "Chrome/120.0.0.0 Safari/537.36", "pip install foo==1.2.3.4", "0-306-40615-2", "550e8400-e29b-41d4-a716-446655440000",
    "00:1A:2B:3C:4D:5E", "a::b::c dead::beef x[1::2]", "48.8566 2.3522 51.5074 0.1278", "score 6-4 6-3 7-5", "0-1 1-0 1/2-1/2",
    "CAS 50-00-0, 7732-18-5", "zip 90210-1234 or 02134-1234", "Nature 521(7553), 436-444", "1700000000000 1712345678",
    "the password is required", "token: str = None", 'api_key = "YOUR_API_KEY"', "my passport expires in 20270512",
    "call me in 10 minutes about 20 30 40", "INV-20240517-1234", "phone model SM-G991B 128GB 2021", "Spring 2024, String 5",
    "via Port 22, via HTTP 2", "text 2 Corinthians 3:16", "mobile phone 5000 mAh 6.7 inch 120 Hz", "01 02 03 04 05 06 07",
    "0101 1010 0110 1100", "task-management-framework-2024-edition", "EAN 4006381333931", "Room 12", "Act 2015 and the Act 2000",
    "the reference 4241 0034 4557 1665", "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts]
)
def test_personal_data_is_found_and_redacted(kind, text):
    spans = find(text)
    assert {span.kind for span in spans} == {kind}
    hidden = redact(text)
    assert f"[{kind.upper()}]" in hidden
    assert all(text[span.start : span.end] not in hidden for span in spans)


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_look_alikes_stay(text):
    assert find(text) == []
    assert redact(text) == text


def test_what_the_log_plants_is_found_and_its_look_alikes_are_not():
    rng = random.Random(3)
    for _ in range(300):
        kind, item = personal.personal(rng)
        assert kind in {span.kind for span in find(f"Please note {item} for later.")}
        assert not find(personal.look_alike_prompt(rng))


def test_offsets_are_those_of_the_text_as_given_invisible_characters_included():
    text = "İ\u200b\u200b… call \u202a+1\u00a0(415)\u2011555\u20102671\u202c or ja\u00adne＠fernmail.org ok"
    phone, email = find(text)
    assert text[phone.start : phone.end] == "+1\u00a0(415)\u2011555\u20102671"
    assert text[email.start : email.end] == "ja\u00adne＠fernmail.org"


def test_of_two_readings_the_surer_stays():
    assert [span.kind for span in find("IBAN DE89 3704 0044 0532 0130 00")] == ["iban"]
    assert [span.kind for span in find("https://user:pa55word@fernmail.org/")] == ["api_key"]


def test_every_process_and_thread_finds_the_same():
    texts = [text for texts in PERSONAL.values() for text in texts]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(find, texts) == [find(text) for text in texts]


@given(st.text(alphabet="ab1 .@+-():/4\u200b\u00a0é", max_size=80))
def test_spans_are_in_order_and_what_is_left_is_untouched(text):
    spans, at, rest = find(text), 0, ""
    for span in spans:
        assert at <= span.start < span.end <= len(text)
        assert span.kind in pii.KINDS
        rest += text[at : span.start] + f"[{span.kind.upper()}]"
        at = span.end
    if len(together(span for _, span in pii._all(look(text)))) == len(spans):
        assert len(redact(text)) <= len(rest + text[at:])
    if len(list(pii._all(look(text)))) == len(spans):
        assert redact(text) == rest + text[at:]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("I live at 12 Main Street, Apt 4111 1111 1111 1111.", "I live at [CARD]."),
        ("Hauptstraße 12, 79098 Freiburg-jane.doe@gmail.com", "[EMAIL]"),
    ],
)
def test_nothing_is_left_of_what_overlaps(text, left):
    assert redact(text) == left


@given(st.text(alphabet="aZé߀٣１İſﬁ\ud800\x00\u0301\u202e𝟎…。@.:/\n1 ", max_size=60))
def test_no_text_breaks_it(text):
    assert all(text[span.start : span.end] for span in find(text))


PIECES = (
    "a", "1", "1 ", "a.", "a@", "A-", "<at ", "at dot ", "12 Ab ", "AB12 ", "DE89 ", "::1", "(at)", "01 ", "12 Oak, IL 62704 ",
    "-----BEGIN PRIVATE KEY-----", "rue A ", "Straße 1 ", "é", "password=",
)  # fmt: skip
HEADS = ("Calle Mayor 5, ", "Hauptstr 5 ", "12 Main St, ")
WORDS = ("A-", "Ab-", "A.", "a'")


@pytest.mark.parametrize(("head", "piece"), [*(("", piece) for piece in PIECES), *product(HEADS, WORDS)])
def test_time_grows_no_faster_than_the_text(head, piece):
    def seconds(length: int) -> float:
        text = head + piece * (length // len(piece))
        start = time.process_time()
        find(text)
        return time.process_time() - start

    short = max(seconds(4_000), seconds(4_000))
    assert (
        seconds(40_000) < 40 * short + 0.2
    )  # ten times the text; a quadratic pattern takes a hundred times as long
