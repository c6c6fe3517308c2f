"""The error families of Zabra, never mixed.

1. :class:`RequestError` - the answer to a client is an error code. Raised only while a request is
   validated or read; inside the log and the replies it travels as a plain number.
2. :class:`ProtocolError` - a client or peer broke the protocol: close that connection, nothing else.
3. :class:`ConfigError` - the configuration cannot be obeyed: the start is refused.
4. :class:`DataError` - files that cannot be trusted or used: the start is refused, nothing deleted.

A disk that fails while serving stops the server (``Persist``), our own bugs are assertions.
"""

from typing import Final


class Code:
    """Wire error codes (``KeeperException.Code``, 3.9.5)."""

    OK: Final = 0
    RUNTIME_INCONSISTENCY: Final = -2
    MARSHALLING_ERROR: Final = -5
    UNIMPLEMENTED: Final = -6
    BAD_ARGUMENTS: Final = -8
    UNKNOWN_SESSION: Final = -12
    NEW_CONFIG_NO_QUORUM: Final = -13
    RECONFIG_IN_PROGRESS: Final = -14
    NO_NODE: Final = -101
    NO_AUTH: Final = -102
    BAD_VERSION: Final = -103
    NO_CHILDREN_FOR_EPHEMERALS: Final = -108
    NODE_EXISTS: Final = -110
    NOT_EMPTY: Final = -111
    SESSION_EXPIRED: Final = -112
    INVALID_ACL: Final = -114
    AUTH_FAILED: Final = -115
    SESSION_MOVED: Final = -118
    NOT_READ_ONLY: Final = -119
    EPHEMERAL_ON_LOCAL_SESSION: Final = -120
    NO_WATCHER: Final = -121
    RECONFIG_DISABLED: Final = -123
    SESSION_CLOSED_REQUIRE_SASL_AUTH: Final = -124
    QUOTA_EXCEEDED: Final = -125
    THROTTLED_OP: Final = -127


class ZabraError(Exception):
    """Base of every error that Zabra raises on purpose."""


class RequestError(ZabraError):
    """A request that is answered with an error code; ``code`` is one of :class:`Code`."""

    def __init__(self, code: int, why: str = "") -> None:
        super().__init__(code, why)
        self.code = code


class EarlyRefusalError(RequestError):
    """The same before any server has given the request a place in the order of all: its reply has zxid 0."""


class ProtocolError(ZabraError):
    """The other side broke the protocol; its connection is closed."""


class MarshallingError(ProtocolError):
    """Bytes that do not parse as the record they should be (truncated, negative length, over the limit)."""


class ConfigError(ZabraError):
    """A configuration that cannot be obeyed. The text names source, line, key, value and what was expected."""


class DataError(ZabraError):
    """A data folder or file that cannot be used; the text names the file and, where there is one, the offset.

    ``exit_code`` is what the process ends with (``ExitCode`` in Apache: 3 for data directory trouble, 1 otherwise).
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
