"""What an inbound message says about consent: out, in again, help, or nothing.

A message is reduced to its words (`_words`) and then only ever compared *as a whole*, in two tiers:

keyword: a word that the rules name (47 CFR 64.1200(a)(10), CTIA handbook, the lists of the large
    gateways), alone. CANCEL, END, QUIT and the like count in this tier only: "cancel my 3pm" and
    "end of day" are ordinary talk.
phrase: wording that a reasonable person reads as a revocation ("please stop texting me", "take me
    off your list"), or one slip of the thumb in STOP or UNSUBSCRIBE. A person can undo these in one
    click, so they may reach further than keywords, but never by finding a word inside a sentence.

Linear in the length of the message, and an answer for every str there is.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

OPT_OUT_WORDS = frozenset({
    "stop", "unsubscribe", "remove", "quit", "end", "cancel", "revoke",
    "optout", "opt out", "stopall", "stop all",
    "alto", "parar", "baja", "cancelar",  # es; parar, cancelar also pt
    "arret", "desabonner",  # fr
    "stopp", "abmelden",  # de
    "sair",  # pt
    "ferma",  # it
    "afmelden",  # nl
    "rezygnuje",  # pl
    "iptal",  # tr
    "стоп",  # ru
})  # fmt: skip
"""Folded as `_words` does it: lower case, no accents. Left out of the published lists, as people
send them alone in ordinary talk: `td` (Canada; a touchdown), `arrete` (French "oh, stop it!") and
`dur` (Turkish "wait!"). `baja` and `alto` have other meanings too, but Spanish-language programmes
print them as the word to answer with, so they must be honoured."""

OPT_IN_WORDS = frozenset({"start", "unstop"})
OPT_IN_IF_OUT_WORDS = frozenset({"yes"})
HELP_WORDS = frozenset({"help", "info"})

# The longest phrases have twelve words with their courtesies; what is longer is a conversation.
MAX_PHRASE_WORDS = 12


@dataclass(frozen=True, slots=True)
class OptOut:
    """Nothing more may be sent. `rule` is the keyword, or the name of the phrase rule."""

    tier: Literal["keyword", "phrase"]
    rule: str


@dataclass(frozen=True, slots=True)
class OptIn:
    """Messages are wanted again. `only_if_opted_out`: to anybody else it was just an answer."""

    word: str
    only_if_opted_out: bool


@dataclass(frozen=True, slots=True)
class Help:
    """The workspace's help text is wanted."""


def match(body: str) -> OptOut | OptIn | Help | None:
    """Read an inbound text; None is an ordinary message. Raises nothing."""
    words = _words(body)
    if not 0 < len(words) <= MAX_PHRASE_WORDS:
        return None
    message = " ".join(words)
    if message in OPT_OUT_WORDS:
        return OptOut("keyword", message)
    if message in OPT_IN_WORDS:
        return OptIn(message, only_if_opted_out=False)
    if message in OPT_IN_IF_OUT_WORDS:
        return OptIn(message, only_if_opted_out=True)
    if message in HELP_WORDS:
        return Help()
    rule = _phrase_rule(words)
    return None if rule is None else OptOut("phrase", rule)


# --- reducing a message to its words ----------------------------------------------------------

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties): zero-width characters, variation
# selectors, direction marks, soft hyphen, fillers, tags. They show nothing, so they mean nothing.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# Emoji that compatibility normalisation would turn into letters or digits.
_EMOJI_LIKE_TEXT = re.compile("[0-9#*]\ufe0f?\u20e3|[™ℹ㊗㊙\U0001f200-\U0001f251]")
_APOSTROPHES = str.maketrans("", "", "'’ʼ`")  # "don't" is one word, and often written without
_WORD = re.compile(r"[^\W_]+")
# Lines that mail and phone programs append by themselves.
_SIGNATURES = ("--", "sent from my ", "sent via ", "get outlook for ")


def _words(body: str) -> list[str]:
    """The words of `body` in lower case, without accents, compatibility forms (fullwidth, bold),
    invisible characters, punctuation, emoji and appended signature lines.
    """
    lines = _fold(body).translate(_APOSTROPHES).splitlines()
    words: list[str] = []
    for line in lines:
        if words and line.lstrip().startswith(_SIGNATURES):
            break
        words.extend(_WORD.findall(line))
    return words


def _fold(body: str) -> str:
    if body.isascii():
        return body.lower()
    visible = _INVISIBLE.sub("", _EMOJI_LIKE_TEXT.sub(" ", body))
    # Marks go before normalising as well as after it: sorting a long run of them takes quadratic
    # time, and no run of them can come out of single characters.
    folded = unicodedata.normalize("NFKD", _without_marks(visible)).casefold()
    # casefold can set marks free again ("İ"); the Turkish dotless i is how phones there fold "I".
    return _without_marks(unicodedata.normalize("NFKD", folded)).replace("ı", "i")


def _without_marks(text: str) -> str:
    return "".join(char for char in text if not unicodedata.category(char).startswith("M"))


# --- one slip of the thumb --------------------------------------------------------------------

# Neighbours on a phone's keyboard that a thumb hits instead of, or along with, the right key.
_NEIGHBOURS = {"s": "awedxz", "t": "rfgy", "o": "ikl0p", "p": "ol0"}
# What one slip makes of "stop" and yet is a word: English; stp is "please" in French chat, sto is
# "I am" in Italian and "100" in Slavic languages, stol a chair, stlp a pillar, stolp a tower.
# Longer slips (shop, step, stops, spot, slop) are not among the slips to begin with.
_WORDS_NEAR_STOP = frozenset({
    "top", "sop", "sto", "stp", "atop", "estop", "stoop", "strop", "stip", "stol", "stlp", "stolp",
})  # fmt: skip
# A key held down. Two o make "stoop", three make no word.
_HELD_STOP = re.compile(r"s+t+(?:o|o{3,})p+").fullmatch


def _slips_of_stop() -> frozenset[str]:
    word = "stop"
    slips: set[str] = set()
    for at, char in enumerate(word):
        before, after = word[:at], word[at + 1 :]
        slips.add(before + after)
        if after:
            slips.add(before + after[0] + char + after[1:])
        for key in _NEIGHBOURS[char]:
            slips.update((before + key + after, before + key + char + after))
            slips.add(before + char + key + after)
    return frozenset(slips) - _WORDS_NEAR_STOP - {word}


_SLIPS_OF_STOP = _slips_of_stop()


def _is_one_edit(word: str, target: str) -> bool:
    """Whether one letter was left out, added, replaced, or swapped with the next one."""
    if abs(len(word) - len(target)) > 1 or word == target:
        return False
    at = 0
    while at < min(len(word), len(target)) and word[at] == target[at]:
        at += 1
    left, right = word[at:], target[at:]
    swapped = len(left) > 1 and len(right) > 1 and left[0] == right[1] and left[1] == right[0]
    return (
        left[1:] == right
        or left == right[1:]
        or left[1:] == right[1:]
        or (swapped and left[2:] == right[2:])
    )


def _corrected(word: str) -> str:
    """STOP and UNSUBSCRIBE for what is one slip from them; else the word. No English word but
    forms of "unsubscribe" is one edit from it, so any edit will do there.
    """
    if word in _SLIPS_OF_STOP or _HELD_STOP(word):
        return "stop"
    if _is_one_edit(word, "unsubscribe"):
        return "unsubscribe"
    return word


# --- clear phrases ----------------------------------------------------------------------------

_PLEASE = (
    r"please|pls|plz|pleas|plese|kindly|(?:and )?(?:thanks|thank you(?: very much)?|thank u|thx|ty)"
    r"|now|right now|immediately|asap|bitte|danke|por favor|gracias|obrigad[oa]"
    r"|svp|stp|s il vous plait|merci|per favore|grazie"
)
# More around phrases that are clear in themselves; "ok stop" and "can you stop" are not.
_COURTESY = (
    rf"{_PLEASE}|hi|hello|hey|ok|okay|just|already|sorry|sir|maam|no thanks|no thank you|i said"
    r"|(?:(?:im|i am) )?not interested|wrong number"
    r"|(?:can|could|would|will) (?:you|u|ya)|i (?:need|want|asked|told) (?:you|u) to"
)
_NUMBER = r"(?:my|this) (?:(?:cell|phone) )?number"
_ME = rf"(?:me|us|{_NUMBER}|(?:my|this) (?:phone|cell))"
_TEXTS = (
    r"(?:(?:text|txt|sms|marketing|promo|spam|automated) )?(?:texts?|txts?|messages?|msgs?|sms"
    r"|spam|notifications?|alerts?|ads|promos|promotions)"
)
_THESE = r"(?: (?:all|any|more|the|these|those|this|your|ur|of|so many|further)){0,3}"
_AGAIN = r"(?: (?:again|any ?more|ever|ever again))?"
_LIST = (
    rf"(?:{_THESE}(?: (?:text|text message|texting|txt|sms|mailing|contact|contacts|marketing|call"
    rf"|calling|message|messaging|phone|distribution))?(?: (?:lists?|system|database)| {_TEXTS}))"
)
_WANT = r"(?:i (?:want|need|wish|would like) to|i wanna|id like to|how (?:do|can) i)"

# Every pattern has to match the whole message. The name is what the ledger keeps of it.
_PHRASES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("stop_texting",
         r"(?:stop|quit|cease|no more) (?:texting|txting|text|txt|messaging|msging|message|sms"
         rf"|contacting|contact|spamming|harassing|bothering)(?: {_ME})?{_AGAIN}"),
        ("stop_texting",
         rf"(?:stop|quit) (?:texting|calling)(?: (?:and|or) [a-z]+ing)? {_ME}{_AGAIN}"),
        ("stop_sending",
         rf"(?:stop|quit|cease) sending(?: {_ME})?{_THESE}(?: (?:{_TEXTS}|stuff|crap|junk|them))?"
         rf"(?: to {_ME})?{_AGAIN}"),
        ("stop_texts", rf"stop(?: with)?{_THESE} {_TEXTS}"),
        ("stop_receiving",
         rf"(?:{_WANT} )?(?:stop|quit) (?:receiving|getting){_THESE} {_TEXTS}(?: from you)?"),
        ("no_more_texts", rf"no (?:more|further){_THESE} {_TEXTS}(?: to {_ME})?(?: from you)?"),
        ("do_not_text",
         rf"(?:do not|dont|never) (?:ever )?(?:text|txt|message|msg|contact|spam) {_ME}{_AGAIN}"),
        ("do_not_text", r"(?:do not|dont) (?:text|contact|message)(?: any ?more| again)"),
        ("do_not_text", r"do not (?:text|contact)"),
        ("do_not_send",
         rf"(?:do not|dont|never) send (?:{_ME}{_THESE}|any more|more) {_TEXTS}{_AGAIN}"),
        ("do_not_want",
         r"i (?:(?:do not|dont) (?:want|need)|no longer (?:want|need)|do not wish)"
         rf"(?: to (?:get|receive|have))?{_THESE} {_TEXTS}(?: from you)?{_AGAIN}"),
        ("take_me_off", rf"take (?:me|us|{_NUMBER}) off"),
        ("take_me_off", rf"(?:take|get) (?:me|us|{_NUMBER}) off(?: of)?{_LIST}"),
        ("remove_me", rf"(?:remove|delete) (?:me|us|number|{_NUMBER})"),
        ("remove_me",
         rf"(?:remove|delete|drop)(?: {_ME}| my name)? (?:from|off)(?: of)?{_LIST}"),
        ("remove_me",
         r"(?:i (?:want|need|wish|would like)|id like) to be"
         rf" (?:removed|taken off|unsubscribed|opted out)(?:(?: from| off)?(?: of)?{_LIST})?"),
        ("unsubscribe",
         rf"(?:{_WANT} |i )?(?:unsubscribe|unsub|un subscribe)(?: {_ME})?"
         rf"(?: all| (?:from|to)(?:{_THESE}|{_LIST}))?"),
        ("opt_out",
         rf"(?:{_WANT} |i )?(?:optout|opt(?:ed|ing)?(?: me| us)? out)"
         rf"(?: (?:of|from)(?:{_THESE}|{_LIST}))?"),
        ("leave_me_alone", r"leave (?:me|us)(?: the (?:hell|fuck|f))? alone"),
        ("lose_my_number", rf"(?:lose|erase|forget) {_NUMBER}"),
        ("no_mas", r"no mas(?: (?:mensajes?|mensajitos|textos?|sms))?"),
        ("no_mas", r"no me (?:escriban?|manden?|envien?) mas(?: (?:mensajes?|textos?|sms))?"),
        ("dar_de_baja", r"(?:dar|darme|dame|deme|denme) de baja"),
        # People copy the instruction instead of following it.
        ("stop_to_end", r"stop (?:to|2) (?:end|cancel|quit|stop|unsubscribe|opt ?out)"),
        ("stop_repeated", r"stop(?: (?:please )?stop)+"),
        ("stop_spelled", r"s t o p"),
    )
)  # fmt: skip

# Not CANCEL, END, QUIT, REMOVE: "cancel please" is about an appointment.
_CLEAR_WITH_PLEASE = frozenset({
    "stop", "stop all", "stopall", "alto", "arret", "desabonner", "abmelden", "afmelden",
})  # fmt: skip
_POLITE_START = re.compile(rf"(?:(?:{_PLEASE}) )+")
_POLITE_END = re.compile(rf"(?: (?:{_PLEASE}))+\Z")
_COURTEOUS_START = re.compile(rf"(?:(?:{_COURTESY}) )+")
_COURTEOUS_END = re.compile(rf"(?: (?:{_COURTESY}))+\Z")


def _phrase_rule(words: list[str]) -> str | None:
    message = " ".join(_corrected(word) for word in words)
    core = _POLITE_END.sub("", _POLITE_START.sub("", message, count=1))
    if core in _CLEAR_WITH_PLEASE:
        return "stop_typo" if len(words) == 1 else "stop_please"
    if core == "unsubscribe" and len(words) == 1:
        return "unsubscribe_typo"
    core = _COURTEOUS_END.sub("", _COURTEOUS_START.sub("", message, count=1))
    for name, pattern in _PHRASES:
        if pattern.fullmatch(core):
            return name
    return None
