"""What a run leaves on disk: records, locks, arrays read without unpickling."""
