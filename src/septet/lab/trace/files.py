"""What a trace leaves, by name: for who writes it, and for who finds it again."""

DIRECTORY = "trace"  # of an experiment's, below that of its results
FIGURES = "trace.json"
ZOOM, OVERVIEW = "zoom", "overview"  # pictures, each as .svg and .png
