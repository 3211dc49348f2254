"""The foundation: dtypes, devices, sizes, errors, settings, flat storage, the state of a trace."""
