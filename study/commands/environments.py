"""Python environments of programs that the study is compared with, each installed once for its requirements."""

import hashlib
import subprocess
import venv
from pathlib import Path

FOLDER = Path(".venv-peers")


def environment(requirements: Path) -> Path:
    """Return the Python of an environment that has these requirements, after installing it if it is not there."""
    name = requirements.stem
    folder = FOLDER / f"{name}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"installing {name} in {folder} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)
        (folder / "installed").touch()
    return python.absolute()
