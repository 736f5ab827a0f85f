"""Scenarios on several real hosts: machines that are killed, cut off and switched off, on one machine."""
