"""What goes wrong with threads, by name; apart from them, as they take numba to import."""


class ThreadCountError(ValueError):
    """A number of threads that is none. Its message is one line that names where the number is from."""
