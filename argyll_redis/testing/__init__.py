"""What users test their own flows with, and what we test engines with.

`virtual` runs asyncio code on a clock that jumps, `simulator` runs whole engines under faults.
"""
