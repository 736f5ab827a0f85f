"""One module per command or noun. It asks the server over HTTP and writes what was answered; it decides nothing."""
