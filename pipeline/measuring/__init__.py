"""Measuring plans on live ranks: training steps cut into their parts, bytes on the wire, memory."""
