"""Bytes for Arrow's own threads: in memory that Arrow owns, so that no such thread ever needs the interpreter.

A thread of Arrow's that lets go of a Python object, or reads from one, waits for the interpreter. If that ends just
then, the thread is ended in the midst of C++, and the whole process aborts at its exit, after its work was done
(apache/arrow#34314, #50482).
"""

from typing import Any


def arrow_buffer(content: bytes | bytearray | memoryview) -> Any:
    """Return a copy of the bytes as an Arrow buffer that refers to no Python object."""
    import pyarrow as pa

    stream = pa.BufferOutputStream()
    stream.write(content)
    return stream.getvalue()
