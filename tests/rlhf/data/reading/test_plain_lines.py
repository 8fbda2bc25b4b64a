"""What is read in one go is what the formats give, for every line."""

import json

from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.reading import reader as reader_module
from rlhf.data.reading.reader import Options, Reader

TEXT = st.sampled_from(
    [
        "Why?",
        "How so, then?",
        "",
        " ",
        "¿Qué?",
        "Human: x",
        "###",
        "a\n\nHuman: b\n\nAssistant: c",
        "\u200b",
        'say ":" twice',
    ]
)
ROLE = st.sampled_from(
    ["user", "assistant", "system", "human", "gpt", "tool", "User", "developer", "", "robot"]
)
PART = st.one_of(TEXT.map(lambda text: {"type": "text", "text": text}), st.just({"type": "image_url"}), TEXT)
CONTENT = st.one_of(TEXT, st.none(), st.lists(PART, max_size=3))
TURN = st.fixed_dictionaries({"role": ROLE, "content": CONTENT}, optional={"name": TEXT})
SAID = st.fixed_dictionaries({"from": ROLE, "value": CONTENT}, optional={"weight": st.integers(0, 1)})
TRANSCRIPT = st.lists(
    st.sampled_from(
        [
            "\n\nHuman: Why?",
            "\n\nAssistant: So.",
            "\n\nHuman:",
            "\n\nAssistant:",
            " Human: ",
            "x",
            "\n\n Human: y",
        ]
    ),
    max_size=6,
).map("".join)
FIELDS = {
    "id": TEXT,
    "user": TEXT,
    "user_id": TEXT,
    "text": st.one_of(TEXT, TRANSCRIPT),
    "messages": st.lists(TURN, max_size=4),
    "conversations": st.lists(SAID, max_size=4),
    "instruction": TEXT,
    "input": TEXT,
    "output": TEXT,
    "context": TEXT,
    "response": TEXT,
    "prompt": st.one_of(TEXT, TRANSCRIPT),
    "completion": TEXT,
    "system": TEXT,
    "mood": TEXT,
    "created_at": TEXT,
}
ROW = st.dictionaries(st.sampled_from(sorted(FIELDS)), st.none(), max_size=5).flatmap(
    lambda row: st.fixed_dictionaries({name: FIELDS[name] for name in row})
)


def told(path, monkeypatched):
    reader = Reader("prompts", [path], Options(users="one-each"))
    reader._is_quick = not monkeypatched
    records = list(reader.records())
    return (
        records,
        [reject.as_dict() for reject in reader.rejects],
        reader.copies,
        sorted(reader.lines()),
        reader.left_out(),
        reader.done(),
    )


@given(st.lists(ROW, min_size=1, max_size=6))
def test_one_go_and_the_long_way_agree(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert told(path, False) == told(path, True)


def test_many_lines_that_are_not_plain_give_up_the_quick_way_and_change_nothing(read):
    odd = [
        {"id": f"o{at}", "user_id": "u", "text": "Why?", "mood": "calm"}
        for at in range(3 * reader_module._MISSES)
    ]
    plain = [{"id": f"p{at}", "user_id": "u", "text": "How?"} for at in range(9)]
    records, reader = read([*odd, *plain])
    assert len(records) == len(odd) + len(plain) and not reader.rejects
    assert reader.lines() == [f"contract: {len(records)} prompts of {len(records)} records"]
