"""Releases once they are made: watched until they are stable, judged, and rolled back when they are bad."""
