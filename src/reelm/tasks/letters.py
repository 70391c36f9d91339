"""Reading which option a reply chooses: as the published scripts read it, quirks included, or with care."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LETTERS = "ABCDEFGHIJKLMNO"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NUMBERS = {word: str(value) for value, word in enumerate(
    (*_DIGITS, "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
     "nineteen", "twenty"))}


@dataclass(frozen=True)
class Official:
    """How VideoLLaMA 2's script of one benchmark reads a letter; every field is one of its habits.

    All of them delete "answer" and "Answer" (not "ANSWER"), then take the first capital in range anywhere: the B of
    "Based on ...". What they cannot read becomes the third option, even if there are only two.
    `letters`: the range where it is fixed (0: as many as options). `glued`: signs that are taken along with the letter
    besides round brackets; if more than the letter is left when spaces and then brackets are cut off, the reply counts
    as unread, so "( A )" is (and "A, because" where the comma is among them); "" has no such trap. `text`: whether the
    words of an option are looked for in a reply without letters, in any case: never, as a part of it ("1" is in "10"),
    or as the whole of it.
    `cut_last`: each option loses its last character, meant for a full stop. `digits_spelled`: an option 0 to 9 is also
    looked for as a word.

    Source: VideoLLaMA 2, evaluation scripts; equal in every recorded row, tests/tasks/test_letters.py.
    """

    letters: int = 0
    glued: str = ""
    text: Literal["never", "part", "whole"] = "never"
    cut_last: bool = False
    digits_spelled: bool = False
    default: int = 2

    def read(self, reply: str, options: Sequence[str]) -> int:
        """The option from 0; `default` where nothing was read."""
        text = reply.replace("answer", "").replace("Answer", "")
        last = LETTERS[(self.letters or len(options)) - 1]
        around = rf"[({self.glued}]*([A-{last}])[){self.glued}]*"
        found = re.search(around if self.glued else f"([A-{last}])", text)
        if found:
            left = found[0].strip().strip("()")
            return LETTERS.index(left) if left == found[1] else self.default
        return next((place for place, option in enumerate(options) if self._says(text, option)), self.default)

    def _says(self, text: str, option: str) -> bool:
        words = option[:-1] if self.cut_last else option
        if self.text == "whole":
            return text.lower() == words.lower()
        forms = [words, _DIGITS[int(words)]] if self.digits_spelled and re.fullmatch("[0-9]", words) else [words]
        return self.text == "part" and any(form.lower() in text.lower() for form in forms)


_NAMED = r"[(\[]?\s*([A-Oa-o])(?![A-Za-z'])"
_SAID = (r"(?:\s+(?:is|was|be|would be|should be|must be))?\s*[:=\-]?\s*(?:(?:option|choice|letter)\s+)?")
#: From the plainest way to name a letter to the vaguest; the first that names any decides.
_WAYS = tuple(re.compile(way) for way in (
    rf"(?i:answer|(?:correct|right|best) (?:option|choice|letter)){_SAID}{_NAMED}",
    rf"(?i:option|choice|letter){_SAID}{_NAMED}",
    r"\A[(\[]?\s*([A-Oa-o])\s*(?:[)\].:,;\n]|\s[-\u2013]|\Z)",
    r"[(\[]\s*([A-O])\s*[)\]]",
    r"(?:\b(?:is|be|so|thus|therefore|choose|pick|select)|[:,=>])\s+([A-O])[.!]?\Z",
))
#: After an "a" that could be an article, or after any small letter, one of these must follow for it to be a name.
_AFTER_NAME = re.compile(r"\s*(?:[)\].,:;!?\n]|\Z|(?:because|since|as)\b)")
_SEVERAL = re.compile(r"\b([A-O])\b[)\]]?\s*(?:,|/|&|\band\b|\bor\b)\s*[(\[]?\b([A-O])\b"
                      r"|[(\[]([A-O])[)\]]\s*[(\[]([A-O])[)\]]")
_NEGATED = re.compile(r"(?:\bnot?|n't|\bnor|\bnever)\s+(?:(?:a|an|the)\s+)?\Z")


def careful(reply: str, options: Sequence[str]) -> int | None:
    """The one option that the reply names, by letter or by words; None if it names none or several.

    A letter counts where it is named as one ("(B)", "B.", "the answer is b", "so C"), not as the first letter of a
    word and not as an article. Without any letter the words of exactly one option must stand in the reply, whole
    and not denied; "two" is 2. Accents, bold marks and full-width letters do not matter.
    """
    text = re.sub(r"[*_`\"\u201c\u201d]", "", unicodedata.normalize("NFKC", reply)).strip()
    known = [_plain(option) for option in options]
    if " " in _plain(text) and known.count(_plain(text)) == 1:
        return known.index(_plain(text))  # an option may speak of letters itself: "A is wrong, B is right"
    several = _SEVERAL.search(text)
    for place, way in enumerate(_WAYS):
        if place > 0 and several:
            return None
        named = {found[1].upper() for found in way.finditer(text) if _is_name(text, found)}
        if place == 0 and several and any(letter in several.groups() for letter in named) and _ends_in(text, several):
            return None
        places = {LETTERS.index(letter) for letter in named} & set(range(len(options)))
        if places:
            return places.pop() if len(named) == 1 else None
    return _by_words(_plain(text), known)


def worded(reply: str, options: Sequence[str]) -> int | None:
    """The one option whose words stand in the reply, whole and not denied; None without one or with several.

    Letters name nothing here: for replies to a question that showed none.
    """
    return _by_words(_plain(reply), [_plain(option) for option in options])


def _is_name(text: str, found: re.Match[str]) -> bool:
    """Whether the letter is a letter of an option, and not an article or the start of something else."""
    letter, before = found[1], text[found.start(1) - 1:found.start(1)]
    return letter in LETTERS[1:] or before in ("(", "[") or bool(_AFTER_NAME.match(text, found.end(1)))


def _ends_in(text: str, several: re.Match[str]) -> bool:
    """Whether the enumeration is what the reply comes to, rather than what it weighs on the way."""
    return not re.search(r"(?i)\banswer\b", text[several.end():])


def _plain(text: str) -> str:
    words = re.findall(r"[\w']+", unicodedata.normalize("NFKC", text).casefold())
    words = [_NUMBERS.get(word, word) for word in words]
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def _by_words(said: str, known: Sequence[str]) -> int | None:
    if said in known:
        return known.index(said) if known.count(said) == 1 else None
    stands = {place: words for place, words in enumerate(known) if words and _stands(words, said)}
    # "not moving" holds "moving": the longer one is what was said.
    found = [place for place, words in stands.items()
             if not any(other != words and f" {words} " in f" {other} " for other in stands.values())]
    return found[0] if len(found) == 1 else None


def _stands(words: str, said: str) -> bool:
    if words in ("yes", "no"):  # "there is no dog" does not say No
        return bool(re.search(rf"\A{words} |\bis {words}\Z", said)) and len({"yes", "no"} & set(said.split())) == 1
    places = re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", said)
    return any(not _NEGATED.search(said[:place.start()]) for place in places)
