"""select -> call -> trace: from a call's arguments to the kernel's result."""
