"""Frames in, frames and files out: statistics, claims, tables, figures. No torch."""
