"""Core files of Linux: what the kernel, gdb and QEMU write when a program dies."""
