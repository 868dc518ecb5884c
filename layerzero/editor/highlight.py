"""A Pygments lexer for `.lzp`, found by its name `lzp`; grammar/lzp.tmLanguage.json says the same to editors."""

from __future__ import annotations

from layerzero.errors import MissingDependencyError

try:
    from pygments.lexer import RegexLexer, words
    from pygments.token import Comment, Keyword, Literal, Name, Number, Operator, Punctuation, String, Text
except ImportError as error:
    raise MissingDependencyError(f"highlighting needs pygments: pip install pygments ({error})") from error

STATEMENTS = (
    *("policy", "import", "field", "attribute", "operation", "extend", "backend", "kernel", "alias", "context"),
    *("device", "define", "quarantine", "lock", "allow", "deny", "boost", "order", "experiment", "test"),
)
ITEMS = (
    *("package", "require", "supports", "set", "source", "priority", "adapter", "needs", "optional", "view", "feature"),
    *("fallback", "arm", "guard", "given", "whenever", "expect"),
)
CLAUSES = (
    *("for", "when", "as", "because", "owner", "until", "else", "by", "on", "share", "salt", "version", "strict"),
    *("standalone", "degraded", "error", "choose", "fail", "control"),
)
OPERATORS = ("and", "or", "not", "in", "like", "if", "has", "min", "max")
TYPES = ("bool", "int", "float", "string", "enum")
CONSTANTS = ("true", "false", "null")


class LzpLexer(RegexLexer):
    """Words are coloured by what they mostly are: keywords may be names, and only the parser knows which it is."""

    name = "LayerZero policy"
    aliases = ("lzp",)
    filenames = ("*.lzp",)
    url = "https://pypi.org/project/layerzero/"
    tokens = {  # noqa: RUF012 - the form that Pygments asks for
        "root": [
            (r"\s+", Text.Whitespace),
            (r"#[^\n]*", Comment.Single),
            (r'"(?:[^"\\\n]|\\.)*"', String.Double),
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?!\w)", Literal.Date),
            (r"[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?(?:Ki|Mi|Gi)?(?:[ ]?%)?", Number),
            (words(STATEMENTS, prefix=r"^", suffix=r"\b"), Keyword.Declaration),
            (words((*STATEMENTS, *ITEMS, *CLAUSES), suffix=r"(?![\w.*])"), Keyword),
            (words(OPERATORS, suffix=r"\b"), Operator.Word),
            (words(TYPES, suffix=r"\b"), Keyword.Type),
            (words(CONSTANTS, suffix=r"\b"), Keyword.Constant),
            (r"[a-z_`][a-z0-9_`]*(?:\.[a-z0-9_`*]+)+|[a-z_`][a-z0-9_`]*\*", Name.Function),
            (r"[a-z_`][a-z0-9_`]*", Name),
            (r"\*(?=\s+(?:for|when|by|>))|(?<=[\s{,])\*(?=[\s},])", Name.Function),
            (r"==|!=|<=|>=|//|\.\.<|\.\.|[-+*%<>=|]", Operator),
            (r"[{}(),:.]", Punctuation),
        ]
    }
