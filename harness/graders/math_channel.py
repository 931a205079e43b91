"""Messages between the pool of `math_equal` and its workers: length, then JSON."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

MAX_MESSAGE = 1 << 20  # bytes


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message: length, then JSON. Raises OSError if the other end is closed."""
    data = json.dumps(message).encode()
    channel.sendall(struct.pack("!I", len(data)) + data)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message; None if the other end is closed. Raises TimeoutError, and ValueError for a bad message."""
    data = b""
    wanted = 4
    while len(data) < wanted:
        part = channel.recv(wanted - len(data))
        if not part:
            return None
        data += part
        if wanted == 4 == len(data):
            wanted += struct.unpack("!I", data)[0]
            if wanted > MAX_MESSAGE:
                raise ValueError(f"a message may have at most {MAX_MESSAGE} bytes, this one announces {wanted}")
    message = json.loads(data[4:])
    if not isinstance(message, dict):
        raise ValueError(f"a message is an object, this is {message!r:.80}")
    return message


# --- algebra -----------------------------------------------------------------------------------------------------

# A string is compared by algebra only if it consists of these parts: math-verify silently drops a part that it cannot
# read and compares the remainder. A string with any other part equals only itself.
