"""The OpenAPI 3.1 document of the interface, from the types of the control commands and the words of ``CONTROL.md``."""

from __future__ import annotations

from collections.abc import Mapping


def build_openapi(
    commands: Mapping[str, tuple[type, type]], defaults: Mapping[str, Mapping[str, object]], documentation: str
) -> dict[str, object]:
    return {"openapi": "3.1.0", "info": {"title": "p2p_flock node", "version": "1"}, "paths": {}}
