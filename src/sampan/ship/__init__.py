"""From a source directory to a running service: build, verify, run, wait for health, switch.

`core` decides (settings, Dockerfiles for Go, binaries, bodies of containers, releases); `shell`
does it over the Docker API and the store's, of whoever speaks them.
"""
