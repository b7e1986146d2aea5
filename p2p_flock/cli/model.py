"""``p2p-flock model``: the trained model as files that others can load and check."""

from __future__ import annotations

from p2p_flock.cli.lazy import LazyGroup

model = LazyGroup(
    "model",
    {
        "export": "p2p_flock.cli.model_export:export",
        "verify": "p2p_flock.cli.model_verify:verify",
    },
    help="Export the trained model with its provenance, or check an exported one against the chain.",
)
