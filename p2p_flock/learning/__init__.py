"""Training on a member's own data: the task interface, the worker process, and the reference runs of the report.

The only package that imports torch. ``worker_client``, ``task_manifest``, ``results``, ``frames`` and
``tasks/heart_data`` never do, because the daemon imports them; a test watches this.
"""
