"""Timings side by side with what one would use instead; results are found equal before they are timed."""
