"""Conversations with agents: assignments down, reports up."""
