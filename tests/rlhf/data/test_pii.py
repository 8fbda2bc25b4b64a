import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.embedded import personal
from rlhf.data.pii import find, redact

PERSONAL = {
    "email": ("write to jane.doe@fernmail.org now", "max [at] kornpost [dot] de", "bob at gmail dot com please", "a(at)b.com"),
    "phone": ("+44 20 7946 0123", "(617) 555-0134", "my number is 415-555-0199", "tel: 030 23125 123", "0044 20 7946 0958"),
    "card": ("4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"),
    "iban": ("DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"),
    "ssn": ("it is 123-45-6789", "my SSN is 123 45 6789"),
    "ip": ("log in from 84.12.33.7.", "2001:db8:85a3::8a2e:370:7334"),
    "api_key": ("sk-abcdefghijklmnopqrstuvwx1234567890", "api_key = 8f14e45fceea167a5a36dedd4bea2543"),
    "passport": ("passport no. X1234567",),
    "address": ("at 221B Baker Street, London NW1 6XE", "42 N. Oak Avenue Apt 5", "Hauptstraße 12, 10115 Berlin", "P.O. Box 1234"),
    "national_id": ("AB 12 34 56 C", "12345678Z", "RSSMRA85T10A562S", "529.982.247-25"),
}  # fmt: skip
LOOK_ALIKES = (
    "version 10.2.1.4 is out", "user@example.com", "ISBN 978-3-16-148410-0", "order number 48213377", "1939-1945",
    "on 2024-05-17 at 10:30", "commit 3f2a9c1e5b7d8f60a1b2c3d4e5f60718293a4b5c", "1234567890123456", "127.0.0.1",
    "pi is 3.14159265358979", "It has 1,234,567,890 people", "EC 2.7.3.2", "In 1950, East St. Louis was the largest",
    "std::vector<int>", "the 2016 Wall Street Journal", "ticket 555-123-4567", "top 10 Best Way to cook", "4111 1111 1111 1112",
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts]
)
def test_personal_data_is_found_and_redacted(kind, text):
    spans = find(text)
    assert kind in {span.kind for span in spans}
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


@given(st.text(alphabet="ab1 .@+-():/4", max_size=80))
def test_spans_are_in_order_and_what_is_left_is_untouched(text):
    spans, at, rest = find(text), 0, ""
    for span in spans:
        assert at <= span.start < span.end <= len(text)
        rest += text[at : span.start] + f"[{span.kind.upper()}]"
        at = span.end
    assert redact(text) == rest + text[at:]


@pytest.mark.parametrize("piece", ["a", "A-", "1 ", "a@", "<at ", "12 Ab ", "AB12 ", "::1", "(at)"])
def test_long_hostile_text_takes_no_more_than_its_length(piece):
    find(piece * (40_000 // len(piece)))
