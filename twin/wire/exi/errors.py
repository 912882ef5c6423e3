"""What can be wrong with an EXI stream, a message or a schema: every failure of this folder is an `ExiError`."""


class ExiError(ValueError):
    """A stream, a message or a schema that this codec refuses; the text says where and what was expected."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str] = []

    def inside(self, name: str) -> None:
        """Note on the way out that it happened inside the element or attribute `name`."""
        if name:
            self.path.insert(0, name)

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.message}" if self.path else self.message


class Truncated(ExiError):
    """The stream ends inside a message."""


class Malformed(ExiError):
    """The stream's bits name no event, value or string that the grammar has here."""


class TrailingBits(ExiError):
    """Something other than a few octets of 0 follows the end of the message."""


class LimitExceeded(ExiError):
    """The stream asks for more length, depth, events or digits than the codec grants; nothing was allocated for it."""


class InvalidValue(ExiError):
    """A value that the schema's type, facets or number of occurrences forbid."""


class UnknownMessage(ExiError):
    """A namespace, message or element that the schemas do not have."""


class SchemaError(ExiError):
    """A schema file that is missing, unreadable, or uses what this codec does not implement."""
