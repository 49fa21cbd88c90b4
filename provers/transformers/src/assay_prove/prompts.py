"""Text to ids and back, by the checkpoint's tokenizer."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from .errors import ProveError
from .hashing import sha256


class Text:
    """A `tokenizer.json`, or none."""

    def __init__(self, path: Path | None) -> None:
        self._tokenizer: Tokenizer | None = None
        self.digest: bytes | None = None
        if path is None:
            return
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ProveError(f"cannot read {path}: {error.strerror}") from error
        try:
            self._tokenizer = Tokenizer.from_buffer(data)
        except Exception as error:  # The library raises no narrower type.
            raise ProveError(f"{path} is no tokenizer: {error}") from error
        self.digest = sha256(data)

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a text, with the special tokens that the tokenizer puts around one."""
        if self._tokenizer is None:
            raise ProveError("this checkpoint has no tokenizer.json; give the prompt as --prompt-ids")
        return tuple(self._tokenizer.encode(text).ids)

    def decode(self, ids: tuple[int, ...]) -> str | None:
        """The text of ids; None without a tokenizer."""
        if self._tokenizer is None:
            return None
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))
