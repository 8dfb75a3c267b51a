"""What is measured rather than tested: each module prints figures as JSON and says in its docstring how it is run."""
