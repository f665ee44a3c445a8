"""The stack on one machine: a supervisor with one process per service.

`core` decides (lives of services, back-off, what is written for shells); `shell` starts, probes,
restarts and ends the processes. It knows the services by their commands and health endpoints only.
"""
