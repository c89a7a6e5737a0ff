"""Opt-out words: what counts, what only looks like it, and that decoration changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.inbound.optout import (
    HELP_WORDS,
    OPT_IN_IF_OUT_WORDS,
    OPT_IN_WORDS,
    OPT_OUT_WORDS,
    Help,
    OptIn,
    OptOut,
    match,
)

POLICY_WORDS = [
    "STOP", "UNSUBSCRIBE", "REMOVE", "QUIT", "END", "CANCEL", "OPTOUT", "STOPALL", "REVOKE",
    "OPT OUT", "STOP ALL",
]  # fmt: skip
OTHER_LANGUAGES = [
    "ALTO", "PARAR", "BAJA", "CANCELAR", "ARRET", "ARRÊT", "DESABONNER", "DÉSABONNER", "STOPP",
    "ABMELDEN", "SAIR", "FERMA", "AFMELDEN", "REZYGNUJE", "rezygnuję", "IPTAL", "İPTAL", "ıptal",
    "СТОП", "стоп",
]  # fmt: skip

PHRASES = {
    "please stop": "stop_please",
    "Stop please!!": "stop_please",
    "PLS STOP": "stop_please",
    "STOP NOW": "stop_please",
    "stop, thank you": "stop_please",
    "stop svp": "stop_please",
    "Alto por favor": "stop_please",
    "stop all please": "stop_please",
    "stop pls and thank you": "stop_please",
    "Please stopppp": "stop_please",
    "please stop texting me": "stop_texting",
    "Please stop texting me.": "stop_texting",
    "stop texting": "stop_texting",
    "STOP TEXTING ME!!!": "stop_texting",
    "stop messaging me": "stop_texting",
    "stop messaging": "stop_texting",
    "quit texting me": "stop_texting",
    "stop contacting me please": "stop_texting",
    "hi, please stop texting me. thanks": "stop_texting",
    "can you please stop texting me": "stop_texting",
    "Stop texting this number": "stop_texting",
    "stop texting my phone": "stop_texting",
    "stop texting me ever again": "stop_texting",
    "stop calling and texting me": "stop_texting",
    "stpo texting me": "stop_texting",
    "stop spamming me": "stop_texting",
    "No thanks. Stop texting me": "stop_texting",
    "I'm not interested, stop texting me": "stop_texting",
    "stop texting me already": "stop_texting",
    "stop sending me messages": "stop_sending",
    "please stop sending me these text messages": "stop_sending",
    "stop sending texts to this number": "stop_sending",
    "stop sending": "stop_sending",
    "stop all messages": "stop_texts",
    "stop the texts": "stop_texts",
    "stop with the spam": "stop_texts",
    "I want to stop receiving these messages": "stop_receiving",
    "no more texts": "no_more_texts",
    "No more texts please": "no_more_texts",
    "no more of these messages": "no_more_texts",
    "don't text me": "do_not_text",
    "Don’t text me again": "do_not_text",
    "dont text me anymore": "do_not_text",
    "do not contact me": "do_not_text",
    "never text me again": "do_not_text",
    "don't send me any more texts": "do_not_send",
    "I don't want these texts": "do_not_want",
    "i dont want to receive any more messages from you": "do_not_want",
    "take me off": "take_me_off",
    "take me off your list": "take_me_off",
    "Please take me off of this list.": "take_me_off",
    "take my number off your list": "take_me_off",
    "get me off your mailing list": "take_me_off",
    "remove me": "remove_me",
    "Remove me please": "remove_me",
    "please remove me from your list": "remove_me",
    "remove my number from your texting list": "remove_me",
    "remove from list": "remove_me",
    "I would like to be removed from this list": "remove_me",
    "i want to be removed": "remove_me",
    "delete my number": "remove_me",
    "unsubscribe me": "unsubscribe",
    "please unsubscribe": "unsubscribe",
    "unsubscribe from this list": "unsubscribe",
    "unsubscribe all": "unsubscribe",
    "un-subscribe": "unsubscribe",
    "unsub": "unsubscribe",
    "I'd like to unsubscribe": "unsubscribe",
    "pls unsuscribe me": "unsubscribe",
    "how do I unsubscribe?": "unsubscribe",
    "opt me out": "opt_out",
    "I want to opt out": "opt_out",
    "opt-out please": "opt_out",
    "opt out of these messages": "opt_out",
    "leave me alone": "leave_me_alone",
    "LEAVE ME ALONE!!": "leave_me_alone",
    "lose my number": "lose_my_number",
    "no más": "no_mas",
    "No más mensajes por favor": "no_mas",
    "darme de baja": "dar_de_baja",
    "STOP to end": "stop_to_end",
    "STOP STOP STOP": "stop_repeated",
    "S.T.O.P.": "stop_spelled",
}

SLIPS = {
    "stop_typo": [
        "stpo", "sotp", "tsop", "sstop", "sttop", "STOPPPP", "stoooop", "srop", "st0p", "stop0",
        "stopo", "stiop", "Stpo!!",
    ],
    "unsubscribe_typo": [
        "unsubscribed", "unsuscribe", "unsubcribe", "unsubscibe", "unsubsribe", "unsubscrib",
        "unsubscirbe", "nusubscribe", "unsubscribee", "UNSUBSCRINE",
    ],
}  # fmt: skip

NOT_OPT_OUTS = [
    "", " ", "🛑", "...", "!!!", "ok", "no", "thanks",
    # the words inside a sentence
    "Please stop at the bus stop", "bus stop", "don't stop", "dont stop", "Don't stop believin'",
    "can't stop won't stop", "stop by later", "stop by", "I'll stop by at 5", "next stop?",
    "stop it", "stop that lol", "ok stop", "hey stop", "can you stop", "non stop", "nonstop",
    "not interested", "wrong number", "stop 2", "stop the car", "stop and think", "last stop",
    "pit stop", "stop sign",
    "stop texting and driving", "when did you stop texting him", "please don't stop texting me",
    "why don't you stop texting me", "I told him to stop texting me but he won't",
    "stop sending me flowers", "stop sending the boys to school",
    "end of day", "the end", "end it", "weekend", "END 5", "the end!",
    "cancel my 3pm", "cancel please", "please cancel", "cancel my subscription", "cancel my order",
    "please cancel my appointment", "can you cancel", "cancelled", "cancels", "cancel that",
    "quit it", "i quit", "please quit", "quit my job", "quite",
    "remove the old one", "please remove", "remove me from the schedule", "removed",
    "take me off speaker", "take me off the schedule", "take my phone off", "take me off at 5",
    "leave me alone with him", "leave it alone", "no more", "no more milk", "any more texts?",
    "revoke his access", "all stop here", "opt", "out", "opt in", "subscribe", "resubscribe",
    "don't text me while driving", "don't send the message", "don't text", "no text",
    "i don't want pizza", "i don't want to go", "delete the file", "drop me off",
    "I want to stop", "how do I stop the car", "no more updates",
    # left out on purpose
    "td", "TD!", "arrête", "Arrete!", "dur", "Dur!",
    # words that are one letter from "stop", or near it
    "shop", "step", "top", "stoop", "spot", "slop", "stops", "atop", "stow", "strop", "stomp",
    "sop", "sto", "stp", "stol", "swop", "stope", "stoep", "estop", "post", "pots", "opts", "stip",
    "stub", "stock", "store", "stopped", "stopping", "stopper", "snop", "chop", "please shop",
    # near other words
    "started", "starts", "restart", "yes please", "yes!! see you", "help me", "please help",
    "info please", "information", "helpful", "start at 5", "yesterday", "yess",
    "a " * 200, "stop " * 50, "unsubscribe from life and every thing that there is in it for you",
]  # fmt: skip

EVERY_RULE = [*POLICY_WORDS, *OTHER_LANGUAGES, *PHRASES, "START", "UNSTOP", "YES", "HELP", "INFO"]
AROUND = st.text(
    st.sampled_from(" \t\n.,;:!?¡¿*_-/\"'“”‘’«»()[]{}<>🛑🙏😡👍🏽❤️👩‍👧™\u00a0\u3000\0"), max_size=12
)
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\ufe0f\ufe0e\u00ad\u034f\u202e\u2066\U000e0041\u180e"


@pytest.mark.parametrize("word", POLICY_WORDS)
@pytest.mark.parametrize("form", ["{}", " {} ", "{}!!!", '"{}"', "“{}”", "*{}*", "{}.", "🛑 {} 🛑"])
def test_a_keyword_alone_opts_out(word: str, form: str) -> None:
    rule = word.lower()
    assert match(form.format(word)) == OptOut("keyword", rule)
    assert match(form.format(word.lower())) == OptOut("keyword", rule)
    assert match(form.format(word.title())) == OptOut("keyword", rule)


@pytest.mark.parametrize("word", OTHER_LANGUAGES)
def test_a_keyword_of_another_language_opts_out(word: str) -> None:
    result = match(word)
    assert isinstance(result, OptOut)
    assert result.tier == "keyword"


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("ＳＴＯＰ", "stop"),
        ("𝐒𝐓𝐎𝐏", "stop"),
        ("ⓢⓣⓞⓟ", "stop"),
        ("S\u200bT\u200dO\ufeffP", "stop"),
        ("s\u0336t\u0336o\u0336p\u0336", "stop"),
        ("Stop\ufe0f", "stop"),
        ("1\ufe0f\u20e3 STOP", "stop"),
        ("ℹ️ STOP", "stop"),
        ("opt-out", "opt out"),
        ("Opt – Out", "opt out"),
        ("stop\n\nall", "stop all"),
        ("STOP\n\nSent from my iPhone", "stop"),
        ("STOP\n--\nAnna Example, Sales", "stop"),
        ("STOP" + "!" * 10_000, "stop"),
        ("\u200b" * 10_000 + "STOP", "stop"),
    ],
)
def test_a_keyword_in_disguise_opts_out(body: str, rule: str) -> None:
    assert match(body) == OptOut("keyword", rule)


@pytest.mark.parametrize(("body", "rule"), PHRASES.items())
def test_a_clear_phrase_opts_out(body: str, rule: str) -> None:
    assert match(body) == OptOut("phrase", rule)


@pytest.mark.parametrize(
    ("body", "rule"), [(body, rule) for rule, bodies in SLIPS.items() for body in bodies]
)
def test_one_slip_of_the_thumb_opts_out(body: str, rule: str) -> None:
    assert match(body) == OptOut("phrase", rule)
    assert isinstance(match(f"please {body}"), OptOut)


@pytest.mark.parametrize("body", NOT_OPT_OUTS)
def test_ordinary_talk_is_left_alone(body: str) -> None:
    assert match(body) is None


@pytest.mark.parametrize("body", ["START", "start", " Start! ", "UNSTOP", "“unstop”"])
def test_start_and_unstop_opt_in(body: str) -> None:
    result = match(body)
    assert isinstance(result, OptIn)
    assert not result.only_if_opted_out


@pytest.mark.parametrize("body", ["YES", "yes", "Yes!", "Ｙｅｓ"])
def test_yes_opts_in_only_somebody_who_is_out(body: str) -> None:
    assert match(body) == OptIn("yes", only_if_opted_out=True)


@pytest.mark.parametrize("body", ["HELP", "help", "Help!", "INFO", "info?"])
def test_help_and_info_ask_for_help(body: str) -> None:
    assert match(body) == Help()


def test_no_word_means_two_things() -> None:
    kinds = [OPT_OUT_WORDS, OPT_IN_WORDS, OPT_IN_IF_OUT_WORDS, HELP_WORDS]
    assert len(frozenset[str]().union(*kinds)) == sum(len(kind) for kind in kinds)


@given(st.text(max_size=300))
@example("\ud800")
@example("\x00")
@example("Ⅷ½ﷺ")
def test_every_text_has_an_answer(body: str) -> None:
    assert isinstance(match(body), OptOut | OptIn | Help | None)


# What makes careless code slow: marks that get sorted, runs that are scanned again from every
# place, characters that expand. Each takes well under a second; quadratic time would take minutes.
@pytest.mark.parametrize(
    "unit",
    [
        "\u0301\u0316", "\u0f73", "\u0344", "\uff9e\uff9f", "İ", "\n", "\n--", " ", "\u00a0",
        "stop ", "please ", "no more ", "p", "sp", "o", "'", "!", "\u200b", "1\ufe0f", "🛑",
        "\ud800",
    ],
)  # fmt: skip
def test_a_hostile_text_is_answered(unit: str) -> None:
    run = unit * (400_000 // len(unit))
    assert isinstance(match("stop" + run + " texting me"), OptOut | None)


def test_a_text_that_expands_is_answered() -> None:
    assert match("ﷺ" * 10_000) is None


@given(st.sampled_from(EVERY_RULE), AROUND, AROUND)
def test_punctuation_and_emoji_around_change_nothing(body: str, before: str, after: str) -> None:
    assert match(before + body + after) == match(body) is not None


@given(st.sampled_from(EVERY_RULE), st.data())
def test_invisible_characters_change_nothing(body: str, data: st.DataObject) -> None:
    gaps = st.lists(st.text(INVISIBLE, max_size=2), min_size=len(body), max_size=len(body))
    decorated = "".join(gap + char for gap, char in zip(data.draw(gaps), body, strict=True))
    assert match(decorated) == match(body) is not None


@given(st.sampled_from(EVERY_RULE), st.data())
def test_case_changes_nothing(body: str, data: st.DataObject) -> None:
    upper = data.draw(st.lists(st.booleans(), min_size=len(body), max_size=len(body)))
    mixed = "".join(
        char.upper() if up else char.lower() for char, up in zip(body, upper, strict=True)
    )
    assert match(mixed) == match(body) is not None


@given(st.sampled_from(EVERY_RULE), st.sampled_from([" ", "   ", "\n", "\t ", "\u00a0", "\u3000"]))
def test_the_kind_of_space_changes_nothing(body: str, space: str) -> None:
    assert match(body.replace(" ", space)) == match(body)


@given(
    st.sampled_from([word for word in POLICY_WORDS if word not in {"STOP", "UNSUBSCRIBE"}]),
    st.sampled_from(["my 3pm", "of day", "the old sofa", "at noon", "him", "it", "that"]),
)
def test_a_keyword_with_an_object_is_ordinary_talk(word: str, rest: str) -> None:
    assert match(f"{word} {rest}") is None
