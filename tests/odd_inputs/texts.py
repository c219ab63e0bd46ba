"""Kinds of texts in data files. ``{i}`` becomes a number, so that prompts differ."""

from __future__ import annotations

from typing import NamedTuple

from tests.odd_inputs.outcome import Expected


class Text(NamedTuple):
    """A kind of text.

    Args:
        pattern: With ``{i}``.
        expected: Of a file in which all prompts and responses are such texts.
        responses: If not empty, the only responses.
    """

    pattern: str
    expected: Expected = "accepted"
    responses: tuple[str, ...] = ()

    def prompt(self, i: int) -> str:
        """The i-th prompt of this kind."""
        return self.pattern.replace("{i}", str(i))

    def response(self, i: int) -> str:
        """The i-th response of this kind."""
        return self.responses[i % len(self.responses)] if self.responses else self.prompt(i + 100)


# Texts that CSV readers may take for missing values, numbers or booleans.
LITERALS = (
    *("NA", "N/A", "null", "None", "nan", "NaN", "TRUE", "false", "yes", "inf", "-", "#N/A", "\\N"),
    *("007", "19.90", "1e5", "0x1F", "1_000", "12:30", "2026-02-03", "+5", "1.0", "00", "1,5", "%"),
)
TEXTS = {
    "plain": Text("Name item {i}."),
    "short": Text("{i}"),
    "accents": Text("Où est l'élève {i} ? Straße, señor, čeština"),
    "decomposed": Text("cafe\u0301 {i} Å a\u030a"),
    "Cyrillic": Text("Сколько будет {i}?"),
    "Greek": Text("Πόσο κάνει {i}; ΣΊΣΥΦΟΣ σς"),
    "Turkish": Text("İstanbul ılık {i}"),
    "Arabic": Text("ما هو العدد {i}؟ ٣٫٥"),
    "Hebrew": Text("מהו {i} שָׁלוֹם"),
    "Hindi": Text("संख्या {i} क्या है?"),
    "Thai": Text("เลข {i} คืออะไร"),
    "Chinese": Text("第{i}题：等于几？"),
    "Japanese": Text("{i}は「なに」ですか。ｶﾀｶﾅ ＡＢ"),
    "Korean": Text("{i} 은 무엇입니까 한국어"),
    "emoji": Text("👩‍👩‍👧‍👦 {i} 🏳️‍🌈 👍🏽 🇩🇪"),
    "astral": Text("𝒳 {i} 𐍈 𠀀"),
    "private use": Text("\ue000 {i} \U000f0000"),
    "noncharacters": Text("a\ufffe {i} \U0001ffff", None),
    "joiners": Text("zero\u200bwidth\u200d {i} soft\u00adhyphen \u2060"),
    "two directions": Text("abc \u202edef\u202c {i} \u2066x\u2069 \u200f"),
    "white space": Text("a\tb\n\n {i}\u00a0c\u3000d\u2003e"),
    "white space around": Text("  a {i}  \n\n"),
    "carriage returns": Text("first {i}\r\nsecond\rthird"),
    "line separators": Text("a\u2028b\u2029c {i}"),
    "form feeds": Text("a\x0bb\x0cc {i}\x1c\x1d\x1e"),
    "control characters": Text("bell\x07 {i} \x1b[31mred\x1b[0m \x01\x7f"),
    "zero": Text("a\x00b {i}", None),
    "C1 controls": Text("a\x85b\x96 {i}", "refused"),
    "replaced": Text("na\ufffdve {i}"),
    "decoded twice": Text("Ã© {i} â€œ"),
    "BOM inside": Text("\ufeffx\ufeff {i}"),
    "surrogate": Text("a\ud83d {i}", "refused"),
    "LaTeX": Text("$\\frac{1}{{i}} \\times \\alpha$ \\boxed{{i}} \\\\ \\nabla"),
    "swallowed LaTeX": Text("{i} \times \x0crac{1}{2}", "refused"),
    "code": Text('def f_{i}(x):\n\treturn {"a": [x, \'b\', "\\n"]}  # {i}\n'),
    "fences": Text("```python\nprint({i})\n```\n~~~~\n````"),
    "HTML": Text("<p class='a'>{i} &amp; &lt;b&gt;</p><script>1</script><!-- -->"),
    "Markdown": Text("# {i}\n\n| a | b |\n|---|---|\n- [ ] *x* [l](http://a.b) ---"),
    "JSON": Text('{"i": {i}, "a": [null, true, "\\u00e9"]}'),
    "YAML": Text("- a: {i}\n- &x !!str no\n---\n..."),
    "templates": Text("{{ {i} }} {% if x %} {0} %s ${x} <%= y %>"),
    "quotes": Text('"{i}" \'a\' “b” «c» `d` """'),
    "backslashes": Text("C:\\new\\{i}\\ \\u0041 \\"),
    "separators": Text('a,b;c\td|e {i},"f";g'),
    "formulas": Text("=SUM(A{i}:B2)"),
    "thousands": Text("1,234,567.89 and 7 000 and 1'000 are {i}"),
    "decimal commas": Text("3,14 und 1.234,5 sind {i}"),
    "dates": Text("2026-02-{i} 01/02/03 12:30:59"),
    "exponents": Text("1e5 -2.5E-3 0x1F 007 1_000 {i}"),
    "missing values": Text("NA {i}"),
    "literals": Text("What is {i}?", responses=LITERALS),
    "marks of templates": Text("<|im_start|>user {i}<|im_end|> [INST] x [/INST] ### Response:"),
    "thoughts": Text("<think>a</think> {i} #### 5"),
    "marks of the model": Text("ends {i}</s>here", "refused"),
    "long": Text("word " * 1000 + "{i}", "refused"),
    "empty": Text("", "refused"),
    "spaces": Text(" \n\t", "refused"),
    "invisible": Text("\u200b\u2060", "refused"),
}
