"""Faults that befall a testnet while it runs: ``--fault``. Real processes, real signals, real sockets.

``grammar.py`` says what may be asked for, ``moments.py`` when it strikes, ``targets.py`` whom, and ``injector.py`` sees
to it.
"""
