"""Rules that decide each day, from the past alone, in which class each object belongs. One rule, one file.

`policy` is what a rule must be; `economics.rules` lists those there are. A policy that learns does so where it is made:
its maker is given the past (`Setting.past`), and what it returns decides like the others.
"""
