"""The tasks that ship with the package; a member's own task is found by the entry point group ``p2p_flock.tasks``."""
