"""The zygote, and one shim a container that holds its stdio, log and exit code."""
