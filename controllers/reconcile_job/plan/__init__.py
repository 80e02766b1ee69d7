"""The Job controller's thinking: pure functions over frozen values."""
