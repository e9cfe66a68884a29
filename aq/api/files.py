"""Files that come with the package: compressed once, kept by clients for as long as they stay the same."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from attrs import field, frozen
from quart import Response, request

FOR_GOOD: Final = "public, max-age=31536000, immutable"
"""For what has its digest in its address."""
ASK_AGAIN: Final = "no-cache"
"""To be kept, and asked for with its tag."""
KINDS: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@frozen
class File:
    """Something to be served."""

    packed: bytes = field(repr=False)
    kind: str
    digest: str = field(init=False)
    """Another content has another one."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.packed).hexdigest()[:16])

    @classmethod
    def of(cls, content: bytes, kind: str) -> File:
        return cls(gzip.compress(content, mtime=0), kind)

    @classmethod
    def read(cls, path: Path) -> File:
        """The files of others are kept compressed (``NAME.gz``), ours as they are."""
        packed = path.with_name(f"{path.name}.gz")
        if packed.exists():
            return cls(packed.read_bytes(), KINDS[path.suffix])
        return cls.of(path.read_bytes(), KINDS[path.suffix])

    def answer(self, caching: str, headers: Mapping[str, str]) -> Response:
        """In the form that the client takes; ``headers`` come beside."""
        told = {**headers, "Cache-Control": caching, "Vary": "Accept-Encoding"}
        if request.accept_encodings["gzip"] <= 0:
            return Response(gzip.decompress(self.packed), content_type=self.kind, headers=told)
        return Response(self.packed, content_type=self.kind, headers={**told, "Content-Encoding": "gzip"})
