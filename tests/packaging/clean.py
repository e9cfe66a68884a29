"""Wheel and sdist, built offline, and the wheel in an environment that has what it asks for and no more."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from attrs import frozen
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[2]


def built(kind: str, of: Path, into: Path) -> Path:
    """``wheel`` or ``sdist``, by the build backend that pyproject.toml names, as it is installed here."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    subprocess.run(command, cwd=of, check=True, capture_output=True)
    (found,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


@frozen
class Environment:
    """A virtual environment, whose programs know nothing of the folder that they were built in."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def packages(self) -> Path:
        paths = {"base": str(self.folder), "platbase": str(self.folder)}
        return Path(sysconfig.get_path("purelib", vars=paths))

    def run(self, *command: str) -> str:
        """What it printed; raises CalledProcessError when it fails."""
        environment = {**os.environ, "PYTHONPATH": ""}
        words = [str(self.bin / command[0]), *command[1:]]
        return subprocess.run(
            words, cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        ).stdout


def clean(folder: Path, wheel: Path) -> Environment:
    """An environment with the wheel, and beside it links to what it needs and no more: nothing is fetched."""
    venv.create(folder, with_pip=False)
    environment = Environment(folder)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps"]
    subprocess.run([*command, "--python", str(environment.bin / "python"), str(wheel)], check=True)
    (installed,) = environment.packages.glob("asyncqueue-*.dist-info")
    for needed in closure(Distribution.at(installed)):
        for name in tops(needed):
            link = environment.packages / name
            if not link.exists():
                link.symlink_to(Path(str(needed.locate_file(name))))
    return environment


def closure(of: Distribution) -> Iterator[Distribution]:
    """What it requires, and what that requires, without extras that nobody asked for."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[Distribution, frozenset[str]]] = [(of, frozenset())]
    while waiting:
        asking, extras = waiting.pop()
        for line in asking.requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
                continue
            wanted = (requirement.name, frozenset(requirement.extras))
            if wanted not in seen:
                seen.add(wanted)
                found = distribution(requirement.name)
                yield found
                waiting.append((found, wanted[1]))


def tops(of: Distribution) -> set[str]:
    """The files and folders that it has in site-packages; its programs lie elsewhere."""
    return {path.parts[0] for path in of.files or () if path.parts[0] not in ("..", "__pycache__")}
