"""What an instruction is: its class, and the level or extension that a processor needs for it.

One table an architecture, of what decides a diagnosis, and no disassembler.
"""
