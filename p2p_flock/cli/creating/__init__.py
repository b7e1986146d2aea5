"""The parts of ``p2p-flock alliance create``: where its numbers come from, what follows from them, what is asked."""
