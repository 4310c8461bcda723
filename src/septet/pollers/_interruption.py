"""Tells whether an exception of a signal handler came before the function that was to be called had done anything.

A signal handler of the application that raises, as time-outs by SIGALRM do, raises in the main thread wherever that is.
Python runs such handlers only between certain instructions: at the beginning of a Python function, after each call, and
at the end of a loop's body. So a callback may be interrupted before it has done anything; then it can be called again.
"""

import opcode
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import TracebackType

_RESUME = opcode.opmap["RESUME"]
"""The instruction at the beginning of a function, where signal handlers run. There the two lowest bits of its argument
are 0; the RESUME after a `yield` or `await` has other values in them.
"""

_GENERATORS = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
"""Flags of the code of generators and coroutines. These run other instructions before their first RESUME, so
an interruption at that instruction does not show that they had done nothing yet.
"""


def kept_from_beginning(callback: object, error: BaseException) -> bool:
    """True if `error`, which the caller has caught around its call of `callback`, was raised before `callback` did
    anything. May be wrongly False for callbacks that are not written in Python.
    """
    trace = error.__traceback__
    return trace is not None and trace.tb_next is not None and _is_at_beginning(callback, trace.tb_next)


def _is_at_beginning(callback: object, trace: TracebackType) -> bool:
    while isinstance(callback, partial):
        callback = callback.func
    code = trace.tb_frame.f_code
    if getattr(getattr(callback, "__func__", callback), "__code__", None) is not code or code.co_flags & _GENERATORS:
        return False
    return is_first_instruction(trace)


def is_first_instruction(trace: TracebackType) -> bool:
    """True if the function of this entry of a traceback was interrupted at its beginning."""
    instructions, at = trace.tb_frame.f_code.co_code, trace.tb_lasti
    return at >= 0 and instructions[at] == _RESUME and instructions[at + 1] & 3 == 0
