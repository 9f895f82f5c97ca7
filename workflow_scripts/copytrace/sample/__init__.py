"""The built-in sample: scenes drawn by code, edited copies of them, and the plan of who copies whom."""
