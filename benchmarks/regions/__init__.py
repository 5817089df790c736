"""Recall of copied regions by their area, at a stated false-alarm rate, of localmatch and its peers."""
