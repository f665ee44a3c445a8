"""The Go doctor: the right binary for the right machine, or the reason why not.

`core` knows targets, levels, devices, executable files, project files and the words of failures,
and reads nothing by itself; `shell` reads files and the data that ships with it.
"""
