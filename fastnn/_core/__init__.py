"""What everything stands on: dtypes, devices, sizes, errors, settings, flat storage, the switch of a trace."""
