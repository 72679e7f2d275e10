"""How large a core module may be: what is over is refused before anything is compiled, each bound with its reason.

The compiler runs in a process with limits of its own: these are for what costs too much although it is valid.
"""

from __future__ import annotations

from guesthouse.limits import MAX_MEMORY, PAGE, Limits, MiB

MAX_SIZE = 64 * MiB
"""Bytes of one file: ten times the largest guest met; the compiler needs a multiple of it in memory."""
MAX_FUNCTIONS = 100_000
"""Functions, imported ones included: guests of 3.6 MB have some 6,000, and each costs the compiler a fixed price."""
MAX_BODY = 1 * MiB
"""Bytes of one function's body: compiling is worse than linear in it; compilers emit some tens of KiB."""
MAX_LOCAL_GROUPS = 1_000_000
"""Groups of locals in all functions together: bounds the time to read them; compilers emit a few for each function."""
MAX_LOCALS = 10_000
"""Locals of one function: register allocation is worse than linear in them; compilers emit some hundreds."""
MAX_TYPES = 10_000
"""Function types: real guests have under 300."""
MAX_ARITY = 1_000
"""Parameters, or results, of one function type: the limit that engines share."""
MAX_IMPORTS = 1_000
"""Imports: all interfaces of the host together have fewer functions."""
MAX_EXPORTS = 10_000
"""Exports: real guests have under 100, but some linkers export every symbol."""
MAX_GLOBALS = 10_000
"""Globals: each is set again for every call."""
MAX_TABLES = 8
"""Tables: compilers emit one.  A slot of the instance pool has one too, which the library finds out."""
MAX_TABLE = Limits().table_elements
"""Elements that a table has from the start."""
MAX_ELEMENTS = 100_000
"""Functions in all element segments together: each is written again for every call."""
MAX_SEGMENTS = 10_000
"""Element segments, and data segments: each is copied again for every call."""
MAX_CONSTANT = 16
"""Instructions in a constant expression: compilers emit one, position-independent code three."""
MAX_SECTIONS = 1_000
"""Sections, custom ones included: real modules have under 40."""
MAX_PAGES = MAX_MEMORY // PAGE
"""Pages that the memory has from the start: a slot of the instance pool holds no more."""
