"""Pilothouse upgraded while it works: real processes of two versions, made out of one tree."""
