"""The main job of `argyll demo`: what the standard library of this interpreter is made of.

Some hundreds of real files are parsed and measured, their imports become a graph, and the graph
becomes a report: what everything leans on, which modules import each other in circles, where the
intricate code is. Nothing that is analysed is ever imported or run.

The work is plain functions from JSON values to JSON values, so that the steps only name them
(`steps`), and a single process can count everything once more to check what a flow came to (`plain`).
"""
