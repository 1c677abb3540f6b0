"""Where a daemon serves, and whether its folder can be trusted. The daemon chooses by its own environment, so a client looks wherever one may
have been started, best first."""
from __future__ import annotations

import os
import stat
from typing import List, Optional, Tuple, Union

CHAT, TEXT_CHAT, EMBED, ADMIN = "infer.v2.sock", "infer.sock", "infer.embed.sock", "admin.sock"

_SERVICE_FOLDER = "/run/inferd"  # of the system's service


class Endpoint:
    """What a client was given: the path of a Unix socket, HOST:PORT with a key, or neither: `leaf` in the default folders."""

    def __init__(self, leaf: str, socket: Union[str, os.PathLike[str], None], tcp: Optional[str] = None, key: Optional[str] = None) -> None:
        if socket is not None and tcp is not None:
            raise ValueError("socket and tcp: give one of them")
        if key is not None and tcp is None:
            raise ValueError("key: only TCP has one")
        self.leaf, self.key = leaf, key
        self.path = None if socket is None else os.fspath(socket)
        self.address = None if tcp is None else _host_and_port(tcp)


def _host_and_port(text: str) -> Tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"tcp={text!r}: expected HOST:PORT")
    return host, int(port)


def folders() -> List[str]:
    found = [os.path.join(value, *below) for variable, below in (("XDG_RUNTIME_DIR", ("inferd",)), ("HOME", (".inferd", "run")))
             if (value := os.environ.get(variable))]
    return [*found, f"/tmp/inferd-{os.getuid()}", _SERVICE_FOLDER]


def is_trusted(folder: str) -> bool:
    """A real folder that belongs to us or to root: a socket in it is not some other user's. The service's may belong to the service's user,
    as only root makes folders beside it."""
    try:
        info = os.lstat(folder)
        if not stat.S_ISDIR(info.st_mode):
            return False
        if info.st_uid in (os.geteuid(), 0):
            return True
        above = os.lstat(os.path.dirname(folder))
        return folder == _SERVICE_FOLDER and stat.S_ISDIR(above.st_mode) and above.st_uid == 0 and above.st_mode & 0o022 == 0
    except OSError:
        return False
