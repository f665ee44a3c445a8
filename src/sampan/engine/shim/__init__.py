"""The zygote, and one shim a container that holds its stdio, log and exit code.

Both are plain single-threaded processes that import little: they are forked for every container.
"""
