"""The embedded default's data, made from real text: what `rlhf data fetch` writes."""
