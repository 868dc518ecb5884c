"""`lz lsp` as an editor meets it: a process that is spoken to over its standard input and output."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pygls")

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

TEXT = 'policy "p" version 1\n# 日本 𝄞\ndeny torch.* for attention when head_dims > 32\n'
RIGHT = TEXT.replace("head_dims", "head_dim")


async def session(path: Path) -> dict[str, Any]:
    """What a short visit of an editor hears."""
    client = LanguageClient("test", "1")
    heard: asyncio.Queue[lsp.PublishDiagnosticsParams] = asyncio.Queue()

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def published(parameters: lsp.PublishDiagnosticsParams) -> None:
        heard.put_nowait(parameters)

    await client.start_io(sys.executable, "-m", "layerzero", "lsp", "--stdio")
    await client.initialize_async(lsp.InitializeParams(capabilities=lsp.ClientCapabilities(), root_uri=None))
    client.initialized(lsp.InitializedParams())
    uri = path.as_uri()
    document = lsp.TextDocumentIdentifier(uri)
    client.text_document_did_open(lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "lzp", 1, TEXT)))
    result: dict[str, Any] = {"wrong": (await heard.get()).diagnostics}
    client.text_document_did_change(
        lsp.DidChangeTextDocumentParams(
            lsp.VersionedTextDocumentIdentifier(version=2, uri=uri), [lsp.TextDocumentContentChangeWholeDocument(RIGHT)]
        )
    )
    result["right"] = (await heard.get()).diagnostics
    place = lsp.Position(2, RIGHT.splitlines()[2].index("head_dim") + 2)
    result["hover"] = await client.text_document_hover_async(lsp.HoverParams(document, place))
    result["definition"] = await client.text_document_definition_async(lsp.DefinitionParams(document, place))
    words = await client.text_document_completion_async(lsp.CompletionParams(document, place))
    result["completion"] = words
    options = lsp.FormattingOptions(tab_size=2, insert_spaces=True)
    result["formatting"] = await client.text_document_formatting_async(lsp.DocumentFormattingParams(document, options))
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()
    return result


def test_a_visit(tmp_path: Path) -> None:
    path = tmp_path / "p.lzp"
    path.write_text(TEXT, encoding="utf-8")
    heard = asyncio.run(asyncio.wait_for(session(path), 120))
    (wrong,) = heard["wrong"]
    assert (wrong.code, wrong.severity) == ("LZ201", lsp.DiagnosticSeverity.Error)
    column = TEXT.splitlines()[2].index("head_dims")
    assert wrong.range == lsp.Range(lsp.Position(2, column), lsp.Position(2, column + len("head_dims")))
    assert "did you mean `head_dim`" in wrong.message
    assert list(heard["right"]) == []
    assert "field head_dim: int in 1..1024" in heard["hover"].contents.value
    (definition,) = heard["definition"]
    assert definition.uri.endswith("policies/prelude.lzp")
    assert heard["completion"][0].label == "head_dim"
    assert list(heard["formatting"]) == []
