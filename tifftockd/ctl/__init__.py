"""tifftockctl: reminders at a terminal and in scripts, by the public API alone.

It has to start fast. What is imported here, and by whom, is part of that: tests/unit/test_architecture.py.
"""
