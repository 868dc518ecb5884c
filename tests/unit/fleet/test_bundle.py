"""A bundle is what a trusted key has signed, bit for bit, or it is refused."""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from layerzero.cli import main
from layerzero.errors import ArgumentError
from layerzero.fleet import bundle as bundles
from layerzero.fleet.building import with_share
from layerzero.fleet.bundle import EVERYBODY, BundleError, Sealed, open_sealed, seal, split
from layerzero.fleet.keys import Trust, generate, load_private
from layerzero.syntax.limits import MAX_FILE_BYTES
from layerzero.syntax.source import Source
from tests.unit.fleet.made import key, release, signed, text, trusting, unsigned

OPS = trusting("ops")


def test_what_was_packed_comes_out() -> None:
    files = [Source("prod.lzp", "deny a.b\n"), Source("parts/é.lzp", "# ü\n")]
    sealed = seal("prod", 7, files, expires=datetime(2027, 1, 1, tzinfo=UTC)).signed(key("ops"), EVERYBODY)
    (found,) = split(sealed.to_bytes())
    opened = open_sealed(found, OPS)
    assert {one.name: one.text for one in opened.sources} == {"prod.lzp": "deny a.b\n", "parts/é.lzp": "# ü\n"}
    assert (opened.manifest.name, opened.manifest.version, opened.signed_by) == ("prod", 7, ("ops",))
    assert opened.manifest.expires == datetime(2027, 1, 1, tzinfo=UTC)


def test_the_same_files_give_the_same_bytes_whatever_their_order() -> None:
    one, two = Source("a.lzp", "# a\n"), Source("b.lzp", "# b\n")
    there, back = seal("p", 1, [one, two]), seal("p", 1, [two, one])
    assert there.signed(key("ops"), 500).to_bytes() == back.signed(key("ops"), 500).to_bytes()


DATA = signed(7).to_bytes()


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_one_changed_byte_and_it_is_refused(at: int, change: int) -> None:
    data = DATA[:at] + bytes([DATA[at] ^ change]) + DATA[at + 1 :]
    with pytest.raises(BundleError):
        for one in split(data):
            open_sealed(one, OPS)


@given(st.integers(0, len(DATA) - 1))
@settings(max_examples=100, deadline=None)
def test_a_truncated_release_is_refused_by_its_sizes(size: int) -> None:
    with pytest.raises(BundleError, match="truncated"):
        split(DATA[:size])
    with pytest.raises(BundleError, match="truncated"):
        split(DATA + DATA[: size or 1])


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    for one in (data, DATA[:12] + data, DATA + data):
        try:
            found = split(one)
        except BundleError:
            continue
        assert len(found) <= 2


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_a_trusted_key_that_signs_nonsense_is_refused_too(payload: bytes) -> None:
    written = unsigned(1).payload
    for one in (payload, struct.pack(">I", len(payload)) + payload, written[:60] + payload, written + payload[:1]):
        if one != written:
            with pytest.raises(BundleError):
                open_sealed(Sealed(EVERYBODY, (), one).signed(key("ops"), EVERYBODY), OPS)


def test_nothing_is_parsed_before_the_signature_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(payload: bytes) -> None:
        raise AssertionError("parsed")

    sealed = signed(7, by="somebody")
    monkeypatch.setattr(bundles, "_read", parse)
    with pytest.raises(BundleError, match="by no trusted key"):
        open_sealed(sealed, OPS)
    with pytest.raises(AssertionError, match="parsed"):
        open_sealed(sealed, trusting("somebody"))


def test_a_share_is_signed_too() -> None:
    widened = replace(signed(7, share=500), share=EVERYBODY)
    with pytest.raises(BundleError, match="key `ops` does not hold"):
        open_sealed(widened, OPS)


def test_a_key_can_be_replaced_by_way_of_two() -> None:
    old, new, both = trusting("old"), trusting("new"), trusting("old", "new")
    by_old, by_both = signed(7, by="old"), signed(7, by="old").signed(key("new"), EVERYBODY)
    assert open_sealed(by_old, both).signed_by == ("old",)  # nodes trust the new key as well
    assert open_sealed(by_both, old).signed_by == ("old",) and open_sealed(by_both, new).signed_by == ("new",)
    with pytest.raises(BundleError, match="by no trusted key"):  # and the old one no more
        open_sealed(by_old, new)


def test_signing_again_replaces_and_another_share_drops() -> None:
    twice = signed(7).signed(key("ops"), EVERYBODY)
    assert len(twice.signatures) == 1
    assert len(twice.signed(key("new"), EVERYBODY).signatures) == 2
    assert len(twice.signed(key("new"), 500).signatures) == 1


@pytest.mark.parametrize(
    "name",
    ["../p.lzp", "/etc/p.lzp", "a/../../p.lzp", "a//p.lzp", "./p.lzp", "a\\..\\p.lzp", "C:p.lzp", "a\nb.lzp", ""],
)
def test_no_file_leaves_the_bundle(name: str) -> None:
    with pytest.raises(BundleError):
        seal("p", 1, [Source(name, "# x\n")])


def test_limits() -> None:
    big = "#" * (MAX_FILE_BYTES + 1)
    for wanted, files in (
        ("1 to 2000 files", []),
        ("1 to 2000 files", [Source(f"{n}.lzp", "#") for n in range(2001)]),
        (f"at most {MAX_FILE_BYTES} bytes", [Source("p.lzp", big)]),
        ("the bundle holds", [Source(f"{n}.lzp", big[:-1]) for n in range(5)]),
        ("the same name", [Source("p.lzp", "#"), Source("P.lzp", "#")]),
    ):
        with pytest.raises(BundleError, match=wanted):
            seal("p", 1, files)
    for name, version in (("p/q", 1), ("p", 0), ("p", 2**60)):
        with pytest.raises(BundleError):
            seal(name, version, [Source("p.lzp", "#")])
    head = DATA[:13] + DATA[13:109] + struct.pack(">I", 2**31)
    with pytest.raises(BundleError, match="the limit is"):  # before anything of that size is asked for
        split(head)


def test_a_manifest_has_one_spelling() -> None:
    payload = unsigned(1).payload
    (size,) = struct.unpack_from(">I", payload)
    manifest = json.loads(payload[4 : 4 + size])
    for other in (json.dumps(manifest), '{"name":"q",' + payload[5 : 4 + size].decode(), "[" * 100_000):
        changed = struct.pack(">I", len(other)) + other.encode() + payload[4 + size :]
        with pytest.raises(BundleError, match="manifest"):
            open_sealed(Sealed(EVERYBODY, (), changed).signed(key("ops"), EVERYBODY), OPS)


def test_a_release_is_two_bundles_at_most() -> None:
    assert len(split(release(signed(8, share=500), signed(7)))) == 2
    with pytest.raises(BundleError, match="behind the second"):
        split(release(signed(9), signed(8), signed(7)))


def test_keys_in_files(tmp_path: Path) -> None:
    secret, public = generate(tmp_path / "ops")
    assert secret.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        generate(tmp_path / "ops")
    sealed = unsigned(1).signed(load_private(secret), EVERYBODY)
    assert open_sealed(sealed, Trust.load(public)).signed_by == ("ops",)
    assert open_sealed(sealed, Trust.load(tmp_path)).signed_by == ("ops",)
    shown = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public, "-noout", "-text"], capture_output=True, text=True
    )
    assert shown.stdout.startswith("ED25519 Public-Key")
    (tmp_path / "bad.pub").write_text("no key")
    for wrong in (tmp_path, tmp_path / "ops.key"):
        with pytest.raises(ValueError, match="no public key"):
            Trust.load(wrong)
    assert text(1).startswith("policy")


def test_a_bundle_that_expires_before_it_is_valid_is_not_built() -> None:
    day = datetime(2027, 1, 1, tzinfo=UTC)
    with pytest.raises(BundleError, match="before it is valid"):
        unsigned(1, not_before=day, expires=day)


@pytest.mark.parametrize("share", [0.0, -5.0, 101.0, float("nan"), float("inf")])
def test_a_share_is_a_percentage(share: float) -> None:
    with pytest.raises(ArgumentError, match=r"0\.01 to 100 percent"):
        with_share(unsigned(1), share)


def test_who_signs_with_a_key_that_others_may_read_is_warned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, _ = generate(tmp_path / "ops")
    bundle = tmp_path / "p.lzb"
    bundle.write_bytes(unsigned(1).to_bytes())
    for mode, said in ((0o600, False), (0o640, True)):
        secret.chmod(mode)
        assert main(["bundle", "sign", str(bundle), "--key", str(secret)]) == 0
        assert ("others may read" in capsys.readouterr().err) is said
