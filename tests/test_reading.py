"""What somebody has written becomes a value by the option's type, on the command line and in a file alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cldf_core.options import OptionError, checked
from cldf_core.reading import from_text, from_written, number, read_yaml, whole_number

NO_WHOLE = (
    "1:30",
    "1_000",
    "0x10",
    "0o7",
    "1e3",
    "1.0",
    "\u0661",
    "yes",
    "true",
    "nan",
    "2024-01-01",
    "",
    "none",
    "9" * 5000,
)
NO_NUMBER = ("1:30.5", "1_000.5", "0x10", "nan", ".nan", "inf", "-.inf", "yes", "2024-01-01", "", "1,5", "1e", ".")


@pytest.mark.parametrize(
    ("name", "text", "want"),
    [
        *(("seed", "3", 3), ("seed", "010", 10), ("seed", " 08 ", 8), ("seed", "+7", 7), ("limit", "010", 10)),
        *(
            ("lr", "1e-3", 0.001),
            ("lr", ".5", 0.5),
            ("lr", "010", 10.0),
            ("lr", "1.", 1.0),
            ("virtual_lr", "1E-1", 0.1),
        ),
        *((name, text, None) for name in ("limit", "virtual_lr", "weights") for text in ("null", "None", "~", "")),
        *(("mixed_precision", text, True) for text in ("true", "True", "yes", "on")),
        *(("drop_last", text, False) for text in ("false", "no", "OFF")),
        *(("data", text, text) for text in ("123", "010", "1:30", "no", "null", "2024-01-01", "")),
        *(("weights", "imagenet", "imagenet"), ("order", "fixed", "fixed"), ("unheard_of", "5", "5")),
        *(("stream", "mini-VFHQ", ["mini-VFHQ"]), ("stream", "no, 010,1:30", ["no", "010", "1:30"])),
        *(("stream", '[a, "b, c"]', ["a", "b, c"]), ("stream", "[a", "[a"), ("untested", "a", ["a"])),
        *(("unseen", text, []) for text in ("", "none", "null", "[]")),
        *(("severities", text, [0.1, 2.0]) for text in ("0.1, 02", "[0.1, 2]")),
        *(("limits", text, {"a": 10, "b": 2}) for text in ("a: 010, b: 2", "{a: 10, b: 2}")),
        *(("limits", text, {}) for text in ("", "none", "{}")),
        *(("limits", "{a: 1.5}", {"a": "1.5"}), ("limits", "a: 1, a: 2", "a: 1, a: 2"), ("limits", "[a]", ["a"])),
    ],
)
def test_the_type_decides_how_a_text_is_read(name, text, want):
    got = from_text(name, text)
    assert got == want
    assert type(got) is type(want)
    written = got if text[:1] in "[{" or (isinstance(want, (list, dict)) and want) else text
    assert from_written(name, written) == want


@pytest.mark.parametrize(
    ("name", "text"), [*(("seed", text) for text in NO_WHOLE), *(("lr", text) for text in NO_NUMBER), ("limit", "1:30")]
)
def test_what_is_no_number_is_refused_as_it_was_written(name, text):
    assert from_text(name, text) == text
    with pytest.raises(OptionError, match=f"{name} is '") as caught:
        checked({name: from_text(name, text)})
    assert len(str(caught.value)) < 400


@given(st.integers(0, 10**9), st.floats(0.001, 1e9))
def test_numbers_come_back(whole, real):
    assert whole_number(f"{whole:012d}") == whole
    assert number(repr(real)) == real
    for text in (f"{whole}x", f"{whole}:00"):
        with pytest.raises(ValueError, match="is no"):
            whole_number(text)


def test_yaml_holds_texts():
    text = "a: 010\nb: [1:30, no, ~, 1e-3]\nc:\n2024-01-01: {d: 'x'}\n"
    assert read_yaml(text) == {"a": "010", "b": ["1:30", "no", "~", "1e-3"], "c": "", "2024-01-01": {"d": "x"}}
    assert read_yaml("# nothing") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed: 1\nlr: 2\nseed: 1", "gives 'seed' twice; allowed: each name once"),
        ("a: {b: 1, b: 2}", "gives 'b' twice"),
        ("a: &x [1]\nb: [*x, *x]", "tags and aliases are not read"),
        ("a: !!python/object/apply:os.system ['touch pwned']", "tags and aliases are not read"),
        ("? [a]\n: 1", "is not readable YAML: "),
        ("a: " + "[" * 5000, "is not readable YAML: "),
        ("a: \0", "is not readable YAML: "),
        ("a: 1\n---\nb: 1", "is not readable YAML: "),
    ],
)
def test_yaml_that_says_more_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)
