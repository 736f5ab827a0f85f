"""The record of every change: who, what, when, with what outcome."""
