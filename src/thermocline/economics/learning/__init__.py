"""What the policy `learned` learns, and how: from a past to tables in which a decision is looked up.

`observed` is what is known of an object, as features; `trees` make states of them; `pasts` are the states that the
objects of a history went through; `terms` what each day and move costs in them, `chains` what they are worth; `models`
are the result, plain arrays that can be kept; `training` puts it all together.
"""
