"""The parts of ``p2p-flock support bundle``: what takes secrets out, what is gathered, what is written."""
