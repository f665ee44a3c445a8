"""Executable files: ELF, PE and Mach-O, Go's build info, and what the code itself gives away.

Every reader takes a buffer (bytes or a memory map), checks every offset, walks only tables whose
size it has bounded, and raises BinaryError for what is not as the format says.
"""
