"""The running engine: files, processes, timers."""
