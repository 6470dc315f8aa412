"""The two figures of LRLogger: the overview of a run, and its LRs beside the plan."""
