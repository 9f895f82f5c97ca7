"""The overlay detector: finds pictures and emoji that were pasted on a picture (D²LV sheet, 5.2)."""
