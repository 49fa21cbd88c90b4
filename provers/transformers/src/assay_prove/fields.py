"""A JSON object of a checkpoint, read by type; `null` counts as absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import ProveError


class Fields:
    """The keys of one JSON object, each asked for by the type it must have."""

    def __init__(self, values: dict[str, Any], what: str) -> None:
        self._values = values
        self._what = what

    @classmethod
    def read(cls, path: Path) -> Fields:
        """The object in a file."""
        try:
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise ProveError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ProveError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ProveError(f"{path} is not a JSON object")
        return cls(values, path.name)

    def refuse(self, key: str, want: str) -> ProveError:
        """An error that names the key's value and what would be supported."""
        got = json.dumps(self._values.get(key))
        shown = got if len(got) <= 80 else got[:80] + "..."
        return ProveError(f"`{key}` in {self._what} is {shown}; want {want}")

    def has(self, key: str) -> bool:
        """Whether the key is there, be it `null`."""
        return key in self._values

    def all_keys(self) -> list[str]:
        """All keys."""
        return list(self._values)

    def raw(self, key: str) -> Any:
        """The value as it is; None if it is absent."""
        return self._values.get(key)

    def _typed(self, key: str, types: tuple[type, ...], want: str) -> Any:
        value = self._values.get(key)
        if value is None:
            return None
        # A bool is an int in Python, but not in JSON.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise self.refuse(key, want)
        return value

    def size(self, key: str) -> int | None:
        """A whole number, not negative."""
        value: int | None = self._typed(key, (int,), "a whole number")
        if value is not None and value < 0:
            raise self.refuse(key, "a whole number")
        return value

    def required_size(self, key: str) -> int:
        """A whole number that must be there, above 0."""
        value = self.size(key)
        if not value:
            raise self.refuse(key, "a positive whole number")
        return value

    def number(self, key: str) -> float | None:
        """A number."""
        value = self._typed(key, (int, float), "a number")
        return None if value is None else float(value)

    def required_number(self, key: str) -> float:
        """A number that must be there."""
        value = self.number(key)
        if value is None:
            raise self.refuse(key, "a number")
        return value

    def flag(self, key: str) -> bool:
        """true or false; false if absent."""
        return bool(self._typed(key, (bool,), "true or false"))

    def text(self, key: str) -> str | None:
        """A string."""
        value: str | None = self._typed(key, (str,), "a string")
        return value

    def object(self, key: str) -> Fields | None:
        """An object within this one."""
        value = self._typed(key, (dict,), "an object")
        return None if value is None else Fields(value, f"`{key}` of {self._what}")

    def ids(self, key: str, default: int | None, vocab: int) -> list[int]:
        """One id or a list of them; those outside the vocabulary, which the model cannot emit, are left out.

        The default stands for an absent key, not for `null`.
        """
        value = default if not self.has(key) else self._typed(key, (int, list), "an id or a list of ids")
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in ids):
            raise self.refuse(key, "an id or a list of ids")
        return [item for item in ids if 0 <= item < vocab]
