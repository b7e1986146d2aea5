#!/usr/bin/env python3
"""Run a bootstrap node; see README.md beside this file. The code is `p2p_flock/net/bootstrap.py`."""

from p2p_flock.net.bootstrap import main

if __name__ == "__main__":
    raise SystemExit(main())
