"""The language server protocol over standard input and output.

Each request is one question to the functions beside this module; only here are places counted in the units of the
client. Findings without a search over contexts are published as one types, those with one when a file is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from layerzero import __version__
from layerzero.editor.completion import complete
from layerzero.editor.hover import hover
from layerzero.editor.rename import rename
from layerzero.editor.workspace import View, Workspace
from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.formatter import format_source
from layerzero.syntax.source import Source, Span

try:
    from lsprotocol import types as lsp
    from pygls.exceptions import JsonRpcInvalidParams
    from pygls.lsp.server import LanguageServer
    from pygls.uris import from_fs_path, to_fs_path
    from pygls.workspace import PositionCodec
except ImportError as error:
    raise MissingDependencyError(
        f"the language server needs the extra `editor`: pip install 'layerzero[editor]' ({error})"
    ) from error

_KINDS = {
    "keyword": lsp.CompletionItemKind.Keyword,
    "field": lsp.CompletionItemKind.Field,
    "define": lsp.CompletionItemKind.Variable,
    "member": lsp.CompletionItemKind.EnumMember,
    "attribute": lsp.CompletionItemKind.Property,
    "operation": lsp.CompletionItemKind.Module,
    "view": lsp.CompletionItemKind.Module,
    "feature": lsp.CompletionItemKind.Interface,
    "kernel": lsp.CompletionItemKind.Function,
    "bundle": lsp.CompletionItemKind.Constant,
    "experiment": lsp.CompletionItemKind.Event,
    "rule": lsp.CompletionItemKind.Reference,
}


class Server(LanguageServer):
    """Attributes:
    files: What is open, and the programs it belongs to.
    """

    def __init__(self, catalogs: Sequence[Path] = ()) -> None:
        super().__init__("layerzero", __version__)
        self.files = Workspace(catalogs=catalogs)

    def view(self, uri: str, search: bool = False) -> View:
        return self.files.view(_path(uri), date.today(), search)

    def offset(self, uri: str, position: lsp.Position) -> int:
        return int(self.workspace.get_text_document(uri).offset_at_position(position))

    def publish(self, uri: str, search: bool) -> None:
        """Tell the client what is wrong in a file."""
        path = _path(uri)
        found = [one for one in self.view(uri, search).findings if _is(one.span.source, path)]
        findings = [self._diagnostic(one) for one in found]
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, findings))

    def _diagnostic(self, finding: Diagnostic) -> lsp.Diagnostic:
        text = "\n".join(part for part in (finding.message, finding.label, finding.help) if part)
        severity = lsp.DiagnosticSeverity.Error if finding.severity == "error" else lsp.DiagnosticSeverity.Warning
        related = [
            lsp.DiagnosticRelatedInformation(self.location(label.span), label.text or "see here")
            for label in finding.labels
        ]
        where = self.range(finding.span)
        return lsp.Diagnostic(where, text, severity, finding.code, source="layerzero", related_information=related)

    def range(self, span: Span) -> lsp.Range:
        """A span in the units that the client counts in."""
        codec: PositionCodec = self.workspace.position_codec
        lines = span.source.text.splitlines(keepends=True) or [""]
        ends = [self._position(span.source, offset) for offset in (span.start, span.end)]
        return lsp.Range(*(codec.position_to_client_units(lines, one) for one in ends))

    def location(self, span: Span) -> lsp.Location:
        return lsp.Location(_uri(span.source), self.range(span))

    @staticmethod
    def _position(source: Source, offset: int) -> lsp.Position:
        line, column = source.position(offset)
        return lsp.Position(line - 1, column - 1)


def serve(catalogs: Sequence[Path] = ()) -> None:
    """Answer an editor until it goes away."""
    create(catalogs).start_io()


def create(catalogs: Sequence[Path] = ()) -> Server:
    """A server with every feature registered."""
    server = Server(catalogs)

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(parameters: lsp.DidOpenTextDocumentParams) -> None:
        document = parameters.text_document
        server.files.opened[_path(document.uri)] = document.text
        server.publish(document.uri, search=True)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(parameters: lsp.DidChangeTextDocumentParams) -> None:
        uri = parameters.text_document.uri
        server.files.opened[_path(uri)] = server.workspace.get_text_document(uri).source
        server.publish(uri, search=False)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(parameters: lsp.DidSaveTextDocumentParams) -> None:
        server.publish(parameters.text_document.uri, search=True)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(parameters: lsp.DidCloseTextDocumentParams) -> None:
        uri = parameters.text_document.uri
        server.files.opened.pop(_path(uri), None)
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))

    @server.feature(lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=[".", " "]))
    def completion(parameters: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        uri = parameters.text_document.uri
        text = server.workspace.get_text_document(uri).source
        found = complete(text, server.offset(uri, parameters.position), server.view(uri).symbols)
        return [
            lsp.CompletionItem(one.word, kind=_KINDS[one.kind], detail=one.detail or one.kind, sort_text=f"{number:05}")
            for number, one in enumerate(found)
        ]

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def hovered(parameters: lsp.HoverParams) -> lsp.Hover | None:
        uri = parameters.text_document.uri
        view, offset = server.view(uri), server.offset(uri, parameters.position)
        text = hover(view, _name(view, uri), offset, date.today())
        return None if text is None else lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text))

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def definition(parameters: lsp.DefinitionParams) -> list[lsp.Location]:
        uri = parameters.text_document.uri
        view = server.view(uri)
        symbol = view.symbols.at(_name(view, uri), server.offset(uri, parameters.position))
        found = view.symbols.same(symbol) if symbol is not None else []
        return [server.location(one.span) for one in found if one.declares]

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def references(parameters: lsp.ReferenceParams) -> list[lsp.Location]:
        uri = parameters.text_document.uri
        view = server.view(uri)
        symbol = view.symbols.at(_name(view, uri), server.offset(uri, parameters.position))
        found = view.symbols.same(symbol) if symbol is not None else []
        return [server.location(one.span) for one in found]

    @server.feature(lsp.TEXT_DOCUMENT_RENAME)
    def renamed(parameters: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
        uri = parameters.text_document.uri
        view = server.view(uri)
        symbol = view.symbols.at(_name(view, uri), server.offset(uri, parameters.position))
        if symbol is None:
            return None
        try:
            places = rename(server.files.around(_path(uri), date.today()), symbol, parameters.new_name)
        except ArgumentError as error:
            raise JsonRpcInvalidParams(message=str(error)) from error
        edits: dict[str, list[lsp.TextEdit]] = {}
        for span in places:
            edits.setdefault(_uri(span.source), []).append(lsp.TextEdit(server.range(span), parameters.new_name))
        return lsp.WorkspaceEdit(changes=edits)

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def formatted(parameters: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        uri = parameters.text_document.uri
        source = Source(uri, server.workspace.get_text_document(uri).source)
        text = format_source(source)
        if not isinstance(text, str) or text == source.text:
            return []  # a text with errors is left as it is: its findings are shown already
        return [lsp.TextEdit(server.range(Span(source, 0, len(source.text))), text)]

    return server


def _path(uri: str) -> Path:
    path = to_fs_path(uri)
    if path is None:
        raise JsonRpcInvalidParams(message=f"not a file: {uri}")
    return Path(path).resolve()


def _is(source: Source, path: Path) -> bool:
    return Path(source.name).resolve() == path or _shipped_path(source.name) == path


def _shipped_path(name: str) -> Path | None:
    """Where a shipped file lies, whose name in messages is `policies/...` wherever it is installed."""
    from layerzero.resources import shipped

    if not name.startswith("policies/"):
        return None
    return (shipped("policies") / name.removeprefix("policies/")).resolve()


def _name(view: View, uri: str) -> str:
    """The name under which a file's source stands in the program."""
    path = _path(uri)
    return next((source.name for source in view.sources if _is(source, path)), str(path))


def _uri(source: Source) -> str:
    shipped_path = _shipped_path(source.name)
    found = shipped_path if shipped_path is not None and shipped_path.is_file() else Path(source.name).resolve()
    return from_fs_path(str(found)) or ""
