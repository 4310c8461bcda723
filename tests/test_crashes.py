"""What is logged of the stacks that a crashed process has written."""

import os

import septet
from septet.processes.crashes import shortened

SEPTET = os.path.dirname(septet.__file__)
OURS = f'  File "{SEPTET}/processes/supervisor.py", line 7 in _work\n  File "{SEPTET}/cli.py", line 9 in main\n'
START = '  File "/srv/venv/bin/septet", line 8 in <module>\n'
IDLE = f"Thread 0x00007f1 (most recent call first):\n{OURS}{START}"


def dumped(error: str, current: str, *others: str) -> str:
    return f"Fatal Python error: {error}\n\n" + "\n".join((*others, current))


def test_what_led_to_the_application_is_left_out() -> None:
    busy = 'Thread 0x00007f2 (most recent call first):\n  File "/srv/shop/web.py", line 3 in block\n'
    current = f"Current thread 0x00007f3 (most recent call first):\n{OURS}{START}"
    assert shortened(dumped("Aborted", current, IDLE, busy + OURS + START)) == (
        f"Fatal Python error: Aborted\n{busy}2 idle threads of the server not shown"
    )


def test_thread_that_has_crashed_is_whole() -> None:
    current = f"Current thread 0x00007f3 [main] (most recent call first):\n{OURS}{START}"
    busy = 'Thread 0x00007f2 (most recent call first):\n  File "/srv/shop/web.py", line 3 in block\n'
    modules = "Extension modules: a, b (total: 2)"
    shown = shortened(dumped("Segmentation fault", f"{current}\n{modules}", IDLE, busy + OURS))
    assert shown == (
        f"Fatal Python error: Segmentation fault\n{busy}{current}1 idle thread of the server not shown\n{modules}"
    )


def test_dump_without_the_application_is_whole() -> None:
    whole = dumped("Aborted", f"Current thread 0x00007f3 (most recent call first):\n{OURS}", IDLE)
    assert shortened(whole) == whole
