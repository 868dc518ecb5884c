"""The checkout -> wheels in dist/wheels, each tried in an empty environment: one with the native part for every Python
that is found, and a pure one that all of them take.

    python deploy/wheels.py [PYTHON ...]        # default: python3.11 and newer on PATH, and those of pyenv
    python deploy/wheels.py --only 3.12 --folder dist/gpu/wheels        # one, for another machine; pure without a 3.12

A wheel is tried from an empty folder: `lz check` and `lz doctor` in a new environment that holds the wheel and what it
depends on, a decision, and which matcher served it. Exit code 1 where one could not be built or did not do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / "dist" / "wheels"
PURE = ("-C", "wheel.cmake=false", "-C", "wheel.py-api=py3", "-C", "wheel.platlib=false")
OLDEST = (3, 11)

POLICY = 'policy "tried"\nlock reference.silu for silu as tried because "a wheel is tried"\n'
DECISION = (
    "from layerzero import Policy, native\n"
    "call = {'operation': 'silu', 'device': 'cpu', 'dtype': 'fp32'}\n"
    "print(Policy.load('tried.lzp').decide(call).kernel, 'native' if native.matcher else 'python')\n"
)


class WheelError(Exception):
    """A command ended with another exit code than 0; the text is what it printed."""


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="interpreters, instead of those that are found")
    parser.add_argument("--only", metavar="3.N", help="one wheel, for this version alone, and not tried")
    parser.add_argument("--folder", type=Path, default=WHEELS, help="where the wheels go; what is there is removed")
    args = parser.parse_args(words)
    found = list(dict.fromkeys(args.pythons or interpreters()))
    if not found:
        print("no Python 3.11 or newer was found", file=sys.stderr)
        return 1
    shutil.rmtree(args.folder, ignore_errors=True)
    if args.only is not None:
        return one(found, args.only, args.folder)
    failed = 0
    pure: Path | None = None
    for python in found:
        try:
            pure = pure or build(python, args.folder, pure=True)
            for wheel in (build(python, args.folder), pure):
                print(f"{version(python)}  {wheel.name}: {tried(python, wheel)}", flush=True)
        except WheelError as error:
            failed += 1
            print(f"{python}: {error}", file=sys.stderr)
    return int(failed > 0)


def one(pythons: Sequence[str], wanted: str, folder: Path) -> int:
    """A wheel for one version of Python: with the native part where there is an interpreter of it to build with."""
    own = [python for python in pythons if version(python).startswith(f"{wanted}.")]
    if not own:
        print(f"no Python {wanted} here: the wheel is pure, and Python's matcher will serve", file=sys.stderr)
    try:
        print(build((own or pythons)[0], folder, pure=not own))
    except WheelError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def interpreters() -> Iterator[str]:
    """Those that answer: a name on PATH may be a shim of a version that is not chosen."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], OLDEST[1] + 8)]
    seen: set[str] = set()
    for python in [*filter(None, named), *map(str, sorted(home.glob("versions/*/bin/python3")))]:
        done = subprocess.run(
            [python, "-c", f"import sys, ssl; print(sys.version_info[:2] >= {OLDEST}, sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and done.stdout.startswith("True") and done.stdout not in seen:
            seen.add(done.stdout)
            yield python


def build(python: str, folder: Path, pure: bool = False) -> Path:
    """The wheel that this interpreter makes of the checkout.

    Raises:
        WheelError: It does not build, or a native one came out pure, because no compiler was found.
    """
    with tempfile.TemporaryDirectory() as made:
        run(python, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", made, *(PURE if pure else ()), str(ROOT))
        [wheel] = Path(made).glob("*.whl")
        if not pure and wheel.name.endswith("-none-any.whl"):
            raise WheelError("no compiler was found: the wheel is pure")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, folder / wheel.name))


def tried(python: str, wheel: Path) -> str:
    """What a new environment with the wheel in it says: the kernel decided and the matcher, `reference.silu native`.

    Raises:
        WheelError: Something in it does not run.
    """
    with tempfile.TemporaryDirectory() as made:
        empty = Path(made) / "venv"
        run(python, "-m", "venv", "--without-pip", str(empty))
        own = str(empty / ("Scripts" if os.name == "nt" else "bin") / "python")
        run(python, "-m", "pip", "--python", own, "install", "-q", "--no-compile", str(wheel))
        work = Path(made) / "work"
        work.mkdir()
        (work / "tried.lzp").write_text(POLICY, encoding="utf-8")
        for command in (("check", "tried.lzp"), ("doctor", "tried.lzp")):
            run(own, "-m", "layerzero", *command, cwd=work)
        said = run(own, "-c", DECISION, cwd=work).strip()
        if said.endswith("python") is not wheel.name.endswith("-none-any.whl"):
            raise WheelError(f"{wheel.name} was served by the other matcher: {said}")
        return said


def run(*command: str, cwd: Path | None = None) -> str:
    """What a command prints, where nothing of the checkout or of this environment is found.

    Raises:
        WheelError: It ended with another exit code than 0.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LAYERZERO_NATIVE")}
    kept |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "LAYERZERO_CACHE": "off"}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WheelError(f"`{' '.join(command)}` exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def version(python: str) -> str:
    return run(python, "-c", "import platform; print(platform.python_version())").strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
