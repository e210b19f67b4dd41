"""What goes wrong, on purpose: broken wires, silent peers, killed processes, full disks; and what must still hold."""
