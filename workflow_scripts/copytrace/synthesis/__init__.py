"""D²LV's training sets: a class per picture, its copies drawn from a chain of edits (sheet, section 2)."""
