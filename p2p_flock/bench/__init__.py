"""Measurements that anybody can repeat: each module is one, run as ``python -m p2p_flock.bench.<name>``.

They use the package as the daemon does, print what they measured and on what kind of machine, and judge nothing;
``secagg`` alone prints beside it what was to be met.
"""
