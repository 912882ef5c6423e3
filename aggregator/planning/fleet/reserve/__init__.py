"""Reserve that a fleet sells: the headroom of the cars together, exact by cuts, and what holds when it is called."""
