"""From the words of a failure to its cause in the build settings, with evidence and a remedy."""
