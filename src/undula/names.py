"""Names that users type: registries of them, and errors that suggest the nearest one."""

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar, cast

T = TypeVar("T")
Own = TypeVar("Own")


def unknown_name(kind: str, got: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name nobody knows, with the nearest known ones."""
    choices = sorted(known)
    near = get_close_matches(got, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(choices) or 'none'}"
    return ValueError(f"unknown {kind} {got!r}; {hint}")


class Registry(Generic[T]):
    """A table from names to things of one kind, filled by a decorator."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Own], Own]:
        """Return a decorator that enters what it decorates under `name`, and hands it on as what it is.

        Raises:
            ValueError: when another entry has that name already.
        """

        def enter(thing: Own) -> Own:
            entry = cast(T, thing)
            if self._entries.setdefault(name, entry) is not entry:
                raise ValueError(f"{self.kind} {name!r} is registered already; choose another name")
            return thing

        return enter

    def remove(self, name: str) -> None:
        """Forget an entry (for tests and notebooks that register something for a while)."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)
