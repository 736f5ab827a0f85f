"""Engine networks for the apps on this node; task sandboxes will be a second driver beside it."""
