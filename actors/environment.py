"""The environment variables and the token that Ray needs before it is imported or started."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

KEEPALIVE_SECONDS = 20
"""A node that does not answer for twice as long counts as lost: Macs that fall asleep do not sign off."""

DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` would send its environment to every worker
    "RAY_grpc_client_keepalive_time_ms": str(1000 * KEEPALIVE_SECONDS),
    "RAY_grpc_client_keepalive_timeout_ms": str(1000 * KEEPALIVE_SECONDS),
}


AUTH_MODE = "RAY_AUTH_MODE"


def prepare(serving: bool) -> None:
    """Set the environment of this process and those that it starts.

    `serving`: as part of a cluster of several machines. Ray then listens on every interface, and only its token keeps
    others out; otherwise it listens on 127.0.0.1 only. The token is required in both cases.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ[AUTH_MODE] = "token"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1" if serving else "0"
    protect_token()


def asks_for_token() -> bool:
    """Whether Ray's processes on this machine refuse connections without the token."""
    return os.environ.get(AUTH_MODE) == "token"


def token_file() -> Path:
    """Return the file in which Ray looks for the token of a cluster."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def has_token() -> bool:
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or token_file().is_file()


def write_token(token: str) -> None:
    """Write the token to a file that only this user can read, from its first byte on."""
    _put(token, os.replace)


def ensure_token() -> None:
    """Make a token if there is none."""
    if not has_token():
        with suppress(FileExistsError):  # another process has just made one, which both then use
            _put(secrets.token_hex(32), os.link)


def _put(token: str, put: Callable[[Path, Path], None]) -> None:
    file = token_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(token)
        put(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def protect_token() -> None:
    """Make the token readable by this user only: Ray leaves a token that it makes readable by everybody."""
    if token_file().is_file():
        token_file().chmod(0o600)


@contextmanager
def within(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process within the context, for processes that are started there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def blas_threads(threads: int) -> dict[str, str]:
    """Return the environment variables of a process whose matrix products use this many threads."""
    return {f"{library}_NUM_THREADS": str(threads) for library in ("MKL", "OPENBLAS", "OMP")}
