"""One message a line, as pipes carry it. Bytes in, whole lines out; what a line says is not read here.

A message may be forty megabytes and arrive in six hundred pieces, so a piece is looked at once, and
goes to where all of the line is: joined at its end, it would be there twice.
"""

from io import BytesIO

LIMIT = 64 * 1024 * 1024
"""Bytes in one line, unless told otherwise: more than any sane message, less than a machine."""

_SPACE = 0x20
_CR = 0x0D


class LineTooLong(ValueError):
    """A peer sent a line over the limit. That line is lost; the stream goes on after its newline."""

    def __init__(self, limit: int, lines: list[bytes]) -> None:
        super().__init__(
            f"expected lines of at most {limit} bytes, a longer one came and is dropped up to its "
            "newline: let the peer send less in one message, or raise the limit"
        )
        self.limit = limit
        self.lines = lines
        """The whole lines that came in the same chunk, in order: still to be handled."""


class Splitter:
    """Cuts a stream of chunks into lines, wherever the chunks end.

    The limit counts a line's bytes before its newline, a carriage return included, so that the
    verdict on a line never depends on how it was cut.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        # Hands over what it holds without copying it.
        self._held: BytesIO | None = None
        self._size = 0
        self._dropping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines this chunk completes: without newline or CRLF, blank ones left out.

        Raises LineTooLong as soon as a line outgrows the limit: once for that line, and at most once
        a call. Whatever else the chunk completed is in the error's `lines`; feeding can go on.
        """
        # On the path of every call: where nothing is held and all fits, one split and no call a line.
        if self._held is not None or self._dropping or len(chunk) > self._limit:
            return self._continue(chunk)
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if rest:
            self._hold(rest)
        for line in lines:
            if not line or line[0] <= _SPACE or line[-1] == _CR:
                return _tidy(lines)
        return lines

    def flush(self) -> bytes | None:
        """What the stream ended on without a newline, or None. The splitter is as new afterwards."""
        lines = _tidy([self._held.getvalue()]) if self._held is not None else []
        self._release()
        self._dropping = False
        return lines[0] if lines else None

    def _continue(self, chunk: bytes) -> list[bytes]:
        # Splitting looks at each byte by itself, which most pieces of a large line can be spared.
        lines = chunk.split(b"\n") if b"\n" in chunk else [chunk]
        rest = lines.pop()
        if lines and self._dropping:
            self._dropping = False
            del lines[0]
        elif lines and self._held is not None:
            self._held.write(lines[0])
            lines[0] = self._held.getvalue()
            self._release()
        kept = [line for line in lines if len(line) <= self._limit]
        too_long = len(kept) < len(lines)
        if not self._dropping:
            self._hold(rest)
        if self._size > self._limit:
            self._release()
            self._dropping = too_long = True
        if too_long:
            raise LineTooLong(self._limit, _tidy(kept))
        return _tidy(kept)

    def _hold(self, piece: bytes) -> None:
        if piece:
            if self._held is None:
                self._held = BytesIO()
            self._size += self._held.write(piece)

    def _release(self) -> None:
        self._held = None
        self._size = 0


def _tidy(lines: list[bytes]) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in lines if line and not line.isspace()]
