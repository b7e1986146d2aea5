"""The round: who is elected, what they say when, what the chain decides. Pure and synchronous; see SPEC.md."""
